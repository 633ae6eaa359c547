"""Feet: when they stand, and legs that keep them where they stood and above the floor.

Shapes: T frames, J joints; two legs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kinpose.frames import checked_params, frames_of, turn_about
from kinpose.skeleton import Skeleton
from kinpose.standing import Legs, below, nearest_axis

_SLOW = 0.4
"""Lengths of the leg per second below which an ankle may be standing,"""

_LOW = 0.1
"""lengths of the leg above its lowest that it is then at most, and"""

_SHORTEST_S = 0.1
"""how long it stands at least."""

_TILTS = 2
"""Tilts of a foot: for its toes, and for what goes down then."""


def foot_contacts(
    params: np.ndarray,
    skeleton: Skeleton,
    ankles: Sequence[str],
    frame_time_s: float,
    *,
    rest: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """When a person's feet stand: their ankles are low and slow, far below where legs begin.

    Args:
      params: (T, D) recording.
      skeleton: the person.
      ankles: their names.
      frame_time_s: time from one frame to the next.
      rest: (D,) a pose in which the person stands upright along an axis; zeros by default.

    Returns:
      Ankle -> (T,) bool.

    Raises:
      ValueError: for names that are no joints', a frame time that is not positive, and params of
        no frame, a wrong shape or not finite.
    """
    params = checked_params(params, skeleton)
    for name in ankles:
        if name not in skeleton.names:
            raise ValueError(f"ankles must be joints of {skeleton!r}, but {name!r} is none.")
    if not 0 < frame_time_s < np.inf:
        raise ValueError(f"frame_time_s must be positive and finite, but got {frame_time_s}.")
    joints = [skeleton.names.index(name) for name in ankles]
    rest = np.zeros(skeleton.num_dofs) if rest is None else np.asarray(rest, np.float64)
    standing = frames_of(rest[None], skeleton)[1][0]
    # Not the root, which may lie on the floor; of one ankle nothing tells where legs begin.
    pelvis = max(j for j in range(skeleton.num_joints) if {*joints} <= {*below(skeleton, j)})
    pelvis = 0 if pelvis in joints else pelvis
    leg = standing[pelvis] - standing[joints].mean(axis=0)
    up = nearest_axis(leg)
    _, places = frames_of(params, skeleton)
    paths, length = places[:, joints], np.linalg.norm(leg)
    heights = paths @ up
    steps = np.linalg.norm(np.diff(paths, axis=0), axis=-1) / frame_time_s
    speeds = np.minimum(np.append(steps, steps[-1:], 0), np.append(steps[:1], steps, 0))
    speeds = speeds if len(steps) else np.zeros(heights.shape)
    low = np.percentile(heights, 5) + _LOW * length
    above = (places[:, [pelvis]] @ up - heights) > 0.5 * length
    stands = (heights < low) & (speeds < _SLOW * length) & above
    for side in stands.T:
        for run in runs_of(side):
            if len(run) * frame_time_s < _SHORTEST_S:
                side[run] = False
    return dict(zip(ankles, stands.T, strict=True))


def runs_of(flags: np.ndarray) -> list[np.ndarray]:
    """The frames of each run of true ones."""
    frames = np.flatnonzero(flags)
    return np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1) if len(frames) else []


def hold_feet(
    rotations: np.ndarray,
    places: np.ndarray,
    skeleton: Skeleton,
    legs: Legs,
    up: np.ndarray,
    floor: float,
    contacts: Any,
) -> tuple:
    """Keeps standing feet in place and all feet above the floor; knees stay as they are.

    A leg swings about its hip until the ankle is above where it stands: at the mean of where it
    was; in between the correction changes evenly. A foot that would reach below the floor tilts
    about its ankle; where that is not enough, the whole body is lifted.

    Args:
      rotations: (T, J, 3, 3) of all joints in the world.
      places: (T, J, 3) of all joints.
      skeleton: the tree.
      legs: of it.
      up: (3,) unit vector.
      floor: height.
      contacts: (2, T) whether a foot stands.

    Returns:
      (T, J, 3, 3) rotations, and (T, 3) by how much the body is lifted.
    """
    rotations, lowest = rotations.copy(), []
    for side, (hip, _, ankle) in enumerate(zip(*legs, strict=True)):
        foot = below(skeleton, ankle)
        leg = [j for j in below(skeleton, hip) if j not in foot]
        way = places[:, ankle] - places[:, hip]
        wanted = _swung(way, _corrections(places[:, ankle], contacts[side]), up)
        rotations[:, leg] = _shortest_turn(way, wanted)[:, None] @ rotations[:, leg]
        height = (places[:, hip] + wanted) @ up - floor
        points = places[:, foot] - places[:, ankle, None]
        for _ in range(_TILTS):
            tilt = _tilt(points, height, up)
            rotations[:, foot] = tilt[:, None] @ rotations[:, foot]
            points = points @ tilt.swapaxes(1, 2)
        lowest.append(height + (points @ up).min(axis=1))
    return rotations, np.maximum(-np.min(lowest, axis=0), 0.0)[:, None] * up


def _corrections(path: np.ndarray, stands: np.ndarray) -> np.ndarray:
    """(T, 3) from a path to one that rests where the foot stands."""
    frames, moves = [], []
    for run in runs_of(stands):
        frames += list(run)
        moves += list(path[run].mean(axis=0) - path[run])
    if not frames:
        return np.zeros_like(path)
    times = np.arange(len(path))
    return np.stack([np.interp(times, frames, x) for x in np.transpose(moves)], axis=1)


def _swung(way: np.ndarray, move: np.ndarray, up) -> np.ndarray:
    """(T, 3) from hip to ankle, as long as before, and level with it moved as wanted."""
    length = np.linalg.norm(way, axis=1, keepdims=True)
    steep = np.clip(-4.0 * (way @ up)[:, None] / np.maximum(length, 1e-12) - 1.0, 0.0, 1.0)
    level = way + steep * move  # a leg that lies would have to turn far
    level = level - (level @ up)[:, None] * up
    reach = np.linalg.norm(level, axis=1, keepdims=True)
    level *= np.minimum(1.0, length / np.maximum(reach, 1e-12))
    rise = np.sqrt(np.maximum(length**2 - np.sum(level**2, axis=1, keepdims=True), 0.0))
    wanted = level + np.where(way @ up < 0, -1.0, 1.0)[:, None] * rise * up
    return np.where(move.any(axis=1, keepdims=True), wanted, way)


def _tilt(points: np.ndarray, height: np.ndarray, up) -> np.ndarray:
    """(T, 3, 3) turns about ankles at a height that bring the lowest point of a foot to zero."""
    lowest = (points @ up).argmin(axis=1)
    point = np.take_along_axis(points, lowest[:, None, None], axis=1)[:, 0]
    length = np.maximum(np.linalg.norm(point, axis=1), 1e-12)
    now = np.clip(point @ up / length, -1.0, 1.0)
    wanted = np.clip(np.maximum(now, -height / length), -1.0, 0.0)
    angle = np.where(now < wanted, np.arcsin(wanted) - np.arcsin(now), 0.0)
    return turn_about(_unit(np.cross(point, up)), angle)


def _shortest_turn(old, new) -> np.ndarray:
    """(T, 3, 3) from one direction (T, 3) to another."""
    old, new = _unit(old), _unit(new)
    axis = np.cross(old, new)
    sine = np.linalg.norm(axis, axis=1, keepdims=True)
    axis = np.where(sine > 1e-12, axis / np.maximum(sine, 1e-12), [1.0, 0.0, 0.0])
    return turn_about(axis, np.arctan2(sine[:, 0], np.sum(old * new, axis=1)))


def _unit(vectors) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
