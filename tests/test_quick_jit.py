"""Laws of programs that are compiled sooner: the same results, alone and within other programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import fit_params, forward_kinematics
from kinpose._kernels import quick_jit as module
from kinpose._kernels.quick_jit import quick_jit
from kinpose.skeletons import toy


@functools.partial(quick_jit, static_argnames="times")
def curve(x, times=1):
    """Something of x."""
    return jnp.sin(x) * times


def test_results_are_those_of_jit_wherever_it_is_called():
    x = jnp.linspace(0.0, 1.0, 5)
    wanted = 3 * np.sin(x)
    for found in (
        curve(x, times=3),
        jax.jit(lambda: curve(np.asarray(x), times=3))(),
        jax.jit(lambda x: curve(x, times=3))(x),
        jax.vmap(lambda x: curve(x, times=3))(x),
        jax.lax.map(lambda x: curve(x, times=3), x),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(curve))(x), np.cos(x), rtol=1e-6)
    assert curve.__doc__ == "Something of x."


def test_a_program_for_many_is_compiled_as_usual(monkeypatch):
    def refuse():
        raise AssertionError("compiled sooner")

    monkeypatch.setattr(module, "_known_options", refuse)
    double = quick_jit(lambda x: 2 * x, most=3)
    np.testing.assert_array_equal(double(np.ones(4, np.float32)), 2)
    with pytest.raises(AssertionError, match="sooner"):
        double(np.ones(3, np.float32))


def test_options_of_a_cpu_are_for_arrays_of_a_cpu(monkeypatch):
    monkeypatch.setattr(module, "_devices_of", lambda tree: [{FarDevice}, {FarDevice}])
    monkeypatch.setattr(module, "_known_options", lambda: pytest.fail("compiled for a CPU"))
    np.testing.assert_array_equal(quick_jit(lambda x: 2 * x)(np.ones(3, np.float32)), 2)


class FarDevice:
    platform = "gpu"


def test_it_is_known_whether_a_program_is_being_traced():
    def is_tracing(*trees):
        return module._devices_of(trees) is None

    inside = []
    jax.jit(lambda: inside.append(is_tracing()))()
    jax.vmap(lambda x: inside.extend([is_tracing(x), is_tracing()]))(jnp.zeros(2))
    assert [*inside, is_tracing(jnp.zeros(2))] == [True, True, False, False]


@pytest.fixture
def options(monkeypatch):
    """Which options are given under what flags."""

    def known(flags="", **more):
        module._known_options.cache_clear()
        monkeypatch.setenv("XLA_FLAGS", flags)
        monkeypatch.setattr(module, "_OPTIONS", dict(module._OPTIONS) | more)
        return module._known_options()

    yield known
    module._known_options.cache_clear()


def test_options_that_this_xla_does_not_have_are_left_out(options):
    assert "xla_backend_optimization_level" in options()
    assert "xla_no_such_option" not in options(xla_no_such_option=True)


def test_flags_of_the_user_stay(options):
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=3"
    assert "xla_backend_optimization_level" not in options(flags)


def test_points_that_a_program_knows_are_fitted_within_it():
    skeleton = toy(3)
    points = np.asarray(forward_kinematics(jnp.full((2, skeleton.num_dofs), 0.3), skeleton))
    found = jax.jit(lambda: fit_params(points, skeleton).params)()
    np.testing.assert_allclose(found, fit_params(points, skeleton).params, atol=1e-4)
