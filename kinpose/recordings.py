"""What a recording of a person is: which way is up, its unit, its noise, its speed.

Guesses come with what they rest on; where nothing decides, a ValueError asks. Shapes: T frames,
K keypoints.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinpose.calibration import guess_scale
from kinpose.skeleton import Skeleton
from kinpose.tracking import estimate_noise

UP = {
    "y": np.eye(3),
    "-y": np.diag([1.0, -1.0, -1.0]),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "-z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "-x": np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}
"""Rotations that turn the axis up into y."""

UNITS_MM = {"mm": 1.0, "cm": 10.0, "inch": 25.4, "m": 1000.0}
"""Millimetres of a unit of length."""

_BODY = {  # words in the names of keypoints
    "head": ("head", "neck"),
    "shoulders": ("shoulder",),
    "hips": ("pelvis", "hip", "upleg", "femur"),
    "feet": ("ankle", "foot"),
}
_RISES = (
    ("feet", "head"),
    ("hips", "head"),
    ("hips", "shoulders"),
    ("feet", "hips"),
    ("shoulders", "head"),
)
"""What is below what in a person upright, the best witnesses first."""

_NEAR_DEG, _TILTED_DEG = 30.0, 42.0
"""The body's median direction is this near its axis: up; or, along y, a camera is tilted."""

_UPRIGHT, _SPREAD_DEG = 0.85, 45.0
"""Share of the frames of a person upright that are within this of the median direction."""

_CRAWL = 0.5
"""Body lengths: who moves on along the body and not across it crawls, or is carried."""

_LAG_S = 0.15
"""Time over which a turn is looked at."""

_PERSON = (0.75, 1.25)
"""Sizes of people against the mean one of Human3.6M."""


class Up(NamedTuple):
    """The axis up.

    Attributes:
      axis: a key of `UP`.
      reason: what it rests on.
      doubt: what speaks against it; empty where nothing does.
    """

    axis: str
    reason: str
    doubt: str = ""


def find_up(
    joints: np.ndarray, keypoint_names: Sequence[str], rest: np.ndarray | None = None
) -> Up:
    """Finds the axis up.

    Where the rest pose of a BVH file stands, it decides. Otherwise the body does, if it is along
    one axis in most frames: from the feet to head and neck, or between what of them, hips and
    shoulders is there. Nobody's axis x points up, but people lie along it.

    Args:
      joints: (T, K, 3) points in any unit; NaN marks a missing one.
      keypoint_names: K names; those with head, neck, shoulder, hip, pelvis, ankle or foot in
        them are looked at.
      rest: (K, 3) the same points in the rest pose.

    Returns:
      The axis.

    Raises:
      ValueError: where nothing stands out, or the person may lie.
    """
    stands = "" if rest is None else _stands(rest, keypoint_names)
    if not stands:
        return _up_of_body(joints, keypoint_names)
    doubt = ""
    try:
        body = _up_of_body(joints, keypoint_names)
    except ValueError:
        body = None
    if body and body.axis != stands:
        doubt = f"the rest pose stands along {stands}, but {body.reason}: the person lies, or not"
    return Up(stands, f"the rest pose stands along {stands}", doubt)


def _up_of_body(joints: np.ndarray, keypoint_names: Sequence[str]) -> Up:
    """The axis along which the body is upright; a ValueError asks."""
    rises, witness = _rise(joints, keypoint_names)
    seen = np.isfinite(rises).all(axis=-1)
    if not seen.any():
        raise ValueError("no points tell which axis is up; give it by --up, such as --up=y.")
    rises = rises[seen]
    directions = rises / np.linalg.norm(rises, axis=-1, keepdims=True)
    middle = np.median(directions, axis=0)
    middle = middle / max(np.linalg.norm(middle), 1e-12)
    axis, off = _nearest_axis(middle)
    upright = float((directions @ middle > math.cos(math.radians(_SPREAD_DEG))).mean())
    if upright < _UPRIGHT:
        why = f"the body is along one direction in {upright:.0%} of the frames only"
    elif off > (_TILTED_DEG if axis in ("y", "-y") else _NEAR_DEG):
        why = f"the body is {off:.0f} degrees off the nearest axis, {axis}"
    elif axis in ("x", "-x"):
        why = f"the body is along {axis}, as of who lies"
    elif _moves_along(joints[seen], "xyz".index(axis[-1]), np.median(rises, axis=0)):
        why = f"the person moves on along the body's axis, {axis}, as who crawls or lies"
    else:
        reason = f"{witness[1]} above {witness[0]} along {axis} in {upright:.0%} of the frames"
        doubt = f"the body is {off:.0f} degrees off {axis}, as before a tilted camera"
        return Up(axis, reason, doubt if off > _NEAR_DEG else "")
    raise ValueError(f"which axis is up is not clear: {why}; give it by --up, such as --up=y.")


def _stands(rest: np.ndarray, keypoint_names: Sequence[str]) -> str:
    """The axis along which head, hips and feet of a rest pose lie in this order, or ''."""
    parts = {part: _middle(rest[None], keypoint_names, part)[0] for part in _BODY}
    steps = [parts["head"] - parts["hips"], parts["hips"] - parts["feet"]]
    steps = [step for step in steps if np.isfinite(step).all() and step.any()]
    found = [_nearest_axis(step / np.linalg.norm(step)) for step in steps]
    same = len({axis for axis, _ in found}) == 1
    return found[0][0] if same and max(off for _, off in found) < _NEAR_DEG else ""


def _rise(joints: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, str]]:
    """(T, 3) upwards in the body, by the best witnesses in each frame; the most frequent ones."""
    rises, by = np.full((len(joints), 3), np.nan), np.full(len(joints), -1)
    for i, (low, high) in enumerate(_RISES):
        rise = _middle(joints, names, high) - _middle(joints, names, low)
        new = (by < 0) & (np.linalg.norm(rise, axis=-1) > 0)
        rises[new], by[new] = rise[new], i
    counts = [(by == i).sum() for i in range(len(_RISES))]
    return rises, _RISES[int(np.argmax(counts))]


def _middle(joints: np.ndarray, names: Sequence[str], part: str) -> np.ndarray:
    """(T, 3) mean of what is there of a part of the body."""
    columns = [i for i, name in enumerate(names) if any(w in name.lower() for w in _BODY[part])]
    points = joints[:, columns]
    seen = np.isfinite(points).all(axis=-1, keepdims=True)
    count = seen.sum(axis=1)
    total = np.where(seen, points, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _nearest_axis(direction: np.ndarray) -> tuple[str, float]:
    """The nearest axis to a unit vector, and by how many degrees it is off."""
    axis = int(np.argmax(np.abs(direction)))
    off = math.degrees(math.acos(min(1.0, float(np.abs(direction[axis])))))
    return ("-" if direction[axis] < 0 else "") + "xyz"[axis], off


def _moves_along(joints: np.ndarray, axis: int, rise: np.ndarray) -> bool:
    """Whether the body moves on along an axis more than across it, by half its length."""
    seen = np.isfinite(joints).all(axis=-1).any(axis=1)
    places = np.nanmedian(joints[seen], axis=1)
    few = max(1, len(places) // 10)
    moved = np.abs(np.median(places[-few:], axis=0) - np.median(places[:few], axis=0))
    across = np.linalg.norm(np.delete(moved, axis))
    return bool(moved[axis] > max(_CRAWL * np.linalg.norm(rise), across))


class Unit(NamedTuple):
    """The unit of length.

    Attributes:
      mm: millimetres per unit, or None where the size is unlike a person's in all units.
      name: of the unit, or "unknown".
      reason: what it rests on.
    """

    mm: float | None
    name: str
    reason: str


def find_unit(joints: np.ndarray, human: Skeleton) -> Unit:
    """Finds the unit in which a recording has the size of a person.

    Args:
      joints: (T, K, 3) points; NaN marks a missing one.
      human: the mean person, in mm.

    Returns:
      mm, cm, m or inch, if in one of them the person is 0.75 to 1.25 times the mean one.

    Raises:
      ValueError: when no bone has both its ends among the points.
    """
    mean_mm = 1.0 / guess_scale(joints, human)
    name = min(UNITS_MM, key=lambda unit: abs(math.log(UNITS_MM[unit] / mean_mm)))
    size = UNITS_MM[name] / mean_mm
    if _PERSON[0] <= size <= _PERSON[1]:
        return Unit(UNITS_MM[name], name, f"the person is {size:.2f} times the mean one")
    reason = (
        f"the size is unlike a person's in every unit: in {name}, the nearest, {size:.2f} times "
        f"the mean one, who would make 1 unit {mean_mm:.4g} mm"
    )
    return Unit(None, "unknown", reason)


def find_noise(joints: np.ndarray, bones: Sequence[tuple[int, int]]) -> float:
    """The noise of a recording, the standard deviation of a coordinate.

    The lesser of what differences in time tell, in which fast motion counts when frames are
    few, and of what the lengths of bones tell, which do not change.

    Args:
      joints: (T, K, 3) points; NaN marks a missing one.
      bones: pairs of keypoints.

    Returns:
      The noise in the unit of the points.
    """
    by_time = estimate_noise(joints)
    ends = np.array(bones, int).reshape(-1, 2).T
    lengths = np.linalg.norm(joints[:, ends[0]] - joints[:, ends[1]], axis=-1)
    lengths = lengths[:, np.isfinite(lengths).sum(axis=0) > 4]
    if not lengths.size:
        return by_time
    spread = np.nanmedian(np.abs(lengths - np.nanmedian(lengths, axis=0)), axis=0)
    return min(by_time, float(np.median(spread) / 0.6745 / math.sqrt(2)))


def find_speed(
    joints: np.ndarray, bones: Sequence[tuple[int, int]], fps: float, noise: float
) -> float:
    """How fast the fastest long bone turns, but for a tenth of the frames.

    Args:
      joints: (T, K, 3) points; NaN marks a missing one.
      bones: pairs of keypoints.
      fps: frames per second.
      noise: standard deviation of a coordinate, whose part is taken off.

    Returns:
      rad/s; 0 where five frames are not there.
    """
    lag = max(1, round(_LAG_S * fps))
    ends = np.array(bones, int).reshape(-1, 2).T
    ways = joints[:, ends[0]] - joints[:, ends[1]]
    lengths = np.linalg.norm(ways, axis=-1)
    ways = ways / np.maximum(lengths, 1e-12)[..., None]
    turned = np.square(ways[lag:] - ways[:-lag]).sum(axis=-1)
    enough = np.isfinite(turned).sum(axis=0) > 4
    if not enough.any():
        return 0.0
    lengths, turned = np.nanmedian(lengths[:, enough], axis=0), turned[:, enough]
    long = (lengths > 0.5 * lengths.max()) & (lengths > 0)
    by_noise = 4 * np.square(noise / lengths[long]) * -2 * math.log(0.1)  # chi-squared, 2 dofs
    squares = np.nanquantile(turned[:, long], 0.9, axis=0) - by_noise
    return float(np.sqrt(np.maximum(squares, 0.0)).max() * fps / lag)
