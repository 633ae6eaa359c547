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

from kinpose.angles import balls_of, real_limits, side_by_side
from kinpose.fused import fused
from kinpose.kinematics import are_in_loops, forward_kinematics, joint_jacobian
from kinpose.skeleton import Skeleton
from kinpose.steps import OPEN, STRIDE, blunt, form_of, solution_program, step_program, trust
from kinpose.turning import after_turns, away_from, by_turns, on_angles, stiffened, turning_of

_BLOCK = 256
"""Poses whose matrices a CPU inverts together: so many fit its cache."""


class Problem(NamedTuple):
    """One pose to fit."""

    joints: Any  # (K, n), missing ones zero
    weights: Any  # (K,), missing ones zero
    softness: Any  # inverse square of the distance at which points lose their weight, or zero
    anchor: Any = None  # (D,) where the dofs are held
    hold: Any = None  # how firmly, in sizes per rad


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
    if problem.hold is not None:
        return _propose(problem, params, damping, skeleton)
    size, _ = units(skeleton, params.dtype)
    rows = (
        params,
        problem.joints.ravel(),
        problem.weights,
        jnp.stack([size, damping, problem.softness]),
        jnp.asarray(skeleton.offsets, params.dtype).ravel(),
        *jnp.asarray(skeleton.limits, params.dtype).T,
        *real_limits(skeleton, params.dtype),
    )
    return _run_either(step_program, dense_step, skeleton, *rows)


def _run_either(program, dense, skeleton: Skeleton, *rows, linear: int = 0) -> list[jax.Array]:
    """A function of rows, written out over a batch where that is the faster form."""
    dense = _of_rows(dense, jax.tree.structure(skeleton))
    form = None if are_in_loops() else form_of(skeleton)
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


def dense_step(
    form, params, points, weights, settings, offsets, low, high, lowest, highest
) -> list:
    """A step of Levenberg-Marquardt from a skeleton's structure and rows of numbers.

    Args:
      form: structure of the skeleton's pytree.
      params: (D,) where to start.
      points: (K * n,) to come close to.
      weights: (K,) of the points.
      settings: (3,) the skeleton's size, the damping, and the softness.
      offsets: (J * n,) bones.
      low: (D,) lowest values.
      high: (D,) highest values.
      lowest: (D,) those of `low` that stop a motion, see `kinpose.angles.real_limits`.
      highest: (D,) the same of `high`.

    Returns:
      The proposed parameters (D,), and (3,): their cost, the predicted gain, and the square
      of the way that the step promises to move the joints.
    """
    del lowest, highest  # follow from the others
    skeleton = _rebuild(form, offsets, jnp.stack([low, high], axis=1))
    _, damping, softness = settings
    problem = Problem(points.reshape(-1, skeleton.ndim), weights, softness)
    return _propose(problem, params, damping, skeleton)


def _propose(problem: Problem, params, damping, skeleton: Skeleton) -> list:
    """`dense_step` of a problem that may hold its dofs."""
    low, high = jnp.asarray(skeleton.limits, params.dtype).T
    _, unit = units(skeleton, params.dtype)
    turning = turning_of(params, skeleton)
    residual, by_angle, by_dof = linearise(problem, params, skeleton, turning)
    slopes, stiffness = residual @ by_angle, jnp.zeros_like(params)
    pull, pull_on_angles = stiffness, stiffness
    if problem.hold is not None:
        stiffness = jnp.full_like(params, jnp.square(problem.hold))
        pull = stiffness * (params - problem.anchor) / unit
        pull_on_angles = pull
        if turning is not None:
            dofs = turning.balls.dofs
            turns = away_from(params, problem.anchor, turning.balls)[0] * stiffness[0]
            pull = pull.at[dofs].set(turns)
            pull_on_angles = pull.at[dofs].set(on_angles(turns, turning))
    pressed = pressed_at_limit(params, slopes + pull_on_angles, skeleton)
    fixed = pressed
    if turning is not None:
        fixed = pressed.at[turning.balls.dofs].set(False)
    by_dof = jnp.where(fixed[None, :], 0.0, by_dof)
    stiffness = jnp.where(fixed, 0.0, stiffness)
    gradient = residual @ by_dof + jnp.where(fixed, 0.0, pull)
    normal = _gram(by_dof) + jnp.diag(stiffness)
    if turning is not None:
        normal = stiffened(normal, pressed, turning)
    moves = -_eliminate(_damped(normal, damping), gradient[:, None])[:, 0]
    moves = jnp.clip(moves, -STRIDE, STRIDE)
    moved = jnp.clip(params + moves * unit, low, high)
    change = (moved - params) / unit
    if turning is not None:
        angles, turns = after_turns(params, moves, low, high, turning)
        moved, change = (
            x.at[turning.balls.dofs].set(y) for x, y in ((moved, angles), (change, turns))
        )
    ways = by_dof @ change
    promised = jnp.dot(ways, ways) + jnp.dot(stiffness, jnp.square(change))
    predicted = -jnp.dot(gradient, change) - 0.5 * promised
    return [moved, jnp.stack([cost_of(problem, moved, skeleton), predicted, promised])]


def _descent_step(problem: Problem, params, damping, skeleton: Skeleton) -> tuple:
    """Down the gradient; the inverse of the damping is the rate."""
    low, high = jnp.asarray(skeleton.limits, params.dtype).T
    _, unit = units(skeleton, params.dtype)
    residual, jacobian, _ = linearise(problem, params, skeleton)
    gradient = residual @ jacobian
    pressed = pressed_at_limit(params, gradient, skeleton)
    move = jnp.clip(-jnp.where(pressed, 0.0, gradient) / (1e3 * damping), -STRIDE, STRIDE)
    moved = jnp.clip(params + move * unit, low, high)
    ways = jacobian @ ((moved - params) / unit)
    promised = jnp.dot(ways, ways)
    predicted = -jnp.dot(ways, residual) - 0.5 * promised
    return [moved, jnp.stack([cost_of(problem, moved, skeleton), predicted, promised])]


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
    normal = _damped(_gram(jacobian))
    return _eliminate(normal, jnp.eye(len(normal), dtype=normal.dtype))


def _gram(jacobian) -> jax.Array:
    return jnp.matmul(jacobian.T, jacobian, precision="highest")


def _damped(normal, damping=0.0) -> jax.Array:
    """The matrix + damping its diagonal, and enough more that it is never singular."""
    damping += 100 * jnp.finfo(normal.dtype).eps
    return normal + jnp.diag(damping * jnp.diagonal(normal) + OPEN)


def _jacobian(params, weights, skeleton: Skeleton) -> jax.Array:
    points = jnp.zeros((skeleton.num_keypoints, skeleton.ndim), params.dtype)
    problem = Problem(points, weights, jnp.zeros((), params.dtype))
    return linearise(problem, params, skeleton)[1]


def linearise(problem: Problem, params, skeleton: Skeleton, turning=None) -> tuple:
    """Weighted residuals (K * n,) and Jacobians (K * n, D), in sizes.

    The first Jacobian is by the dofs; in the second a ball's dofs are turns about its own axes.
    """
    size, unit = units(skeleton, params.dtype)
    positions, jacobian = joint_jacobian(params, skeleton)
    miss = positions - problem.joints
    trusted = problem.weights * trust(jnp.sum(jnp.square(miss), axis=-1), problem.softness)
    root = jnp.sqrt(trusted)[:, None] / size
    by_dof = jacobian
    if turning is not None:
        by_dof = by_turns(jacobian, positions, turning, skeleton)
    residual = (miss * root).ravel()
    by_angle, by_dof = (
        (x * root[:, :, None] * unit[None, None, :]).reshape(len(residual), -1)
        for x in (jacobian, by_dof)
    )
    return residual, by_angle, by_dof


def cost_of(problem: Problem, params, skeleton: Skeleton) -> jax.Array:
    """Eq. 3 in squared sizes, and what holds the dofs."""
    size, unit = units(skeleton, params.dtype)
    miss = forward_kinematics(params, skeleton) - problem.joints
    squares = blunt(jnp.sum(jnp.square(miss), axis=-1), problem.softness)
    cost = jnp.dot(problem.weights, squares) / size**2
    if problem.hold is not None:
        square = jnp.square((params - problem.anchor) / unit)
        balls = side_by_side(balls_of(skeleton))
        if len(balls.joints):
            _, turns = away_from(params, problem.anchor, balls)
            square = square.at[balls.dofs].set(turns[None, :] / 3)
        cost += jnp.square(problem.hold) * jnp.sum(square)
    return 0.5 * cost


def pressed_at_limit(params, gradient, skeleton: Skeleton) -> jax.Array:
    """Dofs at a limit that descent would leave."""
    lowest, highest = real_limits(skeleton, params.dtype)
    return ((params <= lowest) & (gradient > 0)) | ((params >= highest) & (gradient < 0))
