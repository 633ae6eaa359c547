"""Laws of fits of nothing, and of numbers that stop them: right, or refused by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import Joint, build_skeleton, fit_params, fit_sequence, forward_kinematics
from kinpose.calibration import calibrate_skeleton

ARM = build_skeleton(
    [Joint("a"), Joint("b", "a", (0, 1, 0), "rz"), Joint("c", "b", (0, 1, 0)), Joint("d", "c")]
)
STILL = build_skeleton([Joint("a"), Joint("b", "a", (0, 1, 0))])
POINT = build_skeleton([Joint("a", motions="tx ty tz")])
POINTS = np.asarray(forward_kinematics(jnp.float32([0.3]), ARM))


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
