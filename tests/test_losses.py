"""Laws of the losses and cases by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import build_skeleton, forward_kinematics, limit_skeleton
from kinpose.losses import absolute_joint_loss, joint_loss, limit_loss, parameter_loss
from kinpose.skeleton import Joint
from kinpose.skeletons import human_17

RTOL = 1e-5  # a few dozen float32 roundings

LOSSES = {"joint_loss": (joint_loss, (17, 3)), "parameter_loss": (parameter_loss, (27,))}
every_loss = pytest.mark.parametrize(("loss", "shape"), LOSSES.values(), ids=LOSSES)


def arm(**limits):
    """A root that slides freely, and two hinges that may have limits."""
    joints = [
        Joint("root", None, (0, 0), "tx"),
        Joint("shoulder", "root", (1, 0), "rz"),
        Joint("elbow", "shoulder", (1, 0), "rz"),
    ]
    return build_skeleton(joints, limits=limits)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@every_loss
def test_loss_is_half_the_squared_distance(loss, shape):
    pred, true = normal(0, *shape), normal(1, *shape)
    expected = 0.5 * np.linalg.norm(np.asarray(pred - true).ravel()) ** 2
    np.testing.assert_allclose(loss(pred, true), expected, rtol=RTOL)


@every_loss
def test_gradient_is_the_difference(loss, shape):
    pred, true = normal(0, *shape), normal(1, *shape)
    np.testing.assert_allclose(jax.grad(loss)(pred, true), pred - true, rtol=RTOL)


@every_loss
def test_vmap_equals_batching(loss, shape):
    pred, true = normal(0, 2, 5, *shape), normal(1, 2, 5, *shape)
    assert loss(pred, true).shape == (2, 5)
    np.testing.assert_allclose(jax.vmap(jax.vmap(loss))(pred, true), loss(pred, true), rtol=RTOL)


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_does_not_overflow(loss, shape, dtype):
    pred, true = jnp.full(shape, 200.0, dtype), jnp.zeros(shape, dtype)
    value, gradient = jax.value_and_grad(loss)(pred, true)
    assert value == 0.5 * 200.0**2 * np.prod(shape)
    assert (value.dtype, gradient.dtype) == (jnp.float32, dtype)


@every_loss
def test_double_precision_is_kept(loss, shape, x64):
    assert loss(jnp.zeros(shape), jnp.zeros(shape)).dtype == jnp.float64


@every_loss
def test_wrong_shapes_are_named(loss, shape):
    with pytest.raises(ValueError, match="same shape") as error:
        loss(jnp.zeros((4, *shape)), jnp.zeros(shape))
    assert str((4, *shape)) in str(error.value)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(("loss", "shape"), [(joint_loss, (3,)), (parameter_loss, ())])
def test_too_few_dimensions_are_rejected(loss, shape):
    with pytest.raises(ValueError, match="same shape"):
        loss(jnp.zeros(shape), jnp.zeros(shape))


@every_loss
def test_integers_are_rejected(loss, shape):
    with pytest.raises(ValueError, match="int32"):
        loss(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int32))


def test_joint_loss_descends_through_forward_kinematics():
    skeleton, params = human_17(), 0.3 * normal(0, 27)
    target = forward_kinematics(0.3 * normal(1, 27), skeleton)

    def loss(p):
        return joint_loss(forward_kinematics(p, skeleton), target)

    gradient = jax.grad(loss)(params)
    assert loss(params - 1e-8 * gradient) < loss(params)


def test_weights_multiply_the_joints_terms():
    pred, true = normal(0, 4, 3, 2), normal(1, 4, 3, 2)
    weights = np.array([1.0, 0.5, 3.0])
    terms = 0.5 * np.sum(np.asarray(pred - true) ** 2, axis=-1)
    np.testing.assert_allclose(joint_loss(pred, true, weights=weights), terms @ weights, rtol=RTOL)


def test_a_joint_of_weight_zero_may_be_missing():
    pred, true = normal(0, 3, 2), normal(1, 3, 2).at[1].set(jnp.nan)
    weights = jnp.array([1.0, 0.0, 1.0])
    value, gradient = jax.value_and_grad(joint_loss)(pred, true, weights=weights)
    kept = jnp.array([0, 2])
    np.testing.assert_allclose(value, joint_loss(pred[kept], true[kept]), rtol=RTOL)
    np.testing.assert_allclose(gradient[kept], (pred - true)[kept], rtol=RTOL)
    assert not gradient[1].any()


def test_weights_of_wrong_shape_are_rejected():
    with pytest.raises(ValueError, match="16"):
        joint_loss(jnp.zeros((17, 3)), jnp.zeros((17, 3)), weights=jnp.ones(16))


def test_parameter_loss_does_not_wrap():
    turn = jnp.array([2 * np.pi])
    np.testing.assert_allclose(parameter_loss(turn, 0 * turn), 2 * np.pi**2, rtol=RTOL)


def test_limit_loss_by_hand():
    skeleton = arm(shoulder_rz=(-1.0, 2.0), elbow_rz=(0.0, np.inf))
    params = jnp.array([[9.0, 0.5, 9.0], [9.0, 5.0, 9.0], [9.0, -3.0, -1.0]])
    np.testing.assert_allclose(limit_loss(params, skeleton), [0.0, 4.5, 2.5], rtol=RTOL)


def test_limit_loss_gradient_is_the_violation():
    skeleton = arm(shoulder_rz=(-1.0, 2.0), elbow_rz=(0.0, np.inf))
    gradient = jax.grad(limit_loss)(jnp.array([9.0, 5.0, -1.5]), skeleton)
    np.testing.assert_allclose(gradient, [0.0, 3.0, -1.5], rtol=RTOL)


@pytest.mark.parametrize("value", [0.0, 1.0, -1e6, 1e30])
def test_without_limits_loss_and_gradient_are_exactly_zero(value):
    loss, gradient = jax.value_and_grad(limit_loss)(jnp.full(3, value), arm())
    assert loss == 0
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_on_the_limit_loss_and_gradient_are_exactly_zero():
    skeleton = arm(shoulder_rz=(-1.0, 2.0), elbow_rz=(0.0, 1.0))
    for params in ([0.0, -1.0, 0.0], [0.0, 2.0, 1.0]):
        loss, gradient = jax.value_and_grad(limit_loss)(jnp.array(params), skeleton)
        assert loss == 0
        assert not gradient.any()


def test_limit_loss_vmap_equals_batching():
    skeleton = limit_skeleton(human_17(), {"left_knee_flexion": (0.0, 1.0)})
    params = 3 * normal(0, 2, 5, 27)
    batched = jax.vmap(jax.vmap(limit_loss, (0, None)), (0, None))(params, skeleton)
    np.testing.assert_allclose(limit_loss(params, skeleton), batched, rtol=RTOL)
    assert batched.any()


@pytest.mark.parametrize("shape", [(26,), (27, 1), ()])
def test_limit_loss_names_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"\(\.\.\., 27\)"):
        limit_loss(jnp.zeros(shape), human_17())


def test_a_perfect_pose_is_not_pushed():
    joints = jnp.ones((17, 3))
    np.testing.assert_array_equal(jax.grad(absolute_joint_loss)(joints, joints), 0.0)
