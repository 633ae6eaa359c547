"""Laws of the other angles that write the same pose."""

import jax
import numpy as np
import pytest

from kinpose import (
    Joint,
    Motion,
    build_skeleton,
    forward_kinematics,
    joint_transforms,
    limit_skeleton,
)
from kinpose.euler import limbs_of, other_triple, turn_pressed_limbs
from kinpose.skeletons import HUMAN_LIMITS, human_17

FLOAT32 = 1e-5  # rad, or of the limb's length
LIMITED = limit_skeleton(human_17(), HUMAN_LIMITS)
KNEE, HIP, TWIST = (
    LIMITED.dof_names.index(f"left_{name}")
    for name in ("knee_flexion", "hip_flexion", "hip_rotation")
)
positions_of = jax.jit(forward_kinematics)
turn = jax.jit(turn_pressed_limbs)


def draw_pose(seed=0):
    """Within the limits, every hinge bent."""
    params = 0.5 * np.random.default_rng(seed).normal(size=LIMITED.num_dofs)
    params = np.where(LIMITED.limits[:, 0] == 0, 0.1 + np.abs(params), params)
    return params.astype(np.float32)


def within_limits(params):
    low, high = LIMITED.limits.T
    return np.all((low - FLOAT32 <= params) & (params <= high + FLOAT32))


def assert_same_pose(params, others):
    one, other = (positions_of(x, LIMITED) for x in (params, others))
    np.testing.assert_allclose(one, other, atol=FLOAT32 * np.abs(LIMITED.offsets).max())


def arm(motions, bend="rz"):
    return build_skeleton(
        [
            Joint("shoulder", None, (0, 0, 0), motions),
            Joint("elbow", "shoulder", (0, 1, 0), bend),
            Joint("wrist", "elbow", (0, 1, 0)),
        ]
    )


@pytest.mark.parametrize("order", ["rx ry rz", "rz ry rx", "rx rz ry"])
def test_a_second_triple_of_angles_is_the_same_rotation(order):
    skeleton = build_skeleton([Joint("ball", None, (0, 0, 0), order)])
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, 3).astype(np.float32)
    other = other_triple(angles)
    assert np.all(np.abs(other) <= np.pi)
    assert np.all(np.abs(other - angles) > 0.1)
    first, second = (joint_transforms(x, skeleton)[0] for x in (angles, other))
    np.testing.assert_allclose(first, second, atol=FLOAT32)
    np.testing.assert_allclose(other_triple(other, near=angles), angles, atol=FLOAT32)


def test_axes_that_are_not_orthogonal_have_no_second_triple():
    around = [Motion("r", axis, f"turn_{i}") for i, axis in enumerate("yzy")]
    assert not limbs_of(arm(around))


def test_a_dof_of_several_motions_makes_no_limb():
    twist = Motion("r", "y", "twist")
    own = (Motion("r", "x", "flexion"), Motion("r", "z", "abduction"), twist)
    assert [limb.hinges for limb in limbs_of(arm(own))] == [(3,)]
    assert not limbs_of(arm(own, [twist]))


def test_a_bend_about_the_limb_itself_is_no_hinge():
    assert [limb.hinges for limb in limbs_of(arm("rx rz ry", "ry"))] == [()]


def test_a_pose_inside_its_limits_is_left_alone():
    pose = draw_pose()
    np.testing.assert_array_equal(turn(pose, LIMITED), pose)


def test_a_straight_limb_turns_to_the_other_side():
    pose = draw_pose()
    pose[KNEE] = 0
    turned = np.array(turn(pose, LIMITED))
    assert within_limits(turned)
    assert np.flatnonzero(np.abs(turned - pose) > FLOAT32).tolist() == [HIP, HIP + 1]
    for bend in (0, 0.5):
        pose[KNEE], turned[KNEE] = -bend, bend
        assert_same_pose(turned, pose)


def test_an_angle_at_its_limit_goes_to_the_other_one():
    pose = draw_pose()
    pose[TWIST] = LIMITED.limits[TWIST, 1]
    turned = np.asarray(turn(pose, LIMITED))
    assert within_limits(turned)
    np.testing.assert_allclose(turned[TWIST], LIMITED.limits[TWIST, 0], atol=FLOAT32)
    assert_same_pose(turned, pose)
