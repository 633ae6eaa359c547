"""What `kinpose view` shows, before anything is drawn: clips in metres, y up.

Shapes: T frames, K keypoints, B bones, P points, D dofs.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose import Skeleton, forward_kinematics, limit_skeleton
from kinpose.apps._reading import Settings, heard, read_input
from kinpose.apps._understand import understand
from kinpose.drawing import keypoint_sides
from kinpose.frames import frames_of
from kinpose.io import load_recording
from kinpose.io.bvh import hold_positions, load_bvh
from kinpose.io.points import Points, mark_missing
from kinpose.io.robots import load_mjcf, load_urdf
from kinpose.io.written import unit_name
from kinpose.kinematics import in_loops
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

_SAMPLE = 200
"""Frames that axes, unit and sides are found by."""

_FEW, _BLOCK = 64, 4096
"""Poses that NumPy has done before a program is compiled; poses that a program does at once."""

_FAR = 1e4
"""Ways of the root, in bones, from which float32 would be seen to tremble; NumPy takes longer."""

_MARKED = 2000
"""Frames that marks of missing points are looked for in, if a recording has more."""

_THICK = 0.015
"""Of bones, in sizes of the body."""

_EYE_DEG = (40.0, 12.0)
"""Where the eye begins: from the person's front to their left, and above."""

_GAP_M = 0.5
"""Between things that stand side by side."""

_SMOOTH_S = 1.0
"""Time over which the way of a body is smoothed for a camera to follow."""


class Model(NamedTuple):
    """A skeleton that can be posed.

    Attributes:
      skeleton: 3D, in its own unit and axes; a 2D one lies in z = 0.
      params: (T, D) float64, a pose per frame.
      up: its axis that points up.
      unit_mm: of its lengths.
      turn: (3, 3) from its axes to those that are shown, in which y is up.
    """

    skeleton: Skeleton
    params: np.ndarray
    up: str
    unit_mm: float
    turn: np.ndarray

    def shown(self, places: np.ndarray) -> np.ndarray:
        """Places (..., 3) of its axes and unit as they are shown, in metres."""
        return places @ (self.turn.T * self.unit_mm / 1000.0)

    def own(self, places: np.ndarray) -> np.ndarray:
        """The inverse of `shown`."""
        return places @ (self.turn * 1000.0 / self.unit_mm)


class Clip(NamedTuple):
    """What is shown of one file, in metres, y up.

    Attributes:
      name: for people.
      names: K names of the keypoints.
      bones: pairs of keypoints: a bone's end, and where it begins.
      sides: K times "left", "right" or "".
      poses: (T, K, 3) float64, NaN where a keypoint is missing.
      frame_time_s: seconds between frames.
      points: (T, P, 3) float64 recorded points, NaN where missing; P may be 0.
      point_names: P names, or () where they have none.
      model: what poses it, if something does.
      said: sentences on what was guessed.
    """

    name: str
    names: tuple[str, ...]
    bones: tuple[tuple[int, int], ...]
    sides: tuple[str, ...]
    poses: np.ndarray
    frame_time_s: float
    points: np.ndarray
    point_names: tuple[str, ...] = ()
    model: Model | None = None
    said: tuple[str, ...] = ()

    @property
    def is_flat(self) -> bool:
        """Whether it lies in a plane that faces the viewer."""
        return not np.nan_to_num(body_of(self)[0, :, 2]).any()

    @property
    def has_halos(self) -> bool:
        """Whether the recorded points are the keypoints, and so are seen around them only."""
        return bool(self.points.shape[1]) and self.point_names == self.names

    def seen(self, frame: int) -> np.ndarray:
        """(K,) which keypoints a frame has, if the recorded points are the keypoints."""
        if self.point_names != self.names:
            return np.ones(len(self.names), bool)
        return np.isfinite(self.points[frame]).all(axis=-1)


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
    _, some = frames_of(params[_spread(len(params))], skeleton)
    up, unit_mm, guessed = _axes(some, skeleton.names, taken, rest[0], None, None)
    model = Model(skeleton, params, up, unit_mm, _turn(up, taken.mirror))
    frame_time_s = 1 / taken.fps if taken.fps else frame_time_s
    return _of_model(pathlib.Path(path).name, model, frame_time_s, said=(*said, *guessed))


def _without_idle_slides(skeleton: Skeleton, params: np.ndarray) -> tuple[Skeleton, np.ndarray]:
    """Without position channels that nothing moves, so that no drag stretches bones."""
    held = hold_positions(skeleton, params)
    columns = params[:, [skeleton.dof_index(name) for name in held.dof_names]]
    some = _spread(len(params))
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
    person = _person(positions, points.names)
    some = _spread(len(positions))
    bodies = positions if person is None else person
    names = points.names if person is None else HUMAN36M_KEYPOINTS
    up, unit_mm, guessed = _axes(bodies[some], names, taken, None, points.unit_mm, points.up)
    turn = _turn(up, taken.mirror).T * unit_mm / 1000.0
    shown = positions @ turn
    if not np.isfinite(shown).any():
        raise ValueError(f"{name} has no point in any frame.")
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


def poses_of(params: np.ndarray, model: Model) -> np.ndarray:
    """(T, K, 3) keypoints as they are shown, for (T, D) poses of the model."""
    skeleton, count = model.skeleton, len(params)
    slides = params[:, ~np.array(skeleton.is_angle, bool)]
    if count <= _FEW or np.abs(slides).max(initial=0.0) > _FAR * np.abs(skeleton.offsets).max():
        return model.shown(frames_of(params, skeleton)[1][:, list(skeleton.keypoints)])
    padded = np.pad(params, ((0, -count % _BLOCK), (0, 0))).astype(np.float32)
    blocks = padded.reshape(-1, _BLOCK, params.shape[1])
    places = np.concatenate([np.asarray(_places(block, skeleton)) for block in blocks])
    return model.shown(places[:count].astype(np.float64))


@jax.jit
def _places(params: jax.Array, skeleton: Skeleton) -> jax.Array:
    with in_loops():  # compiled in a second, and never twice for one skeleton
        return forward_kinematics(jnp.asarray(params), skeleton)


def joint_axes(params: np.ndarray, joint: int, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Where a joint is (3,), and its axes (3, 3) in rows of length 1, as they are shown."""
    rotations, places = frames_of(params[None], model.skeleton)
    return model.shown(places[0, joint]), rotations[0, joint].T @ model.turn.T


def _person(positions: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    """(T, 17, 3) keypoints of the human, where names or number of the points tell them."""
    if set(HUMAN36M_KEYPOINTS) <= set(names):
        return positions[:, [list(names).index(name) for name in HUMAN36M_KEYPOINTS]]
    some = positions[_spread(len(positions))]
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
            with in_loops():
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


def _spread(count: int) -> np.ndarray:
    """Some frames, evenly spread."""
    return np.linspace(0, count - 1, min(count, _SAMPLE)).round().astype(int)


def body_of(clip: Clip) -> np.ndarray:
    """(T, N, 3) what stands for the body: keypoints or, where there are none, points."""
    return clip.poses if clip.poses.shape[1] else clip.points


def place_side_by_side(clips: Sequence[Clip]) -> list[np.ndarray]:
    """Shifts (3,) that put clips on one floor, where they begin beside each other.

    The first is in the middle of the world, the others to the left of whoever faces as it does.
    """
    facing = facing_of(clips[0])
    left = np.array([math.cos(facing), 0.0, -math.sin(facing)])
    shifts, edge = [], 0.0
    for clip in clips:
        body = body_of(clip)
        frame = body[int(np.argmax(np.isfinite(body).all(axis=-1).any(axis=1)))]
        frame = frame[np.isfinite(frame).all(axis=-1)].astype(np.float64)
        middle = 0.5 * (frame.min(axis=0) + frame.max(axis=0))
        floor = np.nanpercentile(np.fmin.reduce(body[..., 1], axis=1), 1)
        half = max(float(np.abs((frame - middle) @ left).max()), 0.25)
        center = edge + half if shifts else 0.0
        shifts.append(center * left - (middle[0], floor, middle[2]))
        edge = center + half + _GAP_M
    return shifts


def reach_of(clips: Sequence[Clip], shifts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (3,) of the box around clips at most times, as if they stayed where they begin."""
    boxes = []
    for clip, shift in zip(clips, shifts, strict=True):
        body = body_of(clip)[_spread(len(clip.poses))]
        body = body[np.isfinite(body).all(axis=-1).any(axis=1)]
        middles = np.nanmean(body, axis=1, keepdims=True) * (1.0, 0.0, 1.0)
        body = body - middles + middles[0] + shift
        seen = body[np.isfinite(body).all(axis=-1)]
        boxes.append(np.percentile(seen, (1, 99), axis=0))
    return np.min(boxes, axis=0)[0], np.max(boxes, axis=0)[1]


class Radii(NamedTuple):
    """How thick things are drawn, in metres.

    Attributes:
      usual: of a body of this size.
      bones: (B,) of bones where they are thickest; short ones are thinner.
      joints: (K,) of joints.
      points: of recorded points.
    """

    usual: float
    bones: np.ndarray
    joints: np.ndarray
    points: float


def radii_of(clip: Clip) -> Radii:
    """How thick to draw a clip."""
    low, high = reach_of([clip], [np.zeros(3)])
    usual = _THICK * float((high - low).max()) or 0.02
    some = clip.poses[_spread(len(clip.poses))]
    bones, joints = np.zeros(len(clip.bones)), np.zeros(len(clip.names))
    for b, (end, begin) in enumerate(clip.bones):
        lengths = np.linalg.norm(some[:, end] - some[:, begin], axis=-1)
        lengths = lengths[np.isfinite(lengths)]
        bones[b] = min(usual, 0.25 * float(np.median(lengths))) if len(lengths) else usual
        joints[[end, begin]] = np.maximum(joints[[end, begin]], 1.12 * bones[b])
    joints = np.where(joints > 0, joints, 1.12 * usual)
    return Radii(usual, bones, joints, usual * (1.7 if clip.has_halos else 0.6))


def eye_of(clip: Clip) -> tuple[float, float]:
    """Where the eye begins, in rad: about the vertical from z to x, and above."""
    side, above = (0.0, 0.0) if clip.is_flat else np.radians(_EYE_DEG)
    return facing_of(clip) + float(side), float(above)


def facing_of(clip: Clip) -> float:
    """The direction that a body faces on average, in rad from z to x; 0 where nothing tells."""
    if clip.is_flat:
        return 0.0
    sides = np.array(clip.sides)
    left, right = (clip.poses[:, sides == side] for side in ("left", "right"))
    if not (np.isfinite(left).any() and np.isfinite(right).any()):
        return 0.0
    some = _spread(len(clip.poses))
    across = np.nanmean(left[some], axis=(0, 1)) - np.nanmean(right[some], axis=(0, 1))
    return math.atan2(-across[2], across[0]) if np.hypot(across[0], across[2]) > 1e-6 else 0.0


def track_of(clip: Clip) -> np.ndarray:
    """(T, 3) the way of a body over the floor since its first frame, for a camera to follow."""
    body = body_of(clip).astype(np.float64)
    seen = np.flatnonzero(np.isfinite(body).all(axis=-1).any(axis=1))
    means = np.nanmean(body[seen], axis=1)
    frames = np.arange(len(body))
    way = np.stack([np.interp(frames, seen, mean) for mean in means.T], axis=1)
    width = min(max(1, round(_SMOOTH_S / clip.frame_time_s)), 2 * len(way) - 1) | 1
    padded = np.pad(way, ((width // 2, width // 2), (0, 0)), mode="reflect", reflect_type="odd")
    sums = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0)
    smooth = (sums[width:] - sums[:-width]) / width
    smooth -= smooth[0]
    return smooth * (1.0, 0.0, 1.0)


def frame_at(clip: Clip, time_s: float) -> int:
    """The frame that is shown at a time; the last one from its end on."""
    return min(int(time_s / clip.frame_time_s + 1e-6), len(clip.poses) - 1)


class Slider(NamedTuple):
    """What a slider shows of a dof.

    Attributes:
      dof: its index.
      joint: the first joint that it moves.
      label: without the joint's name.
      low: of its ends, in degrees or the skeleton's unit.
      high: of its ends.
      per_unit: how many of these are one rad, or one unit of length.
    """

    dof: int
    joint: str
    label: str
    low: float
    high: float
    per_unit: float

    @property
    def turns(self) -> bool:
        """Whether it is an angle."""
        return self.per_unit != 1.0


def sliders_of(model: Model) -> list[Slider]:
    """A slider for each dof: its limits are the ends or, without, half a turn and a metre.

    Where the recording goes farther without limits, so do the ends.
    """
    skeleton, sliders = model.skeleton, []
    for dof, name in enumerate(skeleton.dof_names):
        turns = skeleton.is_angle[dof]
        per_unit = math.degrees(1.0) if turns else 1.0
        usual = 180.0 if turns else 1000.0 / model.unit_mm
        low, high = (float(x) * per_unit for x in np.asarray(skeleton.limits)[dof])
        values = model.params[:, dof] * per_unit
        low = low if math.isfinite(low) else min(-usual, math.floor(values.min()))
        high = high if math.isfinite(high) else max(usual, math.ceil(values.max()))
        joint = next(
            j
            for j, motions in zip(skeleton.names, skeleton.motions, strict=True)
            if any(motion.dof == name for motion in motions)
        )
        label = name.removeprefix(joint).lstrip("_ ") or name
        sliders.append(Slider(dof, joint, label, low, high, per_unit))
    return sliders


def title_of(path: str) -> str:
    """A file's name without its folders and ending."""
    return os.path.splitext(os.path.basename(os.path.normpath(path)))[0]
