"""A skeleton's structure, and what of its motion is asked for: hashable, known when tracing."""

from typing import NamedTuple

import numpy as np

from kinpose.skeleton import Motion, Skeleton


class Tree(NamedTuple):
    """What does not change from pose to pose.

    Attributes:
      parents: J joint indices, -1 for the root.
      motions: for each joint, its motions in order.
      keypoints: K joint indices.
      ndim: n, 2 or 3.
      details: what is asked for: "positions" of the keypoints; "frames", rotations and
        positions of all joints; or "hinges", positions of the keypoints, then axes and pivots
        of all motions in the world.
      zeros: which of the J * n numbers of the offsets are zero for all poses.
    """

    parents: tuple[int, ...]
    motions: tuple[tuple[Motion, ...], ...]
    keypoints: tuple[int, ...]
    ndim: int
    details: str
    zeros: tuple[int, ...]


def make_tree(skeleton: Skeleton, details: str, zeros: tuple[int, ...] = ()) -> Tree:
    """The structure of a skeleton."""
    parents, motions, keypoints = skeleton.parents, skeleton.motions, skeleton.keypoints
    return Tree(parents, motions, keypoints, skeleton.ndim, details, zeros)


def known_zeros(skeleton: Skeleton) -> tuple[int, ...]:
    """Which of the offsets' numbers are zero: none while these are traced, or on a device."""
    offsets = skeleton.offsets
    if not isinstance(offsets, np.ndarray):
        return ()
    zeros = (offsets == 0).reshape(-1, offsets.shape[-2] * offsets.shape[-1]).all(axis=0)
    return tuple(np.flatnonzero(zeros).tolist())
