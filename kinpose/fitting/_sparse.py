"""A fit's step in the sparsity of the tree, written out over a batch of poses on a CPU.

What it gives are the matrices' results, `kinpose.fitting._dense`.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kinpose.fitting._normal_equations as equations
from kinpose._kernels import over_batch
from kinpose._kernels.thresholds import SOLUTION_PRODUCTS
from kinpose._kinematics.scalars import clip, dot, matrix_times, minus, plus, scale, times
from kinpose._kinematics.walk import Structure, structure_of, walk
from kinpose.angles import Ball, axes_of, balls_of, normals_of, real_limits, turn_away, turned
from kinpose.fitting._problem import OPEN, STIFF, STRIDE, Problem, blunt, bounds, trust, units
from kinpose.skeleton import Skeleton


class _Form(NamedTuple):
    """What is known when tracing."""

    tree: Structure
    is_angle: tuple[bool, ...]
    balls: tuple[Ball, ...]

    def units(self, size) -> list:
        return [1.0 if angle else size for angle in self.is_angle]


def is_small(skeleton: Skeleton) -> bool:
    """Whether the programs compile within seconds."""
    pairs = equations.pairs_of(structure_of(skeleton))
    counts = np.bincount([e for _, e in equations.filled(pairs)])
    return bool(pairs) and bool(np.sum(counts**2) <= SOLUTION_PRODUCTS)


def _form_of(skeleton: Skeleton) -> _Form:
    return _Form(structure_of(skeleton), skeleton.is_angle, balls_of(skeleton))


def newton_step(problem: Problem, params, damping, skeleton: Skeleton) -> list[jax.Array]:
    """See `kinpose.fitting._levenberg_marquardt`."""
    dtype, held, limits = params.dtype, (), ()
    size, _ = units(skeleton, dtype)
    if problem.prior_weight is not None:
        held = problem.prior_params, jnp.broadcast_to(problem.prior_weight**2, params.shape)
    if skeleton.limits is not None:
        limits = *bounds(skeleton, dtype), *real_limits(skeleton, dtype)
    return over_batch(
        _step_program(_form_of(skeleton), bool(held), bool(limits)),
        params,
        *held,
        problem.joints.ravel(),
        problem.weights,
        jnp.stack([size, damping, problem.softness]),
        jnp.asarray(skeleton.offsets, dtype).ravel(),
        *limits,
    )


def solution(params, weights, free, right, skeleton: Skeleton) -> jax.Array:
    """See `kinpose.fitting._levenberg_marquardt.solution_of`."""
    size, _ = units(skeleton, params.dtype)
    offsets = jnp.asarray(skeleton.offsets, params.dtype).ravel()
    rows = params, weights, size[None], offsets, free.astype(params.dtype), right
    return over_batch(_solution_program(_form_of(skeleton)), *rows, linear=1)[0]


@functools.lru_cache(maxsize=64)
def _step_program(form: _Form, held: bool, limited: bool) -> Callable:
    def step(params, *rows):
        (anchor, firm), rows = (rows[:2], rows[2:]) if held else (((), ()), rows)
        points, weights, (size, damping, softness), offsets, *limits = rows
        units, masses = form.units(size), scale(1.0 / (size * size), weights)
        joints, hinges, arms = _pose(form, params, offsets)
        own_axes = _own_axes(form, joints, hinges)
        turns = equations.screws_of(form.tree, joints, own_axes, units)
        misses = _misses(form, joints, points)

        def cost_of(squares):
            return 0.5 / (size * size) * dot(weights, [blunt(x, softness) for x in squares])

        squares = [dot(miss, miss) for miss in misses]
        cost = cost_of(squares)
        trusts = [trust(square, softness) for square in squares]
        masses = list(map(times, masses, trusts))
        bodies = equations.bodies_of(form.tree, arms, masses, list(map(scale, masses, misses)))
        normal = equations.normal_of(form.tree, arms, bodies, turns)
        gradient = equations.gradient_of(bodies, turns, len(params))
        if held:
            held_here, pull, on_angles = _held(form, params, anchor, firm, units)
            cost += held_here
            gradient = list(map(plus, gradient, pull))
            for d, stiffness in enumerate(firm):
                normal[d, d] = plus(normal.get((d, d), 0.0), stiffness)
        free, ends = [1.0] * len(params), ()
        if limited:
            *ends, lowest, highest = limits
            angles = equations.screws_of(form.tree, joints, hinges, units)
            slopes = equations.gradient_of(bodies, angles, len(params))
            if held:
                slopes = list(map(plus, slopes, on_angles))
            pressed = _pressed(params, slopes, lowest, highest)
            for ball in form.balls:
                _stiffen(normal, ball, params, pressed)
            balled = {d for ball in form.balls for d in ball.dofs}
            free = [1.0 if d in balled else 1.0 - p for d, p in enumerate(pressed)]
        gradient = tuple(map(times, gradient, free))
        found = equations.solve(_damped(normal, damping), free, scale(-1.0, gradient))
        stride = size.dtype.type(STRIDE)  # lax asks for one dtype
        moves = [clip(move, -stride, stride) for move in found]
        moved = [x + times(unit, move) for x, move, unit in zip(params, moves, units, strict=True)]
        change = list(moves)
        if limited:
            moved = list(map(clip, moved, *ends))
            change = [(y - x) / unit for x, y, unit in zip(params, moved, units, strict=True)]
        for ball in form.balls:
            own = ([row[d] for d in ball.dofs] for row in (params, moves, *ends))
            for d, angle, turn in zip(ball.dofs, *turned(ball.hand, *own), strict=True):
                moved[d], change[d] = angle, turn
        ways = equations.velocities_of(form.tree, arms, turns, change)
        promised = dot(masses, [dot(way, way) for way in ways])
        gain = -dot(masses, list(map(dot, ways, misses)))
        joints, *_ = _pose(form, moved, offsets)
        there = cost_of([dot(miss, miss) for miss in _misses(form, joints, points)])
        if held:
            promised += dot(firm, list(map(times, change, change)))
            gain -= dot(pull, list(map(times, change, free)))
            there += _held(form, moved, anchor, firm, units)[0]
        return moved, [cost, there, gain - 0.5 * promised, promised]

    return step


def _held(form: _Form, params, anchor, firm, units) -> tuple:
    """What holding the dofs costs, and their pull: by turns of the balls, and by their angles."""
    away = [(x - a) / unit for x, a, unit in zip(params, anchor, units, strict=True)]
    pull, squares = list(map(times, firm, away)), list(map(times, away, away))
    on_angles = list(pull)
    for ball in form.balls:
        angles, before = ([row[d] for d in ball.dofs] for row in (params, anchor))
        turns, square = turn_away(angles, before, ball.hand)
        turns = scale(firm[ball.dofs[0]], turns)  # the same for all three
        rows = matrix_times(axes_of(angles, ball.hand), turns)
        for d, turn, on_angle in zip(ball.dofs, turns, rows, strict=True):
            pull[d], on_angles[d], squares[d] = turn, on_angle, square * (1 / 3)
    return 0.5 * dot(firm, squares), pull, on_angles


def _pressed(params, slopes, lowest, highest) -> list:
    """One for each dof at a limit that descent would leave, else zero."""
    return [
        (((x <= a) & (g > 0)) | ((x >= b) & (g < 0))).astype(x.dtype)
        for x, g, a, b in zip(params, map(jnp.asarray, slopes), lowest, highest, strict=True)
    ]


@functools.lru_cache(maxsize=64)
def _solution_program(form: _Form) -> Callable:
    def solution(params, weights, size, offsets, free, right):
        (size,) = size
        joints, hinges, arms = _pose(form, params, offsets)
        screws = equations.screws_of(form.tree, joints, hinges, form.units(size))
        masses = scale(1.0 / (size * size), weights)
        bodies = equations.bodies_of(form.tree, arms, masses, [(0.0, 0.0, 0.0)] * len(masses))
        normal = equations.normal_of(form.tree, arms, bodies, screws)
        return [equations.solve(_damped(normal, 0.0), free, right)]

    return solution


def _pose(form: _Form, params, offsets):
    """Joints and hinges in the world, and the way from each joint's parent to the joint."""
    joints, hinges = walk(form.tree, equations.values_of(form.tree, params), offsets)
    return joints, hinges, equations.arms_of(form.tree, joints)


def _own_axes(form: _Form, joints, hinges) -> list:
    """The hinges; those of balls turn about the ball's own axes, as they are after its angles.

    Their last is the axis of the limb: so the twist of a straight limb, hardly seen, is damped
    by itself.
    """
    hinges = [list(own) for own in hinges]
    for ball in form.balls:
        frame, own = joints[ball.joint], hinges[ball.joint]
        for m, axis in zip((-3, -2, -1), ball.axes, strict=True):
            own[m] = own[m]._replace(axis=matrix_times(frame.rotation, axis), pivot=frame.place)
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


def _misses(form: _Form, joints, points) -> list[tuple]:
    """From each point to its keypoint."""
    n = form.tree.ndim
    targets = [[*points[k : k + n], 0.0][:3] for k in range(0, len(points), n)]
    return [
        tuple(map(minus, joints[j].place, target))
        for j, target in zip(form.tree.keypoints, targets, strict=True)
    ]


def _damped(normal: dict, damping) -> dict:
    """As `kinpose.fitting._dense` damps it."""
    some = next(x for x in normal.values() if not isinstance(x, float))
    factor = 1.0 + (damping + 100 * float(jnp.finfo(some.dtype).eps))
    return {(d, e): times(factor, x) + OPEN if d == e else x for (d, e), x in normal.items()}
