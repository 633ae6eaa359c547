"""Bodies: skinned meshes of people, and their posing.

A body is a tree of rigid segments that meet in pivots. A posed segment has a rotation in the
world; pivots follow along the tree, the skin by linear blend skinning, which moves a vertex
by the weighted mean of its segments' rigid motions. Segments that move as one in our model are
one here, and each of the 17 bones lies in one segment, so its length is constant.

Convention: millimetres; in the rest pose x points to the body's left, y up, z forward, the
pelvis is the origin, arms and legs are slightly bent. Data and their source: `data/bodies`.

Shapes: V vertices, F faces, S segments, P points, K = 17 keypoints.
"""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinpose.skeletons import HUMAN36M_KEYPOINTS

BODY_FILE = pathlib.Path(__file__).parent / "bodies" / "adults.npz"
"""The bundled bodies."""

SHAPES_FILE = pathlib.Path(__file__).parent / "bodies" / "extremes.npz"
"""Ends of the range of bodies, to be mixed."""

_ARM = ("clavicle", "upper_arm", "forearm", "hand")
_LEG = ("thigh", "shank", "foot")


def _limb(side: str, root: str, names: tuple[str, ...]) -> dict[str, str]:
    parents = (root, *(f"{side}_{name}" for name in names))
    return {f"{side}_{name}": parent for name, parent in zip(names, parents, strict=False)}


SEGMENTS = {
    "pelvis": "",
    "lower_trunk": "pelvis",
    "upper_trunk": "lower_trunk",
    "head": "upper_trunk",
    **_limb("left", "upper_trunk", _ARM),
    **_limb("right", "upper_trunk", _ARM),
    **_limb("left", "pelvis", _LEG),
    **_limb("right", "pelvis", _LEG),
}
"""Segments and their parents. A segment's pivot is where it turns against its parent; pelvis
and lower trunk share a pivot, and so do head (with the neck) and clavicles."""

POINTS = (*SEGMENTS, "nose", "head_top")
"""P names: the segments' pivots, and two points of the head."""

GROUPS = (
    *("skin", "hair", "shirt", "upper_sleeve", "lower_sleeve", "upper_trousers"),
    *("lower_trousers", "shoe", "eye", "iris", "lip", "brow"),
)
"""What a vertex belongs to, by number; a look gives each its colour."""

_READ_ERRORS = (OSError, ValueError, EOFError, AttributeError, TypeError)
_READ_ERRORS += (zipfile.BadZipFile, zlib.error)
_ARRAYS = ("vertex_steps", "points", "faces", "weights", "weight_segments", "groups")

_LIMB_POINTS = {
    "hip": "thigh",
    "knee": "shank",
    "ankle": "foot",
    "shoulder": "upper_arm",
    "elbow": "forearm",
    "wrist": "hand",
}
_TRUNK_POINTS = {
    "pelvis": "pelvis",
    "torso": "upper_trunk",
    "neck": "head",
    "nose": "nose",
    "head": "head_top",
}


class Body(NamedTuple):
    """A person without clothes, in the rest pose.

    Attributes:
      vertices: (V, 3) float32 (mm).
      normals: (V, 3) float32 unit vectors, outwards.
      points: (P, 3) float32 (mm), as `POINTS`.
      faces: (F, 3) int32, counter-clockwise seen from outside.
      weights: (V, S) float32 of the segments, with sum 1.
      groups: (V,) uint8 indices into `GROUPS`.
    """

    vertices: np.ndarray
    normals: np.ndarray
    points: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    groups: np.ndarray


class PosedBody(NamedTuple):
    """A body in a pose.

    Attributes:
      vertices: (V, 3) float32 (mm).
      normals: (V, 3) float32, of about unit length.
      joints: (17, 3) float32 (mm), as `kinpose.skeletons.HUMAN36M_KEYPOINTS`.
    """

    vertices: np.ndarray
    normals: np.ndarray
    joints: np.ndarray


def load_bodies(path: str | os.PathLike = BODY_FILE) -> tuple[Body, ...]:
    """Reads a file written by `data/bodies/bake_anny.py`.

    Args:
      path: the file.

    Returns:
      The bodies, in the order of the file. They share faces, weights and groups.

    Raises:
      ValueError: when the file is missing, corrupt or of another kind.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except _READ_ERRORS as error:
        raise _unusable(path, f"reading failed: {error}") from None
    _check(path, arrays)
    faces, steps = arrays["faces"].astype(np.int32), arrays["vertex_steps"]
    vertices = 0.1 * np.cumsum(steps, axis=0, dtype=np.int32).astype(np.float32)
    shared = (faces, _dense_weights(arrays), arrays["groups"])
    return tuple(
        Body(shape, vertex_normals(shape, faces), points.astype(np.float32), *shared)
        for shape, points in zip(vertices, arrays["points"], strict=True)
    )


def pose_body(body: Body, rotations: np.ndarray, root: np.ndarray) -> PosedBody:
    """Poses a body by linear blend skinning.

    Args:
      body: the body.
      rotations: (S, 3, 3) of each segment from the rest pose, in the world, as `SEGMENTS`.
      root: (3,) position of the pelvis (mm).

    Returns:
      The posed skin and joints, in the world (mm).
    """
    rotations = np.asarray(rotations, np.float32)
    points = _posed_points(body.points, rotations, np.asarray(root, np.float32))
    num = len(SEGMENTS)
    shifts = points[:num] - np.einsum("sij,sj->si", rotations, body.points[:num])
    motions = body.weights @ np.concatenate([rotations.reshape(num, 9), shifts], axis=1)
    turns = motions[:, :9].reshape(-1, 3, 3)
    vertices = np.einsum("vij,vj->vi", turns, body.vertices) + motions[:, 9:]
    normals = np.einsum("vij,vj->vi", turns, body.normals)
    return PosedBody(vertices, normals, points[_KEYPOINTS])


def posed_joints(body: Body, rotations: np.ndarray) -> np.ndarray:
    """(17, 3) float32 keypoints (mm) of a body in a pose, as `pose_body`; the pelvis at zero."""
    root = np.zeros(3, np.float32)
    return _posed_points(body.points, np.asarray(rotations, np.float32), root)[_KEYPOINTS]


def mix_bodies(bodies: Sequence[Body], shares: Sequence[float]) -> Body:
    """The body between several, of which each point is the weighted mean.

    Args:
      bodies: of one file, so that they share faces, weights and groups.
      shares: of each body; they add up to 1.

    Returns:
      The body.
    """
    shares = np.asarray(shares, np.float32)
    vertices, normals, points = (
        (shares @ np.stack(arrays).reshape(len(shares), -1)).reshape(-1, 3)
        for arrays in zip(*(body[:3] for body in bodies), strict=True)
    )
    x, y, z = normals.T
    normals /= np.sqrt(x * x + y * y + z * z)[:, None]
    return bodies[0]._replace(vertices=vertices, normals=normals, points=points)


def rest_joints(body: Body) -> np.ndarray:
    """(17, 3) float32 keypoints in the rest pose (mm)."""
    return body.points[_KEYPOINTS]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals of a mesh: the sum of adjacent faces' normals, weighted by area.

    Args:
      vertices: (V, 3).
      faces: (F, 3), counter-clockwise seen from outside.

    Returns:
      (V, 3) float32 unit vectors.
    """
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.zeros(vertices.shape, np.float64)
    for i in range(3):
        np.add.at(normals, faces[:, i], np.cross(b - a, c - a))
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


def _keypoint_indices() -> list[int]:
    limbs = {
        f"{side}_{joint}": f"{side}_{segment}"
        for side in ("left", "right")
        for joint, segment in _LIMB_POINTS.items()
    }
    names = limbs | _TRUNK_POINTS
    return [POINTS.index(names[keypoint]) for keypoint in HUMAN36M_KEYPOINTS]


_KEYPOINTS = _keypoint_indices()
_PARENTS = tuple(list(SEGMENTS).index(p) if p else -1 for p in SEGMENTS.values())


def _posed_points(points, rotations, root) -> np.ndarray:
    """(P, 3): each point hangs on the pivot of the segment that it belongs to."""
    head = list(SEGMENTS).index("head")
    carriers = [*_PARENTS, head, head]
    posed = np.empty_like(points)
    posed[0] = root
    for i, carrier in enumerate(carriers[1:], start=1):
        posed[i] = posed[carrier] + rotations[carrier] @ (points[i] - points[carrier])
    return posed


def _dense_weights(arrays) -> np.ndarray:
    """(V, S) from the segments and the quantised weights that the file holds per vertex."""
    index, weight = arrays["weight_segments"], arrays["weights"].astype(np.float32)
    dense = np.zeros((len(index), len(SEGMENTS)), np.float32)
    np.add.at(dense, (np.arange(len(index))[:, None], index), weight)
    return dense / dense.sum(axis=1, keepdims=True)


def _check(path, arrays) -> None:
    """Rejects arrays that are missing, or of shapes and ranges that do not fit together."""
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise _unusable(path, f"it lacks {', '.join(missing)}")
    shapes = {name: array.shape for name, array in arrays.items()}
    num, vertices, _ = (*shapes["vertex_steps"], 0, 0, 0)[:3]
    most = shapes["weights"][-1] if shapes["weights"] else 0
    want = {
        "vertex_steps": (num, vertices, 3),
        "points": (num, len(POINTS), 3),
        "faces": (len(arrays["faces"]) if shapes["faces"] else 0, 3),
        "weights": (vertices, most),
        "weight_segments": (vertices, most),
        "groups": (vertices,),
    }
    for name, shape in want.items():
        if shapes[name] != shape or not arrays[name].size:
            raise _unusable(path, f"{name} has shape {shapes[name]} instead of {shape}")
    below = {"faces": vertices, "weight_segments": len(SEGMENTS), "groups": len(GROUPS)}
    for name, end in below.items():
        values = arrays[name]
        if values.dtype.kind not in "ui" or values.min() < 0 or values.max() >= end:
            raise _unusable(path, f"{name} has entries that are no integers from 0 to {end - 1}")
    if not np.isfinite(arrays["points"]).all() or not arrays["weights"].any(axis=1).all():
        raise _unusable(path, "points must be finite and each vertex needs a positive weight")


def _unusable(path, reason: str) -> ValueError:
    return ValueError(
        f"{os.fspath(path)}: expected a body file as data/bodies/bake_anny.py writes it, but "
        f"{reason}."
    )
