"""Laws of the metrics, hand-computed cases, and parity with SciPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.spatial

from kinpose import forward_kinematics, metrics
from kinpose.skeletons import HUMAN36M_LENGTHS_MM, human_17, toy

FLOAT32_MM = 2e-3  # poses of about 1000 mm, at a few float32 roundings of 1e-4 mm
FLOAT64 = 1e-9  # errors of about 1000 mm, in double precision
HALF = 2e-2  # relative: three roundings of bfloat16, which has 8 bits

SCORES = {
    "mpjpe": metrics.mpjpe,
    "mpjpe_root": functools.partial(metrics.mpjpe, root=0),
    "n_mpjpe": metrics.n_mpjpe,
    "n_mpjpe_root": functools.partial(metrics.n_mpjpe, root=0),
    "pa_mpjpe": metrics.pa_mpjpe,
    "pck": metrics.pck,
    "auc": metrics.auc,
}
DISTANCES = [name for name in SCORES if "mpjpe" in name]

every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
every_distance = pytest.mark.parametrize("score", [SCORES[n] for n in DISTANCES], ids=DISTANCES)
both_dimensions = pytest.mark.parametrize("n", [2, 3])
both_scales = pytest.mark.parametrize("scale", [False, True])


def poses(*shape, seed=0, size=300.0, error=100.0, dtype=np.float32):
    """A random prediction and its truth, in mm."""
    rng = np.random.default_rng(seed)
    true = size * rng.standard_normal(shape)
    pred = true + error * rng.standard_normal(shape)
    return jnp.asarray(pred, dtype), jnp.asarray(true, dtype)


def centred(x):
    return np.asarray(x) - np.mean(np.asarray(x), axis=-2, keepdims=True)


def rotation(n, seed=1):
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    q[:, 0] *= np.linalg.det(q)
    return q


def moved(x, n, scale=1.7, shift=400.0):
    turn = jnp.asarray(scale * rotation(n), x.dtype)
    return jnp.matmul(x, jnp.broadcast_to(turn, (*x.shape[:-2], n, n))) + shift


@every_distance
@both_dimensions
def test_equal_poses_have_no_error(score, n):
    _, true = poses(4, 17, n)
    np.testing.assert_allclose(score(true, true), np.zeros(4), atol=FLOAT32_MM)


@every_score
def test_shape_is_that_of_a_mean(score):
    pair = poses(2, 5, 17, 3)
    for axis, shape in ((-1, (2, 5)), (None, ()), ((0, 1), (17,)), ((), (2, 5, 17))):
        assert jax.eval_shape(functools.partial(score, axis=axis), *pair).shape == shape
    assert jax.eval_shape(score, *pair).shape == (2, 5)


@every_score
def test_every_mean_is_the_mean_of_the_joints_values(score):
    pair = poses(2, 5, 17, 3)
    values = np.asarray(score(*pair, axis=()))
    for axis in (-1, None, 0, (0, 1)):
        np.testing.assert_allclose(score(*pair, axis=axis), values.mean(axis), rtol=1e-5)


@every_score
def test_vmap_equals_batching(score):
    pair = poses(4, 17, 3)
    np.testing.assert_allclose(jax.jit(jax.vmap(score))(*pair), score(*pair), rtol=1e-5)


@every_score
def test_jit_changes_nothing(score):
    pair = poses(4, 17, 3)
    np.testing.assert_allclose(jax.jit(score)(*pair), score(*pair), rtol=1e-5)


@every_score
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_is_kept(score, dtype):
    pair = poses(4, 17, 3, dtype=dtype)
    assert score(*pair).dtype == dtype
    wide = score(*(x.astype(jnp.float32) for x in pair))
    np.testing.assert_allclose(score(*pair).astype(jnp.float32), wide, rtol=HALF)


@every_score
def test_double_precision_is_kept(score, x64):
    pair = poses(4, 17, 3, dtype=np.float64)
    assert jax.eval_shape(score, *pair).dtype == jnp.float64


@every_score
def test_missing_joints_do_not_count(score):
    pred, true = poses(4, 17, 3)
    there = np.arange(17) < 12
    holes = jnp.where(jnp.asarray(there)[None, :, None], true, jnp.nan)
    expected = score(pred[:, :12], true[:, :12])
    np.testing.assert_allclose(score(pred, holes, where=there), expected, rtol=1e-4)


@pytest.mark.parametrize("filled", [np.nan, 0.0])
def test_a_pose_whose_root_is_missing_does_not_count(filled):
    pred, true = poses(4, 17, 3)
    there = np.ones((4, 17), bool)
    there[1, 6] = False
    holes = jnp.where(there[..., None], true, filled)
    for score in (metrics.mpjpe, metrics.n_mpjpe):
        others = np.array([0, 2, 3])
        expected = score(pred[others], true[others], root=6, axis=None)
        found = score(pred, holes, where=there, root=6, axis=None)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        gradient = jax.grad(lambda p: score(p, holes, where=there, root=6, axis=None))(pred)  # noqa: B023
        assert np.isfinite(gradient).all()
        assert not gradient[1].any()


@every_distance
def test_gradient_is_finite_where_joints_are_missing(score):
    pred, true = poses(17, 3)
    there = jnp.arange(17) < 12
    holes = jnp.where(there[:, None], true, jnp.nan)
    gradient = jax.jit(jax.grad(lambda p: score(p, holes, where=there)))(pred)
    assert np.isfinite(gradient).all()
    assert not gradient[12:].any()


@every_score
def test_a_mean_over_nothing_is_nan(score):
    assert np.isnan(score(*poses(17, 3), where=False))


@every_distance
def test_a_nan_prediction_has_a_nan_error(score):
    _, true = poses(17, 3)
    assert np.isnan(score(true.at[5].set(jnp.nan), true))


def test_a_nan_prediction_is_a_miss():
    _, true = poses(4, 3)
    assert metrics.pck(true.at[1].set(jnp.nan), true) == 0.75


@every_distance
@both_dimensions
def test_gradient_is_finite_for_equal_poses(score, n):
    _, true = poses(17, n)
    assert np.isfinite(jax.jit(jax.grad(score))(true, true)).all()


@every_score
@pytest.mark.parametrize(
    ("pred", "true"), [((4, 17, 3), (17, 3)), ((17, 2), (17, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_named(score, pred, true):
    with pytest.raises(ValueError, match="same shape") as error:
        score(jnp.zeros(pred), jnp.zeros(true))
    assert str(pred) in str(error.value)
    assert str(true) in str(error.value)


@every_score
def test_integers_are_rejected(score):
    with pytest.raises(ValueError, match="int32"):
        score(jnp.zeros((17, 3), jnp.int32), jnp.zeros((17, 3), jnp.int32))


@every_score
def test_a_mask_of_wrong_shape_is_rejected(score):
    with pytest.raises(ValueError, match="16"):
        score(*poses(4, 17, 3), where=np.ones(16, bool))


@pytest.mark.parametrize("root", [17, -18])
def test_an_unknown_root_is_rejected(root):
    with pytest.raises(ValueError, match=f"17 joints, but got {root}"):
        metrics.mpjpe(*poses(17, 3), root=root)


def test_mpjpe_equals_scipy_distances():
    pred, true = poses(17, 3)
    expected = scipy.spatial.distance.cdist(pred, true).diagonal()
    np.testing.assert_allclose(metrics.mpjpe(pred, true, axis=()), expected, rtol=1e-5)


@pytest.mark.parametrize("score", [metrics.mpjpe, metrics.n_mpjpe])
def test_root_alignment_takes_out_translations(score):
    pred, true = poses(4, 17, 3)
    shift = jnp.array([400.0, -200.0, 3000.0])[None, None]
    expected = score(pred, true, root=0)
    np.testing.assert_allclose(score(pred + shift, true, root=0), expected, atol=FLOAT32_MM)


def test_root_alignment_is_about_the_chosen_joint():
    pred, true = poses(17, 3)
    shifted = pred - pred[3][None] + true[3][None]
    expected = metrics.mpjpe(shifted, true)
    np.testing.assert_allclose(metrics.mpjpe(pred, true, root=3), expected, atol=FLOAT32_MM)


@pytest.mark.parametrize("scale", [0.01, 3.0, -1.0])
def test_n_mpjpe_is_blind_to_the_predictions_scale(scale):
    pred, true = poses(4, 17, 3)
    expected = metrics.n_mpjpe(pred, true)
    np.testing.assert_allclose(metrics.n_mpjpe(scale * pred, true), expected, atol=FLOAT32_MM)


def test_n_mpjpe_by_hand():
    pred = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    true = jnp.array([[4.0, 0.0], [0.0, 2.0]])  # factor (4 + 2) / 2 = 3
    np.testing.assert_allclose(metrics.n_mpjpe(pred, true, axis=()), [1.0, 1.0], rtol=1e-6)


def test_n_mpjpe_scale_has_least_squared_error(x64):
    pred, true = poses(17, 3, dtype=np.float64)
    fit = scipy.optimize.minimize_scalar(lambda s: np.sum((s * pred - true) ** 2))
    expected = np.linalg.norm(fit.x * pred - true, axis=-1).mean()
    np.testing.assert_allclose(metrics.n_mpjpe(pred, true), expected, rtol=1e-6)


@both_dimensions
def test_pa_mpjpe_is_blind_to_similarities_of_the_prediction(n):
    pred, true = poses(4, 17, n)
    expected = metrics.pa_mpjpe(pred, true)
    np.testing.assert_allclose(metrics.pa_mpjpe(moved(pred, n), true), expected, atol=FLOAT32_MM)


@both_dimensions
def test_alignment_recovers_a_similarity(n):
    _, true = poses(4, 17, n)
    aligned = metrics.procrustes_align(moved(true, n), true)
    np.testing.assert_allclose(aligned, true, atol=FLOAT32_MM)


@both_dimensions
def test_rigid_alignment_keeps_lengths(n):
    pred, true = poses(17, n)
    aligned = metrics.procrustes_align(pred, true, scale=False)
    lengths = scipy.spatial.distance.pdist(pred)
    np.testing.assert_allclose(scipy.spatial.distance.pdist(aligned), lengths, rtol=1e-5)


@both_scales
@both_dimensions
def test_alignment_has_least_squared_error(n, scale, x64):
    pred, true = poses(9, n, error=300.0, dtype=np.float64)
    aligned = functools.partial(metrics.procrustes_align, scale=scale)
    residual = jax.jit(aligned)(pred, true) - true
    pred, true = np.asarray(pred), np.asarray(true)

    def cost(x):
        turn = scipy.spatial.transform.Rotation.from_rotvec(x[:3]).as_matrix()[:n, :n]
        factor = np.exp(x[3]) if scale else 1.0
        return np.sum((factor * pred @ turn + 100 * x[4:] - true) ** 2)

    free = np.array([n == 3, n == 3, 1, 1, 1, 1, 1][: 4 + n], float)
    starts = np.random.default_rng(0).standard_normal((4, 4 + n))
    fits = [scipy.optimize.minimize(lambda x: cost(x * free), start) for start in starts]
    best = min(fit.fun for fit in fits)
    np.testing.assert_allclose(np.sum(residual**2), best, rtol=1e-7)


def test_alignment_equals_scipy_orthogonal_procrustes(x64):
    pred, true = poses(17, 3, error=20.0, dtype=np.float64)  # near, so no reflection is best
    x, y = centred(pred), centred(true)
    turn, total = scipy.linalg.orthogonal_procrustes(x, y)
    assert np.linalg.det(turn) > 0
    expected = total / np.sum(x**2) * x @ turn + np.asarray(true).mean(0)
    np.testing.assert_allclose(metrics.procrustes_align(pred, true), expected, atol=FLOAT64)


def test_alignment_equals_scipy_rotation_alignment_of_mirrored_poses(x64):
    pred, true = poses(17, 3, dtype=np.float64)
    pred = pred * jnp.array([-1.0, 1.0, 1.0])[None]
    x, y = centred(pred), centred(true)
    turn, _ = scipy.spatial.transform.Rotation.align_vectors(y, x)
    aligned = metrics.procrustes_align(pred, true, scale=False)
    np.testing.assert_allclose(aligned, turn.apply(x) + np.asarray(true).mean(0), atol=1e-6)


def test_a_mirrored_pose_stays_mirrored_by_hand():
    true = jnp.array([[3.0, 0, 0], [-3, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 1], [0, 0, -1]])
    true = true.at[0, 1].add(1.0).at[1, 1].add(-1.0).at[4, 0].add(1.0).at[5, 0].add(-1.0)
    aligned = metrics.procrustes_align(-true, true, scale=False)
    # -true is true mirrored: its triple product keeps its sign under every proper rotation.
    assert np.linalg.det(aligned[::2]) < 0 < np.linalg.det(true[::2])


def test_a_mirrored_square_keeps_its_orientation_by_hand():
    # The corners run the other way around, so the best turn leaves two of four corners right.
    true = jnp.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, -2.0]])
    pred = true * jnp.array([-1.0, 1.0])[None]
    errors = metrics.mpjpe(metrics.procrustes_align(pred, true, scale=False), true, axis=())
    np.testing.assert_allclose(errors, [2.0, 0.0, 2.0, 0.0], atol=1e-6)


POINT = np.full((5, 3), 7.0)
LINE = np.arange(5.0)[:, None] * np.array([[1.0, 2.0, -1.0]])
PLANE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [3, 1, 0]], float)
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])


@pytest.mark.parametrize("shape", [POINT, LINE, PLANE, OCTAHEDRON])
def test_a_degenerate_pose_is_aligned_with_itself(shape):
    pose = jnp.asarray(shape, jnp.float32)
    np.testing.assert_allclose(metrics.procrustes_align(pose, pose), pose, atol=1e-5)


@pytest.mark.parametrize("score", [metrics.pa_mpjpe, metrics.n_mpjpe])
def test_values_and_gradients_of_degenerate_poses_are_finite(score):
    _, proper = poses(3, 5, 3)
    degenerate = jnp.asarray([POINT, LINE, PLANE], jnp.float32)
    pred = jnp.concatenate([degenerate, proper, degenerate])
    true = jnp.concatenate([proper, degenerate, degenerate[::-1]])
    derive = jax.value_and_grad(lambda *pair: score(*pair, axis=None), argnums=(0, 1))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.jit(derive)(pred, true)))


def test_a_prediction_in_one_place_becomes_the_centroid():
    _, true = poses(5, 3)
    aligned = metrics.procrustes_align(jnp.asarray(POINT, jnp.float32), true)
    np.testing.assert_allclose(aligned, np.tile(true.mean(0), (5, 1)), atol=FLOAT32_MM)


@both_scales
def test_alignment_derivatives_equal_finite_differences(scale, x64):
    random, true = poses(6, 3, size=1.0, error=0.3, dtype=np.float64)
    pred = jnp.stack([random, -random, random * jnp.array([[1, 1, 0.0]]), OCTAHEDRON])
    equal_values = jnp.asarray(2 * OCTAHEDRON @ rotation(3))  # where the SVD has no derivative
    true = jnp.stack([true, true, true, equal_values])
    direction = jnp.asarray(np.random.default_rng(3).standard_normal(pred.shape))

    @jax.jit
    def align(pred):
        return jnp.sum(direction[::-1] * metrics.procrustes_align(pred, true, scale=scale), (1, 2))

    numeric = (align(pred + 1e-6 * direction) - align(pred - 1e-6 * direction)) / 2e-6
    _, forward = jax.jvp(align, (pred,), (direction,))
    np.testing.assert_allclose(forward, numeric, rtol=1e-6)
    gradient = jax.grad(lambda pred: align(pred).sum())(pred)
    np.testing.assert_allclose(jnp.sum(gradient * direction, (1, 2)), numeric, rtol=1e-6)


def with_errors(*errors):
    true = jnp.zeros((len(errors), 3))
    return true.at[:, 1].set(jnp.array(errors, jnp.float32)), true


def test_pck_by_hand():
    pair = with_errors(0.0, 149.0, 150.0, 151.0)
    assert metrics.pck(*pair) == 0.5
    assert metrics.pck(*pair, threshold=150.5) == 0.75
    np.testing.assert_array_equal(metrics.pck(*pair, axis=()), [1, 1, 0, 0])


def test_auc_by_hand():
    # Of the thresholds 0, 5, ..., 150 lie above: 30 for 0 mm, 15 for 75 mm, 1 for 149 mm.
    pair = with_errors(0.0, 75.0, 149.0, 150.0)
    np.testing.assert_allclose(
        metrics.auc(*pair, axis=()), np.array([30, 15, 1, 0]) / 31, rtol=1e-6
    )
    np.testing.assert_allclose(metrics.auc(*pair), 46 / 4 / 31, rtol=1e-6)


def test_auc_is_the_mean_of_pck():
    pair = poses(4, 17, 3)
    curve = [metrics.pck(*pair, threshold=t) for t in range(0, 151, 5)]
    assert len(curve) == 31
    np.testing.assert_allclose(metrics.auc(*pair), np.mean(curve, axis=0), rtol=1e-5)


def test_bone_lengths_of_the_rest_pose_are_the_published_ones():
    skeleton, published = human_17(), dict(HUMAN36M_LENGTHS_MM)
    trunk = published["pelvis-torso"] + published["torso-neck"]
    published["pelvis-torso"] = published["torso-neck"] = trunk / 2  # the paper's torso: midway
    names = [name.split("_")[-1] for name in skeleton.keypoint_names]
    expected = [published[f"{names[a]}-{names[k]}"] for k, a in skeleton.bones]
    lengths = metrics.bone_lengths(forward_kinematics(jnp.zeros(27), skeleton), skeleton)
    np.testing.assert_allclose(lengths, expected, atol=FLOAT32_MM)


def test_no_pose_changes_a_toys_bone_lengths():
    skeleton = toy(8)
    params = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    joints = jax.vmap(forward_kinematics, (0, None))(params, skeleton)
    lengths = metrics.bone_lengths(joints, skeleton)
    np.testing.assert_allclose(lengths, np.full((5, 6), 45.0), rtol=1e-5)


@pytest.mark.parametrize("shape", [(16, 3), (17, 2), (3,)])
def test_joints_of_another_skeleton_are_rejected(shape):
    with pytest.raises(ValueError, match=r"\(\.\.\., 17, 3\)"):
        metrics.bone_lengths(jnp.zeros(shape), human_17())


def test_bone_length_gradient_is_finite_for_a_bone_of_length_zero():
    total = jax.grad(lambda x: metrics.bone_lengths(x, human_17()).sum())
    assert np.isfinite(total(jnp.zeros((17, 3)))).all()


def test_bone_lengths_keep_dtype():
    assert metrics.bone_lengths(jnp.ones((17, 3), jnp.bfloat16), human_17()).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("pred", "true", "expected"),
    [
        (0.3, 0.1, 0.2),
        (0.1, 0.3, 0.2),
        (np.pi - 0.1, -np.pi + 0.1, 0.2),
        (0.5 + 6 * np.pi, 0.5, 0.0),
        (np.pi, 0.0, np.pi),
        (0.0, -np.pi - 0.1, np.pi - 0.1),
        (-0.1, 4 * np.pi + 0.1, 0.2),
    ],
)
def test_angle_error_goes_the_short_way_around(pred, true, expected, x64):
    error = metrics.angle_error(jnp.array(pred), jnp.array(true))
    np.testing.assert_allclose(error, expected, atol=FLOAT64)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_angle_error_keeps_shape_and_dtype(dtype):
    error = metrics.angle_error(jnp.ones((2, 5, 27), dtype), jnp.zeros((2, 5, 27), dtype))
    assert (error.shape, error.dtype) == ((2, 5, 27), dtype)


def test_angle_error_gradient_is_finite_everywhere():
    angles = jnp.array([0.0, np.pi, -np.pi, 2 * np.pi, 1.0])
    gradient = jax.vmap(jax.grad(metrics.angle_error))(angles, jnp.zeros(5))
    assert np.isfinite(gradient).all()


def test_angles_of_different_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(4, 27\) and \(27,\)"):
        metrics.angle_error(jnp.zeros((4, 27)), jnp.zeros(27))


@pytest.mark.parametrize("root", [True, 1.0, 17])
def test_a_root_that_is_no_joint_is_refused(root):
    joints = np.ones((4, 17, 3), np.float32)
    with pytest.raises(ValueError, match="root must be the index of one of 17 joints"):
        metrics.mpjpe(joints, joints, root=root)


def test_an_angle_without_error_has_no_slope():
    angles = jnp.linspace(-3.0, 3.0, 7)
    slopes = jax.grad(lambda x: jnp.sum(metrics.angle_error(x, angles)))(angles)
    np.testing.assert_array_equal(slopes, 0.0)
