"""What is played, before anything is drawn: clips, keypoints over time in metres, y up.

Shapes: T frames, K keypoints, B bones, P points, D dofs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.frames import frames_of
from kinpose.kinematics import forward_kinematics
from kinpose.skeleton import Skeleton

_SAMPLE = 200
"""Frames that tell what all would."""

_FEW, _BLOCK = 64, 4096
"""Poses that NumPy has done before a program is compiled; poses that a program does at once."""

_FAR = 1e4
"""Ways of the root, in bones, from which float32 would be seen to tremble; NumPy takes longer."""

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
        return not np.nan_to_num(body_of(self)[..., 2]).any()

    @property
    def has_halos(self) -> bool:
        """Whether the recorded points are the keypoints, and so are seen around them only."""
        return bool(self.points.shape[1]) and self.point_names == self.names

    def seen(self, frame: int) -> np.ndarray:
        """(K,) which keypoints a frame has, if the recorded points are the keypoints."""
        if self.point_names != self.names:
            return np.ones(len(self.names), bool)
        return np.isfinite(self.points[frame]).all(axis=-1)


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
    return forward_kinematics(jnp.asarray(params), skeleton)


def joint_axes(params: np.ndarray, joint: int, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Where a joint is (3,), and its axes (3, 3) in rows of length 1, as they are shown."""
    rotations, places = frames_of(params[None], model.skeleton)
    return model.shown(places[0, joint]), rotations[0, joint].T @ model.turn.T


def spread(rows: np.ndarray) -> np.ndarray:
    """Some frames, evenly spread over those in which places (T, N, 3) or params (T, D) are."""
    there = np.isfinite(rows).all(axis=-1).reshape(len(rows), -1)
    seen = np.flatnonzero(there.any(axis=1))
    return seen[np.linspace(0, len(seen) - 1, min(len(seen), _SAMPLE)).round().astype(int)]


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
        body = body_of(clip)
        body = body[spread(body)]
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
    some = clip.poses[spread(clip.poses)]
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
    some, sides = clip.poses[spread(clip.poses)], np.array(clip.sides)
    left, right = (some[:, sides == side] for side in ("left", "right"))
    if not (np.isfinite(left).any() and np.isfinite(right).any()):
        return 0.0
    across = np.nanmean(left, axis=(0, 1)) - np.nanmean(right, axis=(0, 1))
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
