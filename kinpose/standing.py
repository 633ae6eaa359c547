"""How a skeleton stands in its rest pose: its legs, its axes, its chains of joints.

Shapes: T frames, J joints.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from kinpose.frames import frames_of, groups_of
from kinpose.skeleton import Skeleton

_ALONG = 0.8
"""Cosine by which a rest pose's directions must be along its axes, about 37 degrees."""


class Leg(NamedTuple):
    """Names of three joints of the target."""

    hip: str
    knee: str
    ankle: str


class Legs(NamedTuple):
    """Indices of joints, one for each side."""

    hips: tuple[int, int]
    knees: tuple[int, int]
    ankles: tuple[int, int]


class Stand(NamedTuple):
    """How a skeleton stands in its rest pose.

    Attributes:
      rotations: (J, 3, 3) of its joints.
      places: (J, 3) of its joints.
      axes: (3, 3) rows: its axes from the second leg to the first, up, and their product.
      legs: its joints; where the hips begin to turn.
      starts: joint that is mapped -> where the limb begins that it turns.
      leg: hip to knee to ankle, the mean of both.
      ankle: height of the ankles above the lowest joints of the feet, the mean of both.
    """

    rotations: np.ndarray
    places: np.ndarray
    axes: np.ndarray
    legs: Legs
    starts: dict[int, int]
    leg: float
    ankle: float


def legs_of(target: Skeleton, names: Collection[str]) -> tuple[Leg, Leg]:
    """The legs of a skeleton: the two chains of joints from the root that do not branch.

    Args:
      target: the skeleton.
      names: of the joints that count, a `name_map` for instance.

    Returns:
      The first three joints of each, in the skeleton's order.

    Raises:
      ValueError: where there are not two.
    """
    joints = [j for j, name in enumerate(target.names) if name in names]
    chains = [chain[1:] for chain in chains_of(target, joints) if chain[:1] == joints[:1]]
    chains = [chain for chain in chains if len(chain) >= 3]
    if len(chains) != 2:
        found = [[target.names[j] for j in chain] for chain in chains]
        raise ValueError(
            "expected two unbranched chains of hip, knee and ankle at the root of name_map's "
            f"joints, but found {found}; name the legs by legs=."
        )
    first, second = (Leg(*(target.names[j] for j in chain[:3])) for chain in chains)
    return first, second


def stand_of(
    skeleton: Skeleton, goals: Collection[int], legs: Any, rest: np.ndarray, what: str
) -> Stand:
    """How a skeleton stands, with a check that it does.

    Args:
      skeleton: 3D.
      goals: the joints that are mapped.
      legs: names of hip, knee and ankle of both legs.
      rest: (D,) the pose; zeros for None.
      what: the skeleton is called in errors.

    Raises:
      ValueError: for wrong names or shapes, and for a pose that does not stand upright along the
        skeleton's axes.
    """
    params = np.zeros(skeleton.num_dofs) if rest is None else np.asarray(rest, np.float64)
    if params.shape != (skeleton.num_dofs,):
        raise ValueError(
            f"{what}_rest must have shape ({skeleton.num_dofs},), but has {params.shape}."
        )
    for leg in legs:
        for name in leg:
            if name not in skeleton.names:
                raise ValueError(f"legs must be mapped joints, but the {what} has no {name!r}.")
    starts = {group.joint: group.path[0] for group in groups_of(skeleton, goals)}
    index = [[skeleton.names.index(name) for name in leg] for leg in legs]
    index = [[starts.get(leg[0], leg[0]), *leg[1:]] for leg in index]
    legs = Legs(*(tuple(pair) for pair in zip(*index, strict=True)))
    rotations, places = (x[0] for x in frames_of(params[None], skeleton))
    hips, knees, ankles = (places[list(joints)] for joints in legs)
    across, leg = hips[0] - hips[1], hips.mean(axis=0) - ankles.mean(axis=0)
    side, up = nearest_axis(across), nearest_axis(leg)
    limbs = {j for hip in legs.hips for j in below(skeleton, hip)}
    trunk = np.delete(places, list(limbs), axis=0).mean(axis=0) - hips.mean(axis=0)
    trunk = trunk if np.linalg.norm(trunk) > 0.1 * np.linalg.norm(leg) else leg
    ways = (side, across), (up, leg), (up, trunk)
    along = min(axis @ way / max(np.linalg.norm(way), 1e-12) for axis, way in ways)
    if abs(side @ up) > 0 or along < _ALONG:
        raise ValueError(
            f"the {what} must stand upright along its axes in its rest pose, but its hips or legs "
            f"lie otherwise; give a pose in which it does by {what}_rest=."
        )
    length = np.linalg.norm(hips - knees, axis=1) + np.linalg.norm(knees - ankles, axis=1)
    axes = np.stack([side, up, np.cross(side, up)])
    stand = Stand(rotations, places, axes, legs, starts, length.mean(), 0.0)
    height = ankles.mean(axis=0) @ up - lowest_of(places[None], skeleton, stand)[0]
    return stand._replace(ankle=height)


def chains_of(skeleton: Skeleton, mapped: Collection[int]) -> list[list[int]]:
    """The unbranched ends of the tree of mapped joints, each after the joint where it begins."""
    parents = parents_among(skeleton, mapped)
    children = {j: [c for c, parent in parents.items() if parent == j] for j in mapped}
    chains = []
    for joint, parent in parents.items():
        if parent >= 0 and len(children[parent]) == 1:
            continue  # not where one begins
        chain = [joint]
        while len(children[chain[-1]]) == 1:
            chain += children[chain[-1]]
        if parent >= 0 and not children[chain[-1]]:
            chains.append([parent, *chain])
    return chains


def lowest_of(places: np.ndarray, skeleton: Skeleton, stand: Stand) -> np.ndarray:
    """(T,) height of the lowest joint of the feet."""
    feet = [j for ankle in stand.legs.ankles for j in below(skeleton, ankle)]
    return (places[:, feet] @ stand.axes[1]).min(axis=1)


def below(skeleton: Skeleton, joint: int) -> list[int]:
    """A joint and its descendants."""
    found = {joint}
    for child in range(joint + 1, skeleton.num_joints):
        if skeleton.parents[child] in found:
            found.add(child)
    return sorted(found)


def nearest_axis(vector: np.ndarray) -> np.ndarray:
    """(3,) the coordinate axis nearest to a vector."""
    axis = np.argmax(np.abs(vector))
    return np.sign(vector[axis]) * np.eye(3)[axis]


def parents_among(skeleton: Skeleton, joints: Collection[int]) -> dict[int, int]:
    """The nearest ancestor of each joint that is among them, -1 where none is."""
    found = {}
    for joint in joints:
        parent = skeleton.parents[joint]
        while parent >= 0 and parent not in joints:
            parent = skeleton.parents[parent]
        found[joint] = parent
    return found
