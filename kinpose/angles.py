"""Angles: full turns, the two triples that write one orientation, and joints that turn freely.

Three rotations about orthogonal axes (Cardan's angles) write each orientation twice: as
(a, b, c) and as (a + pi, pi - b, c + pi). They are singular where the middle angle is a right
one: there a and c turn about the same line. So a fit steps on the orientation of such a joint,
a ball, and reads its angles off afterwards.

In a ball's own axes, the order of its three rotations, it is Rx(a) Ry(b) Rz(c), with all three
angles negated where these axes are left-handed. What works on numbers serves one pose, written
out, and arrays of poses alike.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from kinpose._kinematics.scalars import clip, dot, matrix_times, minus, plus, scale, times
from kinpose.skeleton import Motion, Skeleton

_SINGULAR = 100
"""Roundings in the cosine of the middle angle up to which the first angle stays where it was."""

_OUTSIDE = 1e3
"""How much more it costs a triple to be outside its limits than far from the one before."""

_NEUTRAL = 1.1
"""How much more it costs an angle to be far from zero than from the one before."""

_RIGHT = 1e-3
"""A limit of a middle angle so near a right angle is none: beyond it the other triple begins."""


class Ball(NamedTuple):
    """A joint that turns freely.

    Attributes:
      joint: its index.
      dofs: of its three rotations, in their order.
      axes: their axes, orthonormal, as rows.
      hinges: dofs of joints right below that only bend, across the third axis.
    """

    joint: int
    dofs: tuple[int, int, int]
    axes: tuple[tuple[float, float, float], ...]
    hinges: tuple[int, ...]

    @property
    def hand(self) -> float:
        """1 where the axes are right-handed, else -1."""
        return float(np.sign(np.linalg.det(self.axes)))


def balls_of(skeleton: Skeleton) -> tuple[Ball, ...]:
    """The joints that turn about three orthogonal axes, last of all and each by its own dof."""
    return _balls(skeleton.motions, skeleton.parents, skeleton.dof_names)


class Balls(NamedTuple):
    """All balls of a skeleton, side by side; b of them.

    Attributes:
      joints: (b,) indices.
      dofs: (3, b) of the first, second and last rotations.
      axes: (3, 3, b) the axes: which rotation, which coordinate.
      hand: (b,) 1 or -1.
    """

    joints: np.ndarray
    dofs: np.ndarray
    axes: np.ndarray
    hand: np.ndarray


def side_by_side(skeleton: Skeleton) -> Balls:
    """All balls as arrays."""
    balls = balls_of(skeleton)
    return Balls(
        np.array([ball.joint for ball in balls], np.int32),
        np.array([ball.dofs for ball in balls], np.int32).reshape(-1, 3).T,
        np.moveaxis(np.array([ball.axes for ball in balls]).reshape(-1, 3, 3), 0, -1),
        np.array([ball.hand for ball in balls]),
    )


def put_balls(x: jax.Array, balls: Balls, values: jax.Array) -> jax.Array:
    """Numbers of dofs (..., D) with those of balls (..., 3, b) in their places.

    By a table of places: what is scattered goes one by one on a CPU, in a loop of its own.
    """
    places = np.arange(x.shape[-1])
    places[balls.dofs.ravel()] = len(places) + np.arange(balls.dofs.size)
    values = jnp.broadcast_to(values, (*x.shape[:-1], *balls.dofs.shape))
    return jnp.concatenate([x, values.reshape(*x.shape[:-1], -1)], axis=-1)[..., places]


class Limbs(NamedTuple):
    """Balls, each with the hinges right below, dof by dof.

    Attributes:
      ball: (D,) whose a dof is, a place in `balls_of`, or -1.
      last: (D,) whether it is a ball's last rotation.
      hinge: (D,) whether it bends below one.
    """

    ball: np.ndarray
    last: np.ndarray
    hinge: np.ndarray


def limbs_of(skeleton: Skeleton) -> Limbs:
    """What dofs do in limbs."""
    of = np.full(skeleton.num_dofs, -1)
    last, hinge = np.zeros((2, skeleton.num_dofs), bool)
    for i, ball in enumerate(balls_of(skeleton)):
        of[[*ball.dofs, *ball.hinges]] = i
        last[ball.dofs[2]] = True
        hinge[list(ball.hinges)] = True
    return Limbs(of, last, hinge)


@functools.lru_cache(maxsize=64)
def _balls(motions: tuple[tuple[Motion, ...], ...], parents, dof_names) -> tuple[Ball, ...]:
    dofs = [motion.dof for joint in motions for motion in joint]
    balls = []
    for joint, own in enumerate(motions):
        turns = own[-3:]
        axes = np.array([motion.axis for motion in turns])
        plain = all(
            (m.kind, m.multiplier, m.bias) == ("r", 1, 0) and dofs.count(m.dof) == 1 for m in turns
        )
        three = sum(motion.kind == "r" for motion in own) == 3
        if three and plain and np.allclose(axes @ axes.T, np.eye(3), atol=1e-6):
            below = [
                ms[0]
                for ms, parent in zip(motions, parents, strict=True)
                if parent == joint and len(ms) == 1
            ]
            bends = [m for m in below if m.kind == "r" and abs(np.dot(m.axis, axes[2])) < 1e-6]
            triple, hinges = (tuple(dof_names.index(m.dof) for m in ms) for ms in (turns, bends))
            balls.append(Ball(joint, triple, tuple(map(tuple, axes.tolist())), hinges))
    return tuple(balls)


def real_limits(skeleton: Skeleton, dtype: jax.typing.DTypeLike) -> tuple[jax.Array, jax.Array]:
    """Lowest and highest angles, each (D,), at which motion can stop."""
    low, high = jnp.asarray(skeleton.limits, dtype).T
    middle = np.zeros(skeleton.num_dofs, bool)
    middle[[ball.dofs[1] for ball in balls_of(skeleton)]] = True
    return tuple(
        jnp.where(middle & (jnp.abs(jnp.abs(limit) - math.pi / 2) < _RIGHT), none, limit)
        for limit, none in ((low, -np.inf), (high, np.inf))
    )


def into_limits(params: jax.Array, skeleton: Skeleton) -> jax.Array:
    """The same pose by the angles that are least outside the limits.

    Angles gain full turns; of each ball the better triple is taken, and if that is not enough
    it turns by half a turn about its last axis while the hinges below bend the other way, which
    is the same where a limb has one hinge.

    Args:
      params: (D,) one value per dof.
      skeleton: the tree.

    Returns:
      (D,) parameters, perhaps beyond the limits.
    """
    low, high = jnp.asarray(skeleton.limits, params.dtype).T
    angle = np.array(skeleton.is_angle, bool)
    middle = jnp.where(jnp.isfinite(high - low), 0.5 * (low + high), params)

    def towards(values):
        return jnp.where(angle, nearest_turn(values, middle), values)

    def half_turned(values):
        return jnp.where(limbs.last, values + math.pi, jnp.where(limbs.hinge, -values, values))

    found, limbs, balls = towards(params), limbs_of(skeleton), side_by_side(skeleton)
    if not len(balls.joints):
        return found
    other = put_balls(found, balls, jnp.stack(other_triple(list(found[balls.dofs]))))
    ways = [found, other, half_turned(found), half_turned(other)]
    ways = jnp.stack([towards(way) for way in ways])
    outside = jnp.abs(ways - jnp.clip(ways, low[None], high[None]))
    far = _OUTSIDE * outside + jnp.where(jnp.isfinite(high - low)[None], jnp.abs(ways), 0.0)
    whose = np.arange(limbs.ball.max() + 1)[:, None] == limbs.ball[None]
    costs = jnp.sum(jnp.where(whose[None], far[:, None, :], 0.0), axis=-1)
    rigid = ~(whose & limbs.hinge[None]).any(axis=1)
    never = rigid[None] & (np.arange(len(ways)) >= 2)[:, None]
    best = jnp.argmin(jnp.where(never, jnp.inf, costs), axis=0)[limbs.ball]
    return jnp.take_along_axis(ways, best[None], axis=0)[0]


def nearest_turn(angle: ArrayLike, near: ArrayLike) -> jax.Array:
    """The angle plus the full turns that bring it within pi of another."""
    turns = (near - angle) * (0.5 / math.pi)
    return angle + 2 * math.pi * lax.round(turns, lax.RoundingMethod.TO_NEAREST_EVEN)


def other_triple(angles: Sequence) -> list:
    """The second triple of angles that gives the same orientation."""
    a, b, c = angles
    return [a + math.pi, math.pi - b, c + math.pi]


def orientation_of(angles: Sequence, hand: ArrayLike = 1.0) -> list[list]:
    """Rx(a) Ry(b) Rz(c), rows of numbers; of negated angles for a left hand."""
    (sa, ca), (sb, cb), (sc, cc) = (_sine_and_cosine(x, hand) for x in angles)
    sasb, casb = times(sa, sb), times(ca, sb)
    return [
        [times(cb, cc), times(-1.0, times(cb, sc)), sb],
        [
            plus(times(ca, sc), times(sasb, cc)),
            minus(times(ca, cc), times(sasb, sc)),
            times(-1.0, times(sa, cb)),
        ],
        [
            minus(times(sa, sc), times(casb, cc)),
            plus(times(sa, cc), times(casb, sc)),
            times(ca, cb),
        ],
    ]


def axes_of(angles: Sequence, hand: ArrayLike = 1.0) -> list[list]:
    """The axes of the three rotations in the ball's own frame, after them: rows of numbers."""
    (sb, cb), (sc, cc) = (_sine_and_cosine(x, hand) for x in angles[1:])
    return [[times(cb, cc), times(-1.0, times(cb, sc)), sb], [sc, cc, 0.0], [0.0, 0.0, 1.0]]


def normals_of(angles: Sequence, hand: ArrayLike = 1.0) -> list[list]:
    """For each angle the unit vector, in the same frame, across which turns leave it as it is."""
    (sb, cb), (sc, cc) = (_sine_and_cosine(x, hand) for x in angles[1:])
    return [
        [cc, times(-1.0, sc), 0.0],
        [sc, cc, 0.0],
        [times(-1.0, times(sb, cc)), times(sb, sc), cb],
    ]


def _sine_and_cosine(angle, hand) -> tuple:
    """Of the angle times the hand: kernels have those of each angle at hand."""
    return times(hand, lax.sin(angle)), lax.cos(angle)


def turns_away(params: jax.Array, anchor: jax.Array, balls: Balls) -> tuple[jax.Array, jax.Array]:
    """From an anchor (D,) to a pose (D,): turns of the balls, and their squares.

    Turns by t are long sin(t), their squares are 2 - 2 cos(t): those of t while that is small,
    and the derivative of half the one is the other.

    Returns:
      (3, b) about their own axes, and (b,).
    """
    hand = balls.hand.astype(params.dtype)
    turns, square = turn_away(list(params[balls.dofs]), list(anchor[balls.dofs]), hand)
    return jnp.stack(turns), square


def turn_away(angles: Sequence, anchor: Sequence, hand: ArrayLike) -> tuple[list, Any]:
    """`turns_away` of one ball, or of several, by three angles: three turns, and their square."""
    now, was = orientation_of(angles, hand), orientation_of(anchor, hand)
    (a, b, c), (d, e, f), (g, h, i) = product(list(zip(*was, strict=True)), now)
    return list(scale(0.5 * hand, (h - f, c - g, d - b))), 3.0 - a - e - i


def handed(params: jax.Array, balls: Balls) -> jax.Array:
    """(3, b) angles of the balls, negated where their axes are left-handed."""
    return params[balls.dofs] * balls.hand.astype(params.dtype)[None, :]


def small_turn(spin: Sequence) -> list[list]:
    """The rotation by 2 atan(|spin| / 2) about a vector, Cayley's: like exp without sines."""
    x, y, z = (times(0.5, s) for s in spin)
    square = dot((x, y, z), (x, y, z))
    factor = 2.0 / (1.0 + square)
    return [
        [1.0 + factor * (x * x - square), factor * (x * y - z), factor * (x * z + y)],
        [factor * (x * y + z), 1.0 + factor * (y * y - square), factor * (y * z - x)],
        [factor * (x * z - y), factor * (y * z + x), 1.0 + factor * (z * z - square)],
    ]  # fmt: skip


def product(first: Sequence, second: Sequence) -> list[list]:
    """Of two matrices, rows of numbers."""
    columns = list(zip(*second, strict=True))
    return [[dot(row, column) for column in columns] for row in first]


def turned(
    hand: ArrayLike,
    angles: Sequence,
    spin: Sequence,
    low: Sequence | None = None,
    high: Sequence | None = None,
) -> tuple:
    """The angles of a ball after a turn, within limits where there are any.

    Args:
      hand: 1 where its axes are right-handed, else -1.
      angles: its three angles, rad.
      spin: about what it turns, by its own axes; see `small_turn`.
      low: lowest angles.
      high: highest angles.

    Returns:
      The three angles, nearest to those before, and the turn that led there: less than asked for
      where limits stopped it.
    """
    near, after = scale(hand, angles), orientation_of(angles, hand)
    after = product(after, small_turn(scale(hand, spin)))
    if low is None:
        return scale(hand, triple_of(after, near)[0]), spin
    ends = scale(hand, low), scale(hand, high)
    lowest, highest = (list(map(f, *ends)) for f in (lax.min, lax.max))
    found, outside = triple_of(after, near, lowest, highest)
    found = scale(hand, found)
    columns = zip(*axes_of(angles, hand), strict=True)
    crept = matrix_times(columns, tuple(map(minus, found, angles)))
    return found, [lax.select(outside > 0, x, y) for x, y in zip(crept, spin, strict=True)]


def triple_of(
    rotation: Sequence,
    near: Sequence,
    low: Sequence | None = None,
    high: Sequence | None = None,
) -> tuple:
    """The angles of an orientation, within limits where there are any.

    Of the two triples it is the one that is less outside the limits or, where both are within,
    nearer to another and, if they have limits, to zero. What is outside is clipped, and the last
    angle makes up for it as far as it can.

    Args:
      rotation: Rx(a) Ry(b) Rz(c), rows of numbers.
      near: three angles, to which those without limits are found within pi.
      low: lowest angles.
      high: highest angles.

    Returns:
      The three angles, and by how much (rad) all together were clipped.
    """
    one = cardan_angles(rotation, near[0])
    if low is None:
        one, two = (list(map(nearest_turn, x, near)) for x in (one, other_triple(one)))
        ways = [sum(lax.abs(x - y) for x, y in zip(w, near, strict=True)) for w in (one, two)]
        found = [lax.select(ways[1] < ways[0], y, x) for x, y in zip(one, two, strict=True)]
        return found, 0.0
    bounds = list(zip(near, low, high, strict=True))
    one, two = (
        [_towards(x, *bound) for x, bound in zip(triple, bounds, strict=True)]
        for triple in (one, other_triple(one))
    )
    further = _cost(two, bounds) < _cost(one, bounds)
    found = [lax.select(further, y, x) for x, y in zip(one, two, strict=True)]
    a, b, c = (clip(x, lo, hi) for x, (_, lo, hi) in zip(found, bounds, strict=True))
    outside = sum(lax.abs(x - y) for x, y in zip(found, (a, b, c), strict=True))
    sine = rotation[0][2]  # of the middle angle: by so much the outer axes are along each other
    last = found[2] + sine * (found[0] - a)
    return [a, b, clip(_towards(last, *bounds[2]), low[2], high[2])], outside


def cardan_angles(rotation: Sequence, near: ArrayLike) -> list:
    """The first triple of angles of an orientation.

    Args:
      rotation: Rx(a) Ry(b) Rz(c), rows of numbers.
      near: what the first angle is where the orientation leaves it open.

    Returns:
      Three angles from -pi to pi; they give the orientation however singular they are.
    """
    (_, _, r02), (r10, r11, r12), (r20, r21, r22) = rotation
    rounding = _SINGULAR * float(jnp.finfo(r22.dtype).eps)
    first = lax.atan2(rounding * lax.sin(near) - r12, r22 + rounding * lax.cos(near))
    sine, cosine = lax.sin(first), lax.cos(first)
    return [
        first,
        lax.atan2(r02, cosine * r22 - sine * r12),
        lax.atan2(cosine * r10 + sine * r20, cosine * r11 + sine * r21),
    ]


def _towards(angle, near, low, high):
    """With full turns to another angle or, where that is outside the limits, to their middle."""
    found = nearest_turn(angle, near)
    inside = (found >= low) & (found <= high)
    middle = lax.select(high - low < 4 * math.pi, 0.5 * (low + high), near)
    return lax.select(inside, found, nearest_turn(angle, middle))


def _cost(triple, bounds):
    """What speaks against a triple.

    How far it is outside its limits; then from the one before; then, where it has limits, from
    zero: a little more, so that a detour is given up when the direct way lies between.
    """
    cost = 0.0
    for x, (near, low, high) in zip(triple, bounds, strict=True):
        outside = lax.max(low - x, lax.max(x - high, x - x))
        neutral = lax.select(high - low < 4 * math.pi, _NEUTRAL * lax.abs(x), x - x)
        cost = cost + _OUTSIDE * outside + lax.abs(x - near) + neutral
    return cost
