"""Model fitting: the motion parameters whose joints come closest to given points.

Minimises Eq. 3, half the squared distance between F(params) and the points. Inside, lengths
are counted in the skeleton's size, so that lengths and angles compare and no tolerance
depends on the unit.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kinpose.alignment import align_params
from kinpose.dtypes import at_least_float32
from kinpose.euler import limbs_of, turn_pressed_limbs
from kinpose.kinematics import forward_kinematics
from kinpose.minimise import (
    Problem,
    State,
    first_state,
    minimise,
    observability_of,
    pressed_at_limit,
    solution_of,
    units,
)
from kinpose.skeleton import Skeleton

_ITERATIONS = {"least_squares": 60, "gradient_descent": 3000}

_GROUP = 512
"""Fewest poses that are fitted apart from the others of their batch."""

_ROUNDS = 3
"""How often a pose is fitted: again by other angles, each time it is stopped by a limit."""

_SAME, _NOTHING = 1.01, 1e-10
"""Costs (squared sizes) that differ by no more than this factor, and this, are the same."""


class Fit(NamedTuple):
    """What a fit finds; the leading dimensions are those of the points.

    Attributes:
      params: (..., D) rad or the skeleton's length unit. Differentiable.
      residuals: (..., K) distance of each keypoint from its point; NaN where it is missing.
      iterations: (...) steps tried.
      converged: (...) whether the last step could move no joint by more than the tolerance.
      observability: (..., D) how firmly the points hold a dof: the distance, over all
        keypoints together, by which they must move per unit of the dof at least, whatever
        the other dofs do to hide it. Zero for the twist of a straight arm. Noise of s in the
        points makes an error of about s / observability in the dof.
    """

    params: jax.Array
    residuals: jax.Array
    iterations: jax.Array
    converged: jax.Array
    observability: jax.Array


def fit_params(
    joints: jax.Array,
    skeleton: Skeleton,
    *,
    weights: jax.Array | None = None,
    init: jax.Array | None = None,
    method: str = "least_squares",
    max_iterations: int | None = None,
    tolerance: float = 3e-6,
) -> Fit:
    """Fits a skeleton to points: ModelFit (Sec. 3.2).

    Limits of the skeleton hold; a limb that comes to rest against one is tried again from
    other angles of the same pose, which are taken if they lead further. `params` can be
    differentiated with respect to `joints`, `weights` and the skeleton's offsets, by the
    implicit function theorem in its Gauss-Newton form, exact where the residual is small:
    d params / d joints = (J'WJ + damping)^-1 J'W. Dofs at a limit, and dofs that the points
    leave open, get zero.

    Args:
      joints: (..., K, n) points in the skeleton's length unit; NaN marks a missing one.
      skeleton: the tree; its keypoints are the points, in order.
      weights: (K,) or (..., K) factors of the squared distances, 1 by default.
      init: (D,) or (..., D) where to start; by default from `align_params`, which needs no
        knowledge of the pose.
      method: "least_squares", Levenberg-Marquardt on the analytic Jacobian, or
        "gradient_descent", plain descent on Eq. 3 with a step that adapts: the paper's.
      max_iterations: steps to try, by default 60 or 3000.
      tolerance: stop when a step should move the joints by less than this part of the size
        of the skeleton (the root mean square of its bones).

    Returns:
      The fit, in the dtype of `joints` (at least float32).

    Raises:
      ValueError: for arguments of wrong shape or type, or an unknown method.

    Example:
      >>> from kinpose.skeletons import human_17
      >>> points = forward_kinematics(jnp.full(27, 0.3), human_17())
      >>> bool(fit_params(points, human_17()).residuals.max() < 0.1)
      True
    """
    joints, weights = checked_points(joints, weights, skeleton)
    batch = joints.shape[:-2]
    if init is not None:
        init = checked_shape(init, (*batch, skeleton.num_dofs), "init").astype(joints.dtype)
    if method not in _ITERATIONS:
        raise ValueError(f"method must be one of {list(_ITERATIONS)}, but got {method!r}.")
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(batch) :]), (joints, weights, init))
    steps = _ITERATIONS[method] if max_iterations is None else max_iterations
    with jax.default_matmul_precision("highest"):  # accelerators round factors to bfloat16
        fit = fit_batch(*flat, skeleton, method=method, max_iterations=steps, tolerance=tolerance)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), fit)


@functools.partial(jax.jit, static_argnames=("method", "max_iterations"))
def fit_batch(joints, weights, init, skeleton, *, method, max_iterations, tolerance) -> Fit:
    """Fits (B, K, n) points with (B, K) weights, from `init` (B, D) or from nothing."""
    points, weights = jax.vmap(seen_points)(joints, weights)
    *frozen, init, still = jax.lax.stop_gradient((points, weights, init, skeleton))
    start = jax.vmap(align_params, in_axes=(0, 0, None))(*frozen, still) if init is None else init
    problems = Problem(*frozen, anchor=start, hold=jnp.zeros(len(start), start.dtype))
    states = jax.vmap(first_state, in_axes=(0, 0, None))(problems, start, still)
    solve_one = functools.partial(minimise, skeleton=still, method=method, tolerance=tolerance)
    solve = functools.partial(_in_groups, solve_one, problems, max_iterations=max_iterations)
    return report(joints, points, weights, skeleton, _in_rounds(solve, problems, states, still))


def _in_groups(solve, problems, states, max_iterations: int):
    """Minimises a batch a group at a time, and a few steps at a time.

    A batch takes as many steps as its slowest pose, and that is one in a hundred: so each
    group takes the poses that have had the fewest steps, or are not done when all others are.
    """
    size, few = len(states.cost), max(8, max_iterations // 8)
    if size <= _GROUP:
        return jax.vmap(functools.partial(solve, max_iterations=max_iterations))(problems, states)
    group = max(size // 4, _GROUP)

    def todo(states):
        return ~states.converged & (states.iterations < max_iterations)

    def advance(states):
        had = jnp.where(todo(states), states.iterations, max_iterations)
        chosen = jnp.argsort(had, stable=True)[:group]
        mine = jax.tree.map(lambda x: x[chosen], (problems, states))
        last = jnp.minimum(jnp.min(had) + few, max_iterations)
        mine = jax.vmap(functools.partial(solve, max_iterations=last))(*mine)
        return jax.tree.map(lambda old, new: old.at[chosen].set(new), states, mine)

    return jax.lax.while_loop(lambda states: jnp.any(todo(states)), advance, states)


def _in_rounds(solve, problems, states, skeleton: Skeleton):
    """Minimises, and tries poses that come to rest against a limit again by other angles.

    At a limit no step leads to the same pose by other angles, from where it may go on.
    """
    if not limbs_of(skeleton):
        return solve(states)

    @jax.vmap
    def choose(first, one, other):
        return jax.tree.map(functools.partial(jnp.where, first), one, other)

    def turn(problem, state):
        other = first_state(problem, turn_pressed_limbs(state.params, skeleton), skeleton)
        moved = jnp.any(other.params != state.params)
        return other, moved & (other.cost < _SAME * state.cost + _NOTHING)

    def round_of(_, carry):
        best, trial = carry
        found = solve(trial)
        better = _SAME * found.cost < best.cost
        best = choose(better, found, best)
        other, same = jax.vmap(turn)(problems, best)
        done = best._replace(converged=jnp.ones_like(best.converged))
        trial = choose(better & same, other, done)
        return best, trial._replace(iterations=found.iterations)

    nothing = states._replace(cost=jnp.full_like(states.cost, jnp.inf))
    best, last = jax.lax.fori_loop(0, _ROUNDS, round_of, (nothing, states))
    return best._replace(iterations=last.iterations)


def report(joints, points, weights, skeleton: Skeleton, states: State) -> Fit:
    """Completes the solutions of a batch; all but `states` may carry derivatives."""
    observability = observability_of(*jax.lax.stop_gradient((states.params, weights, skeleton)))
    return jax.vmap(_report_one, in_axes=(0, 0, 0, None, 0, 0))(
        joints, points, weights, skeleton, states, observability
    )


def _report_one(joints, points, weights, skeleton: Skeleton, state: State, observability) -> Fit:
    params, *frozen, still = jax.lax.stop_gradient((state.params, weights, skeleton))
    size, unit = units(still, params.dtype)
    positions = forward_kinematics(params, skeleton)
    _, back = jax.vjp(lambda params: forward_kinematics(params, still), params)
    gradient = back(weights[:, None] * (positions - points))[0] * unit / size**2
    miss = jax.lax.stop_gradient(positions) - jax.lax.stop_gradient(joints)
    return Fit(
        params=_follow(params, *frozen, gradient, still),
        residuals=jnp.linalg.norm(miss, axis=-1),
        iterations=state.iterations,
        converged=state.converged,
        observability=observability,
    )


@jax.custom_jvp
def _follow(params, weights, gradient, skeleton: Skeleton) -> jax.Array:
    """The solution, which moves when the gradient of Eq. 3, zero there, begins to change."""
    del weights, gradient, skeleton
    return params


@_follow.defjvp
def _follow_jvp(primals, tangents):
    params, weights, gradient, skeleton = primals
    free = ~pressed_at_limit(params, gradient, skeleton)
    _, unit = units(skeleton, params.dtype)
    return params, -unit * solution_of(params, weights, free, tangents[2], skeleton)


def seen_points(joints, weights) -> tuple[jax.Array, jax.Array]:
    """Points and weights, both zero where a coordinate is missing."""
    seen = jnp.all(jnp.isfinite(joints), axis=-1)
    return jnp.where(seen[:, None], joints, 0.0), jnp.where(seen, weights, 0.0)


def checked_points(joints, weights, skeleton: Skeleton) -> tuple[jax.Array, jax.Array]:
    """The gate: points (..., K, n) in float32 at least, and weights (..., K)."""
    joints = jnp.asarray(joints)
    shape = (skeleton.num_keypoints, skeleton.ndim)
    if joints.shape[-2:] != shape:
        raise ValueError(
            f"joints must have shape (..., {shape[0]}, {shape[1]}), one point per keypoint of the "
            f"skeleton, but got {joints.shape}."
        )
    joints = at_least_float32(joints, "joints")
    weights = jnp.ones(shape[0]) if weights is None else weights
    return joints, checked_shape(weights, joints.shape[:-1], "weights").astype(joints.dtype)


def checked_shape(value, shape: tuple, name: str) -> jax.Array:
    """The value, broadcast to the shape, which it has in full or in its last dimension."""
    value = jnp.asarray(value)
    if value.shape not in (shape, shape[-1:]):
        raise ValueError(f"{name} must have shape {shape[-1:]} or {shape}, but got {value.shape}.")
    return jnp.broadcast_to(value, shape)
