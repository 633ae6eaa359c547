"""Eq. 3 for one pose: what a fit minimises.

Lengths are counted in the skeleton's size, so that lengths and angles compare and no
tolerance depends on the unit.

Within fits a skeleton whose limits are None has none at all, which then costs nothing.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.angles import put_balls, real_limits, side_by_side, turns_away
from kinpose.skeleton import Skeleton

STRIDE = 1.0
"""Most that one step turns an angle (rad) or shifts a length (sizes): no leap to another turn."""

OPEN = 1e-6
"""Squared observability, in sizes per rad, below which a dof counts as left open."""

STIFF = 1e3
"""How much stiffer a ball is against an angle at its limit than in all directions together."""


class Problem(NamedTuple):
    """One pose to fit."""

    joints: Any  # (K, n), missing ones zero
    weights: Any  # (K,), missing ones zero
    softness: Any  # inverse square of the distance at which points lose their weight, or zero
    prior_params: Any = None  # (D,) where the dofs are held
    prior_weight: Any = None  # how firmly, in sizes per rad; one for all, or (D,), one for a ball


def units(skeleton: Skeleton, dtype) -> tuple[jax.Array, jax.Array]:
    """Size of the skeleton, and (D,) units of the dofs: that size for lengths, 1 for angles."""
    numpy = np if isinstance(skeleton.offsets, np.ndarray) else jnp  # which needs no compiler
    size = numpy.sqrt(numpy.mean(numpy.sum(numpy.square(skeleton.offsets), axis=-1))).astype(dtype)
    size = numpy.where(size > 0, size, numpy.ones((), dtype))  # a lone point
    return size, numpy.where(np.array(skeleton.is_angle), numpy.ones((), dtype), size)


def without_idle_limits(skeleton: Skeleton) -> Skeleton:
    """The skeleton, its limits None if they are known to be infinite."""
    limits = skeleton.limits
    if limits is None or isinstance(limits, jax.core.Tracer) or np.isfinite(limits).any():
        return skeleton
    return dataclasses.replace(skeleton, limits=None)


def bounds(skeleton: Skeleton, dtype) -> tuple[jax.Array, jax.Array]:
    """Lowest and highest values, each (D,)."""
    if skeleton.limits is None:
        endless = np.full(skeleton.num_dofs, np.inf, dtype)
        return jnp.asarray(-endless), jnp.asarray(endless)
    return tuple(jnp.asarray(skeleton.limits, dtype).T)


def into_bounds(params, skeleton: Skeleton) -> jax.Array:
    """The parameters (D,), clipped to the limits."""
    if skeleton.limits is None:
        return params
    return jnp.clip(params, *bounds(skeleton, params.dtype))


def cost_of(problem: Problem, params, positions, skeleton: Skeleton) -> jax.Array:
    """Eq. 3 in squared sizes, and what holds the dofs; by parameters and where they put points."""
    size, _ = units(skeleton, params.dtype)
    squares = jnp.sum(jnp.square(positions - problem.joints), axis=-1)
    cost = 0.5 * jnp.dot(problem.weights, blunt(squares, problem.softness)) / size**2
    return cost + (0.0 if problem.prior_weight is None else held_cost(problem, params, skeleton))


def held_cost(problem: Problem, params, skeleton: Skeleton) -> jax.Array:
    """What holds the dofs, alone."""
    _, unit = units(skeleton, params.dtype)
    square = jnp.square((params - problem.prior_params) / unit)
    balls = side_by_side(skeleton)
    if len(balls.joints):
        _, turns = turns_away(params, problem.prior_params, balls)
        square = put_balls(square, balls, turns[None, :] / 3)
    return 0.5 * jnp.sum(jnp.square(problem.prior_weight) * square)


def trust(square, softness):
    """Geman and McClure's weight of a point: 1 where it is near, and less far away.

    Args:
      square: of its distance.
      softness: the inverse square of the distance that is far; zero for none.
    """
    near = 1.0 / (1.0 + softness * square)
    return near * near


def blunt(square, softness):
    """What a squared distance costs: at most the square of the distance that is far."""
    return square / (1.0 + softness * square)


def pressed_at_limit(params, gradient, skeleton: Skeleton) -> jax.Array:
    """(D,) whether a dof is at a limit that descent would leave."""
    if skeleton.limits is None:
        return jnp.zeros_like(params, bool)
    lowest, highest = real_limits(skeleton, params.dtype)
    return ((params <= lowest) & (gradient > 0)) | ((params >= highest) & (gradient < 0))
