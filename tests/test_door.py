"""The door to the kernels: what it means, without them and with them."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import forward_kinematics
from kinpose._kernels import over_batch, plain
from kinpose.skeletons import human_17
from tests.conftest import ROOT, optimised_jit

PROGRAM = """
import warnings
{before}
import jax, numpy as np
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    import kinpose
from kinpose.skeletons import human_17
params = np.linspace(-1, 1, 54, dtype=np.float32).reshape(2, 27)
print(*["lacks what kinpose's CPU kernels need" in str(w.message) for w in told])
print("over_batch" in str(jax.make_jaxpr(kinpose.forward_kinematics)(params, human_17())))
print(*np.ravel(kinpose.forward_kinematics(params, human_17())))
"""


def run(before="", **environment):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def positions():
    params = np.linspace(-1, 1, 54, dtype=np.float32).reshape(2, 27)
    return np.ravel(forward_kinematics(params, human_17()))


def test_without_kernels_positions_are_the_same():
    told, has_kernels, found = run(KINPOSE_KERNELS="off").stdout.splitlines()
    assert (told, has_kernels) == ("", "False")
    np.testing.assert_allclose(np.array(found.split(), float), positions(), atol=1e-3)


def test_a_jax_without_a_private_name_costs_speed_and_one_warning():
    gone = "import jax.interpreters.mlir\ndel jax.interpreters.mlir.register_lowering"
    told, has_kernels, found = run(gone).stdout.splitlines()
    assert (told, has_kernels) == ("True", "False")
    np.testing.assert_allclose(np.array(found.split(), float), positions(), atol=1e-3)


def test_another_switch_is_refused():
    assert "KINPOSE_KERNELS must be on or off, but is 'no'" in run(KINPOSE_KERNELS="no").stderr


def test_a_jaxpr_stays_on_one_screen():
    text = str(jax.make_jaxpr(forward_kinematics)(jnp.zeros(27), human_17()))
    assert len(text) < 2000
    assert "operations>" in text


def triangle(sides, scale):
    (a, b), (s,) = sides, scale
    return [s * a * b, jnp.sin(a)], [], [a - 2.0 * b]


@pytest.mark.parametrize("size", [1, 200, 5000])
def test_kernels_give_what_the_door_means(x64, size):
    sides, scale = np.random.default_rng(0).normal(size=(size, 2)), np.array([3.0])
    found, meant = (
        optimised_jit(jax.vmap(lambda row, way=way: way(triangle, row, scale)))(sides)
        for way in (over_batch, plain)
    )
    for one, other in zip(found, meant, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_not_compiled_is_the_same():
    params = 0.1 * np.arange(27, dtype=np.float32)
    expected = forward_kinematics(params, human_17())
    with jax.disable_jit():
        found = forward_kinematics(params, human_17())
    np.testing.assert_allclose(found, expected, atol=1e-3)
