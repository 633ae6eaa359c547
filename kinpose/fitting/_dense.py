"""A fit's step as matrices: for few poses, large skeletons and platforms made for matrices.

A ball (`kinpose.angles`) steps about its own three axes; its angles are read off afterwards.

Shapes: K keypoints, D dofs, b balls.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kinematics.walk import paths_of
from kinpose.angles import Balls, axes_of, normals_of, put_balls, side_by_side, turned, turns_away
from kinpose.fitting._problem import (
    OPEN,
    STIFF,
    STRIDE,
    Problem,
    bounds,
    cost_of,
    into_bounds,
    pressed_at_limit,
    trust,
    units,
)
from kinpose.kinematics import forward_kinematics, joint_jacobian, joint_transforms
from kinpose.skeleton import Skeleton


def newton_step(problem: Problem, params, damping, skeleton: Skeleton) -> list:
    """See `kinpose.fitting._levenberg_marquardt`."""
    (_, unit), balls = units(skeleton, params.dtype), side_by_side(skeleton)
    turning = len(balls.joints) > 0
    positions, residual, by_angle, by_dof = _linearise(problem, params, skeleton, balls)
    slopes = residual @ by_angle
    stiffness = pull = pull_on_angles = jnp.zeros_like(params)
    if problem.prior_weight is not None:
        stiffness = jnp.broadcast_to(jnp.square(problem.prior_weight), params.shape)
        pull = pull_on_angles = stiffness * (params - problem.prior_params) / unit
        if turning:
            turns = turns_away(params, problem.prior_params, balls)[0]
            turns *= stiffness[balls.dofs]  # the same for all three
            axes = _stacked(axes_of, params, balls)
            on_angles = jnp.einsum("rcb,cb->rb", axes, turns, precision="highest")
            pull_on_angles = put_balls(pull, balls, on_angles)
            pull = put_balls(pull, balls, turns)
    pressed = pressed_at_limit(params, slopes + pull_on_angles, skeleton)
    fixed = put_balls(pressed, balls, False) if turning else pressed
    by_dof = jnp.where(fixed[None, :], 0.0, by_dof)
    stiffness = jnp.where(fixed, 0.0, stiffness)
    gradient = residual @ by_dof + jnp.where(fixed, 0.0, pull)
    normal = _gram(by_dof) + jnp.diag(stiffness)
    if turning and skeleton.limits is not None:
        normal = _stiffened(normal, pressed, params, balls)
    moves = -_eliminate(_damped(normal, damping), gradient[:, None])[:, 0]
    moves = jnp.clip(moves, -STRIDE, STRIDE)
    moved = into_bounds(params + moves * unit, skeleton)
    change = (moved - params) / unit
    if turning:
        dofs, hand = balls.dofs, balls.hand.astype(params.dtype)
        limits = () if skeleton.limits is None else bounds(skeleton, params.dtype)
        angles, turns = turned(hand, *(list(x[dofs]) for x in (params, moves, *limits)))
        moved = put_balls(moved, balls, jnp.stack(angles))
        change = put_balls(change, balls, jnp.stack(turns))
    ways = by_dof @ change
    promised = jnp.dot(ways, ways) + jnp.dot(stiffness, jnp.square(change))
    predicted = -jnp.dot(gradient, change) - 0.5 * promised
    return [moved, _numbers(problem, params, positions, moved, predicted, promised, skeleton)]


def descent_step(problem: Problem, params, damping, skeleton: Skeleton) -> list:
    """Down the gradient; the inverse of the damping is the rate."""
    _, unit = units(skeleton, params.dtype)
    positions, residual, jacobian, _ = _linearise(problem, params, skeleton)
    gradient = residual @ jacobian
    pressed = pressed_at_limit(params, gradient, skeleton)
    move = jnp.clip(-jnp.where(pressed, 0.0, gradient) / (1e3 * damping), -STRIDE, STRIDE)
    moved = into_bounds(params + move * unit, skeleton)
    ways = jacobian @ ((moved - params) / unit)
    promised = jnp.dot(ways, ways)
    predicted = -jnp.dot(ways, residual) - 0.5 * promised
    return [moved, _numbers(problem, params, positions, moved, predicted, promised, skeleton)]


def _numbers(problem, params, positions, moved, predicted, promised, skeleton) -> jax.Array:
    there = cost_of(problem, moved, forward_kinematics(moved, skeleton), skeleton)
    return jnp.stack([cost_of(problem, params, positions, skeleton), there, predicted, promised])


def slopes_of(problem: Problem, params, skeleton: Skeleton) -> jax.Array:
    """(D,) derivatives of Eq. 3 (squared sizes) by angles and by lengths in sizes."""
    _, residual, by_angle, _ = _linearise(problem, params, skeleton)
    return residual @ by_angle


def solution(params, weights, free, right, skeleton: Skeleton) -> jax.Array:
    """See `kinpose.fitting._levenberg_marquardt.solution_of`."""
    jacobian = _in_sizes(joint_jacobian(params, skeleton)[1], weights, skeleton)
    inverse = _inverse(jnp.where(free[None, :], jacobian, 0.0))
    found = jnp.matmul(inverse, jnp.where(free, right, 0.0), precision="highest")
    return jnp.where(free, found, 0.0)


def observability_of(jacobian, weights, skeleton: Skeleton) -> jax.Array:
    """(D,) least way that keypoints go per unit of a dof, others free; by (K, n, D) and (K,).

    Matrices do once a pose: what is written out compiles for longer than 100,000 poses take.
    """
    size, unit = units(skeleton, jacobian.dtype)
    inverse = jnp.diagonal(_inverse(_in_sizes(jacobian, weights, skeleton)))
    return jnp.sqrt(jnp.maximum(1.0 / inverse - OPEN, 0.0)) * size / unit


def _in_sizes(jacobian, weights, skeleton: Skeleton) -> jax.Array:
    """(K * n, D) from (K, n, D), weighted, and lengths counted in sizes."""
    size, unit = units(skeleton, jacobian.dtype)
    root = jnp.sqrt(weights)[:, None, None] / size
    return (jacobian * root * unit[None, None, :]).reshape(-1, len(unit))


def _linearise(problem: Problem, params, skeleton: Skeleton, balls=None) -> tuple:
    """Positions (K, n); weighted residuals (K * n,) and Jacobians (K * n, D), in sizes.

    The first Jacobian is by the dofs; in the second a ball's dofs are turns about its own axes.
    """
    size, _ = units(skeleton, params.dtype)
    positions, jacobian = joint_jacobian(params, skeleton)
    miss = positions - problem.joints
    trusted = problem.weights * trust(jnp.sum(jnp.square(miss), axis=-1), problem.softness)
    by_angle = by_dof = _in_sizes(jacobian, trusted, skeleton)
    if balls is not None and len(balls.joints):
        by_dof = _by_turns(jacobian, positions, params, balls, skeleton)
        by_dof = _in_sizes(by_dof, trusted, skeleton)
    return positions, (miss * jnp.sqrt(trusted)[:, None] / size).ravel(), by_angle, by_dof


def _inverse(jacobian) -> jax.Array:
    normal = _damped(_gram(jacobian))
    return _eliminate(normal, jnp.eye(len(normal), dtype=normal.dtype))


def _gram(jacobian) -> jax.Array:
    return jnp.matmul(jacobian.T, jacobian, precision="highest")


def _damped(normal, damping=0.0) -> jax.Array:
    """The matrix + damping its diagonal, and enough more that it is never singular."""
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


def _by_turns(jacobian, positions, params, balls: Balls, skeleton: Skeleton) -> jax.Array:
    """The Jacobian (K, 3, D) in which a ball's dofs are turns about its own axes."""
    rotations, places = joint_transforms(params, skeleton)
    own = np.moveaxis(balls.axes, -1, 0).astype(params.dtype)
    axes = jnp.matmul(own, rotations[balls.joints].swapaxes(1, 2), precision="highest")
    below = paths_of(skeleton.parents)[list(skeleton.keypoints)][:, balls.joints].T
    arms = jnp.where(below[:, :, None], positions[None] - places[balls.joints][:, None], 0.0)
    turns = jnp.cross(axes[:, None], arms[:, :, None, :] + 0 * axes[:, None])
    return put_balls(jacobian, balls, turns.transpose(1, 3, 2, 0))


def _stiffened(matrix, pressed, params, balls: Balls) -> jax.Array:
    """Normal equations (D, D) of balls that turn only such that pressed angles (D,) stay."""
    dofs, across = balls.dofs, _stacked(normals_of, params, balls)
    stiff = STIFF * (jnp.sum(jnp.diagonal(matrix)[dofs], axis=0) + OPEN)
    stiff = stiff[None, :] * pressed[dofs].astype(matrix.dtype)
    block = jnp.einsum("rb,rcb,rdb->cdb", stiff, across, across, precision="highest")
    places = np.zeros(matrix.shape, int)  # of what is added, zero first
    places[dofs[:, None, :], dofs[None, :, :]] = 1 + np.arange(block.size).reshape(block.shape)
    return matrix + jnp.concatenate([jnp.zeros(1, block.dtype), block.ravel()])[places]


def _stacked(vectors_of: Callable, params, balls: Balls) -> jax.Array:
    """(3, 3, b) three vectors of each ball, by its angles."""
    rows = vectors_of(list(params[balls.dofs]), balls.hand.astype(params.dtype))
    none = jnp.zeros(len(balls.joints), params.dtype)
    return jnp.stack([jnp.stack([x + none for x in row]) for row in rows])
