"""Other starts of a fit, for poses that the first one did not lead to."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.angles import balls_of, nearest_turn
from kinpose.skeleton import Skeleton

FEW_RESTARTS = 3
"""Of a skeleton that turns freely as a whole: only limits can hold it up."""

_MANY_RESTARTS = 24
"""Of a skeleton whose root is held: a robot's arm reaches a point in many ways."""


def num_restarts(skeleton: Skeleton) -> int:
    """How often a pose may be tried again. Limits are looked at only where they are known."""
    if not skeleton.num_dofs:
        return 0
    if not _turns_freely(skeleton):
        return _MANY_RESTARTS
    limits = skeleton.limits
    known = isinstance(limits, np.ndarray)
    return 0 if known and not np.isfinite(limits).any() else FEW_RESTARTS


def start_of(number, params, pressed, skeleton: Skeleton) -> jax.Array:
    """The start of a restart.

    Where the root is held: first zeros, then angles spread evenly over their limits. Otherwise
    only the limbs that are pressed against a limit change: first each turns by half a turn
    about itself, which is the same pose where it is straight, and bends the other way; then
    they start as if the root were held.

    Args:
      number: of the restart, from 0.
      params: (D,) found so far, of which lengths without limits are kept.
      pressed: (D,) whether a dof is pressed against a limit.
      skeleton: the tree.

    Returns:
      (D,) parameters, perhaps beyond the limits.
    """
    if not _turns_freely(skeleton):
        return _drawn(number, params, skeleton)
    low, high = jnp.asarray(skeleton.limits, params.dtype).T
    flipped, held = params, pressed
    for ball in balls_of(skeleton):
        group = np.array([*ball.dofs, *ball.hinges])
        last, hinges = ball.dofs[2], np.array(ball.hinges, int)
        held = held.at[group].set(jnp.any(pressed[group]) & (ball.joint > 0))
        middle = 0.5 * (low + high)[last]
        half = nearest_turn(params[last] + math.pi, jnp.where(jnp.isfinite(middle), middle, 0.0))
        flipped = flipped.at[last].set(half).at[hinges].multiply(-1)
    drawn = _drawn(number - 1, params, skeleton)
    return jnp.where(held, jnp.where(number == 0, flipped, drawn), params)


def _drawn(number, params, skeleton: Skeleton) -> jax.Array:
    """Zeros, then angles spread evenly over their limits."""
    low, high = jnp.asarray(skeleton.limits, params.dtype).T
    bounded = jnp.isfinite(high - low)
    angle = np.array(skeleton.is_angle, bool)
    least, most = jnp.where(bounded, low, -math.pi), jnp.where(bounded, high, math.pi)
    drawn = least + (most - least) * _spread(number, skeleton.num_dofs).astype(params.dtype)
    return jnp.where(bounded | angle, jnp.where(number == 0, 0.0, drawn), params)


def _turns_freely(skeleton: Skeleton) -> bool:
    """Whether the root turns about all axes."""
    if skeleton.ndim == 2:
        return any(motion.kind == "r" for motion in skeleton.motions[0])
    return any(ball.joint == 0 for ball in balls_of(skeleton))


def _spread(number, count: int) -> jax.Array:
    """(count,) numbers from 0 to 1 whose rows, one a number, fill the cube evenly.

    The additive sequence of the roots of x^(count + 1) = x + 1 (Roberts, 2018).
    """
    ratio = 2.0
    for _ in range(50):
        ratio = (1 + ratio) ** (1 / (count + 1))
    steps = np.float32(ratio ** -np.arange(1.0, count + 1))
    return (0.5 + jnp.asarray(number, jnp.float32) * steps) % 1.0
