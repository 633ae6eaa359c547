"""Model fitting: the motion parameters whose joints come closest to given points.

Minimises Eq. 3, half the squared distance between F(params) and the points.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._html import fit_html
from kinpose._kernels.kept_programs import by_platform
from kinpose._kernels.quick_jit import is_on_one_device, quick_jit
from kinpose._kernels.thresholds import FEW_POSES, GROUP_POSES, INVERSE_POSES, LANES, MANY_POSES
from kinpose._kinematics.scalars import at_least_float32
from kinpose._varying import in_auto_axes, varying_like
from kinpose.fitting._dense import observability_of
from kinpose.fitting._levenberg_marquardt import (
    MAX_ITERATIONS,
    State,
    form_for,
    minimise,
    solution_of,
)
from kinpose.fitting._problem import Problem, pressed_at_limit, trust, units, without_idle_limits
from kinpose.fitting._restarts import pressed_hard, with_restarts
from kinpose.fitting._start import align_params, plausible
from kinpose.kinematics import check_skeleton, joint_jacobian
from kinpose.skeleton import Skeleton, check_fittable

STATUS = ("solved", "at a limit", "out of steps")
"""What `Fit.status` says, by number: no step lowers the cost; none that the limits allow does,
though they hold some dof back; or it was still on its way."""


class Fit(NamedTuple):
    """What a fit finds; the leading dimensions are those of the points.

    Attributes:
      params: (..., D) rad or the skeleton's length unit. Differentiable.
      residuals: (..., K) distances of keypoints from points; NaN for missing. Differentiable.
      iterations: (...) steps tried.
      converged: (...) whether the status is "solved".
      observability: (..., D) how firmly the points hold a dof: the distance, over all
        keypoints together, by which they must move per unit of the dof at least, whatever
        the other dofs do to hide it. Zero for the twist of a straight arm. Noise of s in the
        points makes an error of about s / observability in the dof.
      status: (...) what was reached, a number of `STATUS`.
      trust: (..., K) factor by which a robust fit weighs a point, 1 without; 0 where it is
        missing.
    """

    params: jax.Array
    residuals: jax.Array
    iterations: jax.Array
    converged: jax.Array
    observability: jax.Array
    status: jax.Array
    trust: jax.Array

    def _repr_html_(self) -> str:
        return fit_html(self, STATUS)


jax.export.register_namedtuple_serialization(Fit, serialized_name="kinpose.Fit")


def fit_params(
    joints: jax.Array,
    skeleton: Skeleton,
    *,
    weights: jax.Array | None = None,
    init: jax.Array | None = None,
    robust: float | None = None,
    method: str = "least_squares",
    max_iterations: int | None = None,
    tolerance: float = 3e-6,
) -> Fit:
    """Fits a skeleton to points: ModelFit (Sec. 3.2).

    Limits of the skeleton hold; poses that they stop, and those of skeletons whose root cannot
    turn, are tried again from other starts. `params` and `residuals` can be differentiated with
    respect to `joints`, `weights` and the skeleton's offsets, by the implicit function theorem in
    its Gauss-Newton form, exact where the residual is small:
    d params / d joints = (J'WJ + damping)^-1 J'W. Dofs at a limit, and dofs that the points
    leave open, get zero. Second derivatives are refused.

    Args:
      joints: (..., K, n) points in the skeleton's length unit; NaN marks a missing one.
      skeleton: the tree; its keypoints are the points, in order.
      weights: (K,) or (..., K) factors of the squared distances, 1 by default.
      init: (D,) or (..., D) where to start; by default from `align_params`, which needs no
        knowledge of the pose.
      robust: for points some of which are far off: the distance (the skeleton's length unit)
        at which a point begins to lose its weight, some times the usual error of a point. The
        loss is then Geman and McClure's, r^2 / (1 + r^2 / robust^2), in place of r^2.
      method: "least_squares", Levenberg-Marquardt on the analytic Jacobian, or
        "gradient_descent", plain descent on Eq. 3 with a step that adapts: the paper's.
      max_iterations: steps to try, by default 60 or 3000.
      tolerance: stop when a step should move the joints by less than this part of the size
        of the skeleton (the root mean square of its bones).

    Returns:
      The fit, in the dtype of `joints` (at least float32).

    Raises:
      ValueError: for arguments of wrong shape or type, negative weights, an unknown method, or
        a `robust` that is not positive; for a skeleton without dofs, and for a tolerance or
        number of steps that is negative or not finite.

    Example:
      >>> from kinpose.kinematics import forward_kinematics
      >>> from kinpose.skeletons import human_17
      >>> points = forward_kinematics(jnp.full(27, 0.3), human_17())
      >>> bool(fit_params(points, human_17()).residuals.max() < 0.1)
      True
    """
    check_skeleton(skeleton, joints, "joints")
    most = FEW_POSES * skeleton.num_keypoints * skeleton.ndim
    few = is_on_one_device(joints, weights, init, skeleton) and np.size(joints) <= most
    if few:
        joints, weights, init = (x if x is None else np.asarray(x) for x in (joints, weights, init))
    joints, weights = checked_points(joints, weights, skeleton)
    batch = joints.shape[:-2]
    if init is not None:
        init = checked_shape(init, (*batch, skeleton.num_dofs), "init").astype(joints.dtype)
    if method not in MAX_ITERATIONS:
        raise ValueError(f"method must be one of {list(MAX_ITERATIONS)}, but got {method!r}.")
    max_iterations = MAX_ITERATIONS[method] if max_iterations is None else max_iterations
    softness = checked_softness(robust, joints.dtype)
    check_stop(tolerance, max_iterations)
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(batch) :]), (joints, weights, init))
    skeleton, one = without_idle_limits(skeleton), _fit_few if few else _fit_batch
    one = functools.partial(one, method=method, max_iterations=max_iterations)
    with jax.default_matmul_precision("highest"):  # accelerators round factors to bfloat16
        fit = in_auto_axes(lambda rows: one(rows, softness, skeleton, tolerance), rows[0])(rows)
    fit = jax.tree.map(lambda x: x.reshape((*batch, *x.shape[1:])), fit)
    return jax.device_put(fit) if few else fit


def _fit_few(rows, *args, **stop) -> Fit:
    """`_fit_batch` from NumPy to NumPy: any few poses take one short program, one alone another."""
    size = len(rows[0])
    lanes = LANES if size > 1 else 1
    whole = max(-(-size // lanes), 1) * lanes
    rows = jax.tree.map(lambda x: _padded(np, x, whole), rows)
    parts = (jax.tree.map(lambda x: x[i : i + lanes], rows) for i in range(0, whole, lanes))  # noqa: B023
    fits = [_fit_batch(part, *args, **stop) for part in parts]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:size], *fits)


def _padded(numpy, x, size: int):
    return numpy.pad(x, [(0, size - len(x)), *[(0, 0)] * (x.ndim - 1)])


@functools.partial(quick_jit, static_argnames=("method", "max_iterations"))
def _fit_batch(rows, softness, skeleton, tolerance, *, method, max_iterations) -> Fit:
    """Fits (B, K, n) points with (B, K) weights, from (B, D) or, where that is None, from nothing.

    In blocks of poses from all over the batch: memory is bounded, and all devices work on each.
    """
    size = rows[0].shape[0]
    args = softness, skeleton, tolerance, method, max_iterations
    with form_for(size):
        if not isinstance(size, int) or size <= MANY_POSES:
            return _fit_block(rows, *args)
        count = -(-size // MANY_POSES)
        each = -(-size // count)

        def divided(x):
            x = _padded(jnp, x, each * count)
            return x.reshape(each, count, *x.shape[1:]).swapaxes(0, 1)

        found = jax.lax.map(lambda rows: _fit_block(rows, *args), jax.tree.map(divided, rows))
        return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:])[:size], found)


def _fit_block(rows, softness, skeleton, tolerance, method, max_iterations) -> Fit:
    joints, weights, init = rows
    points, weights = jax.vmap(seen_points)(joints, weights)
    targets, used, starts, still = jax.lax.stop_gradient((points, weights, init, skeleton))
    used = used / jnp.maximum(jnp.max(used, axis=-1, keepdims=True), jnp.finfo(used.dtype).tiny)
    if init is None:
        sure = plausible(targets, used, still) | (softness == 0)
        likely = jnp.where(sure, used, 0.0)
        starts = jax.vmap(align_params, in_axes=(0, 0, None))(targets, likely, still)
    starts = varying_like(starts, targets, used, still.offsets)
    problems = Problem(targets, used, jnp.broadcast_to(softness, targets.shape[:1]))

    def solve(states, limits):
        within = dataclasses.replace(still, limits=limits)
        one = functools.partial(minimise, skeleton=within, tolerance=tolerance, method=method)
        return _in_groups(one, problems, states, max_iterations)

    states = with_restarts(solve, problems, starts, still, init is None)
    return report(joints, points, weights, softness, skeleton, states)


def _in_groups(solve, problems, states, max_iterations: int):
    """Minimises a batch a group at a time, and a few steps at a time.

    A batch takes as many steps as its slowest pose, and that is one in a hundred: so each
    group takes the poses that have had the fewest steps, or are not done when all others are.
    """
    size, few = states.cost.shape[0], max(8, max_iterations // 8)
    if not isinstance(size, int) or size <= GROUP_POSES:
        return jax.vmap(functools.partial(solve, max_iterations=max_iterations))(problems, states)
    group = max(size // 8, 2 * GROUP_POSES)

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


def report(
    joints: jax.Array,
    points: jax.Array,
    weights: jax.Array,
    softness: jax.Array,
    skeleton: Skeleton,
    states: State,
) -> Fit:
    """Completes the solutions of a batch; all but `states` may carry derivatives."""

    def one(pose):
        return _report_one(*pose, softness, skeleton)

    in_blocks = functools.partial(jax.lax.map, one, batch_size=INVERSE_POSES)
    poses = joints, points, weights, states
    if not isinstance(joints.shape[0], int) or joints.shape[0] <= INVERSE_POSES:
        return jax.vmap(one)(poses)
    return by_platform(poses, cpu=in_blocks, default=jax.vmap(one))


def _report_one(joints, points, weights, state: State, softness, skeleton: Skeleton) -> Fit:
    params, weights_there, still = jax.lax.stop_gradient((state.params, weights, skeleton))
    size, unit = units(still, params.dtype)
    positions, jacobian = joint_jacobian(params, skeleton)
    apart = positions - points
    jacobian, miss = jax.lax.stop_gradient((jacobian, apart))
    trusted = trust(jnp.sum(jnp.square(miss), axis=-1), softness)
    heaviest = jnp.where(jnp.any(weights_there > 0), jnp.max(weights_there), jnp.inf)
    pull = (weights / heaviest * trusted)[:, None] * apart
    gradient = jnp.einsum("kid,ki->d", jacobian, pull, precision="highest") * unit / size**2
    stopped = pressed_hard(params, jax.lax.stop_gradient(gradient), still)
    status = jnp.where(state.converged, jnp.any(stopped).astype(jnp.int32), 2)
    seen, held = are_there(joints), weights_there / heaviest
    found = _follow(params, held * trusted, gradient, still)
    moved = apart - miss + jnp.einsum("kid,d->ki", jacobian, found - params, precision="highest")
    length = jnp.linalg.norm(miss, axis=-1)
    way = miss / jnp.where(length > 0, length, 1.0)[:, None]  # all of `moved` is derivative
    return Fit(
        params=found,
        residuals=jnp.where(seen, length + jnp.sum(way * moved, axis=-1), jnp.nan),
        iterations=state.iterations,
        converged=status == 0,
        observability=observability_of(jacobian, held, still),
        status=status,
        trust=jnp.where(seen, trusted, 0.0),
    )


@jax.custom_jvp
def _follow(params, weights, gradient, skeleton: Skeleton) -> jax.Array:
    """The solution, which moves when the gradient of Eq. 3, zero there, begins to change."""
    del weights, gradient, skeleton
    return params


@_follow.defjvp
def _follow_jvp(primals, tangents):
    params, weights, gradient, skeleton = primals
    params = jnp.where(np.zeros(params.shape, bool), _once_only(gradient), params)
    free = ~pressed_at_limit(params, gradient, skeleton)
    _, unit = units(skeleton, params.dtype)
    return params, -unit * solution_of(params, weights, free, tangents[2], skeleton)


@jax.custom_jvp
def _once_only(gradient) -> jax.Array:
    return gradient


@_once_only.defjvp
def _once_only_jvp(primals, tangents):
    raise ValueError("a fit has first derivatives only: its second ones are not known.")


def are_there(joints: jax.Array) -> jax.Array:
    """(K,) which points (K, n) are: those whose squares are numbers, too."""
    return jnp.all(jnp.abs(joints) < 0.1 * math.sqrt(jnp.finfo(joints.dtype).max), axis=-1)


def seen_points(joints: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Points and weights, both zero where a coordinate is missing."""
    seen = are_there(joints)
    return jnp.where(seen[:, None], joints, 0.0), jnp.where(seen, weights, 0.0)


def checked_points(
    joints: jax.typing.ArrayLike, weights: jax.typing.ArrayLike | None, skeleton: Skeleton
) -> tuple:
    """The gate: points (..., K, n) in float32 at least, and weights (..., K).

    What comes as NumPy stays there, with JAX's choice of precision.
    """
    check_skeleton(skeleton, joints, "joints")
    check_fittable(skeleton)
    joints = _array(joints)
    shape = (skeleton.num_keypoints, skeleton.ndim)
    if joints.shape[-2:] != shape:
        raise ValueError(
            f"joints must have shape (..., {shape[0]}, {shape[1]}), one point per keypoint of the "
            f"skeleton, but got {joints.shape}."
        )
    joints = at_least_float32(joints, "joints")
    weights = np.ones(shape[0], joints.dtype) if weights is None else _array(weights)
    if not isinstance(weights, jax.core.Tracer) and getattr(weights, "is_fully_addressable", True):
        numbers = np.asarray(weights)
        wrong = ~(numbers >= 0) | ~np.isfinite(numbers)
        if wrong.any():
            raise ValueError(f"weights must be finite and at least 0, but got {numbers[wrong][0]}.")
    return joints, checked_shape(weights, joints.shape[:-1], "weights").astype(joints.dtype)


def _array(x):
    """JAX's arrays as they are, all else in NumPy's."""
    if isinstance(x, jax.Array):
        return x
    x = np.asarray(x)
    return x.astype(jax.dtypes.canonicalize_dtype(x.dtype))


def checked_softness(robust: float | None, dtype: jax.typing.DTypeLike) -> jax.Array:
    """The inverse square of the distance `robust` of `fit_params`, zero for None."""
    if robust is None:
        return np.zeros((), dtype)
    known = not isinstance(robust, jax.core.Tracer)
    if known and not (np.ndim(robust) == 0 and 0 < robust < np.inf):
        raise ValueError(f"robust must be a positive distance, or None, but got {robust!r}.")
    return (1.0 / (robust * robust) + np.zeros((), dtype)).astype(dtype)


def check_stop(tolerance: float, max_iterations: int = 0) -> None:
    """The gate of what ends a fit."""
    if not isinstance(tolerance, jax.core.Tracer) and not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance must be finite and at least 0, but got {tolerance}.")
    if not isinstance(max_iterations, int | np.integer) or max_iterations < 0:
        raise ValueError(f"max_iterations must be a number from 0 on, but got {max_iterations}.")


def checked_shape(
    value: jax.typing.ArrayLike, shape: tuple, name: str, where: str = ""
) -> jax.Array:
    """The value, broadcast to the shape, which it has in full or in its last dimension."""
    value = _array(value)
    if value.shape not in (shape, shape[-1:]):
        shapes = " or ".join(dict.fromkeys(map(str, (shape[-1:], shape))))
        raise ValueError(f"{name} must have shape {shapes}{where}, but got {value.shape}.")
    known = isinstance(value, np.ndarray) and all(isinstance(size, int) for size in shape)
    return (np if known else jnp).broadcast_to(value, shape)
