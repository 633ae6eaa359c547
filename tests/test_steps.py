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
    every_object,
    every_object_the_human_slowly,
    random_params,
)

from kinpose import Joint, build_skeleton, fit_params, forward_kinematics
from kinpose.angles import real_limits
from kinpose.fused import fused
from kinpose.minimise import dense_solution, dense_step, units
from kinpose.steps import form_of, solution_program, step_program

BATCH = 5

# Two ways to eliminate a matrix whose condition is up to 1 / kinpose.steps.OPEN.
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
    return params, np.array(points).reshape(BATCH, -1), weights, right, free.astype(float)


def both(program, dense, skeleton):
    """The kernel and the dense form, over a batch of rows."""
    structure, form = jax.tree.structure(skeleton), form_of(skeleton)
    kernel = jax.jit(jax.vmap(lambda *rows: fused(program(form), *rows)))
    return kernel, jax.jit(jax.vmap(lambda *rows: dense(structure, *rows)))


def size_of(skeleton):
    return units(skeleton, jnp.float64)[0]


def shared(value):
    return np.broadcast_to(np.ravel(value), (BATCH, np.size(value)))


@every_object
def test_a_step(x64, skeleton):
    params, points, weights, _, _ = draw(skeleton)
    low, high = params[0] - 0.1, params[0] + 0.1
    inside = np.clip(params, low, high)
    inside[1] = low  # where descent may press on
    kernel, dense = both(step_program, dense_step, skeleton)
    for softness, damping in itertools.product((0.0, 0.3), (1e-3, 10.0)):
        settings = shared([size_of(skeleton), damping, softness])
        rows = inside, points, weights, settings, shared(skeleton.offsets)
        for limits in ((low, high), (low - 1e3, high + 1e3)):
            limited = dataclasses.replace(skeleton, limits=np.stack(limits, axis=1))
            stops = [*limits, *real_limits(limited, jnp.float64)]
            stops = tuple(map(shared, stops))
            for a, b in zip(kernel(*rows, *stops), dense(*rows, *stops), strict=True):
                close(a, b, SOLVED)


@every_object_the_human_slowly
def test_a_solution_for_free_dofs_and_its_transpose(x64, skeleton):
    params, _, weights, right, free = draw(skeleton)
    rows = params, weights, shared([size_of(skeleton)]), shared(skeleton.offsets), free, right
    kernel, dense = both(solution_program, dense_solution, skeleton)
    (found,), (expected,) = kernel(*rows), dense(*rows)
    close(found, expected, SOLVED)
    assert (np.asarray(found)[free == 0] == 0).all()

    def solve(right):
        program = solution_program(form_of(skeleton))
        return jax.vmap(lambda *rows: fused(program, *rows, linear=1)[0])(*rows[:-1], right)

    (back,) = jax.jit(jax.linear_transpose(solve, right))(jnp.asarray(right))
    close(back, expected, SOLVED)  # the inverse is symmetric


def test_large_skeletons_have_no_written_out_form():
    chain = [Joint(f"{i}", f"{i - 1}" if i else None, (0.0, 1.0), "rz") for i in range(100)]
    assert form_of(build_skeleton(chain)) is None
    assert form_of(build_skeleton([Joint("alone", None, (0.0, 0.0))])) is None


def test_far_from_the_origin_a_step_keeps_its_digits():
    skeleton = OBJECTS["human_17"]
    params, points, weights, *_ = (x.astype(np.float32) for x in draw(skeleton))
    far = np.zeros_like(params)
    far[:, :3] = 100.0, 5000.0, -8000.0
    away = far[:, None, :3].repeat(skeleton.num_keypoints, axis=1).reshape(BATCH, -1)
    size, limits = 250.0, (np.full(27, -np.inf), np.full(27, np.inf))
    settings = shared(np.float32([size, 1e-3, 0.0]))
    rest = settings, shared(skeleton.offsets.astype(np.float32))
    rest += tuple(shared(x.astype(np.float32)) for x in limits * 2)
    step = jax.jit(jax.vmap(lambda *r: fused(step_program(form_of(skeleton)), *r)[0]))
    near = step(params, points, weights, *rest) - params
    moved = step(params + far, points + away, weights, *rest) - (params + far)
    # Coordinates of 1e4 mm have a grain of 1e-3 mm; limbs are some 100 mm long.
    close(moved[:, 3:], near[:, 3:], 1e-3)


@pytest.mark.slow
def test_fit_uses_both_forms_alike(monkeypatch):
    """A batch that is a kernel, and its first poses alone in the compact form."""
    skeleton = OBJECTS["toy_10"]
    params = (0.3 * random_params(skeleton, 600)).astype(np.float32)
    points = jax.vmap(forward_kinematics, (0, None))(params, skeleton)
    together = fit_params(points, skeleton)
    monkeypatch.setattr("kinpose.fused._QUICK", 0)
    alone = fit_params(points[:4], skeleton)
    close(together.params[:4], alone.params, 1e-3)
    close(together.observability[:4], alone.observability, 1e-3)
