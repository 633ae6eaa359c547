"""Eq. 2 written out number by number: for trees of tens of joints.

One walk over the tree gives frames and their velocities together: a rotation about an axis
turns what hangs below, a bone or a slide carries it along. What is zero or one for all poses
is never multiplied. The walk is one kernel over a batch (`kinpose.fused`); transposed, the
velocities of joints become forces that are summed towards the root. The program grows with
the tree, and so does the time to compile it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from kinpose.arithmetic import cross, matrix_times, plus, scale, times, vector_sum
from kinpose.fused import fused
from kinpose.looped import places, velocities
from kinpose.rodrigues import rotation_parts
from kinpose.tree import Tree

_STILL = (0.0, 0.0, 0.0)


class _Frame(NamedTuple):
    """Where the walk stands: numbers, of which those known beforehand are Python's."""

    rotation: Any = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    place: Any = _STILL
    spin: Any = _STILL
    speed: Any = _STILL


class _Hinge(NamedTuple):
    """A motion's axis in the world and a point on it, with their velocities."""

    axis: Any
    pivot: Any
    axis_speed: Any
    pivot_speed: Any


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def unrolled_places(tree: Tree, amounts: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """What `kinpose.looped.places` gives, from amounts (M,) and offsets (J * n,)."""
    program, compact = _programs(tree, ())
    return fused(program, amounts, offsets, compact=compact)


@functools.partial(unrolled_places.defjvp, symbolic_zeros=True)
def _derivative(tree, primals, tangents):
    moved = tuple(i for i, x in enumerate(tangents) if not isinstance(x, SymbolicZero))
    program, compact = _programs(tree, moved)
    moving = (tangents[i] for i in moved)
    speeds = fused(program, *primals, *moving, compact=compact, linear=len(moved))
    return unrolled_places(tree, *primals), speeds


@functools.lru_cache(maxsize=256)
def _programs(tree: Tree, moved: tuple[int, ...]) -> tuple[Callable, Callable]:
    """Of numbers and of rows: places, or velocities where amounts (0) or offsets (1) move."""

    def unrolled(amounts, offsets, *rates):
        bones = [0.0 if i in tree.zeros else x for i, x in enumerate(offsets)]
        found = walk(tree, amounts, bones, *filled(rates, (None, None)))
        return _REPORTS[tree.details](tree, *found)[bool(moved)]

    def rows(amounts, offsets, *rates):
        if not moved:
            return places(tree, amounts, offsets)
        still = jnp.zeros_like(amounts), jnp.zeros_like(offsets)
        return velocities(tree, amounts, offsets, *filled(rates, still))

    def filled(rates, still):
        given = dict(zip(moved, rates, strict=True))
        return (given.get(i, zeros) for i, zeros in enumerate(still))

    return unrolled, rows


def walk(tree: Tree, amounts, offsets, rates=None, stretches=None):
    """Frames of all joints and hinges of all motions, of lists of numbers; still by default."""
    rates = rates or [0.0] * len(amounts)
    stretches = stretches or [0.0] * len(offsets)
    joints, hinges = [], []
    motions = zip(amounts, rates, strict=True)
    for joint, parent in enumerate(tree.parents):
        own = slice(joint * tree.ndim, (joint + 1) * tree.ndim)
        bone, stretch = ([*numbers[own], 0.0][:3] for numbers in (offsets, stretches))
        frame = _carry(joints[parent] if parent >= 0 else _Frame(), bone, stretch)
        for motion in tree.motions[joint]:
            amount, rate = next(motions)
            axis = matrix_times(frame.rotation, motion.axis)
            hinges.append(_Hinge(axis, frame.place, cross(frame.spin, axis), frame.speed))
            if motion.kind == "r":
                rotation = _rotate(frame.rotation, motion.axis, amount)
                spin = vector_sum(frame.spin, scale(rate, axis))
                frame = frame._replace(rotation=rotation, spin=spin)
            else:
                frame = _carry(frame, scale(amount, motion.axis), scale(rate, motion.axis))
        joints.append(frame)
    return joints, hinges


def _carry(frame: _Frame, vector, rate) -> _Frame:
    """The frame moved by a vector of its own, and by the vector's growth."""
    arm = matrix_times(frame.rotation, vector)
    speed = vector_sum(cross(frame.spin, arm), matrix_times(frame.rotation, rate))
    return frame._replace(place=vector_sum(frame.place, arm), speed=vector_sum(frame.speed, speed))


def _rotate(rotation, axis, angle):
    """The product with an elementary rotation, by Rodrigues' formula."""
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    along, across, turning = (part.tolist() for part in rotation_parts(np.array(axis)))
    columns = [
        [
            plus(along[i][j], plus(times(across[i][j], cosine), times(turning[i][j], sine)))
            for i in range(3)
        ]
        for j in range(3)
    ]
    return tuple(matrix_times(columns, row) for row in rotation)


def _positions(tree: Tree, joints, hinges):
    del hinges
    reported = [joints[joint] for joint in tree.keypoints]
    return tuple(
        [[x for frame in reported for x in getattr(frame, name)[: tree.ndim]]]
        for name in ("place", "speed")
    )


def _frames(tree: Tree, joints, hinges):
    n, everything = tree.ndim, tree._replace(keypoints=range(len(joints)))
    positions, speeds = _positions(everything, joints, hinges)
    rotations, turns = [], []
    for frame in joints:
        columns = [cross(frame.spin, column) for column in zip(*frame.rotation, strict=True)]
        turns += [columns[j][i] for i in range(n) for j in range(n)]
        rotations += [x for row in frame.rotation[:n] for x in row[:n]]
    return [rotations, *positions], [turns, *speeds]


def _hinges(tree: Tree, joints, hinges):
    positions, speeds = _positions(tree, joints, hinges)
    axes, pivots, *rates = (
        [x for hinge in hinges for x in hinge[part]] for part in range(len(_Hinge._fields))
    )
    return [*positions, axes, pivots], [*speeds, *rates]


_REPORTS = {"positions": _positions, "frames": _frames, "hinges": _hinges}
"""From all frames and hinges to lists of what is reported, and of how fast it changes."""
