"""Laws of the shoulders: where a recording has them, in the frame of the trunk."""

import numpy as np
import pytest

from kinpose import forward_kinematics
from kinpose.shoulders import shoulder_direction
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

DIRECTION = np.array([0.9, -0.4, 0.1]) / np.sqrt(0.98)
BODY = human_17(directions={"neck-shoulder": DIRECTION})
RNG = np.random.default_rng(0)
POSES = np.asarray(
    forward_kinematics(RNG.uniform(-1, 1, (31, 27)).astype(np.float32), BODY), np.float64
)
CLOSE = 1e-4  # float32 rounding of joints of some 1000 mm


def found(joints):
    return shoulder_direction(joints, HUMAN36M_KEYPOINTS)


def test_the_model_s_own_direction_is_found_in_any_poses_axes_and_unit():
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    np.testing.assert_allclose(found(POSES), DIRECTION, atol=CLOSE)
    np.testing.assert_allclose(found(0.001 * POSES @ turn.T + 5), DIRECTION, atol=CLOSE)


def test_frames_that_are_missing_or_far_off_do_not_count():
    joints = POSES.copy()
    joints[::3, HUMAN36M_KEYPOINTS.index("left_shoulder")] = np.nan
    joints[1::10] += RNG.normal(0, 1000, joints[1::10].shape)
    np.testing.assert_allclose(found(joints), DIRECTION, atol=0.05)


@pytest.mark.parametrize("keypoint", ["pelvis", "neck", "left_shoulder", "right_shoulder"])
def test_nothing_is_told_where_a_keypoint_is_never_there(keypoint):
    at, joints = HUMAN36M_KEYPOINTS.index(keypoint), POSES.copy()
    joints[:, at] = np.nan
    assert found(joints) is None
    assert shoulder_direction(np.delete(POSES, at, 1), np.delete(HUMAN36M_KEYPOINTS, at)) is None


def test_points_on_one_line_tell_nothing():
    assert found(np.zeros((3, 17, 3))) is None
