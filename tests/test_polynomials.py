"""Sines, cosines and arc tangents by polynomials, against NumPy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose._kernels.polynomials import arc_tangent, sine_and_cosine, with_polynomials


@pytest.mark.parametrize("largest", [1e-30, 1.0, 3.2, 100.0, 1e4])
def test_errors_are_a_few_of_the_last_digit(largest):
    angles = np.random.default_rng(0).uniform(-largest, largest, 100_000).astype(np.float32)
    sines, cosines = jax.jit(sine_and_cosine)(angles)
    np.testing.assert_allclose(sines, np.sin(angles, dtype=float), rtol=0, atol=2e-7)
    np.testing.assert_allclose(cosines, np.cos(angles, dtype=float), rtol=0, atol=2e-7)


def test_small_angles_keep_all_digits():
    angles = np.float32([1e-30, -1e-10, 1e-4, 0.0])
    np.testing.assert_allclose(sine_and_cosine(angles)[0], np.sin(angles), rtol=2e-7)


def test_angles_without_digits_stay_directions():
    sines, cosines = sine_and_cosine(np.float32([1e6, -1e9, 3e38]))
    assert np.all(np.abs(sines) < 1.1)
    assert np.all(np.abs(cosines) < 1.1)
    assert np.isnan(sine_and_cosine(np.float32([np.nan, np.inf, -np.inf]))).all()


def test_a_program_is_the_same_function_without_sine_and_cosine(x64):
    def program(angle, exact):
        a = jnp.sin(angle) * jnp.cos(2 * angle) + jnp.cos(0.3) + jnp.where(angle > 0, 1.0, angle)
        return a.astype(jnp.float32), jnp.sin(exact)

    traced = jax.make_jaxpr(program)(np.float32(0.7), np.float64(0.7))
    replaced = with_polynomials(traced)
    run = jax.extend.core.jaxpr_as_fun(replaced)
    np.testing.assert_allclose(run(np.float32(0.7), 0.7), program(np.float32(0.7), 0.7), rtol=1e-6)
    names = [(e.primitive.name, e.outvars[0].aval.dtype) for e in replaced.jaxpr.eqns]
    assert ("sin", np.float32) not in names
    assert ("cos", np.float32) not in names
    assert ("sin", np.float64) in names


@pytest.mark.parametrize("length", [1e-30, 1.0, 1e30])
def test_arc_tangents_are_those_of_numpy(length):
    angles = np.linspace(-3.14159, 3.14159, 100_001)
    y, x = (np.float32(length * f(angles)) for f in (np.sin, np.cos))
    expected = np.arctan2(y, x, dtype=float)
    np.testing.assert_allclose(jax.jit(arc_tangent)(y, x), expected, rtol=3e-7, atol=0)
    assert arc_tangent(np.float32(0), np.float32(0)) == 0
    assert np.isnan(arc_tangent(np.float32(np.nan), np.float32(1)))
