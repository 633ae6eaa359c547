"""Laws of model fitting.

Up to 512 poses share a program: `from_nothing` fits the human in float32, `from_start` in float64.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.optimize
from scipy.spatial.transform import Rotation

from experiments.benchmark_ik import panda
from kinpose import (
    Joint,
    build_skeleton,
    forward_kinematics,
    joint_jacobian,
    limit_skeleton,
    scale_skeleton,
)
from kinpose.fitting import STATUS, fit_params
from kinpose.skeletons import HUMAN_LIMITS, human_17, toy
from kinpose.tracking import compile_sequence, estimate_noise, fit_sequence, holds_of

EXACT_MM = 0.1  # what counts as found: far below any measurement, far above float32's 1e-3
FLOAT64 = 1e-9  # of the skeleton's unit, or rad
DAMPED = 1e-3  # of the largest derivative: what damping by 1e-6 does to the least seen dof
SAME_COST = 1.01  # costs within 1 % of each other are equally good

KERNELS, MANY, FEW, FRAMES = 700, 128, 32, 120
HUMAN = human_17()
NAMES = HUMAN.dof_names
LIMITED = limit_skeleton(HUMAN, HUMAN_LIMITS)
SIZE = np.sqrt(np.mean(np.sum(HUMAN.offsets**2, axis=-1)))
ROOT = slice(0, 6)
HINGES = [i for i, name in enumerate(NAMES) if "knee" in name or "elbow" in name]
YAW, TWIST = NAMES.index("pelvis_yaw"), NAMES.index("left_shoulder_rotation")
KNEE, THIGH = NAMES.index("left_knee_flexion"), NAMES.index("left_hip_rotation")
ELBOW, HIP = NAMES.index("left_elbow_flexion"), NAMES.index("left_hip_flexion")
HIDDEN = ("left_knee", "left_ankle", "left_elbow", "left_wrist")
CHAIN = build_skeleton(  # a planar arm whose hand is reported twice
    [
        Joint("shoulder", None, (0, 0), "tx ty rz"),
        Joint("elbow", "shoulder", (1, 0), "rz"),
        Joint("hand", "elbow", (1, 0)),
        Joint("twin", "elbow", (1, 0)),
    ]
)
batched_kinematics = jax.vmap(forward_kinematics, in_axes=(0, None))
single_jacobian = jax.jit(joint_jacobian)


def draw_poses(count, seed=0):
    """The human facing anywhere within some metres, angles normal with 0.5 rad."""
    rng = np.random.default_rng(seed)
    params = 0.5 * rng.normal(size=(count, HUMAN.num_dofs))
    params[:, :3] *= 2000
    params[:, YAW] = rng.uniform(-np.pi, np.pi, count)
    return params


def draw_bent(count, seed=0):
    """The same with bent hinges, where every angle is well seen."""
    params = draw_poses(count, seed)
    params[:, HINGES] = np.random.default_rng(seed).uniform(0.5, 1.5, (count, len(HINGES)))
    return params


def points_of(params, skeleton=HUMAN):
    dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    return np.array(batched_kinematics(jnp.asarray(params, dtype), skeleton))


def noise(shape, sigma, seed=0):
    return sigma * np.random.default_rng(seed).normal(size=shape)


def from_nothing(joints, skeleton=HUMAN, **options):
    fit = fit_params(np.asarray(joints, np.float32), skeleton, **options)
    return jax.tree.map(np.asarray, fit)


def from_start(joints, start, skeleton=HUMAN, **options):
    """In float64, to the last digit; needs the fixture x64."""
    fit = fit_params(joints, skeleton, init=start, **{"tolerance": 1e-12} | options)
    return jax.tree.map(np.asarray, fit)


def cost_of(fit):
    return np.nansum(np.square(fit.residuals), axis=-1)


def share_found(fit):
    return np.mean(np.nanmax(fit.residuals, axis=-1) < EXACT_MM)


def scipy_costs(joints, starts, skeleton=HUMAN):
    """Squared distances that scipy's least_squares leaves, within the limits."""

    def cost(points, start):
        low, high = skeleton.limits.T

        def at(params):
            return single_jacobian(jnp.asarray(params), skeleton)

        result = scipy.optimize.least_squares(
            lambda params: np.ravel(at(params)[0] - points),
            np.clip(start, low + 1e-6, high - 1e-6),
            lambda params: np.reshape(at(params)[1], (points.size, -1)),
            bounds=(low, high),
            x_scale="jac",
            max_nfev=1000,
        )
        return 2 * result.cost

    with jax.enable_x64(True):
        return np.array([cost(*pair) for pair in zip(joints, starts, strict=True)])


# Recovery


many_poses = pytest.mark.parametrize(
    ("count", "share"), [(KERNELS, 0.995), pytest.param(10_000, 0.999, marks=pytest.mark.slow)]
)


def turned_anywhere(params, seed=0):
    """The poses with the pelvis in any orientation, upside down, too."""
    params = params.copy()
    params[:, 3:6] = Rotation.random(len(params), rng=seed).as_euler("YXZ")
    return params


@many_poses
def test_poses_in_any_orientation_are_recovered_from_nothing(count, share):
    fit = fit_params(points_of(turned_anywhere(draw_poses(count))), HUMAN)
    assert share_found(fit) >= share
    assert np.mean(fit.converged) >= share


def test_float64_is_recovered_to_nine_digits(x64):
    truth = draw_bent(FEW)
    fit = from_start(points_of(truth), truth + noise(truth.shape, 0.1))
    assert fit.params.dtype == np.float64
    assert fit.residuals.max() < FLOAT64 * SIZE
    assert np.abs(fit.params - truth)[:, 3:].max() < FLOAT64
    assert fit.converged.all()


def test_a_start_at_the_solution_stays_there(x64):
    truth = draw_bent(FEW)
    fit = from_start(points_of(truth), truth)
    np.testing.assert_allclose(fit.params, truth, rtol=0, atol=FLOAT64)
    assert fit.iterations.max() <= 2


def hurried(count):
    """Two steps towards points that no pose has."""
    joints = np.random.default_rng(0).normal(size=(count, 4, 2)).astype(np.float32)
    return fit_params(joints, CHAIN, max_iterations=2)


@pytest.mark.parametrize("count", [8, 64])
def test_no_fit_takes_more_steps_than_it_may(count):
    assert int(hurried(count).iterations.max()) == 2


@pytest.mark.parametrize("num_params", [3, 10])
def test_toy_objects_are_recovered_from_nothing(num_params):
    rng = np.random.default_rng(num_params)
    truth = rng.normal(size=(FEW, num_params)) * 0.5
    truth[:, :2] = rng.uniform(0, 128, (FEW, 2))
    truth[:, 2] = np.abs(truth[:, 2]) if num_params == 3 else rng.uniform(-np.pi, np.pi, FEW)
    fit = fit_params(points_of(truth, toy(num_params)), toy(num_params))
    assert np.mean(fit.residuals.max(axis=-1) < 1e-3) >= 0.95  # pixels


@pytest.mark.parametrize(
    ("ndim", "seed"),
    [
        (3, 0),
        *(pytest.param(n, s, marks=pytest.mark.slow) for n in (2, 3) for s in range(1, 6)),
    ],
)
def test_any_skeleton_is_recovered_from_nearby(ndim, seed, x64):
    rng = np.random.default_rng(seed)
    skeleton = reference.random_skeleton(rng, ndim, 7)
    truth = rng.normal(size=(FEW, skeleton.num_dofs))
    start = truth + 0.1 * rng.normal(size=truth.shape)
    fit = from_start(points_of(truth, skeleton), start, skeleton)
    assert np.mean(fit.residuals.max(axis=-1) < 1e-6) >= 0.95


# Quality of the minimum


def test_noisy_points_are_fitted_as_well_as_scipy_does_from_the_same_start(x64):
    truth = draw_poses(FEW, seed=1)
    start = truth + noise(truth.shape, 0.3)
    joints = points_of(truth) + noise((FEW, 17, 3), 10.0)
    fit = from_start(joints, start, tolerance=1e-5)
    assert np.mean(cost_of(fit) <= SAME_COST * scipy_costs(joints, start)) >= 0.95


def test_noisy_points_are_fitted_from_nothing_as_well_as_by_scipy_from_the_truth():
    truth = draw_poses(FEW, seed=2)
    joints = points_of(truth) + noise((FEW, 17, 3), 10.0)
    fit = from_nothing(joints)
    assert np.mean(cost_of(fit) <= SAME_COST * scipy_costs(joints, truth)) >= 0.95


def test_the_gradient_of_the_weighted_cost_is_zero_at_the_solution(x64):
    truth = draw_bent(FEW)
    joints = points_of(truth) + noise((FEW, 17, 3), 10.0)
    weights = np.linspace(0.5, 2.0, 17)
    fit = from_start(joints, truth, weights=weights)
    for params, points in zip(fit.params, joints, strict=True):
        model = reference.positions(params, HUMAN)
        jacobian = reference.jacobian(params, HUMAN)
        gradient = np.einsum("k,kn,knd->d", weights, model - points, jacobian)
        np.testing.assert_array_less(np.abs(gradient)[3:], 1e-6 * SIZE**2)


def test_gradient_descent_lowers_the_cost_to_that_of_least_squares(x64):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(FEW, 4))
    start = truth + 0.2 * rng.normal(size=truth.shape)
    joints = points_of(truth, CHAIN) + noise((FEW, 4, 2), 0.1)
    descent = from_start(joints, start, CHAIN, method="gradient_descent")
    before = np.sum(np.square(points_of(start, CHAIN) - joints), axis=(1, 2))
    assert np.all(cost_of(descent) < before)
    np.testing.assert_allclose(
        cost_of(descent), cost_of(from_start(joints, start, CHAIN)), rtol=1e-6
    )


# Missing points and weights


def test_missing_joints_are_nan_in_the_residual_and_the_rest_is_exact():
    joints = points_of(draw_poses(MANY))
    gone = np.random.default_rng(0).integers(17, size=MANY)
    joints[np.arange(MANY), gone] = np.nan
    fit = from_nothing(joints)
    np.testing.assert_array_equal(np.isnan(fit.residuals), np.isnan(joints[:, :, 0]))
    assert np.isfinite(fit.params).all()
    assert share_found(fit) >= 0.99


@pytest.mark.parametrize("value", [(np.nan, 0, 0), (1e6, np.nan, -1e6), (0, 0, np.inf)])
def test_one_missing_coordinate_is_a_missing_joint(value):
    joints = points_of(draw_poses(FEW))
    joints[:, 3] = np.nan
    expected = from_nothing(joints)
    joints[:, 3] = value
    np.testing.assert_array_equal(from_nothing(joints).params, expected.params)


def test_weight_zero_is_a_missing_joint():
    joints = points_of(draw_poses(FEW))
    joints[:, 3] = 1e4
    weights = np.where(np.arange(17) == 3, 0.0, 1.0)
    fit = from_nothing(joints, weights=weights)
    joints[:, 3] = np.nan
    np.testing.assert_array_equal(fit.params, from_nothing(joints).params)
    assert np.isfinite(fit.residuals).all()


def test_no_pose_of_a_batch_disturbs_another():
    joints = points_of(draw_poses(FEW))
    expected = from_nothing(joints).params
    joints[::2] = np.nan
    np.testing.assert_allclose(from_nothing(joints).params[1::2], expected[1::2], atol=1e-3)


def test_nothing_seen_gives_finite_params_and_observes_nothing():
    fit = from_nothing(np.full((1, 17, 3), np.nan))
    assert np.isfinite(fit.params).all()
    assert np.isnan(fit.residuals).all()
    np.testing.assert_array_equal(fit.observability, 0.0)


def test_double_weight_is_a_point_counted_twice(x64):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(FEW, 4))
    joints = points_of(truth, CHAIN) + noise((FEW, 4, 2), 0.1)
    joints[:, 3] = joints[:, 2]
    twice = from_start(joints, truth, CHAIN)
    heavy = from_start(joints, truth, CHAIN, weights=np.array([1.0, 1.0, 2.0, 0.0]))
    light = from_start(joints, truth, CHAIN, weights=np.array([1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(heavy.params, twice.params, atol=FLOAT64)
    assert np.all(heavy.residuals[:, 2] < light.residuals[:, 2])


# Limits

TIGHT = limit_skeleton(HUMAN, dict.fromkeys((NAMES[i] for i in HINGES), (0.1, 0.4)))


def within(params, skeleton):
    low, high = skeleton.limits.T.astype(params.dtype)
    return np.all((low <= params) & (params <= high))


@pytest.mark.slow
@many_poses
def test_poses_within_limits_are_recovered_from_nothing(count, share):
    truth = turned_anywhere(draw_poses(count))
    fit = fit_params(points_of(np.clip(truth, *LIMITED.limits.T)), LIMITED)
    assert share_found(fit) >= share
    assert within(np.asarray(fit.params), LIMITED)


@pytest.mark.slow
@many_poses
def test_poses_anywhere_within_limits_are_recovered_from_nothing(count, share):
    truth, (low, high) = turned_anywhere(draw_poses(count)), LIMITED.limits.T
    bounded = np.isfinite(low)
    drawn = np.random.default_rng(1).uniform(size=(count, bounded.sum()))
    truth[:, bounded] = low[bounded] + drawn * (high - low)[bounded]
    fit = fit_params(points_of(truth), LIMITED)
    assert share_found(fit) >= share
    assert within(np.asarray(fit.params), LIMITED)


def test_a_limb_stopped_by_a_limit_goes_on_by_other_angles(x64):
    """It starts bent the wrong way, or beyond the quarter turn that a thigh may twist."""
    truth = np.clip(draw_bent(FEW), *LIMITED.limits.T)
    truth[:, THIGH] = np.linspace(-1.5, 1.5, FEW)
    start = truth.copy()
    start[:, THIGH] -= np.sign(truth[:, THIGH]) * 2.5
    start[:, KNEE] = 0.0
    fit = from_start(points_of(truth), start, LIMITED, max_iterations=300)
    assert np.all(fit.residuals < EXACT_MM)
    assert within(fit.params, LIMITED)


@pytest.mark.parametrize("degrees", [-1, -4, -8, 3])
def test_straight_knees_read_as_they_are(degrees):
    """A leg a little beyond straight is no thigh turned by half a turn."""
    truth = np.zeros((1, 27))
    truth[:, [NAMES.index(f"{side}_knee_flexion") for side in ("left", "right")]] = degrees
    truth[:, [NAMES.index(f"{side}_hip_abduction") for side in ("left", "right")]] = 5
    fit = from_nothing(points_of(np.radians(truth)), LIMITED)
    assert np.abs(np.degrees(fit.params) - truth)[:, 3:].max() < 0.5


# What was reached


def test_a_fit_says_what_it_reached():
    truth = np.clip(draw_bent(FEW), *LIMITED.limits.T)
    joints = points_of(truth)
    solved = from_nothing(joints, LIMITED)
    stopped = from_nothing(joints, TIGHT)
    for fit, status in ((solved, 0), (stopped, 1), (hurried(64), 2)):
        assert np.mean(fit.status == STATUS.index(STATUS[status])) > 0.9
        np.testing.assert_array_equal(fit.converged, fit.status == 0)


def test_an_arm_reaches_hand_poses_within_its_limits():
    arm = panda()
    low, high = arm.limits.T
    truth = np.random.default_rng(0).uniform(low, high, (500, 7))
    fit = fit_params(points_of(truth, arm), arm)
    assert np.mean(fit.residuals.max(axis=-1) < 1e-4) >= 0.98  # 0.1 mm
    assert within(np.asarray(fit.params), arm)


# Points far off


def thrown(joints, share=0.03, seed=3):
    rng = np.random.default_rng(seed)
    hit = rng.random(joints.shape[:2]) < share
    return np.where(hit[..., None], joints + rng.normal(0, 3000, joints.shape), joints), hit


def test_points_far_off_do_not_move_a_robust_fit():
    truth = draw_bent(MANY)
    joints, hit = thrown(points_of(truth))
    fit = from_nothing(joints, robust=50.0)
    close = np.where(hit, 0.0, fit.residuals).max(axis=-1) < 1.0
    assert np.mean(close) >= 0.95
    assert np.mean(fit.trust[hit] < 0.01) > 0.95
    assert np.mean(fit.trust[~hit] > 0.99) > 0.95


def test_a_wide_robust_scale_is_none():
    joints = points_of(draw_bent(MANY)) + noise((MANY, 17, 3), 10.0)
    wide, none = from_nothing(joints, robust=1e6), from_nothing(joints)
    np.testing.assert_allclose(wide.residuals, none.residuals, atol=0.1)
    np.testing.assert_array_equal(none.trust, 1.0)


@pytest.mark.parametrize("scale", [1e-20, 1e-8, 1e8, 1e20])
def test_the_scale_of_the_weights_changes_nothing(scale):
    joints = points_of(draw_bent(MANY))
    fit = from_nothing(joints, weights=np.full(17, scale, np.float32))
    np.testing.assert_allclose(fit.params, from_nothing(joints).params, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": -np.ones(17)}, "weights must be finite and at least 0, but got -1"),
        ({"weights": np.full(17, np.nan)}, "weights must be finite and at least 0, but got nan"),
        ({"robust": 0.0}, "robust must be a positive distance, or None, but got 0.0"),
        ({"robust": np.nan}, "robust must be a positive distance"),
    ],
)
def test_weights_and_distances_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit_params(points_of(draw_bent(1)), HUMAN, **options)


def test_a_limb_that_rests_at_its_limit_keeps_its_angles(x64):
    truth = np.clip(draw_bent(FEW), *LIMITED.limits.T)
    truth[:, HINGES] = 0.0
    fit = from_start(points_of(truth), truth, LIMITED)
    np.testing.assert_allclose(fit.params, truth, atol=1e-6)


def test_of_two_triples_of_angles_the_one_within_the_limits_is_found():
    """A shoulder reaches behind its second right angle, where the other triple is beyond them."""
    limits = {"ball_rx": (-1.5, 1.5), "ball_rz": (-0.5, 2.6), "ball_ry": (-1.5, 1.5)}
    ends = [Joint("a", "ball", (1, 0, 0)), Joint("b", "ball", (0, 1, 0))]
    ball = build_skeleton([Joint("ball", None, (0, 0, 0), "rx rz ry"), *ends], limits=limits)
    low, high = ball.limits.T
    truth = np.random.default_rng(0).uniform(low, high, (MANY, 3)).astype(np.float32)
    fit = fit_params(points_of(truth, ball), ball)
    assert np.mean(fit.residuals.max(axis=-1) < 1e-4) >= 0.95
    assert within(np.asarray(fit.params), ball)


def test_points_beyond_the_limits_are_fitted_as_well_as_by_scipys_bounded_solver(x64):
    truth = draw_bent(FEW)
    joints = points_of(truth)
    start = np.clip(truth, *TIGHT.limits.T)
    fit = from_start(joints, start, TIGHT)
    assert within(fit.params, TIGHT)
    assert np.mean(fit.params[:, HINGES] == 0.4) > 0.9
    assert np.mean(cost_of(fit) <= SAME_COST * scipy_costs(joints, start, TIGHT)) >= 0.95


def test_a_start_beyond_the_limits_ends_within(x64):
    truth = draw_bent(FEW)
    fit = from_start(points_of(truth), truth, TIGHT)
    assert within(fit.params, TIGHT)


# Invariance


def test_the_unit_of_length_changes_no_angle():
    joints = points_of(draw_bent(MANY))
    in_mm, in_m = from_nothing(joints), from_nothing(joints / 1000, scale_skeleton(HUMAN, 0.001))
    assert np.mean(np.abs(in_m.params - in_mm.params)[:, 3:].max(axis=-1) < 1e-3) >= 0.99
    np.testing.assert_allclose(in_m.params[:, :3] * 1000, in_mm.params[:, :3], atol=EXACT_MM)


def test_a_turn_about_the_vertical_and_a_shift_change_only_yaw_and_place():
    angle = 2.5
    turn = reference.elementary(HUMAN.motions[0][3], angle, 3)[:3, :3]
    joints = points_of(draw_bent(MANY))
    still, moved = from_nothing(joints), from_nothing(joints @ turn.T + [500.0, -300.0, 100.0])
    change = moved.params - still.params
    change[:, YAW] = (change[:, YAW] - angle + np.pi) % (2 * np.pi) - np.pi
    assert np.mean(np.abs(change)[:, 3:].max(axis=-1) < 1e-3) >= 0.99


def test_any_rigid_motion_changes_only_the_root():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    joints = points_of(draw_bent(MANY))
    change = from_nothing(joints @ turn.T).params - from_nothing(joints).params
    assert np.mean(np.abs(change)[:, ROOT.stop :].max(axis=-1) < 1e-3) >= 0.9


# Shapes and transformations


def test_leading_dimensions_are_a_batch():
    joints = points_of(draw_poses(MANY)).reshape(2, 4, -1, 17, 3)
    weights = np.linspace(1, 2, MANY * 17, dtype=np.float32).reshape(2, 4, -1, 17)
    fit = fit_params(joints, HUMAN, weights=weights)
    flat = fit_params(joints.reshape(-1, 17, 3), HUMAN, weights=weights.reshape(-1, 17))
    for deep, shallow in zip(fit, flat, strict=True):
        np.testing.assert_array_equal(deep, np.reshape(shallow, deep.shape))
    assert fit.params.shape == (2, 4, MANY // 8, 27)
    assert fit.residuals.shape == (2, 4, MANY // 8, 17)
    assert fit.observability.shape == fit.params.shape
    assert fit.converged.shape == fit.iterations.shape == (2, 4, MANY // 8)


def test_one_pose_needs_no_batch():
    fit = jax.eval_shape(lambda x: fit_params(x, CHAIN), jax.ShapeDtypeStruct((4, 2), jnp.float32))
    assert fit.params.shape == fit.observability.shape == (4,)
    assert fit.residuals.shape == (4,)
    assert fit.iterations.shape == fit.converged.shape == ()


def test_half_precision_is_computed_in_single():
    joints = jnp.asarray(points_of(draw_poses(MANY)), jnp.bfloat16)
    fit = fit_params(joints, HUMAN)
    assert fit.params.dtype == jnp.float32
    np.testing.assert_array_equal(fit.params, fit_params(joints.astype(jnp.float32), HUMAN).params)


def test_jit_and_vmap_over_subjects_change_nothing(x64):
    truth, scales = np.random.default_rng(0).normal(size=(FEW, 4)), np.linspace(0.5, 2, FEW)
    joints = np.array(
        [
            points_of(p[None], scale_skeleton(CHAIN, s))[0]
            for p, s in zip(truth, scales, strict=True)
        ]
    )

    @jax.jit
    def fit(joints, start, scale):
        skeleton = scale_skeleton(CHAIN, scale)
        return fit_params(joints, skeleton, init=start, tolerance=1e-12)

    fits = jax.vmap(fit)(joints, truth + 0.1, scales)
    np.testing.assert_allclose(fits.params, truth, atol=FLOAT64)


def test_single_precision_stays_where_double_is_enabled(x64):
    points = jax.ShapeDtypeStruct((FRAMES, 4, 2), jnp.float32)
    for fit in (fit_params, fit_sequence):
        params = jax.eval_shape(lambda x, fit=fit: fit(x, CHAIN).params, points)
        assert params.dtype == jnp.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"joints": np.zeros((5, 16, 3))}, r"joints must have shape \(\.\.\., 17, 3\).*16, 3"),
        ({"joints": np.zeros((17, 2))}, r"joints must have shape \(\.\.\., 17, 3\).*\(17, 2\)"),
        ({"joints": np.zeros(3)}, r"joints must have shape \(\.\.\., 17, 3\).*\(3,\)"),
        ({"joints": np.zeros((17, 3), int)}, "joints must be floating point, but got int"),
        ({"weights": np.ones(16)}, r"weights must have shape \(17,\) or \(5, 17\).*\(16,\)"),
        ({"weights": np.ones((4, 17))}, r"weights must have shape \(17,\) or \(5, 17\).*\(4, 17\)"),
        ({"init": np.zeros(26)}, r"init must have shape \(27,\) or \(5, 27\).*\(26,\)"),
        ({"init": np.zeros((17, 27))}, r"init must have shape \(27,\) or \(5, 27\).*\(17, 27\)"),
        ({"method": "newton"}, "method must be one of .*least_squares.*gradient_descent.*'newton'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_params(**{"joints": np.zeros((5, 17, 3)), "skeleton": HUMAN} | arguments)


@pytest.mark.parametrize(
    ("joints", "init", "message"),
    [
        (np.zeros((17, 3)), None, r"sequence .*\(T, K, n\), but got \(17, 3\)"),
        (np.zeros((2, 2, 17, 3)), None, r"sequence .*\(T, K, n\), but got \(2, 2, 17, 3\)"),
        (np.zeros((2, 17, 3)), np.zeros((2, 27)), r"init must have shape \(27,\).*\(2, 27\)"),
    ],
)
def test_wrong_sequences_are_named(joints, init, message):
    with pytest.raises(ValueError, match=message):
        fit_sequence(joints, HUMAN, init=init)


# Derivatives


def fitted(joints, weights, offsets, start, limits):
    skeleton = dataclasses.replace(HUMAN, offsets=offsets, limits=limits)
    return fit_params(joints, skeleton, weights=weights, init=start, tolerance=1e-12).params


@jax.jit
def push_forward(primals, tangents, start, limits):
    """How the fitted params move with joints, weights and offsets."""
    return jax.jvp(lambda *x: fitted(*x, start, limits), primals, tangents)[1]


@jax.jit
def pull_back(primals, cotangent, start, limits):
    """The gradient of a weighted sum of the fitted params."""
    return jax.vjp(lambda *x: fitted(*x, start, limits), *primals)[1](cotangent)


def primals_of(joints, weights=None):
    weights = np.ones(joints.shape[:-1]) if weights is None else weights
    return joints, weights, np.array(HUMAN.offsets)


def directions(primals, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=np.shape(x)) for x in primals)


def test_derivatives_by_joints_and_bones_are_those_of_finite_differences(x64):
    truth = draw_bent(FEW)
    joints, _, offsets = primals = primals_of(points_of(truth))
    way, zero = directions(primals), tuple(map(np.zeros_like, primals))
    step = 1e-2  # mm, against bones of some hundred
    for shift, tangents in (
        ((way[0], 0.0), (way[0], *zero[1:])),
        ((0.0, way[2]), (*zero[:2], way[2])),
    ):
        ahead, behind = (
            from_start(
                joints + sign * step * shift[0],
                truth,
                dataclasses.replace(HUMAN, offsets=offsets + sign * step * shift[1]),
            ).params
            for sign in (1, -1)
        )
        expected = (ahead - behind) / (2 * step)
        actual = push_forward(primals, tangents, truth, HUMAN.limits)
        scale = np.abs(expected).max(axis=0)
        assert np.all(np.abs(actual - expected) <= DAMPED * scale)


def test_reverse_mode_is_the_transpose_of_forward_mode(x64):
    truth = draw_poses(FEW)
    joints = points_of(truth) + noise((FEW, 17, 3), 10.0)
    primals = primals_of(joints)
    tangents, cotangent = directions(primals), noise(truth.shape, 1.0)
    forward = np.sum(cotangent * push_forward(primals, tangents, truth, HUMAN.limits))
    gradients = pull_back(primals, cotangent, truth, HUMAN.limits)
    backward = sum(np.sum(t * g) for t, g in zip(tangents, gradients, strict=True))
    np.testing.assert_allclose(forward, backward, rtol=1e-8)


def awkward_cases():
    """Straight limbs, rest pose, a missing point, a weight of zero, nothing at all."""
    truth = draw_bent(FEW)
    truth[0] = 0.0
    truth[1, HINGES] = 0.0
    truth[2, ELBOW] = np.pi
    joints, weights = points_of(truth), np.ones((FEW, 17))
    joints[3, 5] = np.nan
    joints[4, 1:] = np.nan
    joints[5] = np.nan
    weights[6, 4] = 0.0
    weights[7] = 0.0
    return truth, primals_of(joints, weights)


def test_gradients_are_finite_where_the_points_leave_dofs_open(x64):
    truth, primals = awkward_cases()
    gradients = pull_back(primals, noise(truth.shape, 1.0), truth, HUMAN.limits)
    assert all(np.isfinite(g).all() for g in gradients)
    unseen = np.isnan(primals[0])
    assert unseen.any()
    np.testing.assert_array_equal(np.asarray(gradients[0])[unseen], 0.0)


def test_an_open_twist_has_no_derivative(x64):
    truth, primals = awkward_cases()
    change = push_forward(primals, directions(primals), truth, HUMAN.limits)
    assert np.all(np.abs(change[:2, TWIST]) < 1e-6)


def test_dofs_at_a_limit_do_not_move(x64):
    truth = draw_bent(FEW)
    primals = primals_of(points_of(truth))
    start = np.clip(truth, *TIGHT.limits.T)
    pinned = from_start(primals[0], start, TIGHT).params == TIGHT.limits[:, 1]
    change = np.asarray(push_forward(primals, directions(primals), start, TIGHT.limits))
    assert pinned.any()
    assert np.all(change[pinned] == 0)
    assert np.all(change[~pinned] != 0)


# Observability


def test_observability_is_the_least_move_of_the_points_per_unit_of_the_dof(x64):
    truth = draw_bent(FEW)
    fit = from_start(points_of(truth), truth)
    for params, observability in zip(fit.params[:8], fit.observability, strict=False):
        jacobian = reference.jacobian(params, HUMAN).reshape(-1, HUMAN.num_dofs)
        for dof, actual in enumerate(observability):
            own, others = jacobian[:, dof], np.delete(jacobian, dof, axis=1)
            hidden = others @ np.linalg.lstsq(others, own)[0]
            np.testing.assert_allclose(actual, np.linalg.norm(own - hidden), rtol=1e-3)


def test_the_twist_of_a_straight_arm_is_not_observable():
    truth = draw_bent(2)
    truth[1, ELBOW] = 0.0
    bent, straight = from_nothing(points_of(truth)).observability[:, TWIST]
    assert straight < 1.0  # mm per rad
    assert bent > 50.0


def test_noise_makes_an_error_of_noise_over_observability(x64):
    sigma, truth = 1.0, draw_bent(1)
    joints = points_of(truth)
    start = np.repeat(truth, FEW, axis=0)
    fits = [
        from_start(joints + noise((FEW, 17, 3), sigma, seed=seed), start).params
        for seed in range(16)
    ]
    error = np.sqrt(np.mean(np.square(np.concatenate(fits) - truth), axis=0))
    expected = sigma / from_start(joints, truth).observability[0]
    assert np.all(error < 1.2 * expected)  # 512 samples: 3 % by chance
    assert np.all(error > expected / 1.2)


# Sequences


def smooth_motion(turns=0, seed=0):
    """(FRAMES, 27): walking about with bent limbs while turning about the vertical."""
    rng, time = np.random.default_rng(seed), np.linspace(0, 1, FRAMES)[:, None]
    swing = np.sin(2 * np.pi * (rng.uniform(0.5, 2, 27) * time + rng.uniform(size=27)))
    params = 0.4 * swing
    params[:, :3] = [0.0, 900.0, 0.0] + time * [500.0, 0.0, 2000.0]
    params[:, HINGES] += 0.8
    params[:, YAW] = 2 * np.pi * turns * time[:, 0]
    return params


def follow(joints, **options):
    return jax.tree.map(np.asarray, fit_sequence(np.asarray(joints, np.float32), HUMAN, **options))


def test_angles_are_continuous_through_full_turns():
    truth = smooth_motion(turns=3)
    fit = follow(points_of(truth))
    assert np.abs(np.diff(fit.params[:, 3:], axis=0)).max() < 1.0
    np.testing.assert_allclose(np.ptp(fit.params[:, YAW]), 6 * np.pi, atol=0.05)
    np.testing.assert_allclose(
        np.diff(fit.params[:, 3:], axis=0), np.diff(truth[:, 3:], axis=0), atol=0.05
    )
    assert fit.residuals.max() < 1.0


def test_frames_are_fitted_as_well_as_single_poses():
    joints = points_of(smooth_motion(turns=1)) + noise((FRAMES, 17, 3), 10.0)
    assert np.all(cost_of(follow(joints)) <= SAME_COST * cost_of(from_nothing(joints)))


def test_frames_without_points_keep_the_params():
    joints = points_of(smooth_motion())
    joints[50:60] = np.nan
    fit = follow(joints)
    np.testing.assert_allclose(fit.params[50:60], np.tile(fit.params[49], (10, 1)), atol=1e-6)
    assert np.nanmax(fit.residuals) < 1.0


def test_tracking_recovers_after_a_bad_stretch():
    joints = points_of(smooth_motion())
    joints[50:55] = noise((5, 17, 3), 1000.0)
    assert follow(joints).residuals[56:].max() < 1.0


def test_two_pieces_make_the_whole():
    joints = points_of(smooth_motion(turns=2)) + noise((FRAMES, 17, 3), 5.0)
    whole, cut = follow(joints), 70
    rest = np.full_like(joints, np.nan)
    rest[: FRAMES - cut] = joints[cut:]
    piece = follow(rest, init=whole.params[cut - 1])
    np.testing.assert_allclose(piece.params[: FRAMES - cut], whole.params[cut:], atol=1e-3)


def test_the_twist_of_a_straight_arm_stays_still():
    truth = smooth_motion()
    truth[:, ELBOW] = 0.0
    joints = points_of(truth) + noise((FRAMES, 17, 3), 1.0)
    held, free = (np.diff(fit.params[:, TWIST]) for fit in (follow(joints), from_nothing(joints)))
    assert np.std(held) < 0.1 * np.std(free)


def test_noise_does_not_turn_straight_legs():
    """Standing: noise alone would twist the thighs anywhere."""
    truth = np.zeros((FRAMES, 27))
    truth[:, HINGES] = np.radians(3)
    sigma = 15.0
    joints = points_of(truth) + noise((FRAMES, 17, 3), sigma)
    fit = fit_sequence(np.float32(joints), LIMITED, **holds_of(sigma, 30.0, LIMITED))
    error = np.degrees(np.abs(np.asarray(fit.params) - truth))[:, 3:]
    assert error.mean() < 4
    assert error.max() < 40


def test_a_hidden_limb_stays_as_it_was_and_is_found_again():
    """With noise, which `rest` answers by what pulls to the neutral pose."""
    truth = np.zeros((FRAMES, 27))
    truth[:, [*HINGES, HIP]] = np.radians(80)
    sigma, gap = 15.0, slice(40, 70)
    joints = points_of(truth) + noise((FRAMES, 17, 3), sigma)
    hidden = [i for i, name in enumerate(HUMAN.keypoint_names) if name in HIDDEN]
    joints[gap, hidden] = np.nan
    fit = fit_sequence(np.float32(joints), LIMITED, **holds_of(sigma, 30.0, LIMITED))
    error = np.degrees(np.asarray(fit.params) - truth)[:, [KNEE, HIP, ELBOW]]
    np.testing.assert_allclose(error[gap], np.tile(error[39], (30, 1)), atol=0.1)
    assert np.abs(error[70:75]).max() < 15


def test_limbs_without_ends_are_held_as_others_are():
    """No point tells their twist, in any frame, and points do tell their other angles."""
    joints = points_of(np.zeros((FRAMES, 27))) + noise((FRAMES, 17, 3), 15.0)
    hidden = [i for i, name in enumerate(HUMAN.keypoint_names) if name.endswith(("wrist", "ankle"))]
    joints[:, hidden] = np.nan
    holds = holds_of(15.0, 30.0, LIMITED)
    held, free = (
        np.diff(fit_sequence(np.float32(joints), LIMITED, **given).params[:, HIP])
        for given in (holds, {"hold": 0.1 * holds["hold"]})
    )
    assert np.std(held) < 0.85 * np.std(free)


def test_one_confidence_leaves_other_frames_alone():
    joints = points_of(smooth_motion()) + noise((FRAMES, 17, 3), 15.0)
    holds = holds_of(15.0, 30.0, HUMAN)
    weights = np.full((FRAMES, 17), 0.3)
    before = follow(joints, weights=weights, **holds).params
    weights[100, 3] = 1.0
    after = follow(joints, weights=weights, **holds).params
    assert np.degrees(np.abs(after - before)[:90, 3:]).max() < 0.5


def test_the_noise_of_moving_points_is_found():
    joints = points_of(smooth_motion())
    assert estimate_noise(joints) < 0.1
    noisy = joints + noise(joints.shape, 7.0)
    assert estimate_noise(noisy) == pytest.approx(7.0, rel=0.1)
    noisy[::3, 4] = np.nan
    noisy[5, 2] = 1e6
    assert estimate_noise(noisy) == pytest.approx(7.0, rel=0.1)
    assert estimate_noise(noisy[:3]) == 0.0


def test_a_lone_point_is_fitted():
    point = build_skeleton([Joint("point", None, (0, 0), "tx ty")])
    fit = fit_params(jnp.array([[3.0, -4.0]]), point)
    np.testing.assert_allclose(fit.params, [3, -4], rtol=1e-5)


def test_a_large_batch_is_fitted_in_blocks_with_the_same_results(monkeypatch):
    skeleton = toy(3)
    params = np.random.default_rng(0).normal(size=(700, 3)).astype(np.float32)
    joints = forward_kinematics(params, skeleton)
    whole = fit_params(joints, skeleton, init=params + 0.1)
    monkeypatch.setattr("kinpose.fitting.fit.MANY_POSES", 300)
    in_blocks = fit_params(joints, skeleton, init=params + 0.1, max_iterations=59)  # compiles anew
    for one, other in zip(whole, in_blocks, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_few_poses_share_a_program(caplog):
    skeleton = toy(3)
    params = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    joints = np.asarray(forward_kinematics(params, skeleton))
    with jax.log_compiles():
        fit_params(joints[:33], skeleton, max_iterations=37)  # which no other test has
        assert any("Compiling" in message for message in caplog.messages)
        fit_params(joints[:1], skeleton, max_iterations=37)  # one alone has a program of its own
        caplog.clear()
        for count in (1, 17, 40):
            fit_params(joints[:count], skeleton, max_iterations=37)
    assert not any("Compiling" in message for message in caplog.messages)


def test_a_sequence_takes_what_was_compiled_ahead(caplog):
    skeleton = limit_skeleton(toy(3), {"theta": (-1.0, 1.0)})
    joints = np.asarray(forward_kinematics(np.zeros((21, 3), np.float32), skeleton))
    compile_sequence(21, skeleton)
    with jax.log_compiles():
        fit_sequence(joints, skeleton, init=jnp.zeros(3), robust=30.0, rest=0.1)
    assert not any("Compiling jit(_fit_frames)" in message for message in caplog.messages)


@pytest.mark.parametrize(
    "second", [jax.hessian, lambda f: jax.grad(lambda x: jax.grad(f)(x).sum())]
)
def test_second_derivatives_are_refused(second):
    skeleton = toy(3)
    joints = forward_kinematics(jnp.array([1.0, 2.0, 0.5]), skeleton)
    with pytest.raises(ValueError, match="first derivatives only"):
        second(lambda joints: fit_params(joints, skeleton).params.sum())(joints)


def test_residuals_follow_points_and_bones_as_differences_say():
    square = toy(6)
    pose = np.float32([100, 80, 0.3, 0.6, 0.4, -0.5])
    points = 1.1 * np.asarray(forward_kinematics(pose, square))

    def misfit(points, offsets):
        own = dataclasses.replace(square, offsets=offsets)
        return jnp.sum(jnp.square(fit_params(points, own).residuals))

    given = points, np.asarray(square.offsets, np.float32)
    slopes = jax.grad(misfit, argnums=(0, 1))(*given)
    for i, place in ((0, (3, 0)), (0, (1, 1)), (1, (2, 1)), (1, (4, 0))):
        step = np.zeros_like(given[i])
        step[place] = 0.25
        ends = [
            misfit(*(x + sign * step if k == i else x for k, x in enumerate(given)))
            for sign in (1, -1)
        ]
        expected = (float(ends[0]) - float(ends[1])) / 0.5
        assert float(slopes[i][place]) == pytest.approx(expected, rel=0.02, abs=0.01)
    exact = np.asarray(forward_kinematics(pose, square))
    assert np.isfinite(jax.grad(misfit)(exact, given[1])).all()


def test_observability_is_that_of_weights_against_each_other():
    points = np.asarray(forward_kinematics(np.zeros(6, np.float32), toy(6)))
    found = [
        fit_params(points, toy(6), weights=np.full(5, weight)).observability
        for weight in (1.0, 0.01, 1e-10)
    ]
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-4)


@pytest.mark.parametrize("far", [1e18, 1e20, 3e38])
def test_a_point_that_no_number_can_square_is_missing(far):
    pose = np.float32([100, 80, 0.3, 0.6, 0.4, -0.5])
    points = np.array(forward_kinematics(pose, toy(6)))
    points[2] = far
    fit = fit_params(points, toy(6), robust=3.0)
    np.testing.assert_allclose(fit.params, pose, atol=1e-4)
    assert fit.status == 0
    np.testing.assert_allclose(fit.trust, [1, 1, 0, 1, 1], atol=1e-6)


def test_a_sequence_begins_where_it_is_told_or_says_that_it_cannot():
    points = np.zeros((2, 5, 2), np.float32)
    with pytest.raises(ValueError, match="init must be finite"):
        fit_sequence(points, toy(6), init=np.full(6, np.nan))


@pytest.mark.slow
def test_a_fit_can_be_followed_without_jit():
    skeleton = toy(3)
    points = np.asarray(forward_kinematics(jnp.full(3, 0.3), skeleton))
    with jax.disable_jit():
        fit = fit_params(points, skeleton, max_iterations=2)
    assert fit.residuals.max() < 0.01
