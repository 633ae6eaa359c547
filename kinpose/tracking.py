"""Fitting a recording, so that the angles are continuous in time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kernels.quick_jit import is_on_one_device, quick_jit
from kinpose._kernels.thresholds import FEW_POSES
from kinpose._varying import varying_like
from kinpose.angles import orientation_of, put_balls, side_by_side, triple_of
from kinpose.fitting._levenberg_marquardt import first_state, minimise
from kinpose.fitting._problem import (
    Problem,
    bounds,
    cost_of,
    held_cost,
    into_bounds,
    units,
    without_idle_limits,
)
from kinpose.fitting.fit import (
    Fit,
    check_stop,
    checked_points,
    checked_shape,
    checked_softness,
    fit_params,
    report,
    seen_points,
)
from kinpose.gaps import jacobian_when_bent, moved_points
from kinpose.kinematics import forward_kinematics
from kinpose.skeleton import Skeleton

_CLEARLY = 4e-4
"""Gain in Eq. 3 (squared sizes) that noise does not make: 2 % of the size, once."""

_HOLD = 0.03
"""Observability, in sizes per rad, at which points without noise count as the frame before."""

_SPEED, _SPREAD = 6.0, 0.5
"""How fast joints turn (rad/s), and how far from neutral they usually are (rad), about."""

_APART = 4.0
"""Squared rad by which a start from nothing counts as apart from the frame before at most."""

_LONG = 100.0
"""Frames without a point after which a dof may be anywhere."""

_STEPS, _TOLERANCE = 60, 1e-5

_AHEAD = 64
"""Frames from which the first one is approached, backwards, so that it is not alone."""


def fit_sequence(
    joints: jax.Array,
    skeleton: Skeleton,
    *,
    weights: jax.Array | None = None,
    init: jax.Array | None = None,
    robust: float | None = None,
    hold: float = _HOLD,
    rest: float = 0.0,
    max_iterations: int = _STEPS,
    tolerance: float = _TOLERANCE,
) -> Fit:
    """Fits a recording so that the angles are continuous in time.

    Each frame starts from the one before and is held there weakly, so that a dof that the
    points leave open stays where it is and no angle jumps by a full turn; less, after frames in
    which no point told the dof. Where a start from nothing fits clearly better, tracking was
    lost, and the frame is taken from there. Derivatives are those of each frame by itself, as of
    `fit_params`: they leave out what `hold` and `rest` do.

    Args:
      joints: (T, K, n) points in the skeleton's length unit; NaN marks a missing one.
      skeleton: the tree.
      weights: (K,) or (T, K). Against `hold` and `rest` their mean counts as 1, that of points
        with a weight.
      init: (D,) the frame before the first, to continue a recording piece by piece.
      robust: as in `fit_params`.
      hold: observability, in sizes per rad, at which the points and the frame before count
        the same.
      rest: the same of the points and the neutral pose (all zero), which dofs of the root do not
        have. Noise of s in the points and angles that are usually within a of zero ask for
        s / a: then the twist of a limb that is almost straight does not follow the noise.
      max_iterations: steps to try per frame.
      tolerance: as in `fit_params`.

    Returns:
      The fit, T frames.

    Raises:
      ValueError: for arguments of wrong shape or type, no frames, and numbers that are negative
        or not finite.
    """
    joints, weights = checked_points(joints, weights, skeleton)
    if joints.ndim != 3:
        raise ValueError(f"a sequence of joints must have shape (T, K, n), but got {joints.shape}.")
    if not len(joints):
        raise ValueError("a sequence must have a frame, but has none.")
    check_stop(tolerance, max_iterations)
    for name, value in (("hold", hold), ("rest", rest)):
        if not isinstance(value, jax.core.Tracer) and not 0 <= value < np.inf:
            raise ValueError(f"{name} must be finite and at least 0, but got {value}.")
    if init is not None:
        init = checked_shape(init, (skeleton.num_dofs,), "init").astype(joints.dtype)
        if is_on_one_device(init) and not np.isfinite(init).all():
            raise ValueError(f"init must be finite, but is {init}.")
    fresh = _fit_alone(joints, weights, robust, skeleton, tolerance)
    holds = jnp.asarray([hold, rest], joints.dtype)
    stop = {"tolerance": tolerance, "max_iterations": max_iterations}
    bent = jacobian_when_bent(skeleton)
    return _track(joints, weights, fresh, robust, skeleton, bent, init, holds, **stop)


def compile_sequence(num_frames: int, skeleton: Skeleton) -> None:
    """Compiles what `fit_sequence` runs last, by a recording whose points have no weight.

    In a thread, it is done beside the fit of frames by themselves.

    Args:
      num_frames: of float32 points and weights, which go on from an `init`.
      skeleton: the tree; lengths do not matter.
    """
    joints = np.zeros((num_frames, skeleton.num_keypoints, skeleton.ndim), np.float32)
    fresh = np.zeros((num_frames, skeleton.num_dofs), np.float32)
    bent = np.zeros((*joints.shape[1:], skeleton.num_dofs), np.float32)
    args = joints, joints[:, :, 0], fresh, None, skeleton, bent, fresh[0], np.zeros(2, np.float32)
    _track(*args, tolerance=_TOLERANCE, max_iterations=_STEPS)


def _fit_alone(joints, weights, robust, skeleton: Skeleton, tolerance) -> jax.Array:
    """(T, D) fits of each frame from nothing, some at a time: as such they share a program."""
    if not is_on_one_device(joints, weights, skeleton):
        fit = fit_params(joints, skeleton, weights=weights, robust=robust, tolerance=tolerance)
        return fit.params
    found = [
        fit_params(
            joints[i : i + FEW_POSES],
            skeleton,
            weights=weights[i : i + FEW_POSES],
            robust=robust,
            tolerance=tolerance,
        ).params
        for i in range(0, len(joints), FEW_POSES)
    ]
    return jnp.asarray(np.concatenate(found))


def mean_weight(weights: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """Of points with a weight, what `fit_sequence` counts as 1; 1 without any."""
    numpy = np if isinstance(weights, np.ndarray) else jnp
    count = numpy.sum(weights > 0, dtype=weights.dtype)
    mean = numpy.sum(weights) / numpy.maximum(count, numpy.ones_like(count))
    return numpy.where(count > 0, mean, numpy.ones_like(mean))


def estimate_noise(joints: np.ndarray) -> float:
    """The noise of a recording: the standard deviation of a coordinate.

    From fourth differences in time, in which what people do at 25 frames per second and more
    hardly counts, by their median, to which points far off do nothing.

    Args:
      joints: (T, K, n) points; NaN marks a missing one.

    Returns:
      The noise in the unit of the points; 0 for fewer than five frames in a row.
    """
    change = np.diff(np.asarray(joints, np.float64), n=4, axis=0)
    seen = np.abs(change[np.isfinite(change)])
    if not seen.size:
        return 0.0
    return float(np.median(seen) / 0.6745 / np.sqrt(70))  # of a normal variable; 1, 4, 6, 4, 1


def holds_of(noise: float, fps: float, skeleton: Skeleton) -> dict[str, float]:
    """How firmly a recording with noise is best held.

    Args:
      noise: of a coordinate, in the skeleton's unit: see `estimate_noise`.
      fps: frames per second.
      skeleton: the tree.

    Returns:
      `hold` and `rest` for `fit_sequence`.
    """
    part = noise / float(units(skeleton, jnp.float32)[0])
    return {"hold": max(_HOLD, part * fps / _SPEED), "rest": part / _SPREAD}


def _track(
    joints, weights, fresh, robust, skeleton, bent, init, holds, *, tolerance, max_iterations
) -> Fit:
    """`fit_sequence`, after each frame by itself (T, D) and with `hold` and `rest` (2,)."""
    frames, softness = (joints, weights, fresh), checked_softness(robust, joints.dtype)
    args = without_idle_limits(skeleton), bent, init, holds, tolerance
    with jax.default_matmul_precision("highest"):
        return _fit_frames(*frames, softness, *args, max_iterations=max_iterations)


@functools.partial(quick_jit, most=np.inf, static_argnames="max_iterations")
def _fit_frames(
    joints, weights, fresh, softness, skeleton, bent, init, holds, tolerance, *, max_iterations
) -> Fit:
    points, weights = jax.vmap(seen_points)(joints, weights)
    frozen = points, weights, fresh, init, skeleton
    targets, used, fresh, init, still = jax.lax.stop_gradient(frozen)
    used = used / jnp.maximum(jnp.max(used), jnp.finfo(used.dtype).tiny)
    used = used / mean_weight(used)
    hold, rest = jnp.square(holds)
    rest = jnp.where(root_dofs(still), 0.0, rest)
    told = _told(used > 0, bent, still)
    neutral = into_bounds(jnp.zeros(still.num_dofs, targets.dtype), still)

    @jax.vmap
    def cost_alone(points, weights, params):
        free, positions = Problem(points, weights, softness), forward_kinematics(params, still)
        return cost_of(free, params, positions, still)

    def follow(carry, frame):
        (before, untold), (points, weights, other, told, alone) = carry, frame
        held = hold / (1.0 + untold)  # what was not told has had so long to move
        back = jnp.where(told, rest, 0.0)
        both = held + back
        anchor = before + back / jnp.maximum(both, 1e-30) * (neutral - before)
        problem = Problem(points, weights, softness, anchor, jnp.sqrt(both))
        start = first_state(before, still)
        state = minimise(problem, start, still, max_iterations, tolerance)
        other, own = (_nearest_triples(x, before, still) for x in (other, state.params))
        most = 0.5 * _APART * jnp.sum(jnp.square(holds))
        apart = jnp.minimum(held_cost(problem, other, still), most)
        start_anew = 1.05 * alone + apart + _CLEARLY
        lost = state.cost > start_anew
        state = state._replace(params=jnp.where(lost, other, own))
        untold = jnp.where(told, 0.0, jnp.minimum(untold + 1.0, _LONG))
        return (state.params, untold), state

    frames = targets, used, fresh, told, cost_alone(targets, used, fresh)
    count = targets.shape[0]
    if init is None:  # towards the first frame and on from there, by one loop
        frames = jax.tree.map(lambda x: jnp.concatenate([x[:_AHEAD][::-1], x]), frames)
        init = frames[2][0]
    init = varying_like(init, targets, used, fresh, still.offsets)
    _, states = jax.lax.scan(follow, (init, jnp.zeros_like(init)), frames)
    states = jax.tree.map(lambda x: x[x.shape[0] - count :], states)
    return report(joints, points, weights, softness, skeleton, states)


def _told(seen, bent, skeleton: Skeleton) -> jax.Array:
    """(T, D) whether points that are there (T, K) move with a dof.

    Of a ball, with all three that are told in any frame: a limb without an end has no twist.
    """
    told = jnp.any(seen[:, :, None] & moved_points(bent)[None], axis=1)
    balls, never = side_by_side(skeleton), ~jnp.any(told, axis=0)
    if not len(balls.joints):
        return told

    def whole(row):
        some, rest = jnp.any(row[balls.dofs], axis=0), (row | never)[balls.dofs]
        return put_balls(row, balls, some & jnp.all(rest, axis=0))

    return jax.vmap(whole)(told)


def root_dofs(skeleton: Skeleton) -> np.ndarray:
    """(D,) whether a dof moves the root."""
    own = {motion.dof for motion in skeleton.motions[0]}
    return np.array([dof in own for dof in skeleton.dof_names], bool)


def _nearest_triples(params, before, skeleton: Skeleton) -> jax.Array:
    """The same pose by the angles nearest to the frame before.

    An angle without limits may gain full turns, and three about orthogonal axes have a second
    way.
    """
    low, high = bounds(skeleton, params.dtype)
    free = jnp.isinf(low) & jnp.isinf(high)
    period = jnp.asarray(_periods(skeleton), params.dtype)
    rounds = jnp.where(jnp.isfinite(period) & free, jnp.round((before - params) / period), 0.0)
    params = params + jnp.where(rounds != 0, rounds * period, 0.0)
    balls = side_by_side(skeleton)
    if not len(balls.joints):
        return params
    hand = balls.hand.astype(params.dtype)
    here, near, *ends = ([hand * row for row in x[balls.dofs]] for x in (params, before, low, high))
    ends = [list(map(f, *ends)) for f in (jnp.minimum, jnp.maximum)]
    found, _ = triple_of(orientation_of(here), near, *ends)
    return put_balls(params, balls, jnp.stack([hand * x for x in found]))


def _periods(skeleton: Skeleton) -> np.ndarray:
    """(D,) what can be added to a dof without moving anything; infinite for lengths."""
    periods = np.full(skeleton.num_dofs, np.inf)
    motions = [motion for joint in skeleton.motions for motion in joint]
    for d, dof in enumerate(skeleton.dof_names):
        rates = {abs(m.multiplier) if m.kind == "r" else None for m in motions if m.dof == dof}
        if len(rates) == 1 and (rate := rates.pop()):
            periods[d] = 2 * np.pi / rate
    return periods
