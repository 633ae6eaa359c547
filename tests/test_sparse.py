"""What is written out number by number solves what the dense matrices say.

The dense forms are tested with the fits that use them, tests/test_fitting.py.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_kinematics import (
    OBJECTS,
    close,
    every_object_most_slowly,
    random_params,
)

from kinpose import Joint, build_skeleton, fit_params, forward_kinematics
from kinpose.angles import balls_of
from kinpose.fitting import _dense, _sparse
from kinpose.fitting._problem import Problem

BATCH = 5

# Two ways to eliminate a matrix whose condition is up to 1 / kinpose.fitting._problem.OPEN.
SOLVED = 1e-6


def draw(skeleton, seed=0):
    """Poses, points some way off, weights of which one is zero, right sides, and free dofs."""
    random = np.random.default_rng(seed)
    params = random_params(skeleton, BATCH, seed=seed)
    points = jax.vmap(forward_kinematics, (0, None))(params + 0.3, skeleton)
    weights = random.uniform(0.5, 2.0, (BATCH, skeleton.num_keypoints))
    weights[:, 0] = 0.0
    right = random.normal(size=params.shape)
    free = random.uniform(size=params.shape) < 0.8
    return params, np.array(points), weights, right, free


@every_object_most_slowly
def test_a_step(x64, skeleton):
    params, points, weights, _, _ = draw(skeleton)
    low, high = params[0] - 0.1, params[0] + 0.1
    inside = np.clip(params, low, high)
    inside[1] = low  # where descent may press on

    def steps(form, limits, held):
        limited = dataclasses.replace(skeleton, limits=limits)

        def step(softness, damping, params, points, weights):
            problem = Problem(points, weights, softness, *held)
            return form.newton_step(problem, params, damping, limited)

        return jax.jit(jax.vmap(step, in_axes=(None, None, 0, 0, 0)))

    firm = np.random.default_rng(1).uniform(0.1, 2.0, skeleton.num_dofs)
    for ball in balls_of(skeleton):
        firm[list(ball.dofs)] = 0.7
    prior = params[1] + 0.5, firm
    for limits, held in itertools.product((np.stack([low, high], 1), None), ((), prior)):
        sparse, dense = (steps(form, limits, held) for form in (_sparse, _dense))
        for softness, damping in itertools.product((0.0, 0.3), (1e-3, 10.0)):
            rows = np.float64(softness), np.float64(damping), inside, points, weights
            for a, b in zip(sparse(*rows), dense(*rows), strict=True):
                close(a, b, SOLVED)


@every_object_most_slowly
def test_a_solution_for_free_dofs_and_its_transpose(x64, skeleton):
    params, _, weights, right, free = draw(skeleton)

    def solve(form):
        of_pose = jax.vmap(form.solution, in_axes=(0, 0, 0, 0, None))
        return jax.jit(lambda right: of_pose(params, weights, free, right, skeleton))

    found, expected = (solve(form)(right) for form in (_sparse, _dense))
    close(found, expected, SOLVED)
    assert (np.asarray(found)[~free] == 0).all()
    (back,) = jax.jit(jax.linear_transpose(solve(_sparse), right))(jnp.asarray(right))
    close(back, expected, SOLVED)  # the inverse is symmetric


def test_large_skeletons_have_no_written_out_form():
    chain = [Joint(f"{i}", f"{i - 1}" if i else None, (0.0, 1.0), "rz") for i in range(100)]
    assert not _sparse.is_small(build_skeleton(chain))
    assert not _sparse.is_small(build_skeleton([Joint("alone", None, (0.0, 0.0))]))


@pytest.mark.slow
def test_far_from_the_origin_a_step_keeps_its_digits():
    skeleton = dataclasses.replace(OBJECTS["human_17"], limits=None)
    params, points, weights, *_ = draw(skeleton)
    params, points, weights = (x.astype(np.float32) for x in (params, points, weights))
    far = np.zeros_like(params)
    far[:, :3] = 100.0, 5000.0, -8000.0

    @jax.jit
    @jax.vmap
    def step(params, points, weights):
        problem = Problem(points, weights, jnp.zeros(()))
        return _sparse.newton_step(problem, params, jnp.float32(1e-3), skeleton)[0]

    near = step(params, points, weights) - params
    moved = step(params + far, points + far[:, None, :3], weights) - (params + far)
    # Coordinates of 1e4 mm have a grain of 1e-3 mm; limbs are some 100 mm long.
    close(moved[:, 3:], near[:, 3:], 1e-3)


@pytest.mark.slow
def test_fits_of_many_and_of_few_are_alike():
    skeleton = OBJECTS["human_17"]
    params = (0.3 * random_params(skeleton, 1200)).astype(np.float32)
    points = forward_kinematics(params, skeleton)
    together, alone = fit_params(points, skeleton), fit_params(points[:4], skeleton)
    close(together.params[:4], alone.params, 1e-3)
    close(together.observability[:4], alone.observability, 1e-3)
