"""Left and right in recordings: exchanged labels, single exchanged frames, left-handed axes.

Left-handed axes and labels exchanged throughout look alike: knees and elbows bend the wrong way,
nose and toes point backwards. Shapes: T frames, K keypoints, N points.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from kinpose.calibration import other_side

_LIMBS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
"""Legs and arms, from the trunk outwards: what a detector exchanges as one."""

_TRACKED = np.array([1.0, 0.5, 0.25])
"""Weights of the pairs of a limb: knees and ankles may pass each other between two frames."""

_STRAIGHT_DEG, _BENT_DEG = 20.0, 20.0
"""A limb this much bent says nothing, as people's straight limbs reach either side of straight;
bent by as much again it says all it can."""

_WEAK = 0.3
"""Weight of elbows, which turn with the shoulder, against knees, toes and faces."""

_TOGETHER = 2.0
"""Weight of hips and shoulders that lie along each other, against evidence of up to 1."""

_SWITCH, _DOUBT, _UNSEEN = 20.0, 0.3, 1.0
"""Cost of an exchange between two frames: where all speaks against it, how much must speak for it
(of 1) and where nothing was seen before."""

_LEG = re.compile(
    "hip|leg|knee|ankle|foot|toe|heel|femur|tibia|thigh|shin|calf|shank"
    r"|[lr][_ ]?(asi|psi|thi|kne|tib|ank|hee|hjc|kjc|ajc)",
    re.IGNORECASE,
)
"""Words, and how names of markers on the skin begin."""


class Sides(NamedTuple):
    """What a recording tells of left and right.

    Attributes:
      exchanged: (T, 2) bool, where legs and arms have their labels exchanged against the rest of
        the recording.
      evidence: (T,) how much a frame, its exchanged limbs put back, speaks for right-handed axes
        and right labels: from 1 to -1, 0 where it says nothing.
    """

    exchanged: np.ndarray
    evidence: np.ndarray

    @property
    def contradicting(self) -> float:
        """Share of frames with left and right the wrong way round, of those that say something."""
        told = self.evidence[np.abs(self.evidence) > 0.05]
        return float((told < 0).mean()) if len(told) else 0.0

    @property
    def are_wrong(self) -> bool:
        """Whether the recording as a whole has left-handed axes or exchanged labels."""
        return bool(self.evidence.sum() < 0 and self.contradicting > 0.5)


def find_sides(
    joints: np.ndarray,
    keypoint_names: Sequence[str],
    *,
    toes: np.ndarray | None = None,
    face: np.ndarray | None = None,
    noise: float = 0.0,
) -> Sides:
    """Finds where left and right are exchanged.

    A frame speaks for itself by what bends and points forwards, and for its neighbours by
    continuity: the cheapest sequence of exchanges (Viterbi, 1967), legs and arms by themselves.

    Args:
      joints: (T, K, 3) points in any unit; NaN marks a missing one.
      keypoint_names: K names, of which those of `human_17` are looked at.
      toes: (T, P, 3) vectors that point forwards as feet do.
      face: (T, 3) the vector from the middle of the head to the face.
      noise: standard deviation of a coordinate.

    Returns:
      The sides.
    """
    body = _Body(np.asarray(joints, np.float64), list(keypoint_names))
    evidence = np.stack([_of_legs(body, toes, noise), _of_arms(body, face, noise)], axis=1)
    steps = _steps(*body.pairs())
    lines = [body.left(limb[0]) - body.right(limb[0]) for limb in _LIMBS]
    states = _cheapest(evidence, _nan_to_zero(_cosine(*lines)), steps)
    if (states.mean(axis=0)[evidence.any(axis=0) | states.any(axis=0)] > 0.5).all():
        states = ~states if states.any() else states
    evidence = np.where(states, -evidence, evidence).sum(axis=1)
    return Sides(states, np.clip(evidence, -1.0, 1.0))


def exchange_sides(
    values: np.ndarray,
    names: Sequence[str],
    where: np.ndarray | bool = True,
    legs: Collection[str] = (),
) -> np.ndarray:
    """Exchanges what belongs to points on the left and on the right.

    Args:
      values: (T, N, ...) positions or others.
      names: N names, of which `other_side` finds the pairs.
      where: whether to, for all, or (T, 2) for legs and for all else.
      legs: names that are of legs, beside those that say so.

    Returns:
      A copy.

    Raises:
      ValueError: when no name has another side.
    """
    names = list(names)
    others = [other_side(name, names) for name in names]
    if not any(others):
        raise ValueError(f"no left and right can be exchanged among the names {names}.")
    where = np.broadcast_to(where, (len(values), 2))
    index = [names.index(other or name) for name, other in zip(names, others, strict=True)]
    group = [0 if name in legs or is_of_leg(name) else 1 for name in names]
    chosen = where[:, group].reshape(*where[:, group].shape, *[1] * (values.ndim - 2))
    return np.where(chosen, values[:, index], values)


def is_of_leg(name: str) -> bool:
    """Whether a point or joint is of a leg or the pelvis, by its name."""
    return _LEG.search(name) is not None


def find_toes(positions: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    """What points forwards as feet do: from the nearest ankle or heel to each toe.

    Args:
      positions: (T, N, 3) points.
      names: N names; those of toes have "toe" or "foot_index" in them.

    Returns:
      (T, P, 3) vectors, or None where there are no toes, or no ankles.
    """
    plain = [name.lower() for name in names]
    toes = [i for i, name in enumerate(plain) if "toe" in name or "foot_index" in name]
    others = [i for i, name in enumerate(plain) if "ankle" in name or "heel" in name]
    others += [i for i, name in enumerate(plain) if "foot" in name and i not in toes]
    toes = [i for i in toes if np.isfinite(positions[:, i]).all(axis=-1).any()]
    others = [i for i in others if np.isfinite(positions[:, i]).all(axis=-1).any()]
    vectors = []
    for toe in toes:
        ways = positions[:, [toe]] - positions[:, others]
        apart = np.linalg.norm(ways, axis=-1)
        both = np.isfinite(apart).any(axis=0)
        if both.any():
            distances = np.where(both, np.inf, np.nan)
            distances[both] = np.nanmedian(apart[:, both], axis=0)
            vectors.append(ways[:, int(np.nanargmin(distances))])
    return np.stack(vectors, axis=1) if vectors else None


class _Body(NamedTuple):
    """Points by their names; NaN where there is none."""

    joints: np.ndarray
    names: list[str]

    def __call__(self, name: str) -> np.ndarray:
        if name not in self.names:
            return np.full_like(self.joints[:, 0], np.nan)
        return self.joints[:, self.names.index(name)]

    def left(self, part: str) -> np.ndarray:
        return self(f"left_{part}")

    def right(self, part: str) -> np.ndarray:
        return self(f"right_{part}")

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(T, 2, 3, 3) the points of legs and arms on the left and on the right."""
        return tuple(
            np.stack([np.stack([side(part) for part in limb], axis=1) for limb in _LIMBS], axis=1)
            for side in (self.left, self.right)
        )

    def trunk(self) -> np.ndarray:
        """(T, 3) up the trunk."""
        hips, shoulders = (0.5 * (self.left(x) + self.right(x)) for x in ("hip", "shoulder"))
        rise = _first_seen(self("neck"), shoulders) - _first_seen(self("pelvis"), hips)
        return _first_seen(rise, _first_seen(self("head"), self("nose")) - shoulders)


def _of_legs(body: _Body, toes, noise: float) -> np.ndarray:
    """(T,) what knees and toes say."""
    line = body.left("hip") - body.right("hip")
    says = [_bend(body, _LIMBS[0], side, line, 1.0, noise) for side in ("left", "right")]
    if toes is not None:
        forwards = np.cross(line, body.trunk())
        says += [_beyond(_cosine(toe, forwards), 0.5, 0.3) for toe in np.moveaxis(toes, 1, 0)]
    return _strongest(says)


def _of_arms(body: _Body, face, noise: float) -> np.ndarray:
    """(T,) what elbows and the face say."""
    line = body.left("shoulder") - body.right("shoulder")
    says = [_WEAK * _bend(body, _LIMBS[1], s, line, -1.0, noise) for s in ("left", "right")]
    forwards = np.cross(line, body.trunk())
    if face is not None:
        says += [_beyond(_cosine(face, forwards), 0.3, 0.3)]
    else:  # marks on the neck lie behind by up to a sixteenth of the trunk
        lengths = np.linalg.norm(body.trunk(), axis=-1)
        lengths = lengths[np.isfinite(lengths)]
        size = np.median(lengths) if len(lengths) else 1.0
        ahead = _dot(body("nose") - body("neck"), _unit(forwards)) / size
        says += [_WEAK * _beyond(ahead, 0.07 + 3 * noise / size, 0.05)]
    return _strongest(says)


def _bend(body: _Body, limb, side: str, line, sign: float, noise: float) -> np.ndarray:
    """(T,) what a hinge says: about the line to the left, knees bend by plus, elbows by minus."""
    start, middle, end = (body(f"{side}_{part}") for part in limb)
    one, two = middle - start, end - middle
    angle = np.arctan2(sign * _dot(np.cross(one, two), _unit(line)), _dot(one, two))
    shorter = np.minimum(np.linalg.norm(one, axis=-1), np.linalg.norm(two, axis=-1))
    unsure = 3 * 2 * noise / np.maximum(shorter, 1e-12)
    return _beyond(angle, np.radians(_STRAIGHT_DEG) + unsure, np.radians(_BENT_DEG))


def _beyond(value, least, range_) -> np.ndarray:
    """From 0 at the least absolute value to 1 or -1; 0 where it is NaN."""
    size = np.clip((np.abs(value) - least) / range_, 0.0, 1.0)
    return _nan_to_zero(np.sign(value) * size)


def _strongest(says: Sequence[np.ndarray]) -> np.ndarray:
    return np.clip(np.sum(says, axis=0), -1.0, 1.0)


def _steps(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(T, 2) how much the way from the frame before speaks against an exchange, from 1 to -1.

    A point is compared with where it and its twin were when both were seen last, after the body
    has moved on as a whole; what was longer ago counts less. NaN where nothing was seen before.
    """
    both = np.stack([left, right], axis=1)  # (T, 2 sides, 2 limbs, 3 parts, 3)
    seen = np.isfinite(both).all(axis=-1)
    frames = np.arange(len(both)).reshape(-1, 1, 1)
    pairs = np.where(seen.all(axis=1), frames, -1)
    last = np.maximum.accumulate(pairs, axis=0)
    last = np.concatenate([np.full_like(last[:1], -1), last[:-1]])
    known = seen & (last >= 0)[:, None]
    limbs, parts = np.ogrid[: last.shape[1], : last.shape[2]]
    before = both[np.maximum(last, 0), :, limbs, parts]  # (T, limbs, parts, sides, 3)
    before = np.moveaxis(before, 3, 1)
    same, other = (_away(both, x, known) for x in (before, before[:, ::-1]))
    against = (other - same) / np.maximum(other + same, 1e-12)
    age = np.where(last >= 0, frames - last, 1)
    weights = known.any(axis=1) * _TRACKED / np.square(age)
    total = weights.sum(axis=-1)
    mean = (weights * _nan_to_zero(against)).sum(axis=-1) / np.maximum(total, 1e-12)
    return np.where(
        total > 0, mean / age.min(axis=-1, where=weights > 0, initial=len(both)), np.nan
    )


def _away(points, places, known) -> np.ndarray:
    """(T, limbs, parts) distances of both sides from places, the body's motion taken off."""
    ways = np.where(known[..., None], points - places, np.nan)
    flat = ways.reshape(len(ways), -1, 3)
    some = known.reshape(len(ways), -1).any(axis=1)
    moved = np.zeros((len(ways), 3))
    moved[some] = np.nanmedian(flat[some], axis=1)
    distances = np.linalg.norm(ways - moved[:, None, None, None], axis=-1)
    return _nan_to_zero(distances).sum(axis=1)


def _cheapest(evidence: np.ndarray, together: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(T, 2) bool: the exchanges of legs and arms of least cost."""
    states = np.array([[False, False], [True, False], [False, True], [True, True]])
    signs = np.where(states, -1.0, 1.0)
    own = -evidence @ signs.T - _TOGETHER * together[:, None] * signs.prod(axis=1)[None]
    costs = np.where(np.isnan(steps), _UNSEEN, _SWITCH * (steps + _DOUBT))
    switches = (states[:, None] != states[None]).astype(float)  # (before, after, limb)
    total, came = own[:1].sum(axis=0), np.zeros((len(own), 4), int)
    for t in range(1, len(own)):
        ways = total[:, None] + switches @ costs[t]
        came[t] = np.argmin(ways, axis=0)
        total = ways[came[t], np.arange(4)] + own[t]
    path = np.zeros(len(own), int)
    path[-1:] = np.argmin(total)
    for t in range(len(own) - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return states[path]


def _first_seen(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(one).all(axis=-1, keepdims=True), one, other)


def _dot(one, other) -> np.ndarray:
    return np.sum(one * other, axis=-1)


def _unit(vector) -> np.ndarray:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)


def _cosine(one, other) -> np.ndarray:
    return _dot(_unit(one), _unit(other))


def _nan_to_zero(values) -> np.ndarray:
    return np.where(np.isfinite(values), values, 0.0)
