"""Other starts of a fit, for poses that the first one did not lead to."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.angles import balls_of, into_limits, limbs_of, nearest_turn, real_limits
from kinpose.fitting._dense import slopes_of
from kinpose.fitting._levenberg_marquardt import State, first_state
from kinpose.fitting._problem import bounds, pressed_at_limit
from kinpose.skeleton import Skeleton

_FEW_RESTARTS = 3
"""Of a skeleton that turns freely as a whole: only limits can hold it up."""

_MANY_RESTARTS = 24
"""Of a skeleton whose root is held: a robot's arm reaches a point in many ways."""

_SAME = 1.01
"""Costs that differ by no more than this factor are the same."""

_FOUND = 1e-8
"""Cost (squared sizes) of a pose that has been found: 0.1 mm, for a person, at one joint."""

_PRESSED = 1e-4
"""Slope of the cost (squared sizes per rad or size) that counts as pressing against a limit."""

_NEAR = 0.02
"""How near to a limit (rad) a dof may be that keeps a pose from coming to rest."""


def with_restarts(solve: Callable, problems, starts, skeleton: Skeleton, free_first: bool) -> State:
    """Minimises; from nothing first without limits of balls, which are in the way of their turns.

    Poses that then come to rest without a solution are tried again from other starts.

    Args:
      solve: from states and limits (D, 2), or None, to the states where the descent ends.
      problems: of a batch.
      starts: (B, D) where to begin.
      skeleton: the tree.
      free_first: whether the starts know nothing of the pose.

    Returns:
      The best states found, with the steps of all tries.
    """

    def state_at(starts, limits):
        within = dataclasses.replace(skeleton, limits=limits)
        return jax.vmap(first_state, in_axes=(0, None))(starts, within)

    root_is_held = not _turns_freely(skeleton)
    if skeleton.limits is None and not root_is_held:
        return solve(state_at(starts, skeleton.limits), skeleton.limits)
    count = _MANY_RESTARTS if root_is_held else _FEW_RESTARTS
    limits = jnp.stack(bounds(skeleton, starts.dtype), axis=1)
    skeleton = dataclasses.replace(skeleton, limits=limits)
    in_limbs = (limbs_of(skeleton).ball >= 0)[:, None]
    free = jnp.where(in_limbs, jnp.array([-jnp.inf, jnp.inf], limits.dtype)[None], limits)

    @jax.vmap
    def pressed_in(problem, state):
        stopped = pressed_hard(state.params, slopes_of(problem, state.params, skeleton), skeleton)
        lowest, highest = real_limits(skeleton, state.params.dtype)
        near = (state.params < lowest + _NEAR) | (state.params > highest - _NEAR)
        return jnp.where(state.converged, stopped, near)  # or to and fro at a limit

    @jax.vmap
    def choose(first, one, other):
        return jax.tree.map(functools.partial(jnp.where, first), one, other)

    @functools.partial(jax.vmap, in_axes=(None, 0, 0))
    def start_again(number, params, pressed):
        other = _start(number, params, pressed, skeleton)
        return jnp.where(number < 0, into_limits(params, skeleton), other)

    def round_of(carry):
        number, best, starts, steps, stuck = carry
        within = jnp.where(number < 0, free, limits)
        found = solve(state_at(starts, within)._replace(converged=~stuck), within)
        steps += jnp.where(stuck, found.iterations, 0)
        best = choose(_SAME * found.cost < best.cost, found, best)
        pressed = pressed_in(problems, best)
        limited = jnp.any(jnp.isfinite(limits))
        held = jnp.any(pressed, axis=-1) | (limited & ~best.converged) | root_is_held
        stuck = jnp.where(number < 0, limited | held, stuck & held & (best.cost > _FOUND))
        starts = choose(stuck, start_again(number, best.params, pressed), best.params)
        best = best._replace(cost=jnp.where((number < 0) & limited, jnp.inf, best.cost))
        return number + 1, best, starts, steps, stuck

    none = state_at(starts, limits)
    carry = jnp.int32(-1 if free_first else 0), none, starts, none.iterations, ~none.converged
    _, best, _, steps, _ = jax.lax.while_loop(
        lambda carry: (carry[0] <= count) & jnp.any(carry[-1]), round_of, carry
    )
    return best._replace(iterations=steps)


def pressed_hard(params, slopes, skeleton: Skeleton) -> jax.Array:
    """(D,) whether a limit holds up a descent with these slopes, and not for rounding's sake."""
    return pressed_at_limit(params, slopes, skeleton) & (jnp.abs(slopes) > _PRESSED)


def _start(number, params, pressed, skeleton: Skeleton) -> jax.Array:
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
    limbs, middle = limbs_of(skeleton), 0.5 * sum(bounds(skeleton, params.dtype))
    half = nearest_turn(params + math.pi, jnp.where(jnp.isfinite(middle), middle, 0.0))
    flipped = jnp.where(limbs.last, half, jnp.where(limbs.hinge, -params, params))
    of = np.where(limbs.ball < 0, -1 - np.arange(len(params)), limbs.ball)
    together = (of[:, None] == of[None]) & (of != 0)[:, None]  # the first ball is the root
    held = jnp.any(together & pressed[None], axis=1)
    drawn = _drawn(number - 1, params, skeleton)
    return jnp.where(held, jnp.where(number == 0, flipped, drawn), params)


def _drawn(number, params, skeleton: Skeleton) -> jax.Array:
    """Zeros, then angles spread evenly over their limits."""
    low, high = bounds(skeleton, params.dtype)
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
