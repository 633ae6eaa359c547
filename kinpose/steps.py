"""What model fitting solves, written out for batches of poses (`kinpose.fused`).

The dense forms are in `kinpose.minimise`; they serve few poses of skeletons with long programs,
large skeletons and platforms that are made for matrices.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

import kinpose.normal_equations as equations
from kinpose.angles import Ball, axes_of, balls_of, normals_of, turned
from kinpose.arithmetic import (
    dot,
    matrix_times,
    plus,
    scale,
    times,
    vector_difference,
)
from kinpose.normal_equations import Drive
from kinpose.skeleton import Skeleton
from kinpose.tree import Tree, make_tree
from kinpose.unrolled import walk

STRIDE = 1.0
"""Most that one step turns an angle (rad) or shifts a length (sizes): no leap to another turn."""

OPEN = 1e-6
"""Squared observability, in sizes per rad, below which a dof counts as left open."""

STIFF = 1e3
"""How much stiffer a ball is against an angle at its limit than in all directions together."""

_MOST = 3000
"""Products of a solution, about; a program of more takes long to compile."""


class Form(NamedTuple):
    """What is known when tracing."""

    tree: Tree
    drives: tuple[Drive, ...]
    is_angle: tuple[bool, ...]
    balls: tuple[Ball, ...]


def form_of(skeleton: Skeleton) -> Form | None:
    """The form of a skeleton's equations; None if the programs would take long to compile."""
    index = {name: i for i, name in enumerate(skeleton.dof_names)}
    motions = (motion for joint in skeleton.motions for motion in joint)
    drives = tuple(Drive(index[m.dof], m.multiplier, m.bias) for m in motions)
    tree = make_tree(skeleton, "positions")
    form = Form(tree, drives, skeleton.is_angle, balls_of(skeleton))
    if not drives:
        return None
    counts = np.bincount([e for _, e in equations.filled(equations.pairs_of(form.tree, drives))])
    return form if np.sum(counts**2) <= _MOST else None


@functools.lru_cache(maxsize=64)
def step_program(form: Form) -> Callable:
    """The scalar form of `kinpose.minimise.dense_step`."""

    def step(params, points, weights, settings, offsets, low, high, lowest, highest):
        size, damping, softness = settings
        units, masses = _units(form, size), scale(1.0 / (size * size), weights)
        joints, hinges, arms = _pose(form, params, offsets)
        angles = _screws(form, joints, hinges, size)
        turns = _screws(form, joints, _own_axes(form, joints, hinges), size)
        misses = _misses(form, joints, points)
        masses = [
            times(m, trust(dot(miss, miss), softness))
            for m, miss in zip(masses, misses, strict=True)
        ]
        bodies = equations.bodies_of(form.tree, arms, masses, list(map(scale, masses, misses)))
        slopes = equations.gradient_of(form.tree, bodies, angles, len(params))
        pressed = [
            (((x <= a) & (g > 0)) | ((x >= b) & (g < 0))).astype(x.dtype)
            for x, g, a, b in zip(params, map(jnp.asarray, slopes), lowest, highest, strict=True)
        ]
        normal = equations.normal_of(form.tree, arms, bodies, turns)
        for ball in form.balls:
            _stiffen(normal, ball, params, pressed)
        balled = {d for ball in form.balls for d in ball.dofs}
        free = [1.0 if d in balled else 1.0 - p for d, p in enumerate(pressed)]
        gradient = equations.gradient_of(form.tree, bodies, turns, len(params))
        gradient = tuple(map(times, gradient, free))
        found = equations.solve(*_factor(normal, damping, free), scale(-1.0, gradient))
        moves = [_clip(-STRIDE, move, STRIDE) for move in found]
        moved = [
            _clip(a, x + times(unit, move), b)
            for x, move, unit, a, b in zip(params, moves, units, low, high, strict=True)
        ]
        change = [(y - x) / unit for x, y, unit in zip(params, moved, units, strict=True)]
        for ball in form.balls:
            rows = (params, low, high, moves)
            here, least, most, turn = ([row[d] for d in ball.dofs] for row in rows)
            there, outside = turned(ball.hand, here, turn, least, most)
            steps = [y - x for x, y in zip(here, there, strict=True)]
            axes = axes_of(here, ball.hand)
            crept = matrix_times(zip(*axes, strict=True), steps)
            for d, x, way, held in zip(ball.dofs, there, turn, crept, strict=True):
                moved[d], change[d] = x, lax.select(outside > 0, held, way)
        ways = equations.velocities_of(form.tree, arms, turns, change)
        promised = dot(masses, [dot(way, way) for way in ways])
        predicted = -dot(masses, list(map(dot, ways, misses))) - 0.5 * promised
        joints, *_ = _pose(form, moved, offsets)
        squares = [blunt(dot(miss, miss), softness) for miss in _misses(form, joints, points)]
        return moved, [0.5 / (size * size) * dot(weights, squares), predicted, promised]

    return step


def trust(square, softness):
    """Geman and McClure's weight of a point: 1 where it is near, and less far away.

    Args:
      square: of its distance.
      softness: the inverse square of the distance that is far; zero for none.
    """
    near = 1.0 / (1.0 + softness * square)
    return near * near


def blunt(square, softness):
    """What a squared distance costs: at most the square of the distance that is far."""
    return square / (1.0 + softness * square)


@functools.lru_cache(maxsize=64)
def solution_program(form: Form) -> Callable:
    """The scalar form of `kinpose.minimise.dense_solution`."""

    def solution(params, weights, settings, offsets, free, right):
        (size,) = settings
        joints, hinges, arms = _pose(form, params, offsets)
        screws = _screws(form, joints, hinges, size)
        masses = scale(1.0 / (size * size), weights)
        bodies = equations.bodies_of(form.tree, arms, masses, [(0.0, 0.0, 0.0)] * len(masses))
        normal = equations.normal_of(form.tree, arms, bodies, screws)
        return [equations.solve(*_factor(normal, 0.0, free), right)]

    return solution


def _pose(form: Form, params, offsets):
    """Joints and hinges in the world, and the way from each joint's parent to the joint."""
    joints, hinges = walk(form.tree, equations.amounts_of(params, form.drives), offsets)
    return joints, hinges, equations.arms_of(form.tree, [joint.place for joint in joints])


def _screws(form: Form, joints, hinges, size):
    places = [joint.place for joint in joints]
    screws = equations.screws_of(hinges, form.tree, form.drives, places)
    return equations.scaled(screws, _units(form, size))


def _own_axes(form: Form, joints, hinges) -> list:
    """The hinges; those of balls turn about the ball's own axes, as they are after its angles.

    Their last is the axis of the limb: so the twist of a straight limb, hardly seen, is damped
    by itself.
    """
    hinges, first = list(hinges), np.cumsum([0, *map(len, form.tree.motions)])
    for ball in form.balls:
        frame, last = joints[ball.joint], first[ball.joint + 1]
        for m, axis in zip(range(last - 3, last), ball.axes, strict=True):
            axis = matrix_times(frame.rotation, axis)
            hinges[m] = hinges[m]._replace(axis=axis, pivot=frame.place)
    return hinges


def _stiffen(normal: dict, ball: Ball, params, pressed) -> None:
    """Lets a ball turn only such that the angles that are pressed against limits stay."""
    own = [params[d] for d in ball.dofs]
    trace = sum(normal[d, d] for d in ball.dofs) + OPEN
    for d, across in zip(ball.dofs, normals_of(own, ball.hand), strict=True):
        stiff = STIFF * trace * pressed[d]
        for i, j in itertools.combinations_with_replacement(range(3), 2):
            pair = min(ball.dofs[i], ball.dofs[j]), max(ball.dofs[i], ball.dofs[j])
            normal[pair] = plus(normal[pair], times(stiff, times(across[i], across[j])))


def _misses(form: Form, joints, points) -> list[tuple]:
    """From each point to its keypoint."""
    n = form.tree.ndim
    targets = [[*points[k : k + n], 0.0][:3] for k in range(0, len(points), n)]
    return [
        vector_difference(joints[j].place, target)
        for j, target in zip(form.tree.keypoints, targets, strict=True)
    ]


def _units(form: Form, size) -> list:
    return [1.0 if angle else size for angle in form.is_angle]


def _factor(normal: dict, damping, free) -> tuple:
    """Of the matrix that `kinpose.minimise` damps."""
    some = next(x for x in normal.values() if not isinstance(x, float))
    factor = 1.0 + (damping + 100 * float(jnp.finfo(some.dtype).eps))
    diagonal = {(d, d): times(factor, normal[d, d]) + OPEN for d in range(len(free))}
    return equations.factorise(normal | diagonal, free)


def _clip(low, x, high):
    return jnp.minimum(jnp.maximum(x, low), high)
