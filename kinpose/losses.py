"""Losses: a sum per example, mostly half that of squares, to be averaged over the batch.

Losses come in float32 at least, also for half precision, which cannot hold sums of squares.

Shapes: K keypoints, n space dimension, D dofs.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from kinpose._kinematics.scalars import at_least_float32
from kinpose.skeleton import Skeleton


def joint_loss(pred: ArrayLike, true: ArrayLike, *, weights: ArrayLike | None = None) -> jax.Array:
    """Squared joint distance, 1/2 |F(Theta) - Y|^2 (Eq. 3).

    Args:
      pred: (..., K, n) joints: F(Theta), or those that a network gives directly.
      true: (..., K, n) joints Y.
      weights: one number per joint, broadcast to (..., K). `true` may be NaN where the weight
        is zero. None: all one.

    Returns:
      (...,) one loss per pose, in squared units of the poses.

    Raises:
      ValueError: for poses of different or wrong shapes, or not of floating point, and for
        weights of a wrong shape.

    Example:
      >>> print(joint_loss(jnp.ones((17, 3)), jnp.zeros((17, 3))))
      25.5
    """
    difference = _difference(pred, true, "(..., K, n)", ndim=2)
    if weights is None:
        return _half_square(difference, axis=(-2, -1))
    weights = jnp.broadcast_to(jnp.asarray(weights, difference.dtype), difference.shape[:-1])
    difference = jnp.where(weights[..., None] == 0, 0.0, difference)
    return jnp.sum(weights * _half_square(difference, axis=-1), axis=-1)


def absolute_joint_loss(pred: ArrayLike, true: ArrayLike) -> jax.Array:
    """The sum of absolute differences of coordinates, L1 (Sun et al., ICCV 2017).

    Args:
      pred: (..., K, n) joints.
      true: (..., K, n) joints.

    Returns:
      (...,) one loss per pose, in the unit of the poses.

    Raises:
      ValueError: for poses of different or wrong shapes, or not of floating point.
    """
    apart = _difference(pred, true, "(..., K, n)", ndim=2)
    return jnp.sum(jnp.abs(jnp.where(apart == 0, 0, apart)), axis=(-2, -1))  # slope 0 at 0


def parameter_loss(pred: ArrayLike, true: ArrayLike) -> jax.Array:
    """Squared Euclidean distance of parameters, the paper's direct parameter (Sec. 3.2).

    Angles are not wrapped, lengths and angles not balanced, as in the paper: two angles that
    are equal up to a full turn are far apart.

    Args:
      pred: (..., D) parameters.
      true: (..., D) parameters.

    Returns:
      (...,) one loss per parameter vector.

    Raises:
      ValueError: for parameters of different or wrong shapes, or not of floating point.
    """
    return _half_square(_difference(pred, true, "(..., D)", ndim=1), axis=-1)


def limit_loss(params: ArrayLike, skeleton: Skeleton) -> jax.Array:
    """Half the squared distance to the nearest parameters within the limits.

    A quadratic hinge, as in the hand model of Zhou et al. (IJCAI 2016), the paper's [41];
    exactly zero, with gradient zero, within the limits and where there are none.

    Args:
      params: (..., D) parameters.
      skeleton: its `limits` are read.

    Returns:
      (...,) one loss per parameter vector.

    Raises:
      ValueError: for parameters of a wrong shape or not of floating point.
    """
    params = jnp.asarray(params)
    if params.shape[-1:] != (skeleton.num_dofs,):
        raise ValueError(
            f"params must have shape (..., {skeleton.num_dofs}), one value per degree of freedom, "
            f"but got {params.shape}."
        )
    params = at_least_float32(params, "params")
    low, high = jnp.moveaxis(jnp.asarray(skeleton.limits, params.dtype), -1, 0)
    nearest = jnp.clip(
        params, jnp.broadcast_to(low, params.shape), jnp.broadcast_to(high, params.shape)
    )
    return _half_square(params - nearest, axis=-1)


def _difference(pred, true, shape: str, ndim: int) -> jax.Array:
    pred, true = jnp.asarray(pred), jnp.asarray(true)
    if pred.shape != true.shape or pred.ndim < ndim:
        raise ValueError(
            f"pred and true must have the same shape {shape}, but got {pred.shape} and "
            f"{true.shape}."
        )
    return at_least_float32(pred, "pred") - at_least_float32(true, "true")


def _half_square(x, axis) -> jax.Array:
    return 0.5 * jnp.sum(x * x, axis=axis)
