"""Anything that `kinpose view` can show, opened as a clip: axes, units and sides are found here.

Shapes: T frames, N points, K keypoints, D dofs.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from kinpose import Skeleton, limit_skeleton
from kinpose.apps._reading import Settings, heard, read_input
from kinpose.apps._understand import understand
from kinpose.clips import Clip, Model, poses_of, spread
from kinpose.drawing import keypoint_sides
from kinpose.frames import frames_of
from kinpose.io import load_recording
from kinpose.io.bvh import hold_positions, load_bvh
from kinpose.io.points import Points, mark_missing
from kinpose.io.robots import load_mjcf, load_urdf
from kinpose.io.written import unit_name
from kinpose.layouts import LAYOUTS, find_layout, find_layout_by_count, pick_keypoints
from kinpose.recordings import UNITS_MM, UP, find_unit, find_up
from kinpose.sides import find_sides
from kinpose.skeletons import HUMAN36M_KEYPOINTS, HUMAN_LIMITS, human_17, toy

SKELETONS: dict[str, Callable[[], Skeleton]] = {
    "human_17": lambda: limit_skeleton(human_17(), HUMAN_LIMITS),
    **{f"toy_{n}": (lambda n=n: toy(n)) for n in (3, 6, 8, 10)},
}
"""Skeletons that have a name."""

OPENED = (
    ".bvh, .c3d, .trc, .csv, .tsv, .npy, .npz, .urdf, .xml of MuJoCo, a directory of `kinpose fit` "
    f"or OpenPose, or a skeleton of {', '.join(SKELETONS)}"
)
"""What can be opened, for messages."""

_SIZE_M = 1.7
"""A thing of unknown unit is shown as near to this size as mm, cm or m bring it."""

_MARKED = 2000
"""Frames that marks of missing points are looked for in, if a recording has more."""


class Taken(NamedTuple):
    """How a file is to be taken, where it does not say; see the flags of `kinpose view`."""

    unit: str = "auto"
    up: str = "auto"
    fps: float | None = None
    mirror: bool = False


_AS_IT_IS = Taken()


def open_clip(path: str, taken: Taken = _AS_IT_IS) -> Clip:
    """Opens anything that can be shown.

    Args:
      path: a file, a directory, or a name of `SKELETONS`.
      taken: what the file does not say.

    Returns:
      The clip.

    Raises:
      ValueError: for what cannot be opened, saying what can; OSError for what cannot be read.
    """
    file = pathlib.Path(path)
    if not file.exists():
        if path in SKELETONS:
            return _of_skeleton(path, SKELETONS[path](), taken)
        raise ValueError(f"{path} is not there; what can be opened: {OPENED}.")
    if (file / "report.json").exists():
        return _of_fit(file)
    suffix = file.suffix.lower()
    if suffix == ".bvh":
        return _of_bvh(path, taken)
    if suffix in (".urdf", ".xml", ".mjcf"):
        robot = (load_urdf if suffix == ".urdf" else load_mjcf)(path)
        return _of_skeleton(
            file.name,
            robot.skeleton,
            taken._replace(
                up="z" if taken.up == "auto" else taken.up,
                unit="m" if taken.unit == "auto" else taken.unit,
            ),
        )
    if file.is_dir() and not any(file.glob("*.json")):
        raise ValueError(f"{path} holds no fit and no recording; what can be opened: {OPENED}.")
    points, said = heard(load_recording, path)
    return _of_points(file.name, points, said, taken)


def _of_skeleton(name: str, skeleton: Skeleton, taken: Taken) -> Clip:
    """A skeleton in its rest pose, or as near to it as its limits allow."""
    flat = skeleton.ndim == 2
    if flat:  # y points down, as image rows do
        offsets = np.pad(np.asarray(skeleton.offsets), ((0, 0), (0, 1)))
        skeleton = dataclasses.replace(skeleton, offsets=offsets)
        taken = taken._replace(up="-y" if taken.up == "auto" else taken.up)
    if name == "human_17":
        taken = taken._replace(unit="mm", up="y")
    low, high = np.asarray(skeleton.limits, float).T
    params = np.clip(np.zeros((1, skeleton.num_dofs)), low, high)
    if flat:  # whose bones would hide each other
        apart = np.array(skeleton.is_angle) & (np.array(skeleton.dof_names) != "orientation")
        params = 0.4 * apart[None]
    _, places = frames_of(params, skeleton)
    up, unit_mm, said = _axes(places, (), taken, None, None, None)
    model = Model(skeleton, params, up, unit_mm, _turn(up, taken.mirror))
    return _of_model(name, model, 1 / 30, said=said)


def _of_bvh(path: str, taken: Taken) -> Clip:
    (skeleton, params, frame_time_s), said = heard(load_bvh, path)
    if not len(params):
        params = np.zeros((1, skeleton.num_dofs))
        said = (*said, "it has no frames: the rest pose is shown.")
    skeleton, params = _without_idle_slides(skeleton, params)
    _, rest = frames_of(np.zeros((1, skeleton.num_dofs)), skeleton)
    _, some = frames_of(params[spread(params)], skeleton)
    up, unit_mm, guessed = _axes(some, skeleton.names, taken, rest[0], None, None)
    model = Model(skeleton, params, up, unit_mm, _turn(up, taken.mirror))
    frame_time_s = 1 / taken.fps if taken.fps else frame_time_s
    return _of_model(pathlib.Path(path).name, model, frame_time_s, said=(*said, *guessed))


def _without_idle_slides(skeleton: Skeleton, params: np.ndarray) -> tuple[Skeleton, np.ndarray]:
    """Without position channels that nothing moves, so that no drag stretches bones."""
    held = hold_positions(skeleton, params)
    columns = params[:, [skeleton.dof_index(name) for name in held.dof_names]]
    some = spread(params)
    apart = frames_of(params[some], skeleton)[1] - frames_of(columns[some], held)[1]
    if np.abs(apart).max() > 1e-3 * np.abs(skeleton.offsets).max():
        return skeleton, params
    return held, columns


def _of_points(name: str, points: Points, said: Sequence[str], taken: Taken) -> Clip:
    positions = points.positions
    if positions.shape[-1] == 2:  # of a picture, whose y points down
        positions = np.pad(positions, ((0, 0), (0, 0), (0, 1)))
        points = points._replace(up="-y")
    positions = _marked(positions)
    some = spread(positions)
    if not len(some):
        raise ValueError(f"{name} has no point in any frame.")
    person = _person(positions, points.names)
    if person is not None and not len(spread(person)):
        person = None  # none of its keypoints is there
    bodies = positions if person is None else person
    names = points.names if person is None else HUMAN36M_KEYPOINTS
    up, unit_mm, guessed = _axes(bodies[some], names, taken, None, points.unit_mm, points.up)
    turn = _turn(up, taken.mirror).T * unit_mm / 1000.0
    shown = positions @ turn
    if not taken.fps and points.frame_time_s is None:
        guessed = (*guessed, "30 frames/s: the file says no rate")
    human = human_17()
    poses = shown[:, :0] if person is None else person @ turn
    return Clip(
        name=name,
        names=() if person is None else HUMAN36M_KEYPOINTS,
        bones=() if person is None else human.bones,
        sides=() if person is None else keypoint_sides(human),
        poses=poses,
        frame_time_s=1 / taken.fps if taken.fps else points.frame_time_s or 1 / 30,
        points=shown,
        point_names=points.names,
        said=(*said, *guessed),
    )


def _marked(positions: np.ndarray) -> np.ndarray:
    """NaN where a point is missing."""
    if len(positions) <= _MARKED:
        return mark_missing(positions)[0]
    some = positions[:: -(-len(positions) // _MARKED)]
    marks = [mark for mark in mark_missing(some)[1] if mark not in ("nan", "repeated")]
    return mark_missing(positions, ",".join(marks) or "none")[0]


def _of_fit(directory: pathlib.Path) -> Clip:
    """The output of `kinpose fit`: its model in the angles that it names, and the recording."""
    file = directory / "report.json"
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        unit_mm, flags = report["unit_mm"] or 1000.0, report["flags"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: not the report of a fit: {error!r}.") from None
    (skeleton, params, frame_time_s), said = heard(load_bvh, directory / "fit.bvh")
    if flags.get("skeleton") == "human_17":
        skeleton, params = _as_human(skeleton, params)
        if flags.get("limits"):
            skeleton = limit_skeleton(skeleton, HUMAN_LIMITS)
    model = Model(skeleton, params, "y", unit_mm, np.eye(3))
    settings = Settings(**{key: flags[key] for key in Settings._fields if key in flags})
    points, names = None, ()
    try:
        recording = heard(lambda: understand(read_input(report["input"], settings), settings))[0]
        points = model.shown(recording.joints + recording.center)
        names = recording.model.keypoint_names
    except (ValueError, OSError) as error:
        said = (*said, f"shown without the recorded points: {error}")
    clip = _of_model(directory.name, model, frame_time_s, points, names, said)
    if points is not None and len(points) == len(params):
        unseen = ~np.isfinite(points).all(axis=-1).any(axis=1)
        clip.poses[unseen] = np.nan
    return clip


def _as_human(bvh: Skeleton, params: np.ndarray) -> tuple[Skeleton, np.ndarray]:
    """The human with the bones of a file that `save_bvh` wrote of one, and its 27 angles."""
    human = human_17()
    offsets = np.array(human.offsets)
    found = np.zeros((len(params), human.num_dofs))
    for joint, name in enumerate(human.names):
        if joint:
            offsets[joint] = bvh.offsets[bvh.names.index(name)]
        for motion in human.motions[joint]:
            axis = "XYZ"[int(np.argmax(np.abs(motion.axis)))]
            kind = "rotation" if motion.kind == "r" else "position"
            value = params[:, bvh.dof_index(f"{name}_{axis}{kind}")]
            found[:, human.dof_index(motion.dof)] = np.sign(np.sum(motion.axis)) * value
    return dataclasses.replace(human, offsets=offsets), found


def _of_model(
    name: str,
    model: Model,
    frame_time_s: float,
    points: np.ndarray | None = None,
    point_names: tuple[str, ...] = (),
    said: Sequence[str] = (),
) -> Clip:
    skeleton = model.skeleton
    poses = poses_of(model.params, model)
    if points is None:
        points = poses[:, :0]
    return Clip(
        name=name,
        names=skeleton.keypoint_names,
        bones=skeleton.bones,
        sides=keypoint_sides(skeleton),
        poses=poses,
        frame_time_s=frame_time_s,
        points=points,
        point_names=point_names,
        model=model,
        said=tuple(said),
    )


def _person(positions: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    """(T, 17, 3) keypoints of the human, where names or number of the points tell them."""
    if set(HUMAN36M_KEYPOINTS) <= set(names):
        return positions[:, [list(names).index(name) for name in HUMAN36M_KEYPOINTS]]
    some = positions[spread(positions)]
    try:
        key = find_layout(names, some) if names else find_layout_by_count(some)
    except ValueError:
        return None
    return pick_keypoints(positions, names or LAYOUTS[key].order, LAYOUTS[key], HUMAN36M_KEYPOINTS)


def _axes(places, names, taken: Taken, rest, unit_mm, up) -> tuple[str, float, tuple[str, ...]]:
    """The axis up, millimetres per unit, and what was guessed, by some frames (T, N, 3)."""
    said, person = [], _person(places, names) if names else None
    bodies, keypoints = (places, names) if person is None else (person, HUMAN36M_KEYPOINTS)
    if taken.up != "auto":
        up = taken.up
    elif up is None:
        try:
            found = find_up(*((bodies, keypoints) if rest is None else (places, names, rest)))
            up = found.axis
            said.append(f"{up} is up: {found.reason}.")
        except ValueError:
            up = "y"
            said.append("y is taken as up, as nothing tells; --up says otherwise.")
    if taken.unit != "auto":
        unit_mm = UNITS_MM[taken.unit]
    elif unit_mm is None:
        unit_mm, reason = _unit(places, person)
        said.append(f"1 unit is taken as 1 {unit_name(unit_mm)}: {reason}; --unit says otherwise.")
    if person is not None and not taken.mirror:
        sides = find_sides(person @ UP[up].T, HUMAN36M_KEYPOINTS)
        if sides.are_wrong:
            said.append("left and right are the wrong way round; --mirror reflects it.")
    return up, unit_mm, tuple(said)


def _unit(places: np.ndarray, person: np.ndarray | None) -> tuple[float, str]:
    """Millimetres per unit, and why."""
    if person is not None:
        try:
            unit = find_unit(person, human_17())
        except ValueError:
            unit = None
        if unit and unit.mm:
            return unit.mm, unit.reason
    seen = [frame[np.isfinite(frame).all(axis=-1)] for frame in places]
    spans = [float(np.ptp(frame, axis=0).max()) for frame in seen if len(frame)]
    size = float(np.median(spans)) if spans else 0.0
    if size <= 0:
        return 1000.0, "it has no size"
    mm = min((1.0, 10.0, 1000.0), key=lambda mm: abs(math.log(size * mm / 1000.0 / _SIZE_M)))
    return mm, f"it then measures {size * mm / 1000.0:.3g} m"


def _turn(up: str, mirror: bool) -> np.ndarray:
    """(3, 3) from a file's axes to the shown ones; mirrored as `kinpose fit` does."""
    flip = np.eye(3)
    if mirror:
        flip[(1, 1) if up in ("x", "-x") else (0, 0)] = -1.0
    return UP[up] @ flip


def title_of(path: str) -> str:
    """A file's name without its folders and ending."""
    return os.path.splitext(os.path.basename(os.path.normpath(path)))[0]
