"""A recording from one file format to another.

  kinpose convert walk.c3d walk.trc

Reads what `kinpose fit` reads; writes points to .trc, .c3d, .csv or .npz, or to .glb, with bones
between those of a known layout; and the skeleton and motion of a .bvh file to .glb, or to OpenSim's
.mot or .sto. Names, unit, rate and axes go along
where both formats have them. --unit and --up say what is to be written: points are scaled and
turned, which needs that the file tells what it has, or --from_unit and --from_up.
"""

import os

import numpy as np
from absl import app, flags

from kinpose.apps._outputs import refuse_existing
from kinpose.apps._reading import contradicted_rate, heard
from kinpose.io import load_recording, save_recording
from kinpose.io.bvh import channel_values, load_bvh
from kinpose.io.column_maps import load_columns
from kinpose.io.gltf import save_glb
from kinpose.io.gltf_points import save_points_glb
from kinpose.io.opensim import SUFFIXES, save_motion
from kinpose.io.points import Points, mark_missing, points_of_individual
from kinpose.layouts import (
    LAYOUTS,
    find_individuals,
    find_layout,
    find_layout_by_count,
    pick_keypoints,
)
from kinpose.recordings import UNITS_MM, UP, find_unit, find_up
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

_OF_POINTS = ("unit", "up", "columns", "individual", "missing")
"""Flags that are of points only."""


def define_flags() -> None:
    """Of this verb; not at import, as those of others have the same names."""
    flags.DEFINE_enum("unit", None, list(UNITS_MM), "The unit to write; as read by default.")
    flags.DEFINE_enum("up", None, list(UP), "The axis up to write; as read by default.")
    flags.DEFINE_enum("from_unit", None, list(UNITS_MM), "The unit of the input.")
    flags.DEFINE_enum("from_up", None, list(UP), "The axis up of the input.")
    flags.DEFINE_float("fps", None, "Frames per second, in place of the input's.", 1e-9)
    flags.DEFINE_string("columns", None, "A .json map of the input's columns.")
    flags.DEFINE_string(
        "individual",
        None,
        "Whose points, where there are several: the name before those of the points, or the number "
        "of a person of OpenPose; all by default, of OpenPose the first.",
    )
    flags.DEFINE_string(
        "missing", "none", "What marks a missing point besides NaN; see `kinpose fit --help`."
    )
    flags.DEFINE_bool("overwrite", False, "Replace the output, if it is there.")


def main(argv: list[str]) -> None:
    """Reads, turns and scales, writes."""
    if len(argv) != 3:
        raise app.UsageError("give the file to read and the file to write.")
    source, target = argv[1:]
    refuse_existing(target, flags.FLAGS.overwrite)
    ending, is_glb = os.path.splitext(target)[1].lower(), target.lower().endswith(".glb")
    if ending in SUFFIXES or (is_glb and source.lower().endswith(".bvh")):
        _convert_motion(source, target)
        return
    columns = load_columns(flags.FLAGS.columns) if flags.FLAGS.columns else None
    individual = flags.FLAGS.individual
    points, said = heard(load_recording, source, columns=columns, individual=individual)
    for sentence in said:
        print(f"warning: {sentence}")
    points = _told(points)
    if points.positions.shape[-1] == 2:
        _refuse_flags(f"{source} has points of 2 coordinates", "unit", "up", "missing")
    else:
        points = points._replace(positions=mark_missing(points.positions, flags.FLAGS.missing)[0])
        points = _turned(_scaled(points, source), source)
    if is_glb:
        _save_for_viewers(points, source, target)
        return
    if points.unit_mm is None and ending in (".trc", ".c3d"):
        print(f"warning: {source} does not say its unit: mm is written; --from_unit says better.")
    save_recording(target, points)
    frames, count = points.positions.shape[:2]
    print(f"{target}: {frames} frames of {count} points")


def _refuse_flags(what: str, *names: str):
    """The gate of flags that would do nothing."""
    given = [f"--{name}" for name in names if flags.FLAGS[name].value != flags.FLAGS[name].default]
    if given:
        raise ValueError(f"{what}: {' and '.join(given)} cannot be done.")


def _convert_motion(source: str, target: str) -> None:
    """Angles of a BVH file, and lengths in metres."""
    if not source.lower().endswith(".bvh"):
        raise ValueError(f"{target} holds angles, which a .bvh file has, but {source} has not.")
    if flags.FLAGS.from_unit is None:
        raise ValueError(f"{source} does not say its unit; give --from_unit.")
    (skeleton, params, frame_time_s), said = heard(load_bvh, source)
    for sentence in said:
        print(f"warning: {sentence}")
    _refuse_flags(f"{target} is of angles, in metres", *_OF_POINTS)
    if not target.lower().endswith(".glb") and flags.FLAGS.from_up not in (None, "y"):
        raise ValueError(f"{target}: y is up in OpenSim's files; --from_up must be y.")
    frame_time_s = _frame_time(frame_time_s)
    scale = UNITS_MM[flags.FLAGS.from_unit] / 1000.0
    if target.lower().endswith(".glb"):
        up = flags.FLAGS.from_up or "y"
        save_glb(target, skeleton, params, frame_time_s, up=up, scale=scale)
    else:
        values = channel_values(params, skeleton)
        save_motion(target, skeleton, values, frame_time_s, scale=scale)
    print(f"{target}: {len(params)} frames of {skeleton.num_dofs} coordinates")


def _save_for_viewers(points: Points, source: str, target: str) -> None:
    """Points, and bones between those of known layouts, which tell unit and axis, too."""
    if points.positions.shape[-1] != 3:
        raise ValueError(f"{source}: a .glb file has points of 3 coordinates, these have 2.")
    bodies = (
        {"": points}
        if not (several := find_individuals(points.names))
        else {f"{name} ": points_of_individual(points, name) for name in several}
    )
    bones, joints = {}, {}
    for name, body in bodies.items():
        try:
            joints[name] = _joints_of(body)
        except ValueError:
            continue  # of no known layout
        bones |= {f"{name}{key}": ends for key, ends in _bones_of(joints[name]).items()}
    for body in joints.values():
        points = _guessed(points, body)
    if points.unit_mm is None or points.up is None:
        lacks, flag = ("unit", "from_unit") if points.unit_mm is None else ("axis up", "from_up")
        raise ValueError(f"{source} does not say its {lacks}; give --{flag}.")
    save_points_glb(target, points, bones=bones)
    frames, count = points.positions.shape[:2]
    print(f"{target}: {frames} frames of {count} points and {len(bones)} bones")


def _joints_of(body: Points) -> np.ndarray:
    """(T, 17, 3) keypoints of the human as they are in the recording, not straightened."""
    names = body.names
    layout = find_layout(names, body.positions) if names else find_layout_by_count(body.positions)
    row = LAYOUTS[layout]._replace(lean_deg=None)
    return pick_keypoints(body.positions, names or row.order, row, HUMAN36M_KEYPOINTS)


def _bones_of(joints: np.ndarray) -> dict[str, np.ndarray]:
    """(T, 2, 3) ends of the bones between keypoints that are there, past those that are not."""
    there = np.isfinite(joints).all(axis=-1).any(axis=0)
    above = dict(human_17().bones)
    bones = {}
    for child, parent in above.items():
        while not there[parent] and parent in above:
            parent = above[parent]
        if there[child] and there[parent]:
            name = f"{HUMAN36M_KEYPOINTS[parent]}-{HUMAN36M_KEYPOINTS[child]}"
            bones[name] = joints[:, [parent, child]]
    return bones


def _guessed(points: Points, joints: np.ndarray) -> Points:
    """Points with the unit and the axis up that a body tells, where nothing else does."""
    if points.unit_mm is None:
        unit = find_unit(joints, human_17())
        print(f"unit: {unit.reason}")
        points = points._replace(unit_mm=unit.mm)
    if points.up is None:
        up = find_up(joints, HUMAN36M_KEYPOINTS)
        print(f"up: {up.reason}")
        points = points._replace(up=up.axis)
    return points


def _frame_time(of_file: float | None) -> float | None:
    """Seconds between frames, by --fps or the file."""
    fps = flags.FLAGS.fps
    if said := contradicted_rate(fps, of_file):
        print(f"warning: {said}")
    return 1.0 / fps if fps else of_file


def _told(points: Points) -> Points:
    """Points with what flags say of them."""
    told = {
        "unit_mm": flags.FLAGS.from_unit and UNITS_MM[flags.FLAGS.from_unit],
        "up": flags.FLAGS.from_up,
        "frame_time_s": _frame_time(points.frame_time_s),
    }
    return points._replace(**{key: value for key, value in told.items() if value is not None})


def _scaled(points: Points, source: str) -> Points:
    if flags.FLAGS.unit is None:
        return points
    if points.unit_mm is None:
        raise ValueError(f"{source} does not say its unit; give --from_unit.")
    unit_mm = UNITS_MM[flags.FLAGS.unit]
    return points._replace(positions=points.positions * (points.unit_mm / unit_mm), unit_mm=unit_mm)


def _turned(points: Points, source: str) -> Points:
    if flags.FLAGS.up is None:
        return points
    if points.up is None:
        raise ValueError(f"{source} does not say which axis is up; give --from_up.")
    turn = UP[flags.FLAGS.up].T @ UP[points.up]
    return points._replace(positions=np.asarray(points.positions @ turn.T), up=flags.FLAGS.up)
