"""The normal equations of a fit written out number by number, in the sparsity of the tree.

J'J is the mass matrix of the skeleton with a point mass, the weight, at each keypoint: two
dofs meet in the masses that both move, so dofs of different limbs do not meet at all. Masses
and their moments are summed towards the root (composite bodies: Featherstone, "Rigid Body
Dynamics Algorithms", 2008, ch. 6), each joint's about its own place: about a distant one the
twist of a straight limb would be the difference of large numbers. The system is solved from the
tips to the root, which fills in nothing (ch. 8). All of it works on lists of numbers, for
`kinpose._kernels`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from kinpose._kinematics.scalars import (
    cross,
    dot,
    matrix_times,
    minus,
    plus,
    scale,
    times,
    vector_difference,
    vector_sum,
)
from kinpose._kinematics.walk import Structure

_NOTHING = (0.0, 0.0, 0.0)
_UPPER = tuple((i, j) for i in range(3) for j in range(i, 3))


class Drive(NamedTuple):
    """How a dof drives a motion.

    Attributes:
      dof: its index.
      multiplier: value of the motion per unit of the dof.
      bias: value where the dof is zero.
    """

    dof: int
    multiplier: float
    bias: float


class Body(NamedTuple):
    """All point masses that hang below a joint, w at p from its place, each with a pull f."""

    mass: Any = 0.0
    moment: Any = _NOTHING  # sum of w p
    second: Any = ((0.0,) * 3,) * 3  # sum of w p p', of which the upper half is looked at
    force: Any = _NOTHING  # sum of f
    torque: Any = _NOTHING  # sum of p x f


class Screw(NamedTuple):
    """How a dof moves what hangs below one of its motions, p from the joint's place.

    By spin x p + slide.
    """

    dof: int
    spin: Any
    slide: Any


def values_of(params: Sequence, drives: Sequence[Drive]) -> list:
    """Angle or distance of each motion."""
    return [plus(times(d.multiplier, params[d.dof]), d.bias) for d in drives]


def screws_of(
    hinges: Sequence, tree: Structure, drives: Sequence[Drive], places: Sequence
) -> list[Screw]:
    """The screw of each motion, per unit of its dof.

    Args:
      hinges: axes and pivots of the motions in the world.
      tree: the structure.
      drives: how dofs drive the motions.
      places: of the joints in the world.
    """
    screws, motions = [], iter(zip(hinges, drives, strict=True))
    for joint, place in enumerate(places):
        for motion in tree.motions[joint]:
            hinge, drive = next(motions)
            axis = scale(float(drive.multiplier), hinge.axis)
            if motion.kind == "t":
                screws.append(Screw(drive.dof, _NOTHING, axis))
            elif hinge.pivot is place:  # nothing slides after it has turned
                screws.append(Screw(drive.dof, axis, _NOTHING))
            else:
                arm = vector_difference(place, hinge.pivot)
                screws.append(Screw(drive.dof, axis, cross(axis, arm)))
    return screws


def scaled(screws: Sequence[Screw], factors: Sequence) -> list[Screw]:
    """The screws times a factor for each dof."""
    return [
        Screw(s.dof, scale(factors[s.dof], s.spin), scale(factors[s.dof], s.slide)) for s in screws
    ]


def arms_of(tree: Structure, places: Sequence) -> list:
    """From each joint's parent to the joint; zeros for the root."""
    parents = zip(tree.parents, places, strict=True)
    return [vector_difference(p, places[i]) if i >= 0 else _NOTHING for i, p in parents]


def bodies_of(tree: Structure, arms: Sequence, masses: Sequence, pulls: Sequence) -> list[Body]:
    """What hangs below each joint, itself included.

    Args:
      tree: the structure.
      arms: from the parents to the joints, each 3 numbers.
      masses: of the keypoints.
      pulls: on the keypoints, each 3 numbers.
    """
    bodies = [Body()] * len(tree.parents)
    for joint, mass, pull in zip(tree.keypoints, masses, pulls, strict=True):
        bodies[joint] = _together(bodies[joint], Body(mass=mass, force=pull))
    for joint in reversed(range(len(bodies))):
        parent = tree.parents[joint]
        if parent >= 0:
            bodies[parent] = _together(bodies[parent], _shifted(bodies[joint], arms[joint]))
    return bodies


def _shifted(body: Body, arm) -> Body:
    """The body about a point from which its own is that far."""
    half = vector_sum(body.moment, scale(0.5, scale(body.mass, arm)))
    second = [list(row) for row in body.second]
    for i, j in _UPPER:
        both = plus(times(arm[i], half[j]), times(half[i], arm[j]))
        second[i][j] = plus(second[i][j], both)
    return Body(
        body.mass,
        vector_sum(body.moment, scale(body.mass, arm)),
        second,
        body.force,
        vector_sum(body.torque, cross(arm, body.force)),
    )


def gradient_of(tree: Structure, bodies: Sequence[Body], screws: Sequence[Screw], num: int) -> list:
    """(D) J'f."""
    gradient, remaining = [0.0] * num, iter(screws)
    for joint, body in enumerate(bodies):
        for _ in tree.motions[joint]:
            screw = next(remaining)
            own = plus(dot(screw.spin, body.torque), dot(screw.slide, body.force))
            gradient[screw.dof] = plus(gradient[screw.dof], own)
    return gradient


def normal_of(
    tree: Structure, arms: Sequence, bodies: Sequence[Body], screws: Sequence[Screw]
) -> dict:
    """J'WJ: {(d, e): number} with d <= e, where dofs meet; in the order of `pairs_of`."""
    normal: dict[tuple[int, int], Any] = dict.fromkeys(pairs_of(tree, screws), 0.0)
    own: list[list[Screw]] = []
    remaining = iter(screws)
    for joint, body in enumerate(bodies):
        own.append([])
        inertia = _inertia(body)
        for _ in tree.motions[joint]:
            screw = next(remaining)
            own[joint].append(screw)
            momentum = vector_sum(cross(screw.spin, body.moment), scale(body.mass, screw.slide))
            angular = matrix_times(inertia, screw.spin)
            angular = vector_sum(angular, cross(body.moment, screw.slide))
            upwards, arm = joint, _NOTHING
            while upwards >= 0:
                turned = vector_sum(angular, cross(arm, momentum)) if own[upwards] else angular
                for other in own[upwards]:
                    product = plus(dot(other.spin, turned), dot(other.slide, momentum))
                    twice = other.dof == screw.dof and other is not screw
                    pair = min(other.dof, screw.dof), max(other.dof, screw.dof)
                    normal[pair] = plus(normal[pair], times(2.0 if twice else 1.0, product))
                arm, upwards = vector_sum(arm, arms[upwards]), tree.parents[upwards]
    return normal


def _inertia(body: Body) -> list[list]:
    """The matrix that makes angular momentum of a spin about the joint's place."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = body.second
    xy, xz, yz = (times(-1.0, x) for x in (xy, xz, yz))
    return [[plus(yy, zz), xy, xz], [xy, plus(xx, zz), yz], [xz, yz, plus(xx, yy)]]


def pairs_of(tree: Structure, drives: Sequence) -> list[tuple[int, int]]:
    """The pairs d <= e of dofs that drive motions on one path from the root.

    Args:
      tree: the structure.
      drives: what has the `dof` of each motion.
    """
    pairs, paths, remaining = set(), [], iter(drives)
    for joint, parent in enumerate(tree.parents):
        paths.append(list(paths[parent]) if parent >= 0 else [])
        for _ in tree.motions[joint]:
            dof = next(remaining).dof
            paths[joint].append(dof)
            pairs.update((min(dof, other), max(dof, other)) for other in paths[joint])
    return sorted(pairs)


def filled(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs d < e of the factor: those of the matrix, and what elimination adds."""
    factor = {pair for pair in pairs if pair[0] < pair[1]}
    for k in reversed(range(max((e for _, e in pairs), default=-1) + 1)):
        row = sorted(d for d in range(k) if (d, k) in factor)
        factor.update((d, e) for d in row for e in row if d < e)
    return sorted(factor)


def factorise(normal: dict, free: Sequence) -> tuple[dict, list]:
    """(1 + L)' D (1 + L), the matrix, without the dofs that are not free.

    Args:
      normal: {(d, e): number}, diagonal included.
      free: one for each dof that is free, else zero.

    Returns:
      {(d, k): L[k, d]}, and the diagonal of the inverse of D, zero where a dof is not free.
    """
    normal, inverse = dict(normal), [0.0] * len(free)
    lower: dict[tuple[int, int], Any] = dict.fromkeys(filled(list(normal)), 0.0)
    for k in reversed(range(len(free))):
        inverse[k] = times(free[k], 1.0 / normal[k, k])
        row = [d for d in range(k) if (d, k) in lower]
        for d in row:
            lower[d, k] = times(normal[d, k], inverse[k])
            for e in row:
                if d <= e:
                    less = times(lower[d, k], normal[e, k])
                    normal[d, e] = minus(normal.get((d, e), 0.0), less)
    return lower, inverse


def solve(lower: dict, inverse: Sequence, right: Sequence) -> list:
    """Solution of the factorised system; zero for dofs that are not free."""
    found = list(right)
    for (d, k), x in sorted(lower.items(), key=lambda item: -item[0][1]):
        found[d] = minus(found[d], times(x, found[k]))
    found = list(map(times, found, inverse))
    for (d, k), x in sorted(lower.items(), key=lambda item: item[0][1]):
        found[k] = minus(found[k], times(x, found[d]))
    return found


def velocities_of(
    tree: Structure, arms: Sequence, screws: Sequence[Screw], change: Sequence
) -> list:
    """J times a change of the dofs: how each keypoint moves, 3 numbers."""
    spins, speeds, remaining = [], [], iter(screws)
    for joint, parent in enumerate(tree.parents):
        spin, speed = (spins[parent], speeds[parent]) if parent >= 0 else (_NOTHING, _NOTHING)
        speed = vector_sum(speed, cross(spin, arms[joint]))
        for _ in tree.motions[joint]:
            screw = next(remaining)
            spin = vector_sum(spin, scale(change[screw.dof], screw.spin))
            speed = vector_sum(speed, scale(change[screw.dof], screw.slide))
        spins.append(spin)
        speeds.append(speed)
    return [speeds[joint] for joint in tree.keypoints]


def _together(a: Body, b: Body) -> Body:
    return Body(
        plus(a.mass, b.mass),
        vector_sum(a.moment, b.moment),
        tuple(map(vector_sum, a.second, b.second)),
        vector_sum(a.force, b.force),
        vector_sum(a.torque, b.torque),
    )
