"""Fits of real recordings, beside scipy's (slow)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from kinpose import calibrate_skeleton, fit_sequence, joint_jacobian, limit_skeleton
from kinpose.io.points import load_points
from kinpose.layouts import LAYOUTS, find_layout, pick_keypoints
from kinpose.skeletons import HUMAN_LIMITS, human_17

HUMAN = limit_skeleton(human_17(), HUMAN_LIMITS)
CHUNK = 512
NUM_SAMPLES, NUM_STARTS = 3, 10
LINEARISED = jax.jit(joint_jacobian)


def tracked(joints, skeleton):
    """Mean residual of every frame."""
    means, last = [], None
    for start in range(0, len(joints), CHUNK):
        piece = joints[start : start + CHUNK]
        missing = np.full((CHUNK - len(piece), *piece.shape[1:]), np.nan, np.float32)
        fit = fit_sequence(np.concatenate([piece, missing]), skeleton, init=last)
        means.append(np.nanmean(np.asarray(fit.residuals)[: len(piece)], axis=1))
        last = fit.params[len(piece) - 1]
    return np.concatenate(means)


def best_of_starts(points, skeleton, rng):
    """Mean residual of the best of scipy's solutions."""
    seen = np.isfinite(points).all(axis=-1)
    low, high = np.asarray(skeleton.limits).T

    def miss(params):
        positions, _ = LINEARISED(params.astype(np.float32), skeleton)
        return (np.asarray(positions, float) - points)[seen].ravel()

    def slope(params):
        _, jacobian = LINEARISED(params.astype(np.float32), skeleton)
        return np.asarray(jacobian, float)[seen].reshape(-1, skeleton.num_dofs)

    solutions = []
    for _ in range(NUM_STARTS):
        start = 0.5 * rng.normal(size=skeleton.num_dofs)
        start[skeleton.dof_names.index("pelvis_yaw")] = rng.uniform(-np.pi, np.pi)
        start[:3] = points[seen].mean(axis=0)
        start = np.clip(start, low + 1e-6, high - 1e-6)
        solve = scipy.optimize.least_squares
        solutions.append(solve(miss, start, slope, bounds=(low, high), x_scale="jac", max_nfev=200))
    best = min(solutions, key=lambda solution: solution.cost)
    return np.linalg.norm(best.fun.reshape(-1, 3), axis=-1).mean()


@pytest.mark.slow
def test_recordings_are_fitted_as_well_as_by_scipy_from_ten_starts(cmu_dir):
    rng = np.random.default_rng(0)
    for path in sorted(cmu_dir.glob("*.bvh")):
        points = load_points(path)
        layout = LAYOUTS[find_layout(points.names)]
        joints = pick_keypoints(points.positions, points.names, layout, HUMAN.keypoint_names)
        joints = joints.astype(np.float32)
        skeleton = calibrate_skeleton(jnp.asarray(joints), HUMAN)
        frames = rng.choice(len(joints), NUM_SAMPLES, replace=False)
        ours = tracked(joints, skeleton)[frames].mean()
        best = np.mean([best_of_starts(joints[t], skeleton, rng) for t in frames])
        assert ours < 1.01 * best, path.name
