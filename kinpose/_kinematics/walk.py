"""Eq. 2 written out number by number: for trees of tens of joints.

One walk over the tree gives frames and their velocities together: a rotation about an axis
turns what hangs below, a bone or a slide carries it along. What is zero or one for all poses
is never multiplied. Over a batch the walk is one kernel (`kinpose._kernels`); transposed, the
velocities of joints become forces that are summed towards the root. The program grows with
the tree, and so does the time to compile it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from kinpose._kernels import over_batch
from kinpose._kinematics.scalars import (
    cross,
    matrix_times,
    plus,
    rotation_parts,
    scale,
    times,
    vector_sum,
)
from kinpose.skeleton import Motion, Skeleton

_STILL = (0.0, 0.0, 0.0)


class Structure(NamedTuple):
    """What of a skeleton does not change from pose to pose: hashable, known when tracing.

    Attributes:
      parents: J joint indices, -1 for the root.
      motions: for each joint, its motions in order.
      keypoints: K joint indices.
      ndim: n, 2 or 3.
      zeros: which of the J * n numbers of the offsets are zero for all poses.
    """

    parents: tuple[int, ...]
    motions: tuple[tuple[Motion, ...], ...]
    keypoints: tuple[int, ...]
    ndim: int
    zeros: tuple[int, ...] = ()


def structure_of(skeleton: Skeleton, zeros: tuple[int, ...] = ()) -> Structure:
    """The structure of a skeleton."""
    return Structure(skeleton.parents, skeleton.motions, skeleton.keypoints, skeleton.ndim, zeros)


def known_zeros(skeleton: Skeleton) -> tuple[int, ...]:
    """Which of the offsets' numbers are zero: none while these are traced, or on a device."""
    offsets = skeleton.offsets
    if not isinstance(offsets, np.ndarray):
        return ()
    zeros = (offsets == 0).reshape(-1, offsets.shape[-2] * offsets.shape[-1]).all(axis=0)
    return tuple(np.flatnonzero(zeros).tolist())


class Frame(NamedTuple):
    """Where the walk stands: numbers, of which those known beforehand are Python's."""

    rotation: Any = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    place: Any = _STILL
    spin: Any = _STILL
    speed: Any = _STILL


class Hinge(NamedTuple):
    """A motion's axis in the world and a point on it, with their velocities."""

    axis: Any
    pivot: Any
    axis_speed: Any
    pivot_speed: Any


def positions(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """Where the keypoints are.

    Args:
      structure: the tree.
      values: (M,) angle or distance of each motion.
      offsets: (J * n,) bones in the rest pose.

    Returns:
      (K * n,) positions.
    """
    return _walked(_report_positions, structure, values, offsets)


def frames(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """Rotations (J * n * n,) and positions (J * n,) of all joints; arguments: `positions`."""
    return _walked(_report_frames, structure, values, offsets)


def hinges(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """Positions (K * n,) of the keypoints; axes and pivots in the world, (3 * M,) each."""
    return _walked(_report_hinges, structure, values, offsets)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _walked(report: Callable, structure: Structure, values, offsets) -> list[jax.Array]:
    return over_batch(_program(report, structure, ()), values, offsets)


@functools.partial(_walked.defjvp, symbolic_zeros=True)
def _walked_jvp(report, structure, primals, tangents):
    moved = tuple(i for i, x in enumerate(tangents) if not isinstance(x, SymbolicZero))
    program, moving = _program(report, structure, moved), (tangents[i] for i in moved)
    speeds = over_batch(program, *primals, *moving, linear=len(moved))
    return _walked(report, structure, *primals), speeds


@functools.lru_cache(maxsize=256)
def _program(report: Callable, structure: Structure, moved: tuple[int, ...]) -> Callable:
    """What is reported or, where values (0) or offsets (1) move, how fast it changes."""

    def walk_tree(values, offsets, *tangents):
        bones = [0.0 if i in structure.zeros else x for i, x in enumerate(offsets)]
        given = dict(zip(moved, tangents, strict=True))
        found = report(structure, *walk(structure, values, bones, given.get(0), given.get(1)))
        return found[bool(moved)]

    return walk_tree


def walk(
    structure: Structure, values: Sequence, offsets: Sequence, tangents=None, stretches=None
) -> tuple[list[Frame], list[Hinge]]:
    """Goes through the tree, parents before their children.

    Args:
      structure: the tree.
      values: M numbers, angle or distance of each motion.
      offsets: J * n numbers, the bones.
      tangents: M numbers, how fast the values change; not at all by default.
      stretches: J * n numbers, how fast the bones change.

    Returns:
      The frames of all joints, and the hinges of all motions.
    """
    tangents = tangents or [0.0] * len(values)
    stretches = stretches or [0.0] * len(offsets)
    joints, hinges = [], []
    motions = zip(values, tangents, strict=True)
    for joint, parent in enumerate(structure.parents):
        own = slice(joint * structure.ndim, (joint + 1) * structure.ndim)
        bone, stretch = ([*numbers[own], 0.0][:3] for numbers in (offsets, stretches))
        frame = _carry(joints[parent] if parent >= 0 else Frame(), bone, stretch)
        for motion in structure.motions[joint]:
            value, tangent = next(motions)
            axis = matrix_times(frame.rotation, motion.axis)
            hinges.append(Hinge(axis, frame.place, cross(frame.spin, axis), frame.speed))
            if motion.kind == "r":
                rotation = _rotate(frame.rotation, motion.axis, value)
                spin = vector_sum(frame.spin, scale(tangent, axis))
                frame = frame._replace(rotation=rotation, spin=spin)
            else:
                frame = _carry(frame, scale(value, motion.axis), scale(tangent, motion.axis))
        joints.append(frame)
    return joints, hinges


def _carry(frame: Frame, vector, rate) -> Frame:
    """The frame moved by a vector of its own, and by the vector's growth."""
    arm = matrix_times(frame.rotation, vector)
    speed = vector_sum(cross(frame.spin, arm), matrix_times(frame.rotation, rate))
    return frame._replace(place=vector_sum(frame.place, arm), speed=vector_sum(frame.speed, speed))


def _rotate(rotation, axis, angle):
    """The product with an elementary rotation, by Rodrigues' formula."""
    sine, cosine = lax.sin(angle), lax.cos(angle)
    along, across, turning = (part.tolist() for part in rotation_parts(np.array(axis)))
    columns = [
        [
            plus(along[i][j], plus(times(across[i][j], cosine), times(turning[i][j], sine)))
            for i in range(3)
        ]
        for j in range(3)
    ]
    return tuple(matrix_times(columns, row) for row in rotation)


def _report_positions(structure: Structure, joints: list[Frame], hinges: list[Hinge]) -> tuple:
    """Lists of numbers, one per result, and of how fast they change."""
    del hinges
    return _places(structure, [joints[joint] for joint in structure.keypoints])


def _report_frames(structure: Structure, joints: list[Frame], hinges: list[Hinge]) -> tuple:
    del hinges
    n = structure.ndim
    places, speeds = _places(structure, joints)
    rotations, turns = [], []
    for frame in joints:
        columns = [cross(frame.spin, column) for column in zip(*frame.rotation, strict=True)]
        turns += [columns[j][i] for i in range(n) for j in range(n)]
        rotations += [x for row in frame.rotation[:n] for x in row[:n]]
    return [rotations, *places], [turns, *speeds]


def _report_hinges(structure: Structure, joints: list[Frame], hinges: list[Hinge]) -> tuple:
    places, speeds = _report_positions(structure, joints, hinges)
    axes, pivots, *rates = (
        [x for hinge in hinges for x in hinge[part]] for part in range(len(Hinge._fields))
    )
    return [*places, axes, pivots], [*speeds, *rates]


def _places(structure: Structure, joints: list[Frame]) -> tuple:
    n = structure.ndim
    return tuple(
        [[x for frame in joints for x in getattr(frame, name)[:n]]] for name in ("place", "speed")
    )
