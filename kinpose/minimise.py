"""Damped least squares, and gradient descent, on Eq. 3 for one pose.

Lengths are counted in the skeleton's size, so that lengths and angles compare and no
tolerance depends on the unit.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.kinematics import forward_kinematics, joint_jacobian
from kinpose.skeleton import Skeleton

OPEN = 1e-6
"""Squared observability, in sizes per rad, below which a dof counts as left open."""

_STRIDE = 1.0
"""Most that one step turns an angle (rad) or shifts a length (sizes): no leap to another turn."""


class Problem(NamedTuple):
    """One pose to fit."""

    joints: Any  # (K, n), missing ones zero
    weights: Any  # (K,), missing ones zero
    anchor: Any  # (D,) where the dofs are held
    hold: Any  # how firmly, in sizes per rad


class State(NamedTuple):
    """Where the descent of one pose is."""

    params: Any  # (D,)
    cost: Any
    damping: Any
    growth: Any  # of the damping when a step fails
    iterations: Any
    converged: Any


def units(skeleton: Skeleton, dtype) -> tuple[jax.Array, jax.Array]:
    """Size of the skeleton, and (D,) units of the dofs: that size for lengths, 1 for angles."""
    size = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(skeleton.offsets), axis=-1))).astype(dtype)
    size = jnp.where(size > 0, size, 1.0)  # a lone point
    return size, jnp.where(np.array(skeleton.is_angle, bool), 1.0, size)


def first_state(problem: Problem, start, skeleton: Skeleton) -> State:
    """Before the first step, which starts within the limits."""
    start = jnp.clip(start, *jnp.asarray(skeleton.limits, start.dtype).T)
    one = jnp.ones((), start.dtype)
    cost = cost_of(problem, start, skeleton)
    return State(start, cost, 1e-3 * one, 2.0 * one, jnp.int32(0), jnp.array(False))


def minimise(
    problem: Problem, state: State, skeleton: Skeleton, method: str, max_iterations, tolerance
) -> State:
    """Steps until one promises to move the joints by less than the tolerance."""
    propose = {"least_squares": _newton_step, "gradient_descent": _descent_step}[method]
    low, high = jnp.asarray(skeleton.limits, state.params.dtype).T
    _, unit = units(skeleton, state.params.dtype)

    def step(state: State) -> State:
        residual, jacobian = linearise(problem, state.params, skeleton)
        gradient = residual @ jacobian
        at_limit = pressed_at_limit(state.params, gradient, skeleton)
        jacobian = jnp.where(at_limit[None, :], 0.0, jacobian)
        move = propose(jnp.where(at_limit, 0.0, gradient), jacobian, state.damping)
        move = jnp.clip(move, -_STRIDE, _STRIDE)
        params = jnp.clip(state.params + move * unit, low, high)
        promised = jacobian @ ((params - state.params) / unit)
        cost = cost_of(problem, params, skeleton)
        predicted = -jnp.dot(promised, residual) - 0.5 * jnp.dot(promised, promised)
        better = cost < state.cost
        gain = (state.cost - cost) / jnp.maximum(predicted, jnp.finfo(cost.dtype).tiny)
        shrink = jnp.clip(1.0 - (2.0 * gain - 1.0) ** 3, 0.1, 2.0)  # Nielsen (1999)
        return State(
            params=jnp.where(better, params, state.params),
            cost=jnp.where(better, cost, state.cost),
            damping=state.damping * jnp.where(better, shrink, state.growth),
            growth=jnp.where(better, 2.0, 2.0 * state.growth),
            iterations=state.iterations + 1,
            converged=jnp.sum(jnp.square(promised)) < tolerance**2,
        )

    return jax.lax.while_loop(
        lambda state: ~state.converged & (state.iterations < max_iterations), step, state
    )


def _newton_step(gradient, jacobian, damping) -> jax.Array:
    """Levenberg-Marquardt: Gauss-Newton, damped in proportion to the diagonal."""
    return -_eliminate(normal_matrix(jacobian, damping), gradient[:, None])[:, 0]


def _descent_step(gradient, jacobian, damping) -> jax.Array:
    """Down the gradient; the inverse of the damping is the rate."""
    del jacobian
    return -gradient / (1e3 * damping)


def normal_matrix(jacobian, damping=0.0) -> jax.Array:
    """J'J + damping diag(J'J), and enough more that it is never singular."""
    normal = jnp.matmul(jacobian.T, jacobian, precision="highest")
    damping += 100 * jnp.finfo(normal.dtype).eps
    return normal + jnp.diag(damping * jnp.diagonal(normal) + OPEN)


def _eliminate(matrix, right) -> jax.Array:
    """Solves a positive definite system by Gauss-Jordan elimination.

    Not LAPACK's Cholesky: in jaxlib 0.10 two batched ones at work at the same time can wait
    for each other for ever when the machine has few cores.
    """
    size = len(matrix)

    def step(k, rows):
        pivot = rows[k] / rows[k, k]
        rest = rows - rows[:, k, None] * pivot[None]
        return jnp.where((jnp.arange(size) == k)[:, None], pivot[None], rest)

    return jax.lax.fori_loop(0, size, step, jnp.concatenate([matrix, right], axis=1))[:, size:]


def invert(matrix) -> jax.Array:
    """Inverse of a positive definite matrix."""
    return _eliminate(matrix, jnp.eye(len(matrix), dtype=matrix.dtype))


def linearise(problem: Problem, params, skeleton: Skeleton) -> tuple[jax.Array, jax.Array]:
    """Weighted residuals and Jacobian, in sizes, with the rows that hold the dofs."""
    size, unit = units(skeleton, params.dtype)
    positions, jacobian = joint_jacobian(params, skeleton)
    root = jnp.sqrt(problem.weights)[:, None] / size
    residual = ((positions - problem.joints) * root).ravel()
    jacobian = (jacobian * root[:, :, None] * unit[None, None, :]).reshape(len(residual), -1)
    pull = problem.hold * (params - problem.anchor) / unit
    holds = problem.hold * jnp.eye(len(params), dtype=params.dtype)
    return jnp.concatenate([residual, pull]), jnp.concatenate([jacobian, holds])


def cost_of(problem: Problem, params, skeleton: Skeleton) -> jax.Array:
    """Eq. 3 in squared sizes, and what holds the dofs."""
    size, unit = units(skeleton, params.dtype)
    miss = (forward_kinematics(params, skeleton) - problem.joints) / size
    pull = problem.hold * (params - problem.anchor) / unit
    return 0.5 * (jnp.sum(problem.weights[:, None] * jnp.square(miss)) + jnp.sum(jnp.square(pull)))


def pressed_at_limit(params, gradient, skeleton: Skeleton) -> jax.Array:
    """Dofs at a limit that descent would leave."""
    low, high = jnp.asarray(skeleton.limits, params.dtype).T
    return ((params <= low) & (gradient > 0)) | ((params >= high) & (gradient < 0))
