"""Counting the kernels of compiled programs."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.kernels import absent_device, count_kernels, workloads


def test_calls_to_the_host_are_counted():
    def asks(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    (device,) = jax.devices("cpu")[:1]
    assert count_kernels(asks, [(3,)], device)[0]["host"] > 0
    assert count_kernels(jnp.sin, [(3,)], device)[0]["host"] == 0


def test_kernels_within_loops_are_counted_apart():
    def loops(x):
        return jax.lax.fori_loop(0, 9, lambda i, y: jnp.sin(y) @ y + i, x)

    (device,) = jax.devices("cpu")[:1]
    counts, _ = count_kernels(loops, [(64, 64)], device)
    assert counts["while"] == 1
    assert counts["fusion in loops"] >= 1


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="compiling for a TPU needs libtpu (pip install libtpu)",
)
@pytest.mark.parametrize(
    ("name", "most"), [("forward", 20), ("value and gradient", 40), ("Jacobian", 40), ("fit", 40)]
)
def test_a_tpu_gets_no_storm_of_kernels(name, most):
    function, shapes = workloads()[name]
    counts, _ = count_kernels(function, shapes, absent_device("tpu"))
    assert 1 <= counts["fusion"] <= most
    assert counts["host"] == 0


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is not None, reason="libtpu is here: nothing to report"
)
def test_a_compiler_that_is_not_installed_is_named():
    with pytest.raises(ValueError, match="install libtpu"):
        absent_device("tpu")
