"""Gaps in recordings: which dofs the points that are there tell, and what lies between.

Shapes: T frames, K keypoints, D dofs.
"""

import jax
import numpy as np

from kinpose.fitting import units
from kinpose.frames import jacobian_of
from kinpose.kinematics import joint_jacobian
from kinpose.skeleton import Skeleton

_MOVES = 1e-3
"""Part of the fastest point's motion: less is none."""


def determined_dofs(seen: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Which dofs the points that are there can tell.

    A dof is told where it cannot move, with whatever others, while all points that are seen stay:
    near the rest pose, hinges bent. The twist of a straight arm is not told either, but that is
    the pose's doing, and so is the skeleton's what not even all points tell: see
    `Fit.observability`. Of such dofs this asks only that some point is there which they move.

    Args:
      seen: (T, K) bool.
      skeleton: the tree.

    Returns:
      (T, D) bool.
    """
    jacobian = np.asarray(jacobian_when_bent(skeleton), np.float64)
    moves = moved_points(jacobian)
    never = ~_told_by(jacobian)
    patterns, index = np.unique(seen, axis=0, return_inverse=True)
    told = np.zeros((len(patterns), skeleton.num_dofs), bool)
    for i, pattern in enumerate(patterns):
        if pattern.any():
            some = moves[pattern].any(axis=0) | ~moves.any(axis=0)
            told[i] = np.where(never, some, _told_by(jacobian[pattern]))
    return told[index.ravel()]


def jacobian_when_bent(skeleton: Skeleton) -> np.ndarray | jax.Array:
    """(K, n, D) near the rest pose, hinges bent, so that limbs tell their twist; at most 1."""
    bent = np.full(skeleton.num_dofs, 0.1, np.float32)
    for motions in skeleton.motions:
        turns = [motion for motion in motions if motion.kind == "r"]
        if len(turns) == 1:
            bent[skeleton.dof_names.index(turns[0].dof)] = 0.8
    if isinstance(skeleton.offsets, jax.core.Tracer):
        _, jacobian = joint_jacobian(bent, skeleton)
    else:  # without a compiler
        jacobian = jacobian_of(bent[None], skeleton)[1][0].astype(np.float32)
    jacobian = jacobian * units(skeleton, np.float32)[1][None, None]
    return jacobian / abs(jacobian).max()


def moved_points(jacobian: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """(K, D) which points a dof moves, by such a Jacobian."""
    return abs(jacobian).max(axis=1) > _MOVES


def _told_by(jacobian: np.ndarray) -> np.ndarray:
    """(D,) dofs that are not, or not mostly, part of what leaves all points where they are."""
    _, strength, basis = np.linalg.svd(
        jacobian.reshape(-1, jacobian.shape[-1]), full_matrices=False
    )
    return np.square(basis[strength > _MOVES]).sum(axis=0) > 0.9


def interpolate(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fills what is not known by straight lines in time, between frames where it is.

    Args:
      values: (T, D).
      known: (T, D) bool.

    Returns:
      The values; and (T, D) bool, what was filled: nothing before the first known frame and after
      the last one.
    """
    values, filled = values.copy(), np.zeros_like(known)
    frames = np.arange(len(values))
    for d in range(values.shape[1]):
        there = np.flatnonzero(known[:, d])
        if len(there):
            inside = (frames >= there[0]) & (frames <= there[-1]) & ~known[:, d]
            values[inside, d] = np.interp(frames[inside], there, values[there, d])
            filled[:, d] = inside
    return values, filled
