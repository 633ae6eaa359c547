"""Clothes and hair: colours of a body's vertices, and how cloth covers its shape.

Shapes: V vertices, F faces.
"""

import numpy as np

from data.body import GROUPS, Body, vertex_normals

_SKINS = (
    *((0.94, 0.78, 0.68), (0.88, 0.70, 0.56), (0.80, 0.60, 0.45)),
    *((0.65, 0.46, 0.33), (0.48, 0.32, 0.22), (0.34, 0.22, 0.16)),
)
_HAIRS = (
    *((0.08, 0.06, 0.05), (0.20, 0.12, 0.08), (0.36, 0.23, 0.12)),
    *((0.60, 0.60, 0.60), (0.66, 0.50, 0.30), (0.45, 0.19, 0.10)),
)
_SHIRTS = (
    *((0.90, 0.90, 0.88), (0.15, 0.15, 0.17), (0.55, 0.12, 0.14), (0.16, 0.28, 0.55)),
    *((0.20, 0.42, 0.28), (0.85, 0.70, 0.25), (0.45, 0.48, 0.52), (0.40, 0.22, 0.45)),
    *((0.30, 0.58, 0.68), (0.80, 0.42, 0.20)),
)
_TROUSERS = (
    *((0.18, 0.24, 0.38), (0.12, 0.12, 0.13), (0.50, 0.44, 0.34), (0.35, 0.36, 0.38)),
    *((0.28, 0.31, 0.20), (0.30, 0.42, 0.58)),
)
_SHOES = ((0.08, 0.07, 0.07), (0.80, 0.80, 0.78), (0.15, 0.18, 0.30), (0.55, 0.15, 0.12))

_CLOTH = ("shirt", "upper_sleeve", "lower_sleeve", "upper_trousers", "lower_trousers", "shoe")
_CLOTH_MM, _HAIR_MM = 7.0, 12.0
_STEPS = 15 * (0.5, -0.53)  # of smoothing that does not shrink (Taubin, 1995)


def dress(rng: np.random.Generator, body: Body) -> tuple[Body, np.ndarray]:
    """Gives a body hair and clothes; sleeves and trousers long or short, maybe stripes.

    Clothed skin is smoothed and moved out by 7 mm, hair by 12 mm; joints stay where they are.

    Args:
      rng: where the choices come from.
      body: without clothes.

    Returns:
      The dressed body, and the colours (V, 3) float32 of its vertices, from 0 to 1.
    """
    skin = rng.integers(len(_SKINS))
    hair = _HAIRS[rng.integers(len(_HAIRS) if skin < len(_SKINS) // 2 else 3)]
    shirt, trousers, shoe, stripe = map(rng.choice, (_SHIRTS, _TROUSERS, _SHOES, _SHIRTS))
    long_sleeves, long_trousers, striped = rng.uniform(size=3) < (0.5, 0.7, 0.4)
    skin = np.array(_SKINS[skin])
    is_bare = {"lower_sleeve": not long_sleeves, "lower_trousers": not long_trousers}
    bare = [group for group, is_so in is_bare.items() if is_so]
    palette = {
        **{"skin": skin, "hair": hair, "brow": hair, "lip": skin * (0.9, 0.65, 0.65)},
        **{"eye": (0.9, 0.9, 0.9), "iris": np.multiply(hair, 0.5), "shoe": shoe},
        **{"shirt": shirt, "upper_sleeve": shirt, "lower_sleeve": shirt},
        **{"upper_trousers": trousers, "lower_trousers": trousers},
        **dict.fromkeys(bare, skin),
    }
    colors = np.array([palette[group] for group in GROUPS], np.float32)[body.groups]
    if striped:
        in_stripe = np.sin(body.vertices[:, 1] / rng.uniform(8, 20)) > 0
        colors[in_stripe & _is_in(body, ["shirt", "upper_sleeve"])] = stripe
    return _cover(body, _is_in(body, [group for group in _CLOTH if group not in bare])), colors


def as_cloth_lies(body: Body) -> Body:
    """A body as cloth would shape all of it: smoothed; see `draw_clothes`."""
    vertices = _smoothed(body, np.ones(len(body.vertices), bool))
    return body._replace(vertices=vertices, normals=vertex_normals(vertices, body.faces))


def draw_clothes(rng: np.random.Generator, body: Body, smooth: Body) -> tuple[Body, np.ndarray]:
    """Clothes of any colours, cuts, patterns and thickness; skin between the tones of `dress`.

    As fast as a picture is drawn, for all of what is slow is done before, by `as_cloth_lies`.

    Args:
      rng: where the choices come from.
      body: without clothes.
      smooth: the same as cloth shapes it.

    Returns:
      The dressed body, and the colours (V, 3) float32 of its vertices, from 0 to 1.
    """
    skin, hair = _between(rng, _SKINS), _between(rng, _HAIRS)
    shirt, sleeves, trousers, shoe = (_any_color(rng) for _ in range(4))
    one_piece, other_sleeves, bald = rng.uniform(size=3) < (0.15, 0.2, 0.08)
    trousers, sleeves = shirt if one_piece else trousers, sleeves if other_sleeves else shirt
    bare = [group for group, share in _CUTS.items() if rng.uniform() < share]
    if "upper_sleeve" in bare:
        bare.append("lower_sleeve")
    palette = {
        **{"skin": skin, "hair": skin if bald else hair, "brow": hair},
        **{"lip": skin * (0.9, 0.7, 0.7), "eye": np.full(3, 0.9), "iris": hair / 2},
        **{"shoe": shoe, "shirt": shirt},
        **{"upper_sleeve": sleeves, "lower_sleeve": sleeves},
        **{"upper_trousers": trousers, "lower_trousers": trousers},
        **dict.fromkeys(bare, skin),
    }
    thickness = dict.fromkeys(_TOP, rng.uniform(4, 20)) | dict.fromkeys(_LEGS, rng.uniform(4, 18))
    thickness |= {"shoe": rng.uniform(4, 10), "hair": 0.0 if bald else rng.uniform(5, 35)}
    thickness |= dict.fromkeys(bare, 0.0)
    colors = np.array([palette[group] for group in GROUPS], np.float32)[body.groups]
    for groups, share in ((_TOP, 0.5), (_LEGS, 0.2)):
        cloth = [group for group in groups if group not in bare]
        if rng.uniform() < share:
            colors[_pattern(rng, body.vertices) & _is_in(body, cloth)] = _any_color(rng)
    clothed = _is_in(body, [group for group in _CLOTH if group not in bare])[:, None]
    outwards = np.float32([thickness.get(group, 0.0) for group in GROUPS])[body.groups]
    normals = np.where(clothed, smooth.normals, body.normals)
    vertices = np.where(clothed, smooth.vertices, body.vertices) + outwards[:, None] * normals
    return body._replace(vertices=vertices, normals=normals), colors


_CUTS = {"lower_sleeve": 0.5, "upper_sleeve": 0.15, "lower_trousers": 0.35, "shoe": 0.1}
"""How often there is skin in place of them."""

_TOP = ("shirt", "upper_sleeve", "lower_sleeve")
_LEGS = ("upper_trousers", "lower_trousers")


def _between(rng: np.random.Generator, colors) -> np.ndarray:
    """(3,) a colour between two that follow each other."""
    place = rng.uniform(0, len(colors) - 1)
    first = int(place)
    mean = np.add(colors[first], (place - first) * np.subtract(colors[first + 1], colors[first]))
    return np.clip(mean * rng.uniform(0.93, 1.07, 3), 0, 1)


def _any_color(rng: np.random.Generator) -> np.ndarray:
    """(3,) of any hue and brightness, more often dull than bright."""
    grey, color = rng.uniform(0.04, 0.95), rng.uniform(0, 1, 3)
    return grey + rng.uniform(0, 1) ** 2 * (color - grey)


def _pattern(rng: np.random.Generator, vertices: np.ndarray) -> np.ndarray:
    """(V,) what is in stripes along an axis, or in the checks or blots of two of them."""
    waves = (
        rng.normal(size=(2, 3)) * (rng.uniform(size=(2, 1)) < 0.4)
        + np.eye(3)[rng.choice(3, 2, replace=False)]
    )
    first, second = np.sin(np.float32(waves / rng.uniform(8, 60)) @ vertices.T)
    return (first if rng.uniform() < 0.5 else first * second) > rng.uniform(-0.3, 0.7)


def _cover(body: Body, clothed: np.ndarray) -> Body:
    """Lets cloth (V,) and hair lie over the body."""
    vertices = _smoothed(body, clothed)
    normals = vertex_normals(vertices, body.faces)
    vertices += np.float32(_CLOTH_MM) * normals * clothed[:, None]
    vertices += np.float32(_HAIR_MM) * normals * _is_in(body, ["hair"])[:, None]
    return body._replace(vertices=vertices, normals=vertex_normals(vertices, body.faces))


def _smoothed(body: Body, chosen: np.ndarray) -> np.ndarray:
    """(V, 3) the vertices, some of them (V,) smoothed."""
    vertices = body.vertices.copy()
    for step in _STEPS:
        away = _neighbours_mean(vertices, body.faces) - vertices
        vertices[chosen] += np.float32(step) * away[chosen]
    return vertices


def _neighbours_mean(vertices, faces) -> np.ndarray:
    """(V, 3) float32 the mean of each vertex' neighbours, by the triangles shared with them."""
    ends = faces.ravel()
    others = (np.roll(faces, -1, axis=1).ravel(), np.roll(faces, -2, axis=1).ravel())
    counts = 2 * np.bincount(ends, minlength=len(vertices))[:, None]
    sums = [
        sum(np.bincount(ends, vertices[o, axis], len(vertices)) for o in others)
        for axis in range(3)
    ]
    return (np.stack(sums, axis=1) / counts).astype(np.float32)


def _is_in(body: Body, groups) -> np.ndarray:
    """(V,) whether vertices belong to one of the groups."""
    return np.isin(GROUPS, groups)[body.groups]
