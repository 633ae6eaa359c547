"""Each way to run a program of scalars gives what NumPy does, in every corner of a program."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import forward_kinematics
from kinpose._kernels.cpu_blocks import in_blocks
from kinpose._kernels.cpu_reduce_window import windows, windows_in_blocks
from kinpose._kernels.jaxprs import in_parts, split_list
from kinpose.skeletons import human_17
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


@pytest.mark.parametrize("kernel", [in_blocks, windows, windows_in_blocks])
@pytest.mark.parametrize("size", [1, 129, 4099])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_corner_of_a_program(x64, kernel, size, dtype):
    sizes = [4, 3, 0, 1]

    def flat(*scalars):
        return [x for row in program(*split_list(scalars, (2, 1, 2))) for x in row]

    traced = jax.make_jaxpr(flat)(*[jax.ShapeDtypeStruct((), dtype)] * 5)
    random = np.random.default_rng(0)
    rows = [random.normal(size=shape).astype(dtype) for shape in ((size, 2), (size, 1), (2,))]
    found = optimised_jit(lambda rows: kernel(traced, sizes, rows))(list(map(jnp.asarray, rows)))
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    for row, wanted in zip(found, expected(*rows), strict=True):
        assert row.dtype == dtype
        np.testing.assert_allclose(row, wanted, atol=tolerance)


def test_registers_hold_whatever_a_program_computes():
    """Truth values, too."""

    def clipped(x, low):
        small, odd = x < low, jnp.sin(3.0 * x) > 0
        return jnp.where(small & odd, low, x * x), jnp.where(small | odd, 1.0, jnp.cos(low))

    traced = jax.make_jaxpr(clipped)(*[jax.ShapeDtypeStruct((), np.float32)] * 2)
    rows = np.random.default_rng(0).normal(size=(130, 2)).astype(np.float32)
    (found,) = jax.jit(lambda rows: in_blocks(traced, [2], [rows]))(rows)
    np.testing.assert_allclose(found, np.stack(clipped(*rows.T), 1), atol=1e-6)


@pytest.mark.parametrize("kernel", [in_blocks, windows])
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


def test_blocks_bear_rows_that_are_constant_or_not_read():
    """XLA aborts where it finds an argument of a call without use."""

    def sums(*scalars):
        return [scalars[0] + scalars[2]]

    traced = jax.make_jaxpr(sums)(*[jax.ShapeDtypeStruct((), np.float32)] * 4)
    moving, still, unread = np.ones((2, 1)), np.ones((2, 1)), np.ones(2)
    rows = [np.asarray(row, np.float32) for row in (moving, unread[:1], still, unread[1:])]
    for places in ([0], [2], []):

        def run(*given, places=tuple(places)):
            filled = dict(zip(places, given, strict=True))
            own = [filled.get(i, jnp.asarray(row)) for i, row in enumerate(rows)]
            return in_blocks(traced, [1], own)

        (found,) = optimised_jit(run)(*[rows[i] for i in places])
        np.testing.assert_array_equal(found, 2.0)


@pytest.mark.parametrize("seed", range(5))
def test_any_program_of_sums_and_products(x64, seed):
    """Values read once and often, signs, constants, results that are arguments and repeat."""
    random = np.random.default_rng(seed)

    def program(numpy, *scalars):
        values = [*scalars, 0.5, -1.0]
        for _ in range(120):
            kind = random.choice(["add", "sub", "mul", "mul", "neg", "sin", "min"])
            x, y = (values[i] for i in random.choice(len(values), 2))
            made = {
                "add": lambda x, y: x + y,
                "sub": lambda x, y: x - y,
                "mul": lambda x, y: 0.7 * x * y,
                "neg": lambda x, _: -x,
                "sin": lambda x, _: numpy.sin(x),
                "min": numpy.minimum,
            }[kind](x, y)
            values.append(made if random.random() < 0.2 else numpy.tanh(made))
        last = values[-1] + scalars[0]
        return [last, -last, scalars[1], last, *(values[i] for i in random.choice(len(values), 9))]

    traced = jax.make_jaxpr(functools.partial(program, jnp))(*[np.float64(0.3)] * 6)
    random = np.random.default_rng(seed)  # the same program again
    rows = np.random.default_rng(100).normal(size=(131, 4)), np.array([0.4, -0.8])
    columns = [*rows[0].T, *rows[1]]
    wanted = [np.broadcast_to(x, 131) for x in program(np, *columns)]
    (found,) = jax.jit(lambda *rows: in_blocks(traced, [13], list(rows)))(*rows)
    np.testing.assert_allclose(found, np.stack(wanted, 1), rtol=1e-9, atol=1e-12)


def test_sums_are_added_in_the_order_in_which_they_stand():
    """An angle less its half turns: exact from left to right, and lost in any other order."""
    parts = np.float32([3.140625, 9.67502593994140625e-4, 1.509957990978376e-7])

    def rest(angle, turns):
        for part in parts:
            angle = angle - turns * part
        return [angle]

    traced = jax.make_jaxpr(rest)(*[np.float32(1.0)] * 2)
    turns = np.arange(1, 4001, dtype=np.float32)
    angles = np.float32(turns * np.float64(np.pi)) + np.float32(0.25)
    rows = np.stack([angles, turns], 1)
    (found,) = jax.jit(lambda rows: in_blocks(traced, [1], [rows]))(rows)
    wanted = angles.astype(float) - turns.astype(float) * np.pi
    np.testing.assert_allclose(found[:, 0], wanted, atol=3e-7)


def test_a_long_program(x64):

    def powers(x, y):
        found = [x, y]
        for i in range(1500):
            found.append(0.7 * found[-1] - 0.5 * found[-2 - i % 2] + 0.1 * (x if i % 3 else y))
        return found[-1], found[900], found[3]

    traced = jax.make_jaxpr(powers)(*[jax.ShapeDtypeStruct((), np.float64)] * 2)
    rows = np.random.default_rng(0).normal(size=(200, 2))
    (found,) = jax.jit(lambda rows: in_blocks(traced, [3], [rows]))(rows)
    np.testing.assert_allclose(found, np.stack(powers(*rows.T), 1), rtol=1e-9, atol=1e-12)


def test_parts_are_cut_where_few_values_cross():
    """Two sums of many products, one after the other: nothing but the first sum goes on."""

    def sums(*scalars):
        half = len(scalars) // 2
        first = functools.reduce(jnp.add, [x * x for x in scalars[:half]])
        return functools.reduce(jnp.add, [x * first for x in scalars[half:]])

    jaxpr = jax.make_jaxpr(sums)(*[0.0] * 120).jaxpr
    parts = in_parts(jaxpr, 150)
    assert max(len(part.eqns) for part in parts) <= 150
    assert [len(part.outvars) for part in parts] == [1] * len(parts)


def test_xla_compiles_a_batch_of_poses_to_few_kernels_and_what_turns_its_rows():
    """Were the marks of the calls lost, poses would be as right, and take twice as long."""
    batched = optimised_jit(jax.vmap(forward_kinematics, (0, None)))
    text = batched.lower(jnp.zeros((128, 27)), human_17()).compile().as_text()
    entry = text[text.index("ENTRY") :]
    assert 1 <= len(re.findall(r"\bcall\(.*xla_cpu_small_call=", entry)) <= 4
    assert entry.count(" call(") <= 4
    assert entry.count(" fusion(") <= 4
