"""Laws of the forms of outputs: any outputs are valid, and every pose can be said."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinpose import forward_kinematics, limit_skeleton
from kinpose.angles import balls_of
from kinpose.representations import (
    params_to_quaternion,
    quaternion_to_params,
    read_outputs,
)
from kinpose.skeletons import HUMAN_LIMITS, human_17

HUMAN = limit_skeleton(human_17(), HUMAN_LIMITS)
MEAN = np.full(27, 0.2, np.float32)
UNITS = np.ones(27, np.float32)
# float32 rounding of joints of some 1000 mm.
TOLERANCE_MM = 5e-3


def place(params):
    return jax.vmap(forward_kinematics, in_axes=(0, None))(params, HUMAN)


@pytest.mark.parametrize("angles", ["plain", "cos_sin", "rotation_6d", "bounded"])
def test_zero_outputs_are_the_mean(angles):
    num, read = read_outputs(HUMAN, MEAN, UNITS, angles)
    np.testing.assert_allclose(read(jnp.zeros((3, num))), np.tile(MEAN, (3, 1)), atol=1e-6)


@pytest.mark.parametrize("angles", ["plain", "cos_sin", "rotation_6d", "bounded"])
def test_outputs_of_half_precision_are_read_in_float32(angles):
    num, read = read_outputs(HUMAN, MEAN, UNITS, angles)
    outputs = jax.random.normal(jax.random.key(0), (20, num), jnp.bfloat16)
    squares = lambda outputs: jnp.sum(read(outputs) ** 2)  # noqa: E731
    np.testing.assert_array_equal(read(outputs), read(outputs.astype(jnp.float32)))
    assert np.isfinite(np.asarray(jax.grad(squares)(outputs), np.float32)).all()


@pytest.mark.parametrize("first", [[1.0, 0, 0, 0, 1, 0], [0.0, 0, 1, 0, 1, 0], [0.0] * 6])
def test_singular_and_vanishing_rotations_have_derivatives(first):
    num, read = read_outputs(HUMAN, np.zeros(27, np.float32), UNITS, "rotation_6d")
    outputs = np.zeros((1, num), np.float32)
    outputs[:, -6:] = np.float32(first) - [1, 0, 0, 0, 1, 0]
    slope = jax.grad(lambda x: jnp.sum(place(read(x)) ** 2))(jnp.asarray(outputs))
    assert np.isfinite(slope).all()


def test_a_matrix_says_any_rotation():
    num, read = read_outputs(HUMAN, np.zeros(27, np.float32), UNITS, "rotation_6d")
    params = np.random.default_rng(0).uniform(-3, 3, (50, 27)).astype(np.float32)
    balls = balls_of(HUMAN)
    assert len(balls) == 6  # pelvis, head, hips and shoulders
    others = np.setdiff1d(np.arange(27), [dof for ball in balls for dof in ball.dofs])
    outputs = [params[:, others]]
    for ball in balls:
        a, b, c = ball.hand * params[:, ball.dofs].T
        first = [
            np.cos(b) * np.cos(c),
            np.cos(a) * np.sin(c) + np.sin(a) * np.sin(b) * np.cos(c),
            np.sin(a) * np.sin(c) - np.cos(a) * np.sin(b) * np.cos(c),
        ]
        second = [
            -np.cos(b) * np.sin(c),
            np.cos(a) * np.cos(c) - np.sin(a) * np.sin(b) * np.sin(c),
            np.sin(a) * np.cos(c) + np.cos(a) * np.sin(b) * np.sin(c),
        ]
        outputs.append(np.stack(first, axis=1) - np.float32([1, 0, 0]))
        outputs.append(np.stack(second, axis=1) - np.float32([0, 1, 0]))
    outputs = np.concatenate(outputs, axis=1)
    assert outputs.shape == (50, num)
    found, wanted = place(read(jnp.asarray(outputs))), place(params)
    np.testing.assert_allclose(
        found, wanted, atol=3 * TOLERANCE_MM
    )  # angles near their singularity


def test_a_longer_vector_is_the_same_rotation():
    num, read = read_outputs(HUMAN, np.zeros(27, np.float32), UNITS, "rotation_6d")
    rest = np.zeros(num, np.float32)
    rest[-6:] = [1, 0, 0, 0, 1, 0]  # of the last joint
    outputs = np.zeros((2, num), np.float32)
    outputs[:, -6:] = [0.3, 0.4, -0.2, 0.5, 0.1, 0.3]
    outputs[1] = 3 * (outputs[0] + rest) - rest
    outputs[1, :-6] = outputs[0, :-6]
    first, second = read(jnp.asarray(outputs))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_bounded_angles_keep_their_limits_whatever_the_outputs():
    num, read = read_outputs(HUMAN, MEAN, UNITS, "bounded")
    outputs = 30 * jax.random.normal(jax.random.key(0), (100, num))
    params = np.asarray(read(outputs))
    low, high = np.float32(HUMAN.limits.T)
    assert ((params > low - 1e-6) & (params < high + 1e-6)).all()  # rounding of the width
    free = ~np.isfinite(low)
    np.testing.assert_allclose(params[:, free], (MEAN[None] + outputs)[:, free], rtol=1e-5)


@pytest.mark.parametrize("low", [True, False])
def test_one_limit_is_kept_too(low):
    limits = np.tile([-np.inf, np.inf], (HUMAN.num_dofs, 1))
    limits[:, 0 if low else 1] = MEAN + (-0.3 if low else 0.3)
    human = dataclasses.replace(HUMAN, limits=limits)
    num, read = read_outputs(human, MEAN, UNITS, "bounded")
    np.testing.assert_allclose(read(jnp.zeros((1, num)))[0], MEAN, atol=1e-6)
    slopes = jax.jacobian(lambda x: read(x[None])[0])(jnp.zeros(num))
    np.testing.assert_allclose(slopes, np.diag(UNITS), atol=1e-5)
    params = np.asarray(read(30 * jax.random.normal(jax.random.key(0), (100, num))))
    assert (params >= limits[:, 0] - 1e-6).all()
    assert (params <= limits[:, 1] + 1e-6).all()
    far = np.asarray(read(jnp.full((1, num), 5.0 if low else -5.0)))[0]
    assert (np.abs(far - MEAN) > 2).all()  # the other way is free


def test_a_mean_beyond_a_limit_is_named():
    with pytest.raises(ValueError, match=r"-0\.4 for 'right_knee_flexion'"):
        read_outputs(HUMAN, -2 * MEAN, UNITS, "bounded")


@pytest.mark.parametrize("joint", ["pelvis", "skull", "left_hip", "right_hip"])  # either hand
def test_quaternions_turn_a_joint_as_its_angles_do(joint, x64):
    rng = np.random.default_rng(0)
    params = jnp.asarray(rng.uniform(-3, 3, (40, 27)))
    quaternions = np.asarray(params_to_quaternion(params, HUMAN, joint))
    index = HUMAN.names.index(joint)
    motions = [motion for motion in HUMAN.motions[index] if motion.kind == "r"]
    dofs = [HUMAN.dof_index(motion.dof) for motion in motions]
    turns = Rotation.from_quat(quaternions, scalar_first=True).as_matrix()
    want = [
        np.prod(
            [Rotation.from_rotvec(a * np.array(m.axis)) for a, m in zip(row, motions, strict=True)]
        )
        for row in np.asarray(params)[:, dofs]
    ]
    np.testing.assert_allclose(turns, [turn.as_matrix() for turn in want], atol=1e-12)
    scale = rng.uniform(-3, 3, (40, 1))
    angles = quaternion_to_params(jnp.asarray(scale * quaternions), HUMAN, joint)
    again = params_to_quaternion(params.at[:, np.array(dofs)].set(angles), HUMAN, joint)
    sign = np.sign(np.sum(np.asarray(again) * quaternions, axis=1, keepdims=True))
    np.testing.assert_allclose(sign * again, quaternions, atol=1e-7)


def test_quaternions_have_finite_derivatives_at_rest_and_where_angles_are_singular():
    for quaternion in ([1.0, 0, 0, 0], [0.0, 1, 0, 0], [0.5, 0.5, 0.5, 0.5]):
        slope = jax.jit(jax.jacobian(lambda q: quaternion_to_params(q, HUMAN, "pelvis")))
        assert np.isfinite(slope(jnp.array(quaternion))).all()


@pytest.mark.parametrize(
    ("quaternion", "joint", "message"),
    [
        (np.zeros(4, np.float32), "pelvis", "finite and not zero"),
        (np.full(4, np.nan, np.float32), "pelvis", "finite and not zero"),
        (np.ones(3, np.float32), "pelvis", r"shape \(\.\.\., 4\), but got \(3,\)"),
        (np.ones(4, np.float32), "left_knee", "but got 'left_knee'; these do: .*pelvis"),
        (np.ones(4, int), "pelvis", "quaternions must be floating point"),
    ],
)
def test_quaternions_are_checked(quaternion, joint, message):
    with pytest.raises(ValueError, match=message):
        quaternion_to_params(quaternion, HUMAN, joint)


@pytest.mark.parametrize("angles", ["plain", "cos_sin", "rotation_6d", "bounded"])
def test_outputs_are_as_many_as_the_form_has(angles):
    num, read = read_outputs(HUMAN, MEAN, UNITS, angles)
    within = jax.jit(read_all, static_argnums=0)
    assert within(angles, jnp.zeros((2, num))).shape == (2, 27)
    assert read(np.zeros((0, num), np.float32)).shape == (0, 27)
    for shape in ((2, num - 1), (num,), (2, 2, num)):
        with pytest.raises(ValueError, match=rf"outputs must have shape \(B, {num}\)"):
            read(np.zeros(shape, np.float32))


def read_all(angles, outputs):
    """A form that is made where it is used, within a program."""
    return read_outputs(HUMAN, MEAN, UNITS, angles)[1](outputs)
