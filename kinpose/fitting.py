"""Model fitting: the motion parameters whose joints come closest to given points.

Minimises Eq. 3, half the squared distance between F(params) and the points. Inside, lengths
are counted in the skeleton's size, so that lengths and angles compare and no tolerance
depends on the unit.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.alignment import align_params
from kinpose.kinematics import forward_kinematics, joint_jacobian
from kinpose.skeleton import Skeleton

_OPEN = 1e-6
"""Squared observability, in sizes per rad, below which a dof counts as left open."""

_ITERATIONS = {"least_squares": 60, "gradient_descent": 3000}


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
    tolerance: float = 1e-5,
) -> Fit:
    """Fits a skeleton to points: ModelFit (Sec. 3.2).

    Limits of the skeleton hold. `params` can be differentiated with respect to `joints`,
    `weights` and the skeleton's offsets, by the implicit function theorem in its
    Gauss-Newton form, exact where the residual is small: d params / d joints =
    (J'WJ + damping)^-1 J'W. Dofs at a limit, and dofs that the points leave open, get zero.

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
    joints, weights = _checked(joints, weights, skeleton)
    batch = joints.shape[:-2]
    if init is not None:
        init = _broadcast(init, (*batch, skeleton.num_dofs), "init").astype(joints.dtype)
    if method not in _ITERATIONS:
        raise ValueError(f"method must be one of {list(_ITERATIONS)}, but got {method!r}.")
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(batch) :]), (joints, weights, init))
    fit = _fit_batch(
        *flat,
        skeleton,
        method=method,
        max_iterations=max_iterations or _ITERATIONS[method],
        tolerance=tolerance,
    )
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), fit)


def fit_sequence(
    joints: jax.Array,
    skeleton: Skeleton,
    *,
    weights: jax.Array | None = None,
    init: jax.Array | None = None,
    hold: float = 0.01,
    max_iterations: int = 60,
    tolerance: float = 1e-5,
) -> Fit:
    """Fits a recording so that the angles are continuous in time.

    Each frame starts from the one before and is held there weakly, so that a dof that the
    points leave open stays where it is and no angle jumps by a full turn. Where a start from
    nothing fits clearly better, tracking was lost, and the frame is taken from there.

    Args:
      joints: (T, K, n) points in the skeleton's length unit; NaN marks a missing one.
      skeleton: the tree.
      weights: (K,) or (T, K).
      init: (D,) the frame before the first, to continue a recording piece by piece.
      hold: observability, in sizes per rad, at which the points and the frame before count
        the same.
      max_iterations: steps to try per frame.
      tolerance: as in `fit_params`.

    Returns:
      The fit, T frames.

    Raises:
      ValueError: for arguments of wrong shape or type.
    """
    joints, weights = _checked(joints, weights, skeleton)
    if joints.ndim != 3:
        raise ValueError(f"a sequence of joints must have shape (T, K, n), but got {joints.shape}.")
    if init is not None:
        init = _broadcast(init, (skeleton.num_dofs,), "init").astype(joints.dtype)
    return _fit_frames(joints, weights, skeleton, init, hold, max_iterations, tolerance)


class _Problem(NamedTuple):
    """One pose to fit."""

    joints: Any  # (K, n), missing ones zero
    weights: Any  # (K,), missing ones zero
    anchor: Any  # (D,) where the dofs are held
    hold: Any  # how firmly, in sizes per rad


class _State(NamedTuple):
    params: Any  # (D,)
    cost: Any
    damping: Any
    growth: Any  # of the damping when a step fails
    iterations: Any
    converged: Any


@functools.partial(jax.jit, static_argnames=("method", "max_iterations"))
def _fit_batch(joints, weights, init, skeleton, *, method, max_iterations, tolerance) -> Fit:
    points, weights = jax.vmap(_seen)(joints, weights)
    *frozen, init, still = jax.lax.stop_gradient((points, weights, init, skeleton))
    start = jax.vmap(align_params, in_axes=(0, 0, None))(*frozen, still) if init is None else init
    problems = _Problem(*frozen, anchor=start, hold=jnp.zeros(len(start), start.dtype))
    states = jax.vmap(_first_state, in_axes=(0, 0, None))(problems, start, still)
    minimise = functools.partial(_minimise, skeleton=still, method=method, tolerance=tolerance)
    states = _in_groups(minimise, problems, states, max_iterations)
    report = jax.vmap(_report, in_axes=(0, 0, 0, None, 0))
    return report(joints, points, weights, skeleton, states)


def _in_groups(minimise, problems, states, max_iterations: int):
    """Minimises a batch: all for a few steps, then those that need more, a group at a time.

    A batch takes as many steps as its slowest pose, and that is one in a hundred.
    """
    size = len(states.cost)
    group = max(size // 8, min(size, 32))
    few = 8 if group < size else max_iterations
    states = jax.vmap(functools.partial(minimise, max_iterations=few))(problems, states)
    if few == max_iterations:
        return states

    def todo(states):
        return ~states.converged & (states.iterations < max_iterations)

    def finish_group(states):
        chosen = jnp.argsort(~todo(states), stable=True)[:group]
        mine = jax.tree.map(lambda x: x[chosen], (problems, states))
        mine = jax.vmap(functools.partial(minimise, max_iterations=max_iterations))(*mine)
        return jax.tree.map(lambda old, new: old.at[chosen].set(new), states, mine)

    return jax.lax.while_loop(lambda states: jnp.any(todo(states)), finish_group, states)


@functools.partial(jax.jit, static_argnames="max_iterations")
def _fit_frames(joints, weights, skeleton, init, hold, max_iterations, tolerance) -> Fit:
    points, weights = jax.vmap(_seen)(joints, weights)
    *frozen, init, still = jax.lax.stop_gradient((points, weights, init, skeleton))
    fresh = _fit_batch(
        *frozen, None, still, method="least_squares", max_iterations=20, tolerance=tolerance
    )

    def follow(before, frame):
        points, weights, other = frame
        problem = _Problem(points, weights, before, jnp.asarray(hold, points.dtype))
        state = _minimise(
            problem,
            _first_state(problem, before, still),
            still,
            "least_squares",
            max_iterations,
            tolerance,
        )
        free = problem._replace(hold=jnp.zeros_like(problem.hold))
        other = _nearest_turn(other, before, still)
        lost = _cost(free, state.params, still) > 1.2 * _cost(free, other, still) + tolerance
        state = state._replace(params=jnp.where(lost, other, state.params))
        return state.params, state

    before = fresh.params[0] if init is None else init
    _, states = jax.lax.scan(follow, before, (*frozen, fresh.params))
    report = jax.vmap(_report, in_axes=(0, 0, 0, None, 0))
    return report(joints, points, weights, skeleton, states)


def _units(skeleton: Skeleton, dtype) -> tuple[jax.Array, jax.Array]:
    """Size of the skeleton, and (D,) units of the dofs: that size for lengths, 1 for angles."""
    size = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(skeleton.offsets), axis=-1))).astype(dtype)
    slides = {m.dof for joint in skeleton.motions for m in joint if m.kind == "t"}
    is_length = np.array([dof in slides for dof in skeleton.dof_names], bool)
    return size, jnp.where(is_length, size, 1.0)


def _first_state(problem: _Problem, start, skeleton: Skeleton) -> _State:
    one = jnp.ones((), start.dtype)
    cost = _cost(problem, start, skeleton)
    return _State(start, cost, 1e-3 * one, 2.0 * one, jnp.int32(0), jnp.array(False))


def _minimise(
    problem: _Problem, state: _State, skeleton: Skeleton, method: str, max_iterations, tolerance
) -> _State:
    """Steps until one promises to move the joints by less than the tolerance."""
    propose = {"least_squares": _newton_step, "gradient_descent": _descent_step}[method]
    low, high = jnp.asarray(skeleton.limits, state.params.dtype).T
    _, unit = _units(skeleton, state.params.dtype)

    def step(state: _State) -> _State:
        residual, jacobian = _linearise(problem, state.params, skeleton)
        gradient = residual @ jacobian
        at_limit = _at_limit(state.params, gradient, skeleton)
        jacobian = jnp.where(at_limit[None, :], 0.0, jacobian)
        move = propose(jnp.where(at_limit, 0.0, gradient), jacobian, state.damping)
        params = jnp.clip(state.params + move * unit, low, high)
        promised = jacobian @ ((params - state.params) / unit)
        cost = _cost(problem, params, skeleton)
        predicted = -jnp.dot(promised, residual) - 0.5 * jnp.dot(promised, promised)
        better = cost < state.cost
        gain = (state.cost - cost) / jnp.maximum(predicted, jnp.finfo(cost.dtype).tiny)
        shrink = jnp.clip(1.0 - (2.0 * gain - 1.0) ** 3, 0.1, 2.0)  # Nielsen (1999)
        return _State(
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
    return -_eliminate(_normal_matrix(jacobian, damping), gradient[:, None])[:, 0]


def _descent_step(gradient, jacobian, damping) -> jax.Array:
    """Down the gradient; the inverse of the damping is the rate."""
    del jacobian
    return -gradient / (1e3 * damping)


def _normal_matrix(jacobian, damping=0.0) -> jax.Array:
    """J'J + damping diag(J'J), and enough more that it is never singular."""
    normal = jnp.matmul(jacobian.T, jacobian, precision="highest")
    damping += 100 * jnp.finfo(normal.dtype).eps
    return normal + jnp.diag(damping * jnp.diagonal(normal) + _OPEN)


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


def _inverse(matrix) -> jax.Array:
    return _eliminate(matrix, jnp.eye(len(matrix), dtype=matrix.dtype))


def _linearise(problem: _Problem, params, skeleton: Skeleton) -> tuple[jax.Array, jax.Array]:
    """Weighted residuals and Jacobian, in sizes, with the rows that hold the dofs."""
    size, unit = _units(skeleton, params.dtype)
    positions, jacobian = joint_jacobian(params, skeleton)
    root = jnp.sqrt(problem.weights)[:, None] / size
    residual = ((positions - problem.joints) * root).ravel()
    jacobian = (jacobian * root[:, :, None] * unit[None, None, :]).reshape(len(residual), -1)
    pull = problem.hold * (params - problem.anchor) / unit
    holds = problem.hold * jnp.eye(len(params), dtype=params.dtype)
    return jnp.concatenate([residual, pull]), jnp.concatenate([jacobian, holds])


def _cost(problem: _Problem, params, skeleton: Skeleton) -> jax.Array:
    """Eq. 3 in squared sizes, and what holds the dofs."""
    size, unit = _units(skeleton, params.dtype)
    miss = (forward_kinematics(params, skeleton) - problem.joints) / size
    pull = problem.hold * (params - problem.anchor) / unit
    return 0.5 * (jnp.sum(problem.weights[:, None] * jnp.square(miss)) + jnp.sum(jnp.square(pull)))


def _at_limit(params, gradient, skeleton: Skeleton) -> jax.Array:
    """Dofs at a limit that descent would leave."""
    low, high = jnp.asarray(skeleton.limits, params.dtype).T
    return ((params <= low) & (gradient > 0)) | ((params >= high) & (gradient < 0))


def _report(joints, points, weights, skeleton: Skeleton, state: _State) -> Fit:
    """Completes a solution; `points`, `weights` and `skeleton` may carry derivatives."""
    params, *frozen, still = jax.lax.stop_gradient((state.params, points, weights, skeleton))
    size, unit = _units(still, params.dtype)
    problem = _Problem(*frozen, anchor=params, hold=jnp.zeros((), params.dtype))
    _, jacobian = _linearise(problem, params, still)
    positions = forward_kinematics(params, skeleton)

    _, bare = joint_jacobian(params, still)
    pulled = weights[:, None] * (positions - points)
    gradient = jnp.sum(bare * pulled[:, :, None], axis=(0, 1)) * unit / size**2
    move = unit * _implicit_step(jacobian, gradient, _at_limit(params, gradient, still))
    miss = jax.lax.stop_gradient(positions) - jax.lax.stop_gradient(joints)
    return Fit(
        params=params + (move - jax.lax.stop_gradient(move)),
        residuals=jnp.linalg.norm(miss, axis=-1),
        iterations=state.iterations,
        converged=state.converged,
        observability=_observability(jacobian) * size / unit,
    )


def _implicit_step(jacobian, gradient, at_limit) -> jax.Array:
    """How the solution moves when the gradient of Eq. 3, zero there, begins to change."""
    jacobian = jnp.where(at_limit[None, :], 0.0, jacobian)
    inverse = _inverse(_normal_matrix(jacobian))
    return -jnp.matmul(inverse, jnp.where(at_limit, 0.0, gradient), precision="highest")


def _observability(jacobian) -> jax.Array:
    """Least length of `jacobian @ move` over all moves with a one at the dof."""
    inverse = jnp.diagonal(_inverse(_normal_matrix(jacobian)))
    return jnp.sqrt(jnp.maximum(1.0 / inverse - _OPEN, 0.0))


def _nearest_turn(params, before, skeleton: Skeleton) -> jax.Array:
    """Adds full turns to the free angles, so as to come nearest to the frame before."""
    motions = [motion for joint in skeleton.motions for motion in joint]
    turns = {m.dof: abs(m.multiplier) for m in motions if m.kind == "r"}
    other = {m.dof for m in motions if m.kind == "t" or turns.get(m.dof) != abs(m.multiplier)}
    period = [
        2 * np.pi / turns[dof] if turns.get(dof) and dof not in other else np.inf
        for dof in skeleton.dof_names
    ]
    period = jnp.asarray(period, params.dtype)
    unlimited = jnp.all(jnp.isinf(jnp.asarray(skeleton.limits)), axis=-1)
    whole = jnp.where(jnp.isinf(period), 0.0, jnp.round((before - params) / period))
    return params + jnp.where(unlimited & (whole != 0), whole * period, 0.0)


def _seen(joints, weights) -> tuple[jax.Array, jax.Array]:
    """Points and weights, both zero where a coordinate is missing."""
    seen = jnp.all(jnp.isfinite(joints), axis=-1)
    return jnp.where(seen[:, None], joints, 0.0), jnp.where(seen, weights, 0.0)


def _checked(joints, weights, skeleton: Skeleton) -> tuple[jax.Array, jax.Array]:
    joints = jnp.asarray(joints)
    shape = (skeleton.num_keypoints, skeleton.ndim)
    if joints.shape[-2:] != shape:
        raise ValueError(
            f"joints must have shape (..., {shape[0]}, {shape[1]}), one point per keypoint of the "
            f"skeleton, but got {joints.shape}."
        )
    if not jnp.issubdtype(joints.dtype, jnp.floating):
        raise ValueError(f"joints must be floating point, but got {joints.dtype}.")
    joints = joints.astype(np.promote_types(joints.dtype, np.float32))
    weights = jnp.ones(shape[0]) if weights is None else weights
    return joints, _broadcast(weights, joints.shape[:-1], "weights").astype(joints.dtype)


def _broadcast(value, shape: tuple, name: str) -> jax.Array:
    value = jnp.asarray(value)
    if value.shape not in (shape, shape[-1:]):
        raise ValueError(f"{name} must have shape {shape[-1:]} or {shape}, but got {value.shape}.")
    return jnp.broadcast_to(value, shape)
