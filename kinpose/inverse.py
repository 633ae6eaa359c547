"""Inverse kinematics: the pose that brings named joints to places, near a rest pose."""

import dataclasses
import difflib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kernels.quick_jit import quick_jit
from kinpose._kinematics.scalars import at_least_float32
from kinpose._varying import in_auto_axes, varying_like
from kinpose.fitting._levenberg_marquardt import MAX_ITERATIONS, first_state, form_for, minimise
from kinpose.fitting._problem import Problem, into_bounds, units
from kinpose.fitting.fit import Fit, checked_shape, fit_params, seen_points
from kinpose.kinematics import check_skeleton, forward_kinematics
from kinpose.skeleton import Skeleton, check_fittable

_HOLD = 0.01
"""How firmly open dofs are held to the rest pose, in sizes per rad; targets are met afterwards."""

_BENT = 0.3
"""How far from the rest pose the search starts (rad): a straight limb cannot tell how to bend."""

_FAR = 30.0
"""Sizes between targets and the rest pose from which the search starts with the root carried to
them: a step goes one size at most."""

_TOLERANCE = 3e-6


def inverse_kinematics(
    targets: Mapping[str, jax.Array], skeleton: Skeleton, *, rest: jax.Array | None = None
) -> Fit:
    """Poses in which joints are at given places.

    Within the skeleton's limits. Dofs that the targets leave open come near to the rest pose, by
    the sum of squares of angles and, in lengths of the skeleton's size, of distances: downhill
    from the rest pose, which need not be the nearest of all poses that reach.

    Args:
      targets: (..., n) places by the names of joints, in the skeleton's length unit; leading
        dimensions broadcast. NaN marks a target that a pose has not.
      skeleton: the tree.
      rest: (D,) or (..., D) the rest pose, from which the search starts, too. Without it, it starts
        from the targets alone, and dofs that they leave open may be anywhere within the limits.

    Returns:
      The fit; its residuals (..., len(targets)) tell which targets were out of reach. Derivatives
      by the targets are as those of `fit_params`: along what the targets tell, open dofs stay.

    Raises:
      ValueError: without targets, for one that is no joint's or infinite, and for wrong shapes or
        types.

    Example:
      >>> from kinpose.skeletons import toy
      >>> targets = {"left_1": jnp.array([100.0, 70.0]), "right_1": jnp.array([140.0, 70.0])}
      >>> fit = inverse_kinematics(targets, toy(3, bone_length=50.0))
      >>> bool(fit.residuals.max() < 0.01)
      True
    """
    check_skeleton(skeleton, targets, "targets")
    check_fittable(skeleton)
    points = _points_of(targets, skeleton)
    batch, num = points.shape[:-2], skeleton.num_dofs
    reported = tuple(skeleton.names.index(name) for name in targets)
    skeleton = dataclasses.replace(skeleton, keypoints=reported)
    points, skeleton = _from_the_root(points, skeleton)
    if rest is None:
        return fit_params(points, skeleton, tolerance=_TOLERANCE)
    where = f" where targets have shape {(*batch, skeleton.ndim)}"
    rest = checked_shape(rest, (*batch, num), "rest", where).astype(points.dtype).reshape(-1, num)
    flat = points.reshape(-1, *points.shape[-2:])
    rest = varying_like(rest, points)
    params = _bent(rest, skeleton)
    towards = in_auto_axes(lambda *rows: _towards(*rows, skeleton), flat)
    for _ in range(2):  # the second time from where limits let no direct way through
        start = towards(flat, params, rest).reshape(*batch, num)
        fit = fit_params(points, skeleton, init=start, tolerance=_TOLERANCE)
        params = fit.params.reshape(-1, num)
    return fit


def _from_the_root(points: jax.Array, skeleton: Skeleton) -> tuple[jax.Array, Skeleton]:
    """Points (..., K, n) and a skeleton from where the root is without motions.

    Its way from the origin is no bone, by whose lengths the fit counts, and costs digits.
    """
    root = jnp.broadcast_to(jnp.asarray(skeleton.offsets[0], points.dtype), points.shape)
    bones = skeleton.offsets * (np.arange(skeleton.num_joints) > 0)[:, None]
    return points - root, dataclasses.replace(skeleton, offsets=bones)


def _bent(rest: jax.Array, skeleton: Skeleton) -> jax.Array:
    """Rest poses (B, D), angles nearer to the middle of their limits; free hinges are bent."""
    low, high = (x[None] for x in jnp.asarray(skeleton.limits, rest.dtype).T)
    limited = jnp.isfinite(high) & jnp.isfinite(low)
    alone = {ms[0].dof for ms in skeleton.motions if [m.kind for m in ms] == ["r"]}
    hinge = np.array([[name in alone for name in skeleton.dof_names]], bool)
    middle = 0.5 * (jnp.where(limited, low, 0.0) + jnp.where(limited, high, 0.0))
    way = jnp.where(limited, jnp.clip(middle - rest, -_BENT, _BENT), jnp.where(hinge, _BENT, 0.0))
    return rest + jnp.where(np.array([skeleton.is_angle], bool), way, 0.0)


@quick_jit
def _towards(points, params, rest, skeleton: Skeleton) -> jax.Array:
    """(B, D) poses that come near the targets (B, K, n) and are held to the rest pose."""
    points, params, rest, skeleton = jax.lax.stop_gradient((points, params, rest, skeleton))
    none = jnp.zeros((), points.dtype)

    def one(points, params, rest):
        points, weights = seen_points(points, jnp.ones(len(points), points.dtype))
        params = _carried(params, points, weights, skeleton)
        anchor = into_bounds(rest, skeleton)
        problem = Problem(points, weights, none, anchor, none + _HOLD)
        state = first_state(params, skeleton)
        steps = MAX_ITERATIONS["least_squares"]
        return minimise(problem, state, skeleton, steps, _TOLERANCE).params

    with jax.default_matmul_precision("highest"), form_for(points.shape[0]):
        return jax.vmap(one)(points, params, rest)


def _carried(params, points, weights, skeleton: Skeleton) -> jax.Array:
    """The pose (D,) not farther than `_FAR` from the points, if its root slides freely."""
    first = next(motions for motions in skeleton.motions if motions)[: skeleton.ndim]
    axes = np.array([motion.multiplier * np.array(motion.axis) for motion in first])
    axes = axes[:, : skeleton.ndim]
    slides = all(motion.kind == "t" for motion in first)
    if not slides or np.linalg.matrix_rank(axes) < skeleton.ndim:
        return params
    size, _ = units(skeleton, params.dtype)
    apart = weights @ (points - forward_kinematics(params, skeleton))
    way = apart / jnp.maximum(jnp.sum(weights), 1.0)
    way *= jnp.maximum(1.0 - _FAR * size / jnp.linalg.norm(way), 0.0)
    columns = np.array([skeleton.dof_index(motion.dof) for motion in first])
    return params.at[columns].add(way @ np.linalg.inv(axes).astype(params.dtype))


def _points_of(targets: Mapping[str, jax.Array], skeleton: Skeleton) -> jax.Array:
    """The gate: points (..., len(targets), n)."""
    if not isinstance(targets, Mapping):
        raise ValueError(
            f"targets must be places by the names of joints, but got {type(targets).__name__}."
        )
    if not targets:
        raise ValueError("targets must name one joint or more, but there are none.")
    places = []
    for name, place in targets.items():
        if name not in skeleton.names:
            near = difflib.get_close_matches(str(name), skeleton.names, 3, 0.0)
            raise ValueError(f"target {name!r} is no joint; the nearest are {near}.")
        place = _numbers(place, f"target {name!r}")
        if place.shape[-1:] != (skeleton.ndim,):
            raise ValueError(
                f"target {name!r} must have shape (..., {skeleton.ndim}), but has {place.shape}."
            )
        places.append(place)
    try:
        shape = jnp.broadcast_shapes(*(place.shape for place in places))
    except ValueError:
        shapes = {name: place.shape for name, place in zip(targets, places, strict=True)}
        raise ValueError(f"shapes of targets must broadcast, but are {shapes}.") from None
    dtype = jnp.result_type(*places)
    return jnp.stack([jnp.broadcast_to(place, shape).astype(dtype) for place in places], axis=-2)


def _numbers(place, name: str) -> jax.Array:
    try:
        numbers = jnp.asarray(place)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers, but is {place!r}.") from None
    numbers = at_least_float32(numbers, name)
    known = not isinstance(numbers, jax.core.Tracer) and numbers.is_fully_addressable
    if known and np.isinf(numbers).any():
        raise ValueError(f"{name} must be finite, or NaN where it is missing, but is {place}.")
    return numbers
