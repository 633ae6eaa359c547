"""Recordings as binary glTF 2.0 (`.glb`), which Blender, game engines, browsers and Windows show.

A joint is a node, its motion an animation, its bones one mesh that the nodes carry as a skin: so
programs that know armatures find one. glTF has y up and metres.

Shapes: T frames, J joints, D dofs, B bones, V vertices.
"""

import os

import numpy as np

from kinpose.frames import frames_of
from kinpose.io.glb import (
    BONE_COLOR,
    LARGEST,
    Binary,
    bone_mesh,
    document_of,
    look_of,
    numbers,
    write_glb,
)
from kinpose.recordings import UP
from kinpose.skeleton import Skeleton


def save_glb(
    path: str | os.PathLike,
    skeleton: Skeleton,
    params: np.ndarray,
    frame_time_s: float,
    *,
    up: str = "y",
    scale: float = 1.0,
) -> None:
    """Writes a recording as one `.glb` file.

    Nodes have the names of the joints; helper joints are nodes, too. The nodes' own transforms are
    the rest pose. The file appears whole or not at all.

    Args:
      path: the file to write; an existing one is replaced.
      skeleton: 3D.
      params: (T, D) rad and the skeleton's length unit, a row per frame; none for a still skeleton.
      frame_time_s: time from one frame to the next.
      up: the skeleton's axis that points up: "x", "y", "z", "-x", "-y" or "-z". As in
        `save_points_glb`, z is turned into y about x, and Blender turns it back.
      scale: multiplies all lengths: 0.001 for a skeleton in mm.

    Raises:
      ValueError: for a skeleton that is not 3D, params of a wrong shape or not finite, and a frame
        time, scale or axis that is none.

    Example:
      >>> import tempfile
      >>> from kinpose.skeletons import human_17
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     path = os.path.join(directory, "human.glb")
      ...     save_glb(path, human_17(), np.zeros((2, 27)), 0.04, scale=0.001)
    """
    params = _checked(skeleton, params, frame_time_s, up, scale)
    axes = UP[up]
    rest = frames_of(np.zeros((1, skeleton.num_dofs)), skeleton)
    binary, document = Binary(), _document(skeleton, rest, axes, scale)
    _add_mesh(document, binary, skeleton, rest, axes, scale)
    if len(params):
        _add_animation(document, binary, skeleton, params, frame_time_s, scale)
    write_glb(path, document, binary)


def _checked(skeleton: Skeleton, params, frame_time_s, up, scale) -> np.ndarray:
    params = np.asarray(params, np.float64)
    if np.shape(skeleton.offsets) != (skeleton.num_joints, 3):
        raise ValueError(
            f"glTF holds one 3D skeleton, but the offsets have shape {np.shape(skeleton.offsets)}."
        )
    if params.ndim != 2 or params.shape[1] != skeleton.num_dofs:
        want = f"(T, {skeleton.num_dofs}), one row per frame"
        raise ValueError(f"params must have shape {want}, but got {params.shape}.")
    for name, array in (("offsets", skeleton.offsets), ("params", params)):
        if not (np.abs(array) <= LARGEST).all():
            raise ValueError(f"{name} must be finite, but got {array}.")
    for name, value in (("frame_time_s", frame_time_s), ("scale", scale)):
        if not 0 < value <= LARGEST:
            raise ValueError(f"{name} must be positive and finite, but got {value}.")
    if up not in UP:
        raise ValueError(f"up must be one of {list(UP)}, but got {up!r}.")
    return params


def _document(skeleton: Skeleton, rest, axes, scale: float) -> dict:
    """Nodes of the joints in the rest pose, below one that turns the axes."""
    nodes = []
    for joint, name in enumerate(skeleton.names):
        turns, ways = _against_parent(skeleton, joint, *rest)
        node = {"name": name, "translation": numbers(scale * ways[0])}
        if not np.allclose(turns, np.eye(3), atol=1e-12):  # motions that have a bias
            node["rotation"] = numbers(_quaternions(turns)[0])
        nodes.append(node)
    for joint, parent in enumerate(skeleton.parents[1:], start=1):
        nodes[parent].setdefault("children", []).append(joint)
    top = {"name": "skeleton", "children": [0], "rotation": numbers(_quaternions(axes[None])[0])}
    return document_of([*nodes, top], [len(nodes)])


def _against_parent(
    skeleton: Skeleton, joint: int, rotations: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A joint's rotations (T, 3, 3) and places (T, 3) in its parent's frames, of all frames."""
    parent = skeleton.parents[joint]
    if parent < 0:
        return rotations[:, joint], places[:, joint]
    above, way = rotations[:, parent].swapaxes(1, 2), places[:, joint] - places[:, parent]
    return above @ rotations[:, joint], np.einsum("tij,tj->ti", above, way)


def _add_mesh(document: dict, binary: Binary, skeleton: Skeleton, rest, axes, scale: float) -> None:
    """Bones as one mesh in the rest pose; each vertex goes with the joint where its bone begins."""
    rotations, places = rest[0][0], scale * rest[1][0]
    bones = [
        (parent, joint)
        for joint, parent in enumerate(skeleton.parents)
        if parent >= 0 and np.linalg.norm(places[joint] - places[parent]) > 0
    ]
    if not bones:
        return
    shapes = [bone_mesh(places[parent] @ axes.T, places[joint] @ axes.T) for parent, joint in bones]
    points, normals = (np.float32(np.concatenate(x)) for x in zip(*shapes, strict=True))
    carriers = np.zeros((len(points), 4), np.uint16)
    carriers[:, 0] = np.repeat([parent for parent, _ in bones], len(points) // len(bones))
    weights = np.tile(np.float32([1, 0, 0, 0]), (len(points), 1))
    binds = np.tile(np.eye(4, dtype=np.float32), (skeleton.num_joints, 1, 1))
    inverse = rotations.swapaxes(1, 2)
    binds[:, :3, :3], binds[:, :3, 3] = inverse @ axes.T, -(inverse @ places[:, :, None])[..., 0]
    attributes = {
        "POSITION": binary.add(points, "VEC3", bounds=True, target=34962),
        "NORMAL": binary.add(normals, "VEC3", target=34962),
        "JOINTS_0": binary.add(carriers, "VEC4", target=34962),
        "WEIGHTS_0": binary.add(weights, "VEC4", target=34962),
    }
    columns = binds.swapaxes(1, 2).reshape(-1, 16)
    document["skins"] = [
        {
            "joints": list(range(skeleton.num_joints)),
            "inverseBindMatrices": binary.add(np.ascontiguousarray(columns), "MAT4"),
            "skeleton": 0,
        }
    ]
    document["materials"] = [look_of(BONE_COLOR)]
    document["meshes"] = [
        {"name": "bones", "primitives": [{"attributes": attributes, "material": 0}]}
    ]
    document["scenes"][0]["nodes"].append(len(document["nodes"]))
    document["nodes"].append({"name": "bones", "mesh": 0, "skin": 0})


def _add_animation(
    document: dict, binary: Binary, skeleton: Skeleton, params, frame_time_s: float, scale: float
) -> None:
    rotations, places = frames_of(params, skeleton)
    times = binary.add(np.float32(np.arange(len(params)) * frame_time_s), "SCALAR", bounds=True)
    samplers, channels = [], []

    def add(joint: int, path: str, values: np.ndarray) -> None:
        output = binary.add(np.float32(values), f"VEC{values.shape[1]}")
        channels.append({"sampler": len(samplers), "target": {"node": joint, "path": path}})
        samplers.append({"input": times, "output": output})

    for joint, motions in enumerate(skeleton.motions):
        kinds = {motion.kind for motion in motions}
        if not kinds:
            continue  # its node says where it is
        turns, ways = _against_parent(skeleton, joint, rotations, places)
        if "r" in kinds:
            add(joint, "rotation", _quaternions(turns))
        if "t" in kinds:
            add(joint, "translation", scale * ways)
    if channels:
        document["animations"] = [{"name": "motion", "samplers": samplers, "channels": channels}]


def _quaternions(rotations: np.ndarray) -> np.ndarray:
    """(T, 4) unit quaternions x, y, z, w, each on the side of the one before it."""
    r = rotations
    trace = np.trace(r, axis1=1, axis2=2)
    squares = np.stack([*(1 + 2 * r[:, i, i] - trace for i in range(3)), 1 + trace], axis=1)
    largest = squares.argmax(axis=1)
    rows = np.empty((len(r), 4, 4))  # 4 q q', of which the row with the largest number is used
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        rows[:, i, i] = squares[:, i]
        rows[:, i, j] = rows[:, j, i] = r[:, i, j] + r[:, j, i]
        rows[:, i, 3] = rows[:, 3, i] = r[:, k, j] - r[:, j, k]
    rows[:, 3, 3] = squares[:, 3]
    found = rows[np.arange(len(r)), largest]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    flips = np.sign(np.sum(found[1:] * found[:-1], axis=1))
    found[1:] *= np.cumprod(np.where(flips < 0, -1.0, 1.0))[:, None]
    return found
