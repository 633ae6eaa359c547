"""Other angles of the same pose.

Three rotations about orthogonal axes (Euler's, Cardan's) have two ways to write each
orientation. And a limb whose hinge is straight looks the same turned by half a turn about
itself, but then bends the other way.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.skeleton import Skeleton


class Limb(NamedTuple):
    """A joint of three rotations, and hinges that hang on it.

    Attributes:
      joint: its index.
      triple: the dofs of the rotations, in their order.
      hinges: the dofs of the joints below that only bend, across the third axis.
    """

    joint: int
    triple: tuple[int, ...]
    hinges: tuple[int, ...]


def other_triple(angles: jax.Array, near=0.0) -> jax.Array:
    """The second triple of angles (3,) about orthogonal axes that gives the same rotation.

    Args:
      angles: (3,) rad.
      near: scalar or (3,) rad, to which each angle is found within pi.

    Returns:
      (3,) a + pi, pi - b, c + pi, and full turns.
    """
    flipped = angles * np.array([1, -1, 1], angles.dtype) + np.array(np.pi, angles.dtype)
    return _within_pi(flipped, near)


def turn_pressed_limbs(params: jax.Array, skeleton: Skeleton) -> jax.Array:
    """The pose by other angles where a limb is pressed against a limit, which it then leaves.

    If a hinge is at a limit, the limb is turned by half a turn about itself, which is the same
    pose if the hinge is straight there; if the triple is, its other angles are taken.

    Args:
      params: (D,) one value per dof.
      skeleton: the tree.

    Returns:
      (D,) parameters, perhaps beyond the limits.
    """
    limits = jnp.asarray(skeleton.limits, params.dtype)
    pressed = (params <= limits[:, 0]) | (params >= limits[:, 1])
    half_turn = np.array([0, 0, np.pi], params.dtype)
    for limb in limbs_of(skeleton):
        dofs, hinges = np.array(limb.triple), np.array(limb.hinges, int)
        here = params[dofs]
        other = other_triple(here)
        turned = closer_to_limits(
            _within_pi(here + half_turn), _within_pi(other + half_turn), limits[dofs]
        )
        bent = jnp.any(pressed[hinges])
        moved = jnp.where(bent, turned, other)
        params = params.at[dofs].set(jnp.where(bent | jnp.any(pressed[dofs]), moved, here))
    return params


def closer_to_limits(first: jax.Array, second: jax.Array, limits: jax.Array) -> jax.Array:
    """Of two parameters (D,) those that exceed the limits (D, 2) less; else the first."""

    def excess(params):
        return jnp.sum(jnp.abs(params - jnp.clip(params, *limits.T)))

    return jnp.where(excess(second) < excess(first), second, first)


def limbs_of(skeleton: Skeleton) -> list[Limb]:
    """The joints with three rotations about orthogonal axes, each by a dof of its own."""
    dofs = [motion.dof for joint in skeleton.motions for motion in joint]
    limbs = []
    for joint, motions in enumerate(skeleton.motions):
        turns = [m for m in motions if m.kind == "r"]
        axes = np.array([m.axis for m in turns])
        plain = all((m.multiplier, m.bias) == (1, 0) and dofs.count(m.dof) == 1 for m in turns)
        if len(turns) == 3 and plain and np.allclose(axes @ axes.T, np.eye(3), atol=1e-6):
            children = zip(skeleton.motions, skeleton.parents, strict=True)
            alone = [own[0] for own, parent in children if parent == joint and len(own) == 1]
            hinges = [m for m in alone if m.kind == "r" and abs(np.dot(m.axis, axes[2])) < 1e-6]
            triple, below = (
                tuple(skeleton.dof_names.index(m.dof) for m in ms) for ms in (turns, hinges)
            )
            limbs.append(Limb(joint, triple, below))
    return limbs


def _within_pi(angles, of=0.0):
    return angles + 2 * np.pi * jnp.round((of - angles) / (2 * np.pi))
