"""Laws of the forms of outputs: any outputs are valid, and every pose can be said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import forward_kinematics, limit_skeleton
from kinpose.representations import ball_joints, read_outputs
from kinpose.skeletons import HUMAN_LIMITS, human_17, toy

HUMAN = limit_skeleton(human_17(), HUMAN_LIMITS)
MEAN = np.full(27, 0.2, np.float32)
UNITS = np.ones(27, np.float32)
# float32 rounding of joints of some 1000 mm.
TOLERANCE_MM = 5e-3


def place(params):
    return jax.vmap(forward_kinematics, in_axes=(0, None))(params, HUMAN)


def test_a_humans_ball_joints_are_pelvis_head_hips_and_shoulders():
    balls = ball_joints(HUMAN)
    firsts = {HUMAN.dof_names[dofs[0]].rpartition("_")[0] for dofs, _ in balls}
    assert len(balls) == 5  # the pelvis slides, too, by motions of the same joint
    assert firsts == {"neck", "left_hip", "right_hip", "left_shoulder", "right_shoulder"}
    assert ball_joints(toy(10)) == []


@pytest.mark.parametrize("angles", ["plain", "cos_sin", "rotation_6d", "bounded"])
def test_zero_outputs_are_the_mean(angles):
    num, read = read_outputs(HUMAN, MEAN, UNITS, angles)
    np.testing.assert_allclose(read(jnp.zeros((3, num))), np.tile(MEAN, (3, 1)), atol=1e-6)


def test_a_matrix_says_any_rotation():
    num, read = read_outputs(HUMAN, np.zeros(27, np.float32), UNITS, "rotation_6d")
    params = np.random.default_rng(0).uniform(-3, 3, (50, 27)).astype(np.float32)
    balls = ball_joints(HUMAN)
    others = np.setdiff1d(np.arange(27), [dof for dofs, _ in balls for dof in dofs])
    outputs = [params[:, others]]
    for dofs, hand in balls:
        a, b, c = (params[:, dofs] * np.float32([1, 1, hand])).T
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
    np.testing.assert_allclose(place(read(jnp.asarray(outputs))), place(params), atol=TOLERANCE_MM)


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


def test_a_mean_beyond_a_limit_is_named():
    with pytest.raises(ValueError, match=r"-0\.4 for 'right_knee_flexion'"):
        read_outputs(HUMAN, -2 * MEAN, UNITS, "bounded")
