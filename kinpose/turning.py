"""Balls in the dense form of a fit's step: how they turn, as arrays over the balls of a pose.

Shapes: b balls; a ball's own axes are those of its three rotations, in their order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.angles import Balls, balls_of, orientation_of, product, side_by_side, turned
from kinpose.kinematics import joint_transforms
from kinpose.skeleton import Skeleton
from kinpose.steps import OPEN, STIFF, normals_of


class Turning(NamedTuple):
    """Where the balls of a pose are.

    Attributes:
      balls: which joints they are.
      frames: (b, 3, 3) their own axes in the world, as columns, after their rotations.
      places: (b, 3) of the joints.
      axes: (3, 3, b) in the world, of the three rotations: which one, which coordinate.
    """

    balls: Balls
    frames: jax.Array
    places: jax.Array
    axes: jax.Array


def turning_of(params, skeleton: Skeleton) -> Turning | None:
    """The balls of a pose (D,); None for a skeleton without any."""
    balls = side_by_side(balls_of(skeleton))
    if not len(balls.joints):
        return None
    rotations, places = joint_transforms(params, skeleton)
    own = np.moveaxis(balls.axes, -1, 0).astype(params.dtype)
    frames = jnp.matmul(rotations[balls.joints], own.swapaxes(1, 2), precision="highest")
    angles = params[balls.dofs] * balls.hand.astype(params.dtype)[None, :]
    _, (sb, sc), (cb, cc) = 0, jnp.sin(angles[1:]), jnp.cos(angles[1:])
    zero, one = jnp.zeros_like(sb), jnp.ones_like(sb)
    axes = jnp.array([[cb * cc, -cb * sc, sb], [sc, cc, zero], [zero, zero, one]])
    axes = jnp.einsum("bci,rib->rcb", frames, axes, precision="highest")
    return Turning(balls, frames, places[balls.joints], axes)


def by_turns(jacobian, positions, turning: Turning, skeleton: Skeleton) -> jax.Array:
    """The Jacobian (K, 3, D) in which a ball's dofs are turns about the axes of the world."""
    below = _below(turning.balls.joints, skeleton)
    arms = jnp.where(below[:, :, None], positions[None] - turning.places[:, None], 0.0)
    x, y, z = jnp.moveaxis(arms, -1, 0)
    zero = jnp.zeros_like(x)
    turns = jnp.array([[zero, z, -y], [-z, zero, x], [y, -x, zero]])  # coordinate, axis, b, K
    return jacobian.at[:, :, turning.balls.dofs].set(turns.transpose(3, 0, 1, 2))


def away_from(params, anchor, turning: Turning) -> tuple[jax.Array, jax.Array]:
    """From an anchor to the pose: turns in the world (3, b), and their squares (b,).

    Turns by t are long sin(t), their squares are 2 - 2 cos(t): those of t while that is small,
    and the derivative of half the one is the other.
    """
    hand = turning.balls.hand.astype(params.dtype)[None, :]
    now, was = (orientation_of(list(hand * x[turning.balls.dofs])) for x in (params, anchor))
    (a, b, c), (d, e, f), (g, h, i) = product(list(zip(*was, strict=True)), now)
    turn = 0.5 * hand * jnp.stack([h - f, c - g, d - b])
    return jnp.einsum("bci,ib->cb", turning.frames, turn, precision="highest"), 3.0 - a - e - i


def stiffened(matrix, pressed, turning: Turning) -> jax.Array:
    """Normal equations (D, D) of balls that turn only such that pressed angles (D,) stay."""
    dofs = turning.balls.dofs
    stiff = STIFF * (jnp.sum(jnp.diagonal(matrix)[dofs], axis=0) + OPEN)
    stiff = stiff[None, :] * pressed[dofs].astype(matrix.dtype)
    across = jnp.array(normals_of([list(axis) for axis in turning.axes]))
    block = jnp.einsum("rb,rcb,rdb->cdb", stiff, across, across, precision="highest")
    return matrix.at[dofs[:, None, :], dofs[None, :, :]].add(block)


def after_turns(params, moves, low, high, turning: Turning) -> tuple[jax.Array, jax.Array]:
    """Angles (3, b) of the balls after turns about the axes of the world, within limits.

    Args:
      params: (D,) before.
      moves: (D,) turns of the balls, rad.
      low: (D,) lowest values.
      high: (D,) highest values.
      turning: the balls before.

    Returns:
      (3, b) angles, and (3, b) the turns that led there: less where limits stopped them.
    """
    dofs, turns = turning.balls.dofs, moves[turning.balls.dofs]
    own = jnp.einsum("bci,cb->ib", turning.frames, turns, precision="highest")
    hand = turning.balls.hand.astype(params.dtype)
    here, least, most = (list(x[dofs]) for x in (params, low, high))
    there, outside = turned(hand, here, list(own), least, most)
    change = jnp.stack(there) - params[dofs]
    crept = jnp.einsum("rcb,rb->cb", turning.axes, change, precision="highest")
    return jnp.stack(there), jnp.where(outside > 0, crept, turns)


def _below(joints, skeleton: Skeleton) -> np.ndarray:
    """(b, K) whether a keypoint hangs on a joint."""
    below = np.zeros((skeleton.num_joints, skeleton.num_keypoints), bool)
    for k, joint in enumerate(skeleton.keypoints):
        while joint >= 0:
            below[joint, k] = True
            joint = skeleton.parents[joint]
    return below[joints]
