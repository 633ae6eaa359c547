"""Damped least squares, and gradient descent, on Eq. 3 for one pose.

Lengths are counted in the skeleton's size, so that lengths and angles compare and no
tolerance depends on the unit.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.fused import fused
from kinpose.kinematics import forward_kinematics, joint_jacobian
from kinpose.skeleton import Skeleton
from kinpose.steps import OPEN, STRIDE, form_of, solution_program, step_program

_BLOCK = 256
"""Poses whose matrices a CPU inverts together: so many fit its cache."""


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
    """Steps until one would move the joints by less than the tolerance, were it not damped."""
    propose = {"least_squares": _newton_step, "gradient_descent": _descent_step}[method]

    def step(state: State) -> State:
        params, (cost, predicted, promised) = propose(
            problem, state.params, state.damping, skeleton
        )
        better = cost < state.cost
        gain = (state.cost - cost) / jnp.maximum(predicted, jnp.finfo(cost.dtype).tiny)
        shrink = jnp.clip(1.0 - (2.0 * gain - 1.0) ** 3, 0.1, 2.0)  # Nielsen (1999)
        return State(
            params=jnp.where(better, params, state.params),
            cost=jnp.where(better, cost, state.cost),
            damping=state.damping * jnp.where(better, shrink, state.growth),
            growth=jnp.where(better, 2.0, 2.0 * state.growth),
            iterations=state.iterations + 1,
            converged=promised * jnp.square(1.0 + state.damping) < tolerance**2,
        )

    return jax.lax.while_loop(
        lambda state: ~state.converged & (state.iterations < max_iterations), step, state
    )


def _newton_step(problem: Problem, params, damping, skeleton: Skeleton) -> tuple:
    """Levenberg-Marquardt: Gauss-Newton, damped in proportion to the diagonal."""
    size, _ = units(skeleton, params.dtype)
    limits = jnp.asarray(skeleton.limits, params.dtype)
    rows = (
        params,
        problem.joints.ravel(),
        problem.weights,
        problem.anchor,
        jnp.stack([problem.hold, size, damping]),
        jnp.asarray(skeleton.offsets, params.dtype).ravel(),
        *limits.T,
    )
    return _run_either(step_program, dense_step, skeleton, *rows)


def _run_either(program, dense, skeleton: Skeleton, *rows, linear: int = 0) -> list[jax.Array]:
    """A function of rows, written out over a batch where that is the faster form."""
    dense = _of_rows(dense, jax.tree.structure(skeleton))
    form = form_of(skeleton)
    if form is None:
        return dense(*rows)

    def on_cpu(*rows):
        return fused(program(form), *rows, compact=dense, linear=linear)

    return jax.lax.platform_dependent(*rows, cpu=on_cpu, default=dense)


@functools.lru_cache(maxsize=64)
def _of_rows(dense, form):
    """The dense function, which takes a skeleton's structure beside the rows."""
    return functools.partial(dense, form)


def _rebuild(form, offsets, limits=None) -> Skeleton:
    """A skeleton from its structure and rows of its numbers."""
    skeleton = jax.tree.unflatten(form, (offsets, limits))
    return dataclasses.replace(skeleton, offsets=offsets.reshape(skeleton.num_joints, -1))


def dense_step(form, params, points, weights, anchor, settings, offsets, low, high) -> list:
    """A step of Levenberg-Marquardt from a skeleton's structure and rows of numbers.

    Args:
      form: structure of the skeleton's pytree.
      params: (D,) where to start.
      points: (K * n,) to come close to.
      weights: (K,) of the points.
      anchor: (D,) where the dofs are held.
      settings: (3,) how firmly, the skeleton's size, and the damping.
      offsets: (J * n,) bones.
      low: (D,) lowest values.
      high: (D,) highest values.

    Returns:
      The proposed parameters (D,), and (3,): their cost, the predicted gain, and the square
      of the way that the step promises to move the joints.
    """
    skeleton = _rebuild(form, offsets, jnp.stack([low, high], axis=1))
    hold, _, damping = settings
    problem = Problem(points.reshape(-1, skeleton.ndim), weights, anchor, hold)
    return _propose(problem, params, damping, skeleton, _newton_move)


def _descent_step(problem: Problem, params, damping, skeleton: Skeleton) -> tuple:
    """Down the gradient; the inverse of the damping is the rate."""
    return _propose(problem, params, damping, skeleton, _descent_move)


def _propose(problem: Problem, params, damping, skeleton: Skeleton, move_of) -> list:
    low, high = jnp.asarray(skeleton.limits, params.dtype).T
    _, unit = units(skeleton, params.dtype)
    residual, jacobian = linearise(problem, params, skeleton)
    gradient = residual @ jacobian
    at_limit = pressed_at_limit(params, gradient, skeleton)
    jacobian = jnp.where(at_limit[None, :], 0.0, jacobian)
    move = jnp.clip(move_of(jnp.where(at_limit, 0.0, gradient), jacobian, damping), -STRIDE, STRIDE)
    moved = jnp.clip(params + move * unit, low, high)
    promised = jacobian @ ((moved - params) / unit)
    square = jnp.dot(promised, promised)
    predicted = -jnp.dot(promised, residual) - 0.5 * square
    return [moved, jnp.stack([cost_of(problem, moved, skeleton), predicted, square])]


def _newton_move(gradient, jacobian, damping) -> jax.Array:
    return -_eliminate(normal_matrix(jacobian, damping), gradient[:, None])[:, 0]


def _descent_move(gradient, jacobian, damping) -> jax.Array:
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


def observability_of(params, weights, skeleton: Skeleton) -> jax.Array:
    """(B, D) least way that the keypoints go per unit of a dof, other dofs free.

    Matrices do for what is asked for once a pose: a program written out would take longer to
    compile than to run for a hundred thousand poses.
    """
    size, unit = units(skeleton, params.dtype)

    def one(pose):
        inverse = jnp.diagonal(_inverse(_jacobian(*pose, skeleton)))
        return jnp.sqrt(jnp.maximum(1.0 / inverse - OPEN, 0.0)) * size / unit

    in_blocks = functools.partial(jax.lax.map, one, batch_size=_BLOCK)
    return jax.lax.platform_dependent((params, weights), cpu=in_blocks, default=jax.vmap(one))


def solution_of(params, weights, free, right, skeleton: Skeleton) -> jax.Array:
    """(D,) the solution of J'WJ x = right for the free dofs, zero for the others.

    Linear in `right`, which alone is differentiated.
    """
    size, _ = units(skeleton, params.dtype)
    offsets = jnp.asarray(skeleton.offsets, params.dtype).ravel()
    rows = params, weights, size[None], offsets, free.astype(params.dtype), right
    return _run_either(solution_program, dense_solution, skeleton, *rows, linear=1)[0]


def dense_solution(form, params, weights, settings, offsets, free, right) -> list:
    """What `solution_of` gives; the settings are the size (1,)."""
    inverse = _inverse(_jacobian(params, weights, _rebuild(form, offsets)) * free[None, :])
    return [free * jnp.matmul(inverse, right * free, precision="highest")]


def _inverse(jacobian) -> jax.Array:
    normal = normal_matrix(jacobian)
    return _eliminate(normal, jnp.eye(len(normal), dtype=normal.dtype))


def _jacobian(params, weights, skeleton: Skeleton) -> jax.Array:
    points = jnp.zeros((skeleton.num_keypoints, skeleton.ndim), params.dtype)
    hold = jnp.zeros((), params.dtype)
    return linearise(Problem(points, weights, params, hold), params, skeleton)[1]


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
