"""Poses that no recording has: out of several recordings, for one body.

A pose begins with a moment of a recording, between two frames, maybe mirrored. Legs, trunk, head
and arms may then be those of other moments: each of these parts keeps the angles within it and
against what it hangs on, but legs keep their directions in the world, so that people bend and
squat. What comes out is kept if hips stay within their ranges and no limb is inside another part
of the body; else the moment stays as it was recorded.

Shapes: T frames, S segments (`data.body.SEGMENTS`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.body import SEGMENTS, Body, posed_joints
from data.motion import BodyMotion
from data.retarget import rest_directions
from kinpose.retargeting import segment_turns
from kinpose.skeletons import HUMAN36M_KEYPOINTS, HUMAN_LIMITS, human_17

_NAMES = list(SEGMENTS)


class Moments(NamedTuple):
    """Recordings to take poses from.

    Attributes:
      rotations: of each recording (T, S, 3, 3), from a rest pose with limbs straight down.
      shares: of the poses that begin with each of them; they add up to 1.
    """

    rotations: tuple[np.ndarray, ...]
    shares: np.ndarray


def collect_moments(motions: Sequence[BodyMotion], actions: Sequence[str]) -> Moments:
    """Recordings, of which those of rare actions count for more.

    Args:
      motions: of one frame or more.
      actions: what is done in each; an action's share goes with the square root of its time.

    Returns:
      The recordings and their shares.
    """
    seconds = np.array([len(motion.root) * motion.frame_time_s for motion in motions])
    _, groups = np.unique(actions, return_inverse=True)
    shares = seconds / np.sqrt(np.bincount(groups, seconds)[groups])
    turned = (m.rotations @ np.float32(segment_turns(_DOWN, m.directions)) for m in motions)
    return Moments(tuple(turned), shares / shares.sum())


def draw_pose(rng: np.random.Generator, moments: Moments, body: Body) -> tuple[np.ndarray, int]:
    """A pose, facing anywhere.

    Args:
      rng: where the randomness comes from.
      moments: the recordings.
      body: whose pose it is; its proportions decide what is inside what.

    Returns:
      (S, 3, 3) float32 rotations of the segments from the body's rest pose, in the world, and
      which of the recordings it begins with.
    """
    own = segment_turns(rest_directions(body), _DOWN)
    whole, number = _draw_moment(rng, moments)
    rotations = whole @ own
    for _ in range(_TRIES):
        others = {
            part: _draw_moment(rng, moments)[0]
            for part, share in _EXCHANGED.items()
            if rng.uniform() < share
        }
        mixed = exchange_parts(whole, others) @ own
        if not others or is_possible(mixed, body):
            rotations = mixed
            break
    return (_about_up(rng.uniform(-math.pi, math.pi)) @ rotations).astype(np.float32), number


def exchange_parts(rotations: np.ndarray, others: dict[str, np.ndarray]) -> np.ndarray:
    """Takes parts of the body from other poses.

    Args:
      rotations: (S, 3, 3) of the segments, in the world.
      others: part, of legs, trunk, head, left_arm, right_arm -> (S, 3, 3) whose it is.

    Returns:
      (S, 3, 3), a proper rotation each.
    """
    mixed, owner = np.empty_like(rotations), {s: p for p, own in _PARTS.items() for s in own}
    for i, (segment, parent) in enumerate(SEGMENTS.items()):
        other = others.get(owner.get(segment), rotations)
        if not parent:
            mixed[i] = rotations[i]
        elif owner[segment] == "legs":
            turn = _heading(rotations) - _heading(other) if other is not rotations else 0.0
            mixed[i] = _about_up(turn) @ other[i]
        else:
            j = _NAMES.index(parent)
            mixed[i] = mixed[j] @ other[j].T @ other[i]
    return mixed


def mirror_pose(rotations: np.ndarray) -> np.ndarray:
    """The pose (S, 3, 3) in a mirror: left and right exchanged; its own inverse."""
    flip = np.diag([-1.0, 1.0, 1.0])
    return flip @ rotations[_OTHER_SIDE] @ flip


def is_possible(rotations: np.ndarray, body: Body) -> bool:
    """Whether hips are within their ranges and limbs outside each other, nearly.

    Args:
      rotations: (S, 3, 3) of the segments from the body's rest pose, in the world.
      body: whose.

    Returns:
      Whether a person could stand so.
    """
    pelvis = rotations[0]
    for side, sign in (("left", 1), ("right", -1)):
        x, y, z = pelvis.T @ rotations[_NAMES.index(f"{side}_thigh")] @ (0.0, -1.0, 0.0)
        flexion, abduction = math.atan2(z, -y), math.asin(np.clip(sign * x, -1, 1))
        for angle, name in ((flexion, "flexion"), (abduction, "abduction")):
            low, high = HUMAN_LIMITS[f"{side}_hip_{name}"]
            if not low <= angle <= high:
                return False
    joints = posed_joints(body, rotations).astype(np.float64)
    unit = np.linalg.norm(joints[_LEG[1:]] - joints[_LEG[:-1]], axis=1).sum()
    start, end = joints[_ENDS] / unit
    points = (start[:, None] + _ALONG[:, None] * (end - start)[:, None]).reshape(-1, 3)
    squares = np.einsum("ni,ni->n", points, points)
    apart = squares[:, None] + squares - 2 * points @ points.T
    return bool((apart >= _APART).all())


_TRIES = 6
_EXCHANGED = {"legs": 0.4, "trunk": 0.4, "head": 0.5, "left_arm": 0.4, "right_arm": 0.4}
"""How often a part is another moment's."""

_PARTS = {
    "legs": [f"{s}_{n}" for s in ("left", "right") for n in ("thigh", "shank", "foot")],
    "trunk": ["lower_trunk", "upper_trunk"],
    "head": ["head"],
    **{
        f"{s}_arm": [f"{s}_{n}" for n in ("clavicle", "upper_arm", "forearm", "hand")]
        for s in ("left", "right")
    },
}
_SWAPPED = {"left": "right", "right": "left"}
_OTHER_SIDE = [
    _NAMES.index("_".join(_SWAPPED.get(word, word) for word in name.split("_"))) for name in _NAMES
]

_RADII = {  # of the bone that ends in a keypoint, in lengths of the leg; the body is thin here
    **{"torso": 0.11, "neck": 0.11, "nose": 0.06, "head": 0.08, "hip": 0.08, "knee": 0.06},
    **{"ankle": 0.04, "shoulder": 0.05, "elbow": 0.04, "wrist": 0.035},
}
_POINTS_PER_BONE = 5
_ALONG = (np.arange(_POINTS_PER_BONE) + 0.5) / _POINTS_PER_BONE
_ENDS = np.array([(parent, child) for child, parent in human_17().bones]).T
_LEG = [HUMAN36M_KEYPOINTS.index(f"left_{name}") for name in ("hip", "knee", "ankle")]


def _least_squares_apart() -> np.ndarray:
    """How far points of bones are apart at least, squared, in lengths of the leg.

    Bones that share a joint, or hang on the same bone, may be as near as they like.
    """
    bones = list(zip(*_ENDS, strict=True))
    radii = np.array([_RADII[HUMAN36M_KEYPOINTS[child].split("_")[-1]] for _, child in bones])
    parents = {child: parent for parent, child in bones}
    near = np.zeros((len(bones), len(bones)), bool)
    for i, first in enumerate(bones):
        for j, second in enumerate(bones):
            around = {*first, parents.get(first[0])} & {*second, parents.get(second[0])}
            near[i, j] = bool(around - {None})
    apart = np.where(near, 0, (radii[:, None] + radii) ** 2)
    return np.kron(apart, np.ones((_POINTS_PER_BONE, _POINTS_PER_BONE)))


_APART = _least_squares_apart() - 1e-6  # rounding puts a point a little away from itself


_HANGING = ("upper_arm", "forearm", "hand", "thigh", "shank", "foot")
_DOWN = np.array([(0.0, -1.0 if name.endswith(_HANGING) else 1.0, 0.0) for name in SEGMENTS])


def _draw_moment(rng, moments: Moments) -> tuple[np.ndarray, int]:
    """(S, 3, 3) a pose of a recording between two of its frames, and which recording."""
    number = int(rng.choice(len(moments.rotations), p=moments.shares))
    motion = moments.rotations[number]
    time = rng.uniform(0, len(motion) - 1)
    first = min(int(time), max(len(motion) - 2, 0))
    start, *_, end = motion[first : first + 2].astype(np.float64).repeat(2, axis=0)
    rotations = between(start, end, time - first)
    return (mirror_pose(rotations) if rng.uniform() < 0.5 else rotations), number


def between(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """(S, 3, 3) the rotations nearest to the weighted mean of two of them."""
    left, _, right = np.linalg.svd((1 - share) * start + share * end)
    left[..., -1] *= np.linalg.det(left @ right)[..., None]
    return left @ right


def _heading(rotations: np.ndarray) -> float:
    """Where a pelvis faces, about y; of its axis to the left, which bending leaves level."""
    left = rotations[0, :, 0]
    return math.atan2(-left[2], left[0])


def _about_up(angle: float) -> np.ndarray:
    sin, cos = math.sin(angle), math.cos(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
