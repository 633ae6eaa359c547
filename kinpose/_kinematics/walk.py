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
from kinpose._kinematics.scalars import cross, matrix_times, rotation_parts, scale, vector_sum
from kinpose.skeleton import Motion, Skeleton

_STILL = (0.0, 0.0, 0.0)


class Structure(NamedTuple):
    """What of a skeleton does not change from pose to pose: hashable, known when tracing.

    Attributes:
      parents: J joint indices, -1 for the root.
      motions: for each joint, its motions in order.
      dof_names: D names, which the motions read.
      keypoints: K joint indices.
      ndim: n, 2 or 3.
      zeros: which of the J * n numbers of the offsets are zero for all poses.
    """

    parents: tuple[int, ...]
    motions: tuple[tuple[Motion, ...], ...]
    dof_names: tuple[str, ...]
    keypoints: tuple[int, ...]
    ndim: int
    zeros: tuple[int, ...] = ()


def structure_of(skeleton: Skeleton, zeros: tuple[int, ...] = ()) -> Structure:
    """The structure of a skeleton."""
    of_tree = skeleton.parents, skeleton.motions, skeleton.dof_names, skeleton.keypoints
    return Structure(*of_tree, skeleton.ndim, zeros)


def paths_of(parents: Sequence[int]) -> np.ndarray:
    """(N, N) bool, whether the path from a root to each of N nodes goes by the other or is it.

    Args:
      parents: N indices, each less than its node's own; -1 for a root.
    """
    paths = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            paths[node] |= paths[parent]
    return paths


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
        return [[x for pair in result for x in pair[bool(moved)]] for result in found]

    return walk_tree


def walk(
    structure: Structure, values: Sequence, offsets: Sequence, tangents=None, stretches=None
) -> tuple[list[Frame], list[list[Hinge]]]:
    """Goes through the tree, parents before their children.

    Args:
      structure: the tree.
      values: M numbers, angle or distance of each motion.
      offsets: J * n numbers, the bones.
      tangents: M numbers, how fast the values change; not at all by default.
      stretches: J * n numbers, how fast the bones change.

    Returns:
      The frames of all joints, and for each joint the hinges of its motions.
    """
    tangents = tangents or [0.0] * len(values)
    stretches = stretches or [0.0] * len(offsets)
    joints, hinges = [], []
    motions = zip(values, tangents, strict=True)
    for joint, parent in enumerate(structure.parents):
        own = slice(joint * structure.ndim, (joint + 1) * structure.ndim)
        bone, stretch = ([*numbers[own], 0.0][:3] for numbers in (offsets, stretches))
        frame = _carry(joints[parent] if parent >= 0 else Frame(), bone, stretch)
        hinges.append([])
        for motion in structure.motions[joint]:
            value, tangent = next(motions)
            axis = matrix_times(frame.rotation, motion.axis)
            hinges[joint].append(Hinge(axis, frame.place, cross(frame.spin, axis), frame.speed))
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
    parts = (part.T.tolist() for part in rotation_parts(np.array(axis)))
    columns = [
        vector_sum(along, vector_sum(scale(cosine, across), scale(sine, turning)))
        for along, across, turning in zip(*parts, strict=True)
    ]
    return tuple(matrix_times(columns, row) for row in rotation)


def _report_positions(structure: Structure, joints: list[Frame], _hinges: list) -> list:
    """For each result its vectors, each with how fast it changes."""
    return [_places(structure, [joints[joint] for joint in structure.keypoints])]


def _report_frames(structure: Structure, joints: list[Frame], _hinges: list) -> list:
    n, rows = structure.ndim, []
    for frame in joints:
        turns = [cross(frame.spin, column) for column in zip(*frame.rotation, strict=True)]
        pairs = zip(frame.rotation, zip(*turns, strict=True), strict=True)
        rows += [(row[:n], turn[:n]) for row, turn in pairs][:n]
    return [rows, _places(structure, joints)]


def _report_hinges(structure: Structure, joints: list[Frame], hinges: list) -> list:
    axes = [(hinge.axis, hinge.axis_speed) for own in hinges for hinge in own]
    pivots = [(hinge.pivot, hinge.pivot_speed) for own in hinges for hinge in own]
    return [*_report_positions(structure, joints, hinges), axes, pivots]


def _places(structure: Structure, joints: list[Frame]) -> list:
    return [(frame.place[: structure.ndim], frame.speed[: structure.ndim]) for frame in joints]


positions = functools.partial(_walked, _report_positions)
"""Where the keypoints are, [(K * n,)], of a structure, values (M,) and offsets (J * n,).

Values are the motions' angles or distances, offsets the bones in the rest pose.
"""

frames = functools.partial(_walked, _report_frames)
"""Of the same: rotations (J * n * n,) and positions (J * n,) of all joints."""

hinges = functools.partial(_walked, _report_hinges)
"""Of the same: positions of the keypoints; the motions' axes and pivots in the world, (3 * M,)."""
