"""The similarity of least squared distance between poses (Umeyama, 1991), differentiable.

Poses are (..., K, n) in float32 at least; `where` (..., K) is False where a joint is missing
from `true`. The gate is `kinpose.metrics`.
"""

import jax
import jax.numpy as jnp


def move_onto(pred: jax.Array, true: jax.Array, where: jax.Array, *, scale: bool) -> jax.Array:
    """(..., K, n): `pred` turned, shifted and, with scale, scaled to be nearest to `true`."""
    there = where[..., None]
    pred_mean, true_mean = (jnp.mean(x, axis=-2, keepdims=True, where=there) for x in (pred, true))
    pred, true = pred - pred_mean, jnp.where(there, true - true_mean, 0.0)
    covariance = _product(jnp.where(there, pred, 0.0).swapaxes(-1, -2), true)
    pred = _product(pred, _best_rotation(covariance))
    if scale:
        pred = pred * optimal_scale(pred, true, where)
    return pred + true_mean


def optimal_scale(pred: jax.Array, true: jax.Array, where: jax.Array) -> jax.Array:
    """(..., 1, 1): s of least |s pred - true|; 0 where `pred` is zero and any s is as good.

    `true` must be zero where a joint is missing.
    """
    pred = jnp.where(where[..., None], pred, 0.0)
    dot = jnp.sum(pred * true, axis=(-2, -1), keepdims=True)
    squares = jnp.sum(pred * pred, axis=(-2, -1), keepdims=True)
    return dot / jnp.where(squares == 0, 1.0, squares)


@jax.custom_jvp
def _best_rotation(covariance: jax.Array) -> jax.Array:
    """Proper R of greatest trace(R^T covariance), (..., n, n).

    Its derivative is its own and not the SVD's, which is infinite where two singular values
    are equal although R is smooth there. R^T covariance = P is symmetric and stays so, hence
    dR = R W with W skew and W P + P W = A - A^T, A = R^T d covariance; P is diagonal in the
    basis of the right singular vectors.
    """
    return _proper_svd(covariance)[0]


@_best_rotation.defjvp
def _best_rotation_jvp(primals, tangents):
    rotation, values, basis = _proper_svd(*primals)
    change = _product(rotation.swapaxes(-1, -2), *tangents)
    change = _product(basis, _product(change, basis.swapaxes(-1, -2)))
    sums = values[..., :, None] + values[..., None, :]
    unique = sums > 10 * jnp.finfo(values.dtype).eps * values[..., :1, None]
    turn = (change - change.swapaxes(-1, -2)) / jnp.where(unique, sums, 1.0)
    turn = _product(jnp.where(unique, turn, 0.0), basis)
    return rotation, _product(rotation, _product(basis.swapaxes(-1, -2), turn))


def _proper_svd(covariance) -> tuple[jax.Array, jax.Array, jax.Array]:
    """R = U V^T, the values of R^T covariance and V^T, the last one's sign making R proper."""
    left, values, basis = jnp.linalg.svd(covariance)
    sign = jnp.where(jnp.linalg.det(_product(left, basis)) < 0, -1.0, 1.0).astype(values.dtype)
    left = left.at[..., -1].multiply(sign[..., None])
    return _product(left, basis), values.at[..., -1].multiply(sign), basis


def _product(a, b) -> jax.Array:
    """Matrix product at full precision: accelerators round factors to bfloat16 by default."""
    return jnp.matmul(a, b, precision="highest")
