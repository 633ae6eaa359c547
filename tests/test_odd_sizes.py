"""Laws of fits of nothing, and of numbers and types that stop them: right, or refused by name."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import (
    Joint,
    build_skeleton,
    fit_params,
    fit_sequence,
    forward_kinematics,
    inverse_kinematics,
)
from kinpose.calibration import calibrate_skeleton
from tests.conftest import ROOT

ARM = build_skeleton(
    [Joint("a"), Joint("b", "a", (0, 1, 0), "rz"), Joint("c", "b", (0, 1, 0)), Joint("d", "c")]
)
STILL = build_skeleton([Joint("a"), Joint("b", "a", (0, 1, 0))])
POINT = build_skeleton([Joint("a", motions="tx ty tz")])
POINTS = np.asarray(forward_kinematics(jnp.float32([0.3]), ARM))
OWN = dataclasses.replace(ARM, offsets=np.stack([ARM.offsets, 2 * ARM.offsets]))
OWN_POINTS = np.asarray(forward_kinematics(jnp.full((2, 1), 0.3), OWN))


def test_a_batch_of_no_poses_has_no_fits():
    fit = fit_params(jnp.zeros((0, 4, 3)), ARM)
    assert (fit.params.shape, fit.residuals.shape) == ((0, 1), (0, 4))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_point_that_is_nowhere_has_no_residual(value):
    points = POINTS.copy()
    points[3, 0] = value
    fit = fit_params(points, ARM)
    assert np.isnan(fit.residuals[3])
    np.testing.assert_allclose(fit.residuals[:3], 0, atol=1e-4)


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (lambda: fit_params(jnp.zeros((2, 2, 3)), STILL), "skeleton must have a dof"),
        (lambda: fit_params(OWN_POINTS, OWN), "one length per bone, .* jax.vmap over skeletons"),
        (lambda: fit_sequence(OWN_POINTS, OWN), "one length per bone"),
        (lambda: calibrate_skeleton(OWN_POINTS, OWN), "one length per bone"),
        (lambda: inverse_kinematics({"b": np.zeros(3)}, OWN, rest=np.zeros(1)), "one length per"),
        (lambda: fit_sequence(jnp.zeros((0, 4, 3)), ARM), "a sequence must have a frame"),
        (lambda: calibrate_skeleton(jnp.zeros((0, 4, 3)), ARM), "a recording must have a frame"),
        (lambda: calibrate_skeleton(jnp.zeros((4, 1, 3)), POINT), "no bone of the skeleton"),
        *(
            (lambda x=x, f=f, p=p: f(p, ARM, tolerance=x), f"tolerance .* got {x}")
            for x in (np.nan, -1.0, np.inf)
            for f, p in (
                (fit_params, POINTS),
                (fit_sequence, POINTS[None]),
                (calibrate_skeleton, POINTS[None]),
            )
        ),
        *(
            (lambda x=x: fit_params(POINTS, ARM, max_iterations=x), f"max_iterations .* got {x}")
            for x in (-1, 2.5)
        ),
        *(
            (lambda x=x: fit_sequence(POINTS[None], ARM, hold=x), f"hold .* got {x}")
            for x in (np.nan, -1.0)
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit, message):
    with pytest.raises(ValueError, match=message):
        fit()


def test_a_pose_of_which_nothing_counts_has_no_slopes():
    points, weights = np.stack([POINTS] * 2), jnp.ones((2, 4)).at[1].set(0.0)
    slopes = jax.grad(lambda w: fit_params(points, ARM, weights=w).params.sum())(weights)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-3)


WIDE = """
import jax, numpy as np
from kinpose import *
oblique = build_skeleton([Joint("a", None, (0, 0, 0), [Motion("r", (1, 1, 0), "q")]),
                          Joint("b", "a", (1.0, 0, 0), "rz"), Joint("c", "b", (1.0, 0, 0))])
limited = limit_skeleton(oblique, {"q": (-2, 2)})
for dtype in (np.float32, np.float64):
    params = np.full((2, 2), 0.3, dtype)
    points = forward_kinematics(params, oblique)
    for fit in (
        fit_params(points, oblique),
        fit_params(points, limited, robust=np.float64(0.3)),
        fit_sequence(points, oblique, robust=np.float64(0.3)),
        inverse_kinematics({"b": points[:, 1], "c": points[:, 2]}, oblique, rest=params[0]),
    ):
        assert fit.params.dtype == dtype, fit.params.dtype
        assert np.abs(fit.residuals).max() < 1e-3
half = forward_kinematics(jax.numpy.full((1, 2), 0.3, "bfloat16"), oblique)
assert half.dtype == "bfloat16"
"""


def test_types_stay_where_float64_is_on():
    """In a program of its own: in this one, other tests have traced with float64 off."""
    env = os.environ | {"JAX_ENABLE_X64": "1"}
    done = subprocess.run([sys.executable, "-c", WIDE], cwd=ROOT, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
