"""A skeleton's structure, and what of its motion is asked for: hashable, known when tracing."""

from typing import NamedTuple

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
    """

    parents: tuple[int, ...]
    motions: tuple[tuple[Motion, ...], ...]
    keypoints: tuple[int, ...]
    ndim: int
    details: str


def make_tree(skeleton: Skeleton, details: str) -> Tree:
    """The structure of a skeleton."""
    return Tree(skeleton.parents, skeleton.motions, skeleton.keypoints, skeleton.ndim, details)
