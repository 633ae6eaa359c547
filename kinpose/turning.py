"""Balls in the dense form of a fit's step: how they turn, as arrays over the balls of a pose.

Shapes: b balls; a ball's own axes are those of its three rotations, in their order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.angles import (
    Balls,
    axes_of,
    balls_of,
    normals_of,
    orientation_of,
    product,
    side_by_side,
    turned,
)
from kinpose.kinematics import joint_transforms
from kinpose.skeleton import Skeleton
from kinpose.steps import OPEN, STIFF


class Turning(NamedTuple):
    """Where the balls of a pose are.

    Attributes:
      balls: which joints they are.
      frames: (b, 3, 3) their own axes in the world, as columns, after their rotations.
      places: (b, 3) of the joints.
      angles: (3, b) rad, negated where the axes are left-handed.
    """

    balls: Balls
    frames: jax.Array
    places: jax.Array
    angles: jax.Array


def turning_of(params, skeleton: Skeleton) -> Turning | None:
    """The balls of a pose (D,); None for a skeleton without any."""
    balls = side_by_side(balls_of(skeleton))
    if not len(balls.joints):
        return None
    rotations, places = joint_transforms(params, skeleton)
    own = np.moveaxis(balls.axes, -1, 0).astype(params.dtype)
    frames = jnp.matmul(rotations[balls.joints], own.swapaxes(1, 2), precision="highest")
    return Turning(balls, frames, places[balls.joints], _handed(params, balls))


def by_turns(jacobian, positions, turning: Turning, skeleton: Skeleton) -> jax.Array:
    """The Jacobian (K, 3, D) in which a ball's dofs are turns about its own axes."""
    below = _below(turning.balls.joints, skeleton)
    arms = jnp.where(below[:, :, None], positions[None] - turning.places[:, None], 0.0)
    axes = turning.frames.swapaxes(1, 2)
    turns = jnp.cross(axes[:, None], arms[:, :, None, :] + 0 * axes[:, None])
    return jacobian.at[:, :, turning.balls.dofs].set(turns.transpose(1, 3, 2, 0))


def on_angles(pull, turning: Turning) -> jax.Array:
    """(3, b) what a pull (3, b) on the turns of balls is on their angles."""
    return jnp.einsum("rcb,cb->rb", _stacked(axes_of, turning), pull, precision="highest")


def away_from(params, anchor, balls: Balls) -> tuple[jax.Array, jax.Array]:
    """From an anchor to the pose: turns about own axes (3, b), and their squares (b,).

    Turns by t are long sin(t), their squares are 2 - 2 cos(t): those of t while that is small,
    and the derivative of half the one is the other.
    """
    now, was = (orientation_of(list(_handed(x, balls))) for x in (params, anchor))
    (a, b, c), (d, e, f), (g, h, i) = product(list(zip(*was, strict=True)), now)
    hand = balls.hand.astype(params.dtype)[None, :]
    return 0.5 * hand * jnp.stack([h - f, c - g, d - b]), 3.0 - a - e - i


def stiffened(matrix, pressed, turning: Turning) -> jax.Array:
    """Normal equations (D, D) of balls that turn only such that pressed angles (D,) stay."""
    dofs = turning.balls.dofs
    stiff = STIFF * (jnp.sum(jnp.diagonal(matrix)[dofs], axis=0) + OPEN)
    stiff = stiff[None, :] * pressed[dofs].astype(matrix.dtype)
    across = _stacked(normals_of, turning)
    block = jnp.einsum("rb,rcb,rdb->cdb", stiff, across, across, precision="highest")
    return matrix.at[dofs[:, None, :], dofs[None, :, :]].add(block)


def after_turns(params, moves, low, high, turning: Turning) -> tuple[jax.Array, jax.Array]:
    """Angles (3, b) of the balls after turns about their own axes, within limits.

    Args:
      params: (D,) before.
      moves: (D,) turns of the balls, rad.
      low: (D,) lowest values.
      high: (D,) highest values.
      turning: the balls before.

    Returns:
      (3, b) angles, and (3, b) the turns that led there: less where limits stopped them.
    """
    dofs = turning.balls.dofs
    hand = turning.balls.hand.astype(params.dtype)
    here, turns, least, most = (list(x[dofs]) for x in (params, moves, low, high))
    there, outside = turned(hand, here, turns, least, most)
    change = jnp.stack(there) - params[dofs]
    axes = _stacked(axes_of, turning)
    crept = jnp.einsum("rcb,rb->cb", axes, change, precision="highest")
    return jnp.stack(there), jnp.where(outside > 0, crept, moves[dofs])


def _handed(params, balls: Balls) -> jax.Array:
    return params[balls.dofs] * balls.hand.astype(params.dtype)[None, :]


def _stacked(vectors_of, turning: Turning) -> jax.Array:
    """(3, 3, b) vectors of numbers."""
    like = turning.angles[0]
    rows = vectors_of(list(turning.angles))
    return jnp.stack([jnp.stack([x + jnp.zeros_like(like) for x in row]) for row in rows])


def _below(joints, skeleton: Skeleton) -> np.ndarray:
    """(b, K) whether a keypoint hangs on a joint."""
    below = np.zeros((skeleton.num_joints, skeleton.num_keypoints), bool)
    for k, joint in enumerate(skeleton.keypoints):
        while joint >= 0:
            below[joint, k] = True
            joint = skeleton.parents[joint]
    return below[joints]
