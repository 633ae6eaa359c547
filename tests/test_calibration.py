"""Laws of calibration: the bone lengths of whoever was recorded."""

import dataclasses

import jax
import numpy as np
import pytest

from kinpose import (
    Joint,
    Motion,
    build_skeleton,
    calibrate_skeleton,
    fit_params,
    forward_kinematics,
    scale_skeleton,
)
from kinpose.calibration import guess_scale, other_side
from kinpose.skeletons import human_17, toy

HUMAN = human_17()
NUM_FRAMES = 40
WITHIN = 2e-3
"""Part of a length: what is left after the last step of a few hundredths of that."""


def recording(skeleton, seed=0):
    params = 0.5 * np.random.default_rng(seed).normal(size=(NUM_FRAMES, 27)).astype(np.float32)
    return np.array(jax.vmap(forward_kinematics, in_axes=(0, None))(params, skeleton))


def with_longer(names, factor):
    factors = [factor if any(n in name for n in names) else 1.0 for name in HUMAN.names]
    return dataclasses.replace(HUMAN, offsets=HUMAN.offsets * np.array(factors)[:, None])


@pytest.mark.parametrize("scale", [0.001, 0.93, 40.0])
def test_the_scale_is_found_in_any_unit(scale):
    found = calibrate_skeleton(recording(scale_skeleton(HUMAN, scale)), HUMAN)
    np.testing.assert_allclose(found.offsets, HUMAN.offsets * scale, rtol=WITHIN, atol=1e-9)


def test_lengths_are_found_left_as_right():
    person = with_longer(["knee", "elbow"], 1.2)
    found = calibrate_skeleton(recording(person), HUMAN, lengths="symmetric")
    np.testing.assert_allclose(found.offsets, person.offsets, rtol=WITHIN, atol=1e-9)


def test_every_bone_is_found_by_itself():
    person = with_longer(["left_knee", "right_wrist"], 1.15)
    found = calibrate_skeleton(recording(person), HUMAN, lengths="bones")
    np.testing.assert_allclose(found.offsets, person.offsets, rtol=WITHIN, atol=1e-9)


def test_a_bone_that_nobody_saw_keeps_its_part_of_the_whole():
    points = recording(scale_skeleton(HUMAN, 2.0))
    points[:, HUMAN.keypoint_names.index("left_wrist")] = np.nan
    found = calibrate_skeleton(points, HUMAN, lengths="bones")
    np.testing.assert_allclose(found.offsets, 2 * HUMAN.offsets, rtol=WITHIN, atol=1e-9)


def test_bones_between_unseen_joints_stay_sensible():
    """Without shoulders the points tell only the sum of the bones beside them."""
    points = recording(HUMAN)
    points[:, [HUMAN.keypoint_names.index(f"{side}_shoulder") for side in ("left", "right")]] = (
        np.nan
    )
    found = calibrate_skeleton(points, scale_skeleton(HUMAN, 1.1), lengths="bones")
    ratio = np.linalg.norm(found.offsets, axis=1) / np.linalg.norm(HUMAN.offsets, axis=1).clip(1)
    assert np.all((ratio == 0) | ((ratio > 0.7) & (ratio < 1.4)))


def test_scale_is_the_median_ratio_of_bones():
    assert guess_scale(recording(scale_skeleton(HUMAN, 3.0)), HUMAN) == pytest.approx(3, rel=1e-5)


@pytest.mark.parametrize(
    ("points", "lengths", "message"),
    [
        (recording(HUMAN), "all", "lengths must be.*'all'"),
        (recording(HUMAN)[0], "scale", r"\(T, K, n\).*\(17, 3\)"),
        (np.full((3, 17, 3), np.nan, np.float32), "scale", "no bone"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(points, lengths, message):
    with pytest.raises(ValueError, match=message):
        calibrate_skeleton(points, HUMAN, lengths=lengths)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_knee", "right_knee"),
        ("LeftLeg", "RightLeg"),
        ("mixamorig:LeftArm", "mixamorig:RightArm"),
        ("lfemur", "rfemur"),
        ("L_Hip", "R_Hip"),
        ("LHipJoint", "RHipJoint"),
        ("hip.L", "hip.R"),
        ("Bip01 L Thigh", "Bip01 R Thigh"),
        ("thigh_l", "thigh_r"),
    ],
)
def test_sides_are_known_by_their_usual_spellings(left, right):
    names = [left, right, "pelvis", "lowerback", "radius_ring"]
    assert [other_side(name, names) for name in names] == [right, left, None, None, None]


def test_no_sides_are_told():
    middle = [Joint("a", None, (0, 0), "tx ty rz"), Joint("b", "a", (0, 1), "rz")]
    skeleton = build_skeleton([*middle, Joint("c", "b", (0, 2))])
    points = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    with pytest.warns(UserWarning, match="no left and right among"):
        calibrate_skeleton(points, skeleton, lengths="symmetric")


def test_points_far_off_change_no_length_of_a_robust_calibration():
    person = with_longer(["knee", "elbow"], 1.2)
    points = recording(person)
    rng = np.random.default_rng(1)
    points[rng.random(points.shape[:2]) < 0.03] += 2000.0
    found = calibrate_skeleton(points, HUMAN, lengths="symmetric", robust=50.0)
    np.testing.assert_allclose(found.offsets, person.offsets, rtol=0.01, atol=1e-9)


def test_a_recording_far_from_the_origin_has_the_same_lengths():
    points = recording(HUMAN).astype(float)
    near, far = (
        calibrate_skeleton(points + shift, HUMAN, lengths="symmetric").offsets
        for shift in (0.0, 5.4e9)
    )
    np.testing.assert_allclose(near, far, rtol=1e-4, atol=1e-9)


def test_slides_and_their_limits_are_in_the_unit_of_the_points():
    arm = build_skeleton(
        [
            Joint("a", None, (0, 0), "tx ty rz"),
            Joint("b", "a", (1.0, 0), [Motion("t", "x", "slide", 1.0, 0.1)]),
            Joint("c", "b", (1.0, 0), [Motion("r", "z", "turn"), Motion("t", "x", "turn", 0.2)]),
            Joint("d", "c", (1.0, 0)),
        ],
        limits={"slide": (0.0, 0.5)},
    )
    params = np.random.default_rng(0).uniform(0, 0.5, (6, arm.num_dofs)).astype(np.float32)
    points = 1000 * np.asarray(forward_kinematics(params, arm))
    found = calibrate_skeleton(points, arm)
    np.testing.assert_allclose(found.limits[arm.dof_index("slide")], [0, 500], rtol=0.02)
    assert np.abs(fit_params(points, found).residuals).max() < 1.0


def test_points_of_no_weight_tell_no_length():
    arm = build_skeleton(
        [
            Joint("a", None, (0, 0), "tx ty rz"),
            Joint("b", "a", (1.0, 0), "rz"),
            Joint("c", "b", (1.0, 0), "rz"),
            Joint("d", "c", (1.0, 0)),
        ]
    )
    params = np.random.default_rng(0).uniform(-1, 1, (6, 5)).astype(np.float32)
    points = 5000 + 1000 * np.asarray(forward_kinematics(params, arm))
    weights = np.ones((6, 4), np.float32)
    points[:, 2:], weights[:, 2:] = 0, 0
    found = calibrate_skeleton(points, arm, weights=weights, lengths="bones")
    np.testing.assert_allclose(found.offsets[1:, 0], 1000, rtol=1e-3)


@pytest.mark.parametrize("lengths", ["scale", "bones"])
@pytest.mark.parametrize("slides", ["", "tx"])
def test_a_base_that_stays_where_it_is_is_not_taken_off(lengths, slides):
    def arm(first, second):
        return build_skeleton(
            [
                Joint("base", None, (0, 0, 0), slides),
                Joint("upper", "base", (first, 0, 0), "rz"),
                Joint("lower", "upper", (second, 0, 0), "rz"),
                Joint("tip", "lower", (second, 0, 0)),
            ]
        )

    params = np.random.default_rng(0).uniform(-1, 1, (40, 2 + bool(slides)))
    points = np.array(forward_kinematics(params.astype(np.float32), arm(2.0, 3.0)))
    guess = arm(1.0, 1.5) if lengths == "scale" else arm(2.2, 2.7)
    found = calibrate_skeleton(points, guess, lengths=lengths)
    np.testing.assert_allclose(found.offsets, arm(2.0, 3.0).offsets, rtol=WITHIN, atol=1e-9)


def test_a_root_that_slides_within_limits_is_not_taken_off():
    square = toy(6)
    limits = np.array(square.limits)
    limits[:2] = 50.0, 150.0
    square = dataclasses.replace(square, limits=limits)
    rng = np.random.default_rng(0)
    params = np.concatenate([rng.uniform(60, 140, (40, 2)), rng.uniform(-1, 1, (40, 4))], axis=1)
    points = np.array(forward_kinematics(params.astype(np.float32), square))
    found = calibrate_skeleton(points, square)
    np.testing.assert_allclose(found.offsets, square.offsets, rtol=WITHIN)


def test_as_many_frames_may_be_used_as_anybody_likes():
    points = recording(HUMAN)
    found = calibrate_skeleton(points, HUMAN, max_frames=10**12)
    np.testing.assert_allclose(found.offsets, HUMAN.offsets, rtol=WITHIN, atol=1e-9)
    with pytest.raises(ValueError, match="max_frames must be a number from 1 on, but got 0"):
        calibrate_skeleton(points, HUMAN, max_frames=0)
