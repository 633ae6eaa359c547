"""Points over time as binary glTF 2.0 (`.glb`), with bones between them where they are known.

A point is a node that moves; a bone is one that moves, turns and stretches. What is missing in a
frame has size zero there, which is how glTF hides things. glTF has y up and metres.

Shapes: T frames, N points, B bones.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

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
from kinpose.io.points import Points
from kinpose.recordings import UP

_POINT_COLOR = (0.85, 0.35, 0.2, 1.0)
_POINT_SIZE = 0.008
"""Half the width of a point, in the diagonal of the box that holds all points of a frame."""

_ALONG = np.array([0.0, 1.0, 0.0])
"""The direction of a bone's mesh."""

_MESHES = {
    "point": (_POINT_COLOR, bone_mesh(-_ALONG, _ALONG, width=0.5, widest=0.5)),
    "bone": (BONE_COLOR, bone_mesh(np.zeros(3), _ALONG)),
}
"""Octahedra of length 1 along y."""


def save_points_glb(
    path: str | os.PathLike, points: Points, *, bones: Mapping[str, np.ndarray] | None = None
) -> None:
    """Writes points over time as one `.glb` file.

    Nodes have the names of the points and bones. A point or bone that is there in no frame is
    left out. The file appears whole or not at all.

    Args:
      path: the file to write; an existing one is replaced.
      points: 3D, with unit and axis up and, for more than one frame, their rate.
      bones: name -> (T, 2, 3) where a bone begins and ends, in the unit and axes of the points;
        NaN where an end is missing.

    Raises:
      ValueError: for points without unit, axis up or rate, those that are not 3D or too far off,
        bones of another shape, and where nothing is there in any frame.

    Example:
      >>> import tempfile
      >>> walk = Points(np.zeros((2, 2, 3)), ("hip", "knee"), 0.04, unit_mm=1.0, up="z")
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     save_points_glb(os.path.join(directory, "walk.glb"), walk)
    """
    bones = dict(bones or {})
    places, ends = _in_metres(points, bones)
    names = points.names or tuple(f"point_{n + 1}" for n in range(places.shape[1]))
    things = [*_points(names, places), *_bones(tuple(bones), ends)]
    things = [thing for thing in things if thing.there.any()]
    if not things:
        raise ValueError(
            f"a point or bone must be there in one frame or more, but all {len(names)} points and "
            f"{len(bones)} bones are missing in all {len(places)} frames."
        )
    used = list(dict.fromkeys(thing.mesh for thing in things))
    nodes = [_node(thing, used.index(thing.mesh)) for thing in things]
    document, binary = document_of(nodes, range(len(nodes))), Binary()
    _add_meshes(document, binary, used)
    if len(places) > 1:
        _add_animation(document, binary, things, points.frame_time_s)
    write_glb(path, document, binary)


class _Thing(NamedTuple):
    """What moves: its name, its mesh of `_MESHES`, in which frames it is there, and its motion."""

    name: str
    mesh: str
    there: np.ndarray
    motion: dict[str, np.ndarray]  # translation, perhaps rotation, scale: (T, 3 or 4)


def _in_metres(points: Points, bones) -> tuple[np.ndarray, np.ndarray]:
    """The gate: places (T, N, 3) and ends of bones (T, B, 2, 3), y up."""
    frames = len(points.positions)
    for key, what in (("unit_mm", "unit"), ("up", "axis up")):
        if getattr(points, key) is None:
            raise ValueError(f"glTF has metres and y up: {key} must say the points' {what}.")
    if frames > 1 and points.frame_time_s is None:
        raise ValueError(f"frame_time_s must say the rate of {frames} frames, but is None.")
    count = points.positions.shape[1:2]
    rows = [("the points", points.positions, count), *((*bone, (2,)) for bone in bones.items())]
    for name, array, between in rows:
        if np.shape(array) != (frames, *between, 3):
            raise ValueError(f"{name} must have 3 coordinates in {frames} frames.")
    scale = points.unit_mm / 1000.0
    ends = np.array(list(bones.values())).reshape(len(bones), frames, 2, 3).swapaxes(0, 1)
    found = [scale * array @ UP[points.up].T for array in (points.positions, ends)]
    if any((np.abs(array) > LARGEST).any() for array in found):
        raise ValueError(f"points must be within {LARGEST:g} m of the origin.")
    return found[0], found[1]


def _points(names: Sequence[str], places: np.ndarray) -> Iterator[_Thing]:
    seen = np.isfinite(places).all(axis=-1)
    if not seen.any():
        return
    known = np.where(seen[..., None], places, np.nan)[seen.any(axis=1)]
    boxes = np.nanmax(known, axis=1) - np.nanmin(known, axis=1)
    size = _POINT_SIZE * (float(np.median(np.linalg.norm(boxes, axis=-1))) or 1.0)
    for name, way, there in zip(names, places.swapaxes(0, 1), seen.T, strict=True):
        sizes = np.repeat(size * there[:, None], 3, axis=1)
        yield _Thing(name, "point", there, {"translation": way, "scale": sizes})


def _bones(names: Sequence[str], ends: np.ndarray) -> Iterator[_Thing]:
    apart = ends[:, :, 1] - ends[:, :, 0]
    lengths = np.nan_to_num(np.linalg.norm(apart, axis=-1))
    for b, (name, turns) in enumerate(zip(names, _turns(apart, lengths), strict=True)):
        sizes = np.repeat(lengths[:, b, None], 3, axis=1)
        motion = {"translation": ends[:, b, 0], "rotation": turns, "scale": sizes}
        yield _Thing(name, "bone", lengths[:, b] > 0, motion)


def _turns(apart: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(B, T, 4) quaternions that lay y along bones (T, B, 3), turning no more than is needed."""
    last = np.tile(_ALONG, (apart.shape[1], 1))
    whole = np.tile([0.0, 0.0, 0.0, 1.0], (apart.shape[1], 1))
    turns = []
    for way, length in zip(apart, lengths, strict=True):
        there = length[:, None] > 0
        new = np.where(there, way / np.where(there, length[:, None], 1.0), last)
        whole = _product(_arcs(last, new), whole)
        whole /= np.linalg.norm(whole, axis=-1, keepdims=True)
        last = new
        turns.append(whole)
    return np.array(turns).reshape(*apart.shape[:2], 4).swapaxes(0, 1)


def _arcs(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(B, 4) quaternions x, y, z, w of the shortest turns between unit vectors (B, 3)."""
    axes, cosines = np.cross(old, new), np.sum(old * new, axis=-1, keepdims=True)
    aside = np.cross(old, np.eye(3)[np.argmin(np.abs(old), axis=-1)])  # for half a turn
    turns = np.where(
        cosines > -1 + 1e-12,
        np.concatenate([axes, 1 + cosines], axis=-1),
        np.concatenate([aside, 0 * cosines], axis=-1),
    )
    return turns / np.linalg.norm(turns, axis=-1, keepdims=True)


def _product(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(B, 4) quaternions of the turn two and then the turn one."""
    (a, v), (b, w) = ((q[:, 3:], q[:, :3]) for q in (one, two))
    real = a * b - np.sum(v * w, axis=-1, keepdims=True)
    return np.concatenate([a * w + b * v + np.cross(v, w), real], axis=-1)


def _node(thing: _Thing, mesh: int) -> dict:
    """As it is where it is there for the first time."""
    first = int(np.argmax(thing.there))
    motion = {track: numbers(values[first]) for track, values in thing.motion.items()}
    return {"name": thing.name, "mesh": mesh, **motion}


def _add_meshes(document: dict, binary: Binary, used: Sequence[str]) -> None:
    document["materials"], document["meshes"] = [], []
    for number, name in enumerate(used):
        color, (points, normals) = _MESHES[name]
        attributes = {
            "POSITION": binary.add(np.float32(points), "VEC3", bounds=True, target=34962),
            "NORMAL": binary.add(np.float32(normals), "VEC3", target=34962),
        }
        primitive = {"attributes": attributes, "material": number}
        document["materials"].append(look_of(color))
        document["meshes"].append({"name": name, "primitives": [primitive]})


def _add_animation(document: dict, binary: Binary, things, frame_time_s: float) -> None:
    """Keys of places and turns are where a thing is there, those of sizes in all frames."""
    times, inputs = np.float32(np.arange(len(things[0].there)) * frame_time_s), {}
    samplers, channels = [], []
    for number, thing in enumerate(things):
        always = np.ones_like(thing.there)
        for track, values in thing.motion.items():
            if track == "scale" and (values == values[0]).all():
                continue
            keys = always if track == "scale" else thing.there
            if keys.tobytes() not in inputs:
                inputs[keys.tobytes()] = binary.add(times[keys], "SCALAR", bounds=True)
            output = binary.add(np.float32(values[keys]), f"VEC{values.shape[1]}")
            channels.append({"sampler": len(samplers), "target": {"node": number, "path": track}})
            samplers.append({"input": inputs[keys.tobytes()], "output": output})
    document["animations"] = [{"name": "motion", "samplers": samplers, "channels": channels}]
