"""Layouts: which points of a data set stand for which keypoints of the human model.

A layout maps each keypoint of `human_17` to the names of one or more points, whose mean it
is. A keypoint that the data set does not have is left out and counts as missing. Where the
data set's joint lies elsewhere on the body, the entry is an approximation of ours. Nose and head
come from a face where the data set has one (`kinpose.face`), all of them from markers on the skin
where it has these (`kinpose.surface`). Where an upright person's trunk or
head leans in a data set's points, they are straightened by that angle (`Layout.lean_deg`), so
that angles of trunk and neck mean the same in all.

Names are the same that differ only in case, in spaces and punctuation, or in what stands before
the last colon or before all names alike: "mixamorig:LeftLeg" is "LeftLeg". Where that leaves two
points for one name, the exact one is meant.
"""

import itertools
import json
import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from kinpose.face import FACE, HEAD_LEAN, head_keypoints
from kinpose.layout_rows import ROWS, Layout
from kinpose.skeletons import HUMAN36M_DIRECTIONS, HUMAN36M_KEYPOINTS, HUMAN36M_LENGTHS_MM
from kinpose.surface import joint_centres

__all__ = [
    "DISPLAY_NAMES",
    "LAYOUTS",
    "Layout",
    "check_proportions",
    "find_individuals",
    "find_layout",
    "find_layout_by_count",
    "load_layout",
    "pick_confidence",
    "pick_keypoints",
    "single_points",
]


LAYOUTS = ROWS
"""Known layouts, by name; their rows and sources: `kinpose.layout_rows`."""


DISPLAY_NAMES = {"nose": "nose (base of the skull)"}
"""What keypoints are that data sets call otherwise: Human3.6M's nose lies within the head."""


def find_layout(names: Sequence[str], positions: np.ndarray | None = None) -> str:
    """Name of the known layout whose points are all among `names`.

    Args:
      names: names of a recording's points.
      positions: (T, N, 3) the points; if given, they must have the proportions of a person.

    Returns:
      A key of `LAYOUTS`, the one that names the most points.

    Raises:
      ValueError: when there is none.
    """
    fitting = {
        key: len(set(_wanted(layout)))
        for key, layout in LAYOUTS.items()
        if not _absent(layout, _match(names, _wanted(layout)))
    }
    if not fitting:
        raise ValueError(
            f"no known layout ({', '.join(LAYOUTS)}) has all its points among the names "
            f"{list(names)}; give a name map."
        )
    found = sorted(fitting, key=fitting.get, reverse=True)
    return _with_proportions(found, "names", positions, names)


def find_individuals(names: Sequence[str], layout: Layout | None = None) -> tuple[str, ...]:
    """Whose points a recording has, where it has those of several.

    Args:
      names: names of a recording's points: "Ann:LASI", "mouse1_nose".
      layout: which points an individual has; by default those of any known layout.

    Returns:
      What stands before all the points of a layout, in the order of the points, then what stands
      before half of them or more: two names or more, or none where the points are of one
      individual.
    """
    wanted = [
        {_squeezed(name) for name in _wanted(each)}
        for each in ([layout] if layout else LAYOUTS.values())
    ]
    known, heads = set().union(*wanted), {"": set(map(_squeezed, names))}
    for name in names:
        for mark in re.finditer(r"[\W_]+", name):
            if mark.start() and (tail := _squeezed(name[mark.end() :])) in known:
                heads.setdefault(name[: mark.start()], set()).add(tail)
    for each in wanted:
        found = [head for head, tails in heads.items() if each and each <= tails]
        if not found or "" in found:
            continue
        found += [
            x for x, tails in heads.items() if each - tails and 2 * len(each & tails) >= len(each)
        ]
        if len(found) > 1:
            return tuple(found)
    return ()


def find_layout_by_count(positions: np.ndarray) -> str:
    """Name of the known layout of points without names, where their number tells it.

    Args:
      positions: (T, N, 3) the points, which must have the proportions of a person.

    Returns:
      A key of `LAYOUTS`.

    Raises:
      ValueError: when no layout has as many points, or several have.
    """
    count = positions.shape[1]
    found = [key for key, layout in LAYOUTS.items() if len(layout.order) == count]
    if len(found) != 1:
        of = f"are of {' or '.join(found)}" if found else "are of no known layout"
        raise ValueError(f"{count} points {of}; say which by a layout.")
    return _with_proportions(found, "number", positions, LAYOUTS[found[0]].order)


def _with_proportions(found: Sequence[str], what: str, positions, names) -> str:
    """The first of some layouts that makes a person of the points."""
    faults = {}
    for key in found:
        if positions is None:
            return key
        picked = pick_keypoints(positions, names, LAYOUTS[key], HUMAN36M_KEYPOINTS)
        faults[key] = check_proportions(picked, HUMAN36M_KEYPOINTS)
        if not faults[key]:
            return key
    key, said = next(iter(faults.items()))
    of = "names are those" if what == "names" else "number is that"
    raise ValueError(
        f"the {of} of layout {key}, but the body is not a person's: {'; '.join(said)}; give a "
        "name map."
    )


def load_layout(path: str | os.PathLike) -> Layout:
    """Reads a layout from a JSON file.

    The file holds an object: keypoint of the model -> name of a point, or a list of names
    whose mean it is. Optional keys are "order", the list of the points' names, for arrays, and
    "face", five names as of `Layout.face`.

    Args:
      path: the file.

    Returns:
      The layout.

    Raises:
      ValueError: when the file is not such an object.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)}: not a JSON file: {error}.") from None
    entries = content if isinstance(content, dict) else {"": content}
    lists = {key: [x] if isinstance(x, str) else x for key, x in entries.items()}
    if not all(
        isinstance(x, list) and all(isinstance(name, str) for name in x) for x in lists.values()
    ):
        raise ValueError(
            f"{os.fspath(path)}: a layout maps keypoints to a name or a list of names, but got "
            f"{json.dumps(content)[:200]}."
        )
    order, face = (tuple(lists.pop(key, ())) for key in ("order", "face"))
    if len(face) not in (0, len(FACE)):
        raise ValueError(f"{os.fspath(path)}: a face is the names of {FACE}, but got {face}.")
    return Layout({key: tuple(names) for key, names in lists.items()}, order, face)


def pick_keypoints(
    points: np.ndarray, names: Sequence[str], layout: Layout, keypoints: Sequence[str]
) -> np.ndarray:
    """Takes a model's keypoints from a recording's points.

    Args:
      points: (T, N, n) all points of the recording.
      names: N names.
      layout: which points stand for which keypoint.
      keypoints: K names of the model's keypoints.

    Returns:
      (T, K, n) float64; NaN for keypoints that the layout does not have.

    Raises:
      ValueError: when the layout names a keypoint or a point that does not exist, or gives the
        model no keypoint at all.
    """
    keypoints = list(keypoints)
    sources, face = _indices(names, layout, keypoints)
    picked = np.full((len(points), len(keypoints), points.shape[-1]), np.nan)
    if layout.surface:
        found = _match(names, _wanted(layout))
        centres = joint_centres({name: points[:, n] for name, n in found.items()})
    for key, source in sources.items():
        own = centres[key] if layout.surface else np.mean(points[:, source], axis=1)
        picked[:, keypoints.index(key)] = own
    if face:
        neck = picked[:, keypoints.index("neck")]
        head = head_keypoints(points[:, face], neck, _body_scale(picked, keypoints))
        picked[:, [keypoints.index(key) for key in _HEAD]] = head
    if layout.lean_deg is None or points.shape[-1] != 3:
        return picked
    return _straightened(picked, keypoints, layout.lean_deg)


def pick_confidence(
    confidence: np.ndarray, names: Sequence[str], layout: Layout, keypoints: Sequence[str]
) -> np.ndarray:
    """Confidences of a model's keypoints: the least of their points'.

    Args:
      confidence: (T, N) of all points of the recording, 0 where a point is missing.
      names: N names.
      layout: which points stand for which keypoint.
      keypoints: K names of the model's keypoints.

    Returns:
      (T, K) float64; 0 for keypoints that the layout does not have.

    Raises:
      ValueError: as `pick_keypoints`.
    """
    keypoints = list(keypoints)
    sources, face = _indices(names, layout, keypoints)
    picked = np.zeros((len(confidence), len(keypoints)))
    for key, source in sources.items():
        picked[:, keypoints.index(key)] = np.min(confidence[:, source], axis=1)
    if face:  # missing points of the face are not used
        seen = confidence[:, face] > 0
        least = np.min(confidence[:, face], axis=1, where=seen, initial=1.0) * seen.any(axis=1)
        picked[:, [keypoints.index(key) for key in _HEAD]] = least[:, None]
    return picked


def _straightened(picked: np.ndarray, keypoints: list[str], lean_deg) -> np.ndarray:
    """Keypoints (T, K, 3) as they were if an upright person leaned as `human_17` does.

    Neck and head turn about the line of the shoulders; arms are shifted as they are.
    """
    trunk, shoulders, head = np.radians(lean_deg)
    head = head - HEAD_LEAN

    def at(key):
        return picked[:, keypoints.index(key)]

    pelvis, neck = at("pelvis"), at("neck")
    up = _unit(neck - pelvis)
    across = at("left_shoulder") - at("right_shoulder")
    left = _unit(across - np.sum(across * up, axis=-1, keepdims=True) * up)
    upright = _turned(up, left, -trunk)
    height = np.sum((at("left_shoulder") + at("right_shoulder")) / 2 * upright, axis=-1)
    height = height - np.sum(pelvis * upright, axis=-1)
    shift = -np.tan(shoulders) * height[:, None] * np.cross(left, upright)
    straight = picked.copy()
    moved_neck = pelvis + _turned(neck - pelvis, left, -trunk)
    for k, key in enumerate(keypoints):
        if key in ("torso", "neck"):
            straight[:, k] = pelvis + _turned(picked[:, k] - pelvis, left, -trunk)
        elif key in _HEAD:
            straight[:, k] = moved_neck + _turned(picked[:, k] - neck, left, -trunk - head)
        elif key.endswith(("_shoulder", "_elbow", "_wrist")):
            straight[:, k] = picked[:, k] + shift
    known = np.isfinite(shift).all(axis=-1)
    return np.where(known[:, None, None], straight, picked)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, np.nan)


def _turned(vectors: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Vectors turned about unit vectors (Rodrigues)."""
    along = np.sum(vectors * axis, axis=-1, keepdims=True) * axis
    return along + np.cos(angle) * (vectors - along) + np.sin(angle) * np.cross(axis, vectors)


def single_points(names: Sequence[str], layout: Layout) -> dict[str, int]:
    """Keypoints that are one point each of a recording.

    Args:
      names: of the recording's points.
      layout: of the recording.

    Returns:
      Keypoint -> index among the names.
    """
    singles = {key: points[0] for key, points in layout.sources.items() if len(points) == 1}
    found = _match(names, _wanted(layout))
    return {key: found[point] for key, point in singles.items() if point in found}


def check_proportions(joints: np.ndarray, keypoints: Sequence[str]) -> list[str]:
    """What about a body is unlike any person's: medians of bone lengths against each other.

    The bounds leave room for children, for other definitions of the joints and for noise; what
    they find is exchanged or foreign points.

    Args:
      joints: (T, K, 3) in any unit; NaN where missing.
      keypoints: K names, of which those of `human_17` are looked at.

    Returns:
      A sentence for each ratio out of its bounds; none for a person, or where too little is there.
    """
    lengths = _bone_lengths(joints, keypoints)
    faults = []
    for (bone, other), (low, high) in _RATIOS.items():
        if bone in lengths and other in lengths:
            ratio = lengths[bone] / lengths[other] if lengths[other] > 0 else math.inf
            if not low <= ratio <= high:
                faults.append(f"{bone} / {other} is {ratio:.2f}, of people {low:g} to {high:g}")
    return faults


def _bone_lengths(joints: np.ndarray, keypoints: Sequence[str]) -> dict[str, float]:
    """Medians over the frames, of the bones of `_BONES` whose ends are there."""
    keypoints = list(keypoints)
    lengths = {}
    for bone, (start, end) in _BONES.items():
        if start in keypoints and end in keypoints:
            apart = joints[:, keypoints.index(end)] - joints[:, keypoints.index(start)]
            apart = np.linalg.norm(apart, axis=-1)
            if np.isfinite(apart).any():
                lengths[bone] = float(np.nanmedian(apart))
    return lengths


def _body_scale(joints: np.ndarray, keypoints: Sequence[str]) -> float:
    """Bones against those of Human3.6M's mean person, mm; NaN where there are none."""
    lengths = _bone_lengths(joints, keypoints)
    ratios = [lengths[bone] / _MEAN_MM[re.sub("left |right ", "", bone)] for bone in lengths]
    return float(np.median(ratios)) if ratios else math.nan


_BONES = {
    f"{side} {bone}": (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for bone, start, end in (
        ("thigh", "hip", "knee"),
        ("shank", "knee", "ankle"),
        ("upper arm", "shoulder", "elbow"),
        ("forearm", "elbow", "wrist"),
    )
} | {
    "trunk": ("pelvis", "neck"),
    "hips": ("left_hip", "right_hip"),
    "shoulders": ("left_shoulder", "right_shoulder"),
}
_ACROSS = np.divide(
    HUMAN36M_DIRECTIONS["neck-shoulder"], math.hypot(*HUMAN36M_DIRECTIONS["neck-shoulder"])
)[0]
_MEAN_MM = {
    "thigh": HUMAN36M_LENGTHS_MM["hip-knee"],
    "shank": HUMAN36M_LENGTHS_MM["knee-ankle"],
    "upper arm": HUMAN36M_LENGTHS_MM["shoulder-elbow"],
    "forearm": HUMAN36M_LENGTHS_MM["elbow-wrist"],
    "trunk": HUMAN36M_LENGTHS_MM["pelvis-torso"] + HUMAN36M_LENGTHS_MM["torso-neck"],
    "hips": 2 * HUMAN36M_LENGTHS_MM["pelvis-hip"],
    "shoulders": 2 * HUMAN36M_LENGTHS_MM["neck-shoulder"] * _ACROSS,
}
_RATIOS = {
    (f"{side} {bone}", f"{side} {other}"): bounds
    for side in ("left", "right")
    for bone, other, bounds in (
        ("thigh", "shank", (0.6, 1.7)),
        ("upper arm", "forearm", (0.6, 2.8)),
        ("upper arm", "thigh", (0.35, 1.3)),
    )
} | {
    **{
        (f"left {bone}", f"right {bone}"): (0.7, 1.4)
        for bone in ("thigh", "shank", "upper arm", "forearm")
    },
    ("trunk", "left thigh"): (0.7, 2.2),
    ("trunk", "left upper arm"): (1.0, 3.2),
    ("hips", "left thigh"): (0.1, 1.2),
    ("shoulders", "trunk"): (0.2, 1.3),
}
"""Bounds of ratios; those of Human3.6M's mean person are near the geometric middle of most."""

_HEAD = ("nose", "head")
"""Keypoints that a face tells."""


def _indices(names, layout: Layout, keypoints: list[str]) -> tuple[dict[str, list[int]], list[int]]:
    """Indices of the points of each keypoint and of the face; the gate of layouts."""
    derived = _HEAD if layout.face else ()
    unknown = [key for key in (*layout.sources, *derived) if key not in keypoints]
    found = _match(names, _wanted(layout))
    absent = _absent(layout, found)
    if not absent and (several := find_individuals(names, layout)):
        warnings.warn(
            f"there are points of {len(several)} individuals, {', '.join(several)}; the first is "
            "taken, kinpose.io.points.points_of_individual takes another.",
            stacklevel=3,
        )
    if unknown or absent or not layout.sources:
        what = f"keypoints {unknown}" if unknown else f"points {absent}"
        known = keypoints if unknown else list(names)
        raise ValueError(f"the layout names {what}, which are not among {known}.")
    if layout.face and ("neck" not in layout.sources or set(_HEAD) & set(layout.sources)):
        raise ValueError("a layout with a face needs 'neck' and leaves out 'nose' and 'head'.")
    sources = {key: [found[name] for name in source] for key, source in layout.sources.items()}
    return sources, [found[name] for name in layout.face]


def _wanted(layout: Layout) -> list[str]:
    return [*itertools.chain(*layout.sources.values()), *layout.face, *layout.marks]


def _absent(layout: Layout, found: Mapping[str, int]) -> list[str]:
    return [name for name in _wanted(layout) if name not in found]


def _match(names: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    """Index of each wanted name that is there."""
    exact = {name: i for i, name in enumerate(names)}
    plain: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        plain.setdefault(_plain(name), []).append(i)
    longest = max(map(_plain, wanted), key=len, default="")
    prefixes = dict.fromkeys(
        ["", *(name.removesuffix(longest) for name in plain if name.endswith(longest))]
    )

    def matched(prefix: str) -> dict[str, int]:
        found = {}
        for name in wanted:
            alike = plain.get(prefix + _plain(name), [])
            if name in exact and not prefix:
                found[name] = exact[name]
            elif len(alike) == 1:
                found[name] = alike[0]
        return found

    return max(map(matched, prefixes), key=len)


def _plain(name: str) -> str:
    """A name without what stands before the colon, without case, spaces and punctuation."""
    return _squeezed(name.rpartition(":")[2])


def _squeezed(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
