"""What model fitting solves, written out for batches of poses (`kinpose.fused`).

The dense forms are in `kinpose.minimise`; they serve few poses of skeletons with long programs,
large skeletons and platforms that are made for matrices.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import kinpose.normal_equations as equations
from kinpose.arithmetic import dot, plus, scale, times, vector_difference, vector_sum
from kinpose.normal_equations import Drive
from kinpose.skeleton import Skeleton
from kinpose.tree import Tree, make_tree
from kinpose.unrolled import walk

STRIDE = 1.0
"""Most that one step turns an angle (rad) or shifts a length (sizes): no leap to another turn."""

OPEN = 1e-6
"""Squared observability, in sizes per rad, below which a dof counts as left open."""

_MOST = 3000
"""Products of a solution, about; a program of more takes long to compile."""


class Form(NamedTuple):
    """What is known when tracing."""

    tree: Tree
    drives: tuple[Drive, ...]
    is_angle: tuple[bool, ...]


def form_of(skeleton: Skeleton) -> Form | None:
    """The form of a skeleton's equations; None if the programs would take long to compile."""
    index = {name: i for i, name in enumerate(skeleton.dof_names)}
    motions = (motion for joint in skeleton.motions for motion in joint)
    drives = tuple(Drive(index[m.dof], m.multiplier, m.bias) for m in motions)
    form = Form(make_tree(skeleton, "positions"), drives, skeleton.is_angle)
    if not drives:
        return None
    counts = np.bincount([e for _, e in equations.filled(equations.pairs_of(form.tree, drives))])
    return form if np.sum(counts**2) <= _MOST else None


@functools.lru_cache(maxsize=64)
def step_program(form: Form) -> Callable:
    """The scalar form of `kinpose.minimise.dense_step`."""

    def step(params, points, weights, anchor, settings, offsets, low, high):
        hold, size, damping = settings
        units, masses = _units(form, size), scale(1.0 / (size * size), weights)
        joints, places, screws = _pose(form, params, size, offsets)
        pulls = _pulls(params, anchor, hold, units)
        misses = _misses(form, joints, points)
        forces = list(map(scale, masses, misses))
        bodies = equations.bodies_of(form.tree, places, masses, forces)
        gradient = equations.gradient_of(form.tree, bodies, screws, len(params))
        gradient = vector_sum(gradient, scale(hold, pulls))
        free = [
            1.0 - (((x <= a) & (g > 0)) | ((x >= b) & (g < 0))).astype(g.dtype)
            for x, g, a, b in zip(params, gradient, low, high, strict=True)
        ]
        gradient = tuple(map(times, gradient, free))
        normal = equations.normal_of(form.tree, bodies, screws)
        for d in range(len(params)):
            normal[d, d] = plus(normal[d, d], hold * hold)
        found = equations.solve(*_factor(normal, damping, free), scale(-1.0, gradient))
        moved = [
            _clip(a, x + times(unit, _clip(-STRIDE, move, STRIDE)), b)
            for x, move, unit, a, b in zip(params, found, units, low, high, strict=True)
        ]
        change = [(y - x) / unit for x, y, unit in zip(params, moved, units, strict=True)]
        ways = equations.velocities_of(form.tree, screws, change, places)
        held = scale(hold, change)
        promised = plus(dot(masses, [dot(way, way) for way in ways]), dot(held, held))
        gain = plus(dot(masses, list(map(dot, ways, misses))), dot(held, pulls))
        predicted = -gain - 0.5 * promised
        joints, *_ = _pose(form, moved, size, offsets)
        squares = [dot(miss, miss) for miss in _misses(form, joints, points)]
        pulls = _pulls(moved, anchor, hold, units)
        return moved, [0.5 * (dot(masses, squares) + dot(pulls, pulls)), predicted, promised]

    return step


@functools.lru_cache(maxsize=64)
def solution_program(form: Form) -> Callable:
    """The scalar form of `kinpose.minimise.dense_solution`."""

    def solution(params, weights, settings, offsets, free, right):
        (size,) = settings
        _, places, screws = _pose(form, params, size, offsets)
        masses = scale(1.0 / (size * size), weights)
        bodies = equations.bodies_of(form.tree, places, masses, [(0.0, 0.0, 0.0)] * len(masses))
        normal = equations.normal_of(form.tree, bodies, screws)
        return [equations.solve(*_factor(normal, 0.0, free), right)]

    return solution


def _pose(form: Form, params, size, offsets):
    """Joints in the world, the keypoints counted from the root, and how dofs move them."""
    joints, hinges = walk(form.tree, equations.amounts_of(params, form.drives), offsets)
    origin = joints[0].place  # moments about a far point would lose digits
    places = [vector_difference(joints[j].place, origin) for j in form.tree.keypoints]
    screws = equations.screws_of(hinges, form.tree, form.drives, origin)
    return joints, places, equations.scaled(screws, _units(form, size))


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


def _pulls(params, anchor, hold, units) -> list:
    return [(x - a) * (hold / unit) for x, a, unit in zip(params, anchor, units, strict=True)]


def _factor(normal: dict, damping, free) -> tuple:
    """Of the matrix that `kinpose.minimise.normal_matrix` describes."""
    some = next(x for x in normal.values() if not isinstance(x, float))
    factor = 1.0 + (damping + 100 * float(jnp.finfo(some.dtype).eps))
    diagonal = {(d, d): times(factor, normal[d, d]) + OPEN for d in range(len(free))}
    return equations.factorise(normal | diagonal, free)


def _clip(low, x, high):
    return jnp.minimum(jnp.maximum(x, low), high)
