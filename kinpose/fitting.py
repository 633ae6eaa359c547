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
    fit = functools.partial(
        _fit_one,
        method=method,
        max_iterations=max_iterations or _ITERATIONS[method],
        tolerance=tolerance,
    )
    for _ in batch:
        fit = jax.vmap(fit, in_axes=(0, 0, None, None if init is None else 0))
    return fit(joints, weights, skeleton, init)


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
    """One pose to fit, lengths in units of `size`."""

    joints: Any  # (K, n), missing ones zero
    weights: Any  # (K,), missing ones zero
    skeleton: Skeleton
    anchor: Any  # (D,) where the dofs are held
    hold: Any  # weight of that
    size: Any
    unit: Any  # (D,) size for lengths, 1 for angles


class _State(NamedTuple):
    params: Any  # (D,)
    cost: Any
    damping: Any
    growth: Any  # of the damping when a step fails
    iterations: Any
    converged: Any


@functools.partial(jax.jit, static_argnames=("method", "max_iterations"))
def _fit_one(joints, weights, skeleton, init, *, method, max_iterations, tolerance) -> Fit:
    points, weights = _seen(joints, weights)
    frozen = jax.lax.stop_gradient((points, weights, skeleton))
    start = align_params(*frozen) if init is None else jax.lax.stop_gradient(init)
    problem = _problem(*frozen, anchor=start, hold=0.0)
    state = _minimise(problem, start, method, max_iterations, tolerance)
    return _report(joints, points, weights, skeleton, state)


@functools.partial(jax.jit, static_argnames="max_iterations")
def _fit_frames(joints, weights, skeleton, init, hold, max_iterations, tolerance) -> Fit:
    points, seen = jax.vmap(_seen)(joints, weights)
    frozen = jax.lax.stop_gradient((points, seen, skeleton))
    solve = functools.partial(
        _minimise, method="least_squares", max_iterations=max_iterations, tolerance=tolerance
    )

    def from_nothing(points, weights):
        start = align_params(points, weights, frozen[2])
        return solve(_problem(points, weights, frozen[2], start, 0.0), start)

    def from_before(before, frame):
        points, weights, fresh = frame
        problem = _problem(points, weights, frozen[2], before, hold)
        state = solve(problem, before)
        fresh = fresh._replace(params=_nearest_turn(fresh.params, before, frozen[2]))
        tracked = _data_cost(problem, state.params) <= 1.2 * fresh.cost + tolerance
        state = jax.tree.map(lambda a, b: jnp.where(tracked, a, b), state, fresh)
        return state.params, state

    fresh = jax.vmap(from_nothing)(frozen[0], frozen[1])
    before = fresh.params[0] if init is None else jax.lax.stop_gradient(init)
    _, states = jax.lax.scan(from_before, before, (frozen[0], frozen[1], fresh))
    return jax.vmap(_report, in_axes=(0, 0, 0, None, 0))(joints, points, seen, skeleton, states)


def _problem(points, weights, skeleton: Skeleton, anchor, hold) -> _Problem:
    size = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(skeleton.offsets), axis=-1))).astype(points.dtype)
    slides = {m.dof for joint in skeleton.motions for m in joint if m.kind == "t"}
    unit = jnp.where(np.array([dof in slides for dof in skeleton.dof_names], bool), size, 1.0)
    hold = jnp.square(jnp.asarray(hold, points.dtype))
    return _Problem(points, weights, skeleton, anchor, hold, size, unit)


def _minimise(problem: _Problem, start, method: str, max_iterations: int, tolerance) -> _State:
    """Steps until one promises to move the joints by less than the tolerance."""
    propose = {"least_squares": _newton_step, "gradient_descent": _descent_step}[method]
    low, high = jnp.asarray(problem.skeleton.limits, start.dtype).T

    def step(state: _State) -> _State:
        residual, jacobian = _linearise(problem, state.params)
        gradient = residual @ jacobian
        at_limit = _at_limit(state.params, gradient, low, high)
        jacobian = jnp.where(at_limit[None, :], 0.0, jacobian)
        move = propose(jnp.where(at_limit, 0.0, gradient), jacobian, state.damping)
        params = jnp.clip(state.params + move * problem.unit, low, high)
        promised = jacobian @ ((params - state.params) / problem.unit)
        cost = _cost(problem, params)
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

    one = jnp.ones((), start.dtype)
    first = _State(
        start, _cost(problem, start), 1e-3 * one, 2.0 * one, jnp.int32(0), jnp.array(False)
    )
    return jax.lax.while_loop(
        lambda state: ~state.converged & (state.iterations < max_iterations), step, first
    )


def _newton_step(gradient, jacobian, damping) -> jax.Array:
    """Levenberg-Marquardt: Gauss-Newton, damped in proportion to the diagonal."""
    return -_solve(jacobian, gradient, damping)


def _descent_step(gradient, jacobian, damping) -> jax.Array:
    """Down the gradient; the damping, inverted, is the rate."""
    return -gradient / (1e3 * damping)


def _solve(jacobian, right, damping=0.0) -> jax.Array:
    """(J'J + damping diag(J'J) + open)^-1 right, never singular."""
    normal = jnp.matmul(jacobian.T, jacobian, precision="highest")
    safe = damping + 100 * jnp.finfo(normal.dtype).eps
    diagonal = safe * jnp.diagonal(normal) + _OPEN
    factor = jax.scipy.linalg.cho_factor(normal + jnp.diag(diagonal), lower=True)
    return jax.scipy.linalg.cho_solve(factor, right)


def _linearise(problem: _Problem, params) -> tuple[jax.Array, jax.Array]:
    """Weighted residuals and Jacobian, with the rows that hold the dofs at the anchor."""
    positions, jacobian = joint_jacobian(params, problem.skeleton)
    root = jnp.sqrt(problem.weights)[:, None] / problem.size
    residual = ((positions - problem.joints) * root).ravel()
    jacobian = jacobian * root[:, :, None] * problem.unit[None, None, :]
    jacobian = jacobian.reshape(len(residual), -1)
    pull = jnp.sqrt(problem.hold)
    residual = jnp.concatenate([residual, pull * (params - problem.anchor) / problem.unit])
    return residual, jnp.concatenate([jacobian, pull * jnp.eye(len(params), dtype=pull.dtype)])


def _cost(problem: _Problem, params) -> jax.Array:
    held = jnp.sum(jnp.square((params - problem.anchor) / problem.unit))
    return _data_cost(problem, params) + 0.5 * problem.hold * held


def _data_cost(problem: _Problem, params) -> jax.Array:
    """Eq. 3, in squared sizes."""
    miss = (forward_kinematics(params, problem.skeleton) - problem.joints) / problem.size
    return 0.5 * jnp.sum(problem.weights[:, None] * jnp.square(miss))


def _at_limit(params, gradient, low, high) -> jax.Array:
    """Dofs at a limit that the descent would leave."""
    return ((params <= low) & (gradient > 0)) | ((params >= high) & (gradient < 0))


def _report(joints, points, weights, skeleton: Skeleton, state: _State) -> Fit:
    """Completes a solution; `points`, `weights` and `skeleton` may carry derivatives."""
    params = jax.lax.stop_gradient(state.params)
    frozen = jax.lax.stop_gradient((points, weights, skeleton))
    problem = _problem(*frozen, anchor=params, hold=0.0)
    _, jacobian = _linearise(problem, params)
    positions = forward_kinematics(params, skeleton)
    return Fit(
        params=params + _implicit_move(problem, params, positions, points, weights),
        residuals=jnp.linalg.norm(jax.lax.stop_gradient(positions) - joints, axis=-1),
        iterations=state.iterations,
        converged=state.converged,
        observability=_observability(jacobian) * problem.size / problem.unit,
    )


def _implicit_move(problem: _Problem, params, positions, points, weights) -> jax.Array:
    """Zero, with the derivative of the solution: one Gauss-Newton step of a moved problem.

    At the solution the gradient g of Eq. 3 vanishes, so d params = -(J'WJ)^-1 dg.
    """
    _, jacobian = _linearise(problem, params)
    _, bare = joint_jacobian(params, problem.skeleton)
    pulled = weights[:, None] * (positions - points)
    gradient = jnp.sum(bare * pulled[:, :, None], axis=(0, 1)) * problem.unit / problem.size**2
    low, high = jnp.asarray(problem.skeleton.limits, params.dtype).T
    at_limit = _at_limit(params, jax.lax.stop_gradient(gradient), low, high)
    jacobian = jnp.where(at_limit[None, :], 0.0, jacobian)
    move = -problem.unit * _solve(jacobian, jnp.where(at_limit, 0.0, gradient))
    return move - jax.lax.stop_gradient(move)


def _observability(jacobian) -> jax.Array:
    """Least length of `jacobian @ move` over all moves with a one at the dof."""
    inverse = jnp.diagonal(_solve(jacobian, jnp.eye(jacobian.shape[1], dtype=jacobian.dtype)))
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
