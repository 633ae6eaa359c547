"""What is computed while somebody looks: the pose under the pointer, what a pose's points tell.

Programs are of one pose, in loops: compiled in seconds, run in a millisecond.

Shapes: K keypoints, D dofs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kernels.quick_jit import quick_jit
from kinpose.fitting._dense import observability_of
from kinpose.fitting._levenberg_marquardt import first_state, minimise
from kinpose.fitting._problem import Problem, units
from kinpose.kinematics import joint_jacobian
from kinpose.skeleton import Skeleton

_LOOSE = 1e-3
"""Weight of the keypoints that nobody drags, against the one that is dragged: they stay where they
can, and do not keep it a millimetre from the pointer."""

_HOLD = 0.01
"""How firmly angles are held to what they were (sizes per rad), against twists that no keypoint
tells."""

_STEPS, _TOLERANCE = 30, 1e-5
"""At most, between two pictures; the next drag goes on from there."""


def drag(
    keypoint: int,
    place: np.ndarray,
    points: np.ndarray,
    before: np.ndarray,
    start: np.ndarray,
    skeleton: Skeleton,
) -> np.ndarray:
    """The pose in which a keypoint is at a place and the others are near to where they were.

    Args:
      keypoint: its index.
      place: (3,) for it, in the skeleton's unit.
      points: (K, 3) keypoints before the drag.
      before: (D,) the pose before the drag.
      start: (D,) where the search begins: the pose found last.
      skeleton: 3D, whose limits hold.

    Returns:
      (D,) float64.
    """
    points, weights = np.array(points, np.float32), np.full(len(points), _LOOSE, np.float32)
    points[keypoint], weights[keypoint] = place, 1.0
    before, start = np.float32(before), np.float32(start)
    return np.asarray(_drag(points, weights, before, start, skeleton), np.float64)


@quick_jit
def _drag(points, weights, before, start, skeleton: Skeleton) -> jax.Array:
    points, weights, before, start = map(jnp.asarray, (points, weights, before, start))
    none = jnp.zeros((), points.dtype)
    problem = Problem(points, weights, none, before, none + _HOLD)
    with jax.default_matmul_precision("highest"):
        state = first_state(start, skeleton)
        return minimise(problem, state, skeleton, _STEPS, _TOLERANCE).params


def observability(params: np.ndarray, seen: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(D,) how firmly keypoints hold each dof, as `Fit.observability`, in the skeleton's sizes.

    Args:
      params: (D,) the pose.
      seen: (K,) which keypoints there are.
      skeleton: 3D.
    """
    return np.asarray(_observability(np.float32(params), np.float32(seen), skeleton))


@quick_jit
def _observability(params, seen, skeleton: Skeleton) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        _, jacobian = joint_jacobian(params, skeleton)
        size, unit = units(skeleton, jacobian.dtype)
        return observability_of(jacobian, seen, skeleton) * unit / size
