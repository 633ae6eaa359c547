"""Each way to run a program of scalars gives what NumPy does, in every corner of a program."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import forward_kinematics
from kinpose.programs import cut
from kinpose.skeletons import human_17
from kinpose.small_calls import small_calls
from kinpose.windows import windows, windows_in_blocks
from tests.conftest import optimised_jit

OFFSET = np.array(0.25)  # an array that a program captures, not a number


def program(angles, lone, shared):
    """Two rows of scalars of the batch, one of scalars that all examples share."""
    (a, b), (c,), (s, t) = angles, lone, shared
    jnp.cos(b)  # is of no use
    offset = jnp.asarray(OFFSET, a.dtype)
    turned = [jnp.sin(a) * c + offset, jnp.cos(a * b + t), jnp.sin(s) * b, jnp.cos(jnp.sin(a))]
    return turned, [b, s, 2.0 * a], [], [jnp.asarray(1.5, a.dtype)]


def expected(angles, lone, shared):
    (a, b), (c,), (s, t) = angles.T, lone.T, shared
    turned = [np.sin(a) * c + OFFSET, np.cos(a * b + t), np.sin(s) * b, np.cos(np.sin(a))]
    every = np.ones_like(a)
    rows = turned, [b, s * every, 2 * a], [], [1.5 * every]
    return [np.stack(row, 1) if row else np.zeros((len(a), 0)) for row in rows]


@pytest.mark.parametrize("kernel", [small_calls, windows, windows_in_blocks])
@pytest.mark.parametrize("size", [1, 129, 4099])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_corner_of_a_program(x64, kernel, size, dtype):
    sizes = [4, 3, 0, 1]

    def flat(*scalars):
        return [x for row in program(*cut(scalars, (2, 1, 2))) for x in row]

    traced = jax.make_jaxpr(flat)(*[jax.ShapeDtypeStruct((), dtype)] * 5)
    random = np.random.default_rng(0)
    rows = [random.normal(size=shape).astype(dtype) for shape in ((size, 2), (size, 1), (2,))]
    found = optimised_jit(lambda rows: kernel(traced, sizes, rows))(list(map(jnp.asarray, rows)))
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    for row, wanted in zip(found, expected(*rows), strict=True):
        assert row.dtype == dtype
        np.testing.assert_allclose(row, wanted, atol=tolerance)


@pytest.mark.parametrize("kernel", [small_calls, windows])
def test_much_work_for_a_single_result(kernel):
    """So much that XLA means to divide it among threads, which a small call has not."""

    def polynomial(*scalars):
        powers = [x * x * x * x * x - x * x * x + x for x in scalars]
        return [functools.reduce(jnp.add, powers)]

    traced = jax.make_jaxpr(polynomial)(*[jax.ShapeDtypeStruct((), np.float32)] * 33)
    rows = np.random.default_rng(0).uniform(-1, 1, (128, 33)).astype(np.float32)
    (found,) = optimised_jit(lambda rows: kernel(traced, [1], [rows]))(rows)
    wanted = np.sum(rows**5 - rows**3 + rows, axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_xla_compiles_a_batch_of_poses_to_one_kernel_and_what_turns_its_rows():
    """Were the marks of the calls lost, poses would be as right, and take twice as long."""
    batched = optimised_jit(jax.vmap(forward_kinematics, (0, None)))
    text = batched.lower(jnp.zeros((128, 27)), human_17()).compile().as_text()
    entry = text[text.index("ENTRY") :]
    assert len(re.findall(r"\bcall\(.*xla_cpu_small_call=", entry)) == 1
    assert entry.count(" fusion(") <= 4
