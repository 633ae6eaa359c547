"""Laws of the methods: what their outputs mean, and where their losses sit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.toy import load_toy, param_units, read_params, toy_object
from kinpose import forward_kinematics
from kinpose.methods import (
    Targets,
    direct_joint,
    direct_parameter,
    fitted_joint,
    kinematic_joint,
)
from kinpose.metrics import angle_error, bone_lengths
from kinpose.skeletons import human_17

TOY = toy_object(8)
UNIT = 64.0
# float32 rounding of joints of 128 px, which an arctan reads angles from.
TOLERANCE_PX, TOLERANCE_RAD = 1e-3, 1e-4


@pytest.fixture(scope="module")
def truth():
    train, _ = load_toy(8, num_train=32, num_test=0)
    return Targets(train.joints, train.params)


def make(name, truth):
    mean_joints, mean_params = truth.joints.mean(0), truth.params.mean(0)
    skeleton, units = TOY.skeleton, param_units(TOY.skeleton).astype(mean_params.dtype)
    start = functools.partial(read_params, skeleton=skeleton)
    makers = {
        "direct": lambda: direct_joint(mean_joints, UNIT),
        "kinematic": lambda: kinematic_joint(skeleton, mean_params, units, UNIT),
        "cos_sin": lambda: kinematic_joint(skeleton, mean_params, units, UNIT, angles="cos_sin"),
        "supervised": lambda: kinematic_joint(
            skeleton, mean_params, units, UNIT, parameter_weight=0.1
        ),
        "mixed": lambda: kinematic_joint(
            skeleton, mean_params, np.diag(units) @ np.tri(8, dtype=np.float32), UNIT
        ),
        "parameter": lambda: direct_parameter(skeleton, mean_params, units),
        "fitted": lambda: fitted_joint(skeleton, mean_joints, UNIT, start=start),
        "own_scale": lambda: fitted_joint(skeleton, mean_joints, UNIT, start=start, own_scale=True),
    }
    return makers[name]()


NAMES = ("direct", "kinematic", "supervised", "cos_sin", "mixed", "parameter", "fitted")
VALID = ("kinematic", "cos_sin", "mixed", "parameter", "fitted")


def true_outputs(name, truth):
    """Outputs that a perfect network would give."""
    joints = (truth.joints - truth.joints.mean(0)) / UNIT
    params = (truth.params - truth.params.mean(0)) / param_units(TOY.skeleton)
    if name == "cos_sin":
        angle = np.array(TOY.skeleton.is_angle)
        first = np.where(angle, np.sin(params), params)
        return np.concatenate([first, np.where(angle, np.cos(params) - 1, 0)], axis=1)
    if name == "mixed":
        return np.diff(params, axis=1, prepend=0)
    return (
        params
        if name in ("kinematic", "supervised", "parameter")
        else joints.reshape(len(joints), -1)
    )


@pytest.mark.parametrize("name", NAMES)
def test_perfect_outputs_have_the_true_joints_and_no_loss(name, truth):
    method = make(name, truth)
    outputs = jnp.asarray(true_outputs(name, truth), jnp.float32)
    assert outputs.shape == (32, method.num_outputs)
    found = method.predict(outputs)
    np.testing.assert_allclose(found.joints, truth.joints, atol=TOLERANCE_PX)
    assert float(method.loss(outputs, truth).max()) < 1e-6
    if found.params is not None:
        assert float(angle_error(found.params[:, 2:], truth.params[:, 2:]).max()) < TOLERANCE_RAD


@pytest.mark.parametrize("name", NAMES)
def test_zero_outputs_are_the_mean_pose(name, truth):
    method = make(name, truth)
    found = method.predict(jnp.zeros((1, method.num_outputs)))
    if name == "direct":
        np.testing.assert_allclose(found.joints[0], truth.joints.mean(0), atol=TOLERANCE_PX)
    elif name != "fitted":
        np.testing.assert_allclose(found.params[0], truth.params.mean(0), rtol=1e-6)


@pytest.mark.parametrize("name", VALID)
def test_any_outputs_of_a_valid_method_have_exact_bones(name, truth):
    method = make(name, truth)
    outputs = jax.random.normal(jax.random.key(1), (16, method.num_outputs))
    found = method.predict(outputs)
    lengths = bone_lengths(found.joints, TOY.skeleton)
    np.testing.assert_allclose(lengths, 25.0, atol=TOLERANCE_PX)
    again = jax.vmap(forward_kinematics, in_axes=(0, None))(found.params, TOY.skeleton)
    np.testing.assert_array_equal(found.joints, again)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_and_differentiable_where_training_begins(name, truth):
    method = make(name, truth)
    outputs = 1e-3 * jax.random.normal(jax.random.key(2), (32, method.num_outputs))
    gradient = jax.grad(lambda x: jnp.mean(method.loss(x, truth)))(outputs)
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient).max() > 0


@pytest.mark.parametrize(
    "name",
    [
        *("kinematic", "supervised", "mixed", "fitted"),
        pytest.param("own_scale", marks=pytest.mark.slow),
    ],
)
def test_gradients_of_the_loss_are_its_slope(name, truth, x64):
    truth = jax.tree.map(lambda x: np.asarray(x, float), truth)
    method = make(name, truth)
    # Near the truth, where the Gauss-Newton derivative of a fit is exact.
    outputs = jnp.asarray(true_outputs(name, truth), float)
    move = jax.random.normal(jax.random.key(3), outputs.shape, float)
    here, step = outputs + 1e-3 * move, 1e-6

    def loss(t):
        return jnp.sum(method.loss(here + t * move, truth))

    slope = (loss(step) - loss(-step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(loss)(0.0), slope, rtol=2e-2)


def test_a_full_turn_costs_nothing_where_angles_are_supervised(truth):
    outputs = jnp.asarray(true_outputs("supervised", truth), jnp.float32).at[:, 4].add(2 * np.pi)
    assert float(make("supervised", truth).loss(outputs, truth).max()) < 1e-6
    assert float(make("parameter", truth).loss(outputs, truth).min()) > 1


@pytest.mark.parametrize("name", ["kinematic", "cos_sin", "fitted"])
def test_the_scale_turns_the_skeletons_unit_into_the_targets(name, truth):
    method, centre = make(name, truth), truth.joints.mean(0)
    outputs = jnp.asarray(true_outputs(name, truth), jnp.float32)
    scale = jnp.linspace(0.5, 2, 32)
    if name == "fitted":  # whose outputs are joints, in the targets' unit
        joints = scale[:, None, None] * truth.joints
        outputs = jnp.reshape(joints - centre[None], (32, -1)) / UNIT
    found = method.predict(outputs, scale)
    scaled = scale[:, None, None] * truth.joints
    np.testing.assert_allclose(found.joints, scaled, atol=2 * TOLERANCE_PX)
    assert float(method.loss(outputs, Targets(scaled, truth.params, scale)).max()) < 1e-6
    assert float(method.loss(outputs, Targets(scaled, truth.params)).max()) > 0.01


def test_a_scale_of_its_own_is_found_from_the_joints_whatever_is_told(truth):
    skeleton, scale = TOY.skeleton, jnp.linspace(0.5, 2, 32)
    joints = scale[:, None, None] * truth.joints
    start = functools.partial(read_params, skeleton=skeleton)
    method = fitted_joint(skeleton, joints.mean(0), UNIT, start=start, own_scale=True)
    outputs = jnp.reshape(joints - joints.mean(0)[None], (32, -1)) / UNIT
    told = Targets(joints, truth.params, jnp.full(32, 7.0))
    found, loss = method.predict(outputs, told.scale), method.loss(outputs, told)
    np.testing.assert_allclose(found.joints, joints, atol=4 * TOLERANCE_PX)
    assert float(angle_error(found.params[:, 2:], truth.params[:, 2:]).max()) < 4 * TOLERANCE_RAD
    assert float(loss.max()) < 1e-5
    noisy = outputs + 0.05 * jax.random.normal(jax.random.key(5), outputs.shape)
    lengths = bone_lengths(method.predict(noisy).joints, skeleton)
    np.testing.assert_allclose(
        lengths, lengths.mean(axis=1, keepdims=True) * jnp.ones((1, 6)), rtol=1e-4
    )


def test_direct_joint_needs_no_scale(truth):
    method, outputs = make("direct", truth), jnp.ones((1, 14))
    with_scale = method.predict(outputs, jnp.full(1, 3.0)).joints
    np.testing.assert_array_equal(with_scale, method.predict(outputs).joints)


def test_a_human_can_be_fitted_from_nothing():
    skeleton = human_17()
    params = 0.2 * jax.random.normal(jax.random.key(4), (4, 27))
    joints = jax.vmap(forward_kinematics, in_axes=(0, None))(params, skeleton)
    method = fitted_joint(skeleton, joints.mean(0), 1000.0, max_iterations=30)
    outputs = jnp.reshape((joints - joints.mean(0)[None]) / 1000.0, (4, -1))
    np.testing.assert_allclose(method.predict(outputs).joints, joints, atol=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_params": np.zeros(3)}, r"mean_params must have shape \(8,\)"),
        ({"units": np.ones((8, 3))}, r"units must have shape \(8,\) or \(8, 8\)"),
        ({"angles": "degrees"}, r"angles must be one of \['plain', 'cos_sin'"),
    ],
)
def test_a_wrong_setting_is_named(change, message):
    setting = {"mean_params": np.zeros(8), "units": np.ones(8), "length_unit": UNIT} | change
    with pytest.raises(ValueError, match=message):
        kinematic_joint(TOY.skeleton, **setting)


def test_outputs_of_another_width_are_no_poses():
    method = direct_joint(np.zeros((17, 3)), 1.0)
    with pytest.raises(ValueError, match=r"outputs must have shape \(B, 51\), but got \(2, 102\)"):
        method.predict(np.zeros((2, 102), np.float32))
