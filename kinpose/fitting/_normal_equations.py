"""The normal equations of a fit written out number by number, in the sparsity of the tree.

J'J is the mass matrix of the skeleton with a point mass, the weight, at each keypoint: two
dofs meet in the masses that both move, so dofs of different limbs do not meet at all. Masses
and their moments are summed towards the root (composite bodies: Featherstone, "Rigid Body
Dynamics Algorithms", 2008, ch. 6), each joint's about its own place: about a distant one the
twist of a straight limb would be the difference of large numbers. The system is solved from the
tips to the root, which fills in nothing (ch. 8). All of it works on lists of numbers, for
`kinpose._kernels`.
"""

import itertools
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
from kinpose._kinematics.walk import Frame, Hinge, Structure

_NOTHING = (0.0, 0.0, 0.0)
_UPPER = tuple((i, j) for i in range(3) for j in range(i, 3))


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


def dofs_of(tree: Structure) -> list[list[int]]:
    """For each joint, the indices of the dofs that its motions read."""
    index = {name: d for d, name in enumerate(tree.dof_names)}
    return [[index[motion.dof] for motion in own] for own in tree.motions]


def values_of(tree: Structure, params: Sequence) -> list:
    """Angle or distance of each motion."""
    pairs = zip(itertools.chain(*tree.motions), itertools.chain(*dofs_of(tree)), strict=True)
    return [plus(times(motion.multiplier, params[d]), motion.bias) for motion, d in pairs]


def screws_of(
    tree: Structure, joints: Sequence[Frame], hinges: Sequence[Sequence[Hinge]], units: Sequence
) -> list[list[Screw]]:
    """For each joint the screws of its motions, per unit of their dofs; `hinges` likewise."""
    dofs, screws = dofs_of(tree), []
    for j, joint in enumerate(joints):
        screws.append([])
        for motion, hinge, dof in zip(tree.motions[j], hinges[j], dofs[j], strict=True):
            axis = scale(units[dof], scale(motion.multiplier, hinge.axis))
            if motion.kind == "t":
                screws[j].append(Screw(dof, _NOTHING, axis))
            elif hinge.pivot is joint.place:  # nothing slides after it has turned
                screws[j].append(Screw(dof, axis, _NOTHING))
            else:
                arm = vector_difference(joint.place, hinge.pivot)
                screws[j].append(Screw(dof, axis, cross(axis, arm)))
    return screws


def arms_of(tree: Structure, joints: Sequence[Frame]) -> list:
    """From each joint's parent to the joint; zeros for the root."""
    return [
        vector_difference(joint.place, joints[i].place) if i >= 0 else _NOTHING
        for i, joint in zip(tree.parents, joints, strict=True)
    ]


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


def gradient_of(bodies: Sequence[Body], screws: Sequence[Sequence[Screw]], num: int) -> list:
    """(D) J'f."""
    gradient = [0.0] * num
    for body, own in zip(bodies, screws, strict=True):
        for dof, spin, slide in own:
            pull = plus(dot(spin, body.torque), dot(slide, body.force))
            gradient[dof] = plus(gradient[dof], pull)
    return gradient


def normal_of(
    tree: Structure, arms: Sequence, bodies: Sequence[Body], screws: Sequence[Sequence[Screw]]
) -> dict:
    """J'WJ: {(d, e): number} with d <= e, where dofs meet; in the order of `pairs_of`."""
    normal: dict[tuple[int, int], Any] = dict.fromkeys(pairs_of(tree), 0.0)
    for joint, body in enumerate(bodies):
        inertia = _inertia(body)
        for i, screw in enumerate(screws[joint]):
            momentum = vector_sum(cross(screw.spin, body.moment), scale(body.mass, screw.slide))
            angular = matrix_times(inertia, screw.spin)
            angular = vector_sum(angular, cross(body.moment, screw.slide))
            upwards, arm, others = joint, _NOTHING, screws[joint][: i + 1]
            while upwards >= 0:
                turned = vector_sum(angular, cross(arm, momentum)) if others else angular
                for other in others:
                    product = plus(dot(other.spin, turned), dot(other.slide, momentum))
                    twice = other.dof == screw.dof and other is not screw
                    pair = min(other.dof, screw.dof), max(other.dof, screw.dof)
                    normal[pair] = plus(normal[pair], times(2.0 if twice else 1.0, product))
                arm, upwards = vector_sum(arm, arms[upwards]), tree.parents[upwards]
                others = screws[upwards]
    return normal


def _inertia(body: Body) -> list[list]:
    """The matrix that makes angular momentum of a spin about the joint's place."""
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = body.second
    xy, xz, yz = (times(-1.0, x) for x in (xy, xz, yz))
    return [[plus(yy, zz), xy, xz], [xy, plus(xx, zz), yz], [xz, yz, plus(xx, yy)]]


def pairs_of(tree: Structure) -> list[tuple[int, int]]:
    """The pairs d <= e of dofs that drive motions on one path from the root."""
    pairs, paths = set(), []
    for parent, own in zip(tree.parents, dofs_of(tree), strict=True):
        paths.append([*(paths[parent] if parent >= 0 else ()), *own])
        pairs.update((min(d, e), max(d, e)) for d in own for e in paths[-1])
    return sorted(pairs)


def filled(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs d < e of the factor: those of the matrix, and what elimination adds."""
    factor = {pair for pair in pairs if pair[0] < pair[1]}
    for k in reversed(range(max((e for _, e in pairs), default=-1) + 1)):
        row = sorted(d for d in range(k) if (d, k) in factor)
        factor.update((d, e) for d in row for e in row if d < e)
    return sorted(factor)


def solve(normal: dict, free: Sequence, right: Sequence) -> list:
    """Solution of the system for the dofs that are free, zero for the others.

    By factors (1 + L)' D (1 + L), from the tips to the root.

    Args:
      normal: {(d, e): number}, diagonal included.
      free: one for each dof that is free, else zero.
      right: D numbers.
    """
    normal, inverse = dict(normal), [0.0] * len(free)  # of D
    lower: dict[tuple[int, int], Any] = dict.fromkeys(filled(list(normal)), 0.0)  # L[k, d]
    for k in reversed(range(len(free))):
        inverse[k] = times(free[k], 1.0 / normal[k, k])
        row = [d for d in range(k) if (d, k) in lower]
        for d in row:
            lower[d, k] = times(normal[d, k], inverse[k])
            for e in row:
                if d <= e:
                    less = times(lower[d, k], normal[e, k])
                    normal[d, e] = minus(normal.get((d, e), 0.0), less)
    found = list(right)
    for (d, k), x in sorted(lower.items(), key=lambda item: -item[0][1]):
        found[d] = minus(found[d], times(x, found[k]))
    found = list(map(times, found, inverse))
    for (d, k), x in sorted(lower.items(), key=lambda item: item[0][1]):
        found[k] = minus(found[k], times(x, found[d]))
    return found


def velocities_of(
    tree: Structure, arms: Sequence, screws: Sequence[Sequence[Screw]], change: Sequence
) -> list:
    """J times a change of the dofs: how each keypoint moves, 3 numbers."""
    spins, speeds = [], []
    for parent, arm, own in zip(tree.parents, arms, screws, strict=True):
        spin, speed = (spins[parent], speeds[parent]) if parent >= 0 else (_NOTHING, _NOTHING)
        speed = vector_sum(speed, cross(spin, arm))
        for screw in own:
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
