"""Laws of angles: the two triples of an orientation, and balls that turn within limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinpose import (
    Joint,
    Motion,
    build_skeleton,
    forward_kinematics,
    joint_transforms,
    limit_skeleton,
)
from kinpose.angles import (
    axes_of,
    balls_of,
    into_limits,
    nearest_turn,
    normals_of,
    orientation_of,
    other_triple,
    small_turn,
    triple_of,
    turned,
)
from kinpose.skeletons import HUMAN_LIMITS, human_17

EXACT = 1e-12  # float64, rad
FLOAT32 = 1e-5  # rad, or of the limb's length
LIMITED = limit_skeleton(human_17(), HUMAN_LIMITS)
NAMES = LIMITED.dof_names
FREE = np.full(3, -np.inf), np.full(3, np.inf)
RNG = np.random.default_rng(0)


def rotation_of(angles):
    """Rx(a) Ry(b) Rz(c) by SciPy."""
    return Rotation.from_euler("XYZ", np.asarray(angles, float)).as_matrix()


def ball(motions, *more):
    return build_skeleton([Joint("ball", None, (0, 0, 0), motions), *more])


def triple(rotation, near, low=FREE[0], high=FREE[1]):
    rows = [[jnp.asarray(x) for x in row] for row in rotation]
    found, outside = triple_of(rows, *(list(jnp.asarray(x, float)) for x in (near, low, high)))
    return np.asarray(found), float(outside)


def test_orientations_are_scipys(x64):
    angles = RNG.uniform(-4, 4, 3)
    np.testing.assert_allclose(orientation_of(list(angles)), rotation_of(angles), atol=EXACT)


@pytest.mark.parametrize("size", [1e-9, 0.3, 1.5])
def test_small_turns_are_rotations_about_their_vector(x64, size):
    spin = size * np.array([0.6, -0.48, 0.64])
    found = np.asarray(small_turn(list(jnp.asarray(spin))))
    angle = 2 * np.arctan(size / 2)
    expected = Rotation.from_rotvec(spin / size * angle).as_matrix()
    np.testing.assert_allclose(found, expected, atol=EXACT)


def test_axes_are_how_an_orientation_turns_with_its_angles(x64):
    angles, step = RNG.uniform(-1, 1, 3), 1e-6
    for i, axis in enumerate(np.asarray(axes_of(list(angles)))):
        ahead = angles + step * np.eye(3)[i]
        turn = Rotation.from_matrix(rotation_of(angles).T @ rotation_of(ahead)).as_rotvec()
        np.testing.assert_allclose(turn / step, axis, atol=1e-5)


def test_turns_across_a_normal_leave_its_angle(x64):
    angles = RNG.uniform(-1, 1, 3)
    normals, axes = (np.asarray(f(list(angles))) for f in (normals_of, axes_of))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=EXACT)
    off_diagonal = normals @ axes.T - np.diag(np.diag(normals @ axes.T))
    np.testing.assert_allclose(off_diagonal, 0, atol=EXACT)


@pytest.mark.parametrize("order", ["rx ry rz", "rz ry rx", "rx rz ry"])
def test_a_second_triple_of_angles_is_the_same_rotation(x64, order):
    skeleton = ball(order)
    angles = RNG.uniform(-np.pi, np.pi, 3)
    other = jnp.stack(other_triple(list(angles)))
    first, second = (joint_transforms(x, skeleton)[0] for x in (jnp.asarray(angles), other))
    np.testing.assert_allclose(first, second, atol=EXACT)


def test_angles_are_read_off_near_those_before(x64):
    for _ in range(50):
        angles = RNG.uniform(-9, 9, 3)
        near = angles + RNG.uniform(-0.2, 0.2, 3)
        found, outside = triple(rotation_of(angles), near)
        np.testing.assert_allclose(found, angles, atol=1e-9 / abs(np.cos(angles[1])))
        assert outside == 0


@pytest.mark.parametrize("middle", [np.pi / 2, -np.pi / 2])
def test_at_the_singularity_the_first_angle_stays_and_the_orientation_is_kept(x64, middle):
    rotation = rotation_of([0.7, middle, -0.2])
    found, _ = triple(rotation, [0.3, middle, 0.0])
    np.testing.assert_allclose(rotation_of(found), rotation, atol=1e-7)
    np.testing.assert_allclose(found[0], 0.3, atol=0.01)


def test_of_two_triples_the_one_within_limits_is_read(x64):
    low, high = np.array([-1.0, -1.5, -3.0]), np.array([2.5, 1.5, 3.0])
    for _ in range(50):
        angles = RNG.uniform(low, high)
        other = np.array(other_triple(list(angles)))
        found, outside = triple(rotation_of(angles), other, low, high)
        np.testing.assert_allclose(found, angles, atol=1e-6)
        assert outside == 0


def test_beyond_limits_angles_are_clipped_and_the_last_one_follows(x64):
    low, high = np.array([-0.5, -1.0, -3.0]), np.array([0.5, 1.0, 3.0])
    rotation = rotation_of([0.8, 0.3, 0.1])
    found, outside = triple(rotation, [0.4, 0.3, 0.1], low, high)
    assert found[0] == 0.5
    np.testing.assert_allclose(outside, 0.3, atol=1e-9)
    apart = [np.trace(rotation.T @ rotation_of([*found[:2], c])) for c in np.linspace(-3, 3, 6001)]
    np.testing.assert_allclose(found[2], np.linspace(-3, 3, 6001)[np.argmax(apart)], atol=0.01)


@pytest.mark.parametrize("hand", [1.0, -1.0])
def test_a_turn_within_a_balls_own_axes(x64, hand):
    skeleton = ball("rx ry rz" if hand > 0 else "rx rz ry")
    assert balls_of(skeleton)[0].hand == hand
    angles, spin = RNG.uniform(-1, 1, 3), np.array([0.3, -0.2, 0.4])
    low, high = (list(jnp.asarray(x)) for x in FREE)
    found, _ = turned(hand, list(jnp.asarray(angles)), list(jnp.asarray(spin)), low, high)
    before, after = (
        np.asarray(joint_transforms(jnp.asarray(x), skeleton)[0][0]) for x in (angles, found)
    )
    axes = np.array(balls_of(skeleton)[0].axes)
    turn = Rotation.from_matrix(before.T @ after).as_rotvec()
    size = np.linalg.norm(spin)
    np.testing.assert_allclose(axes @ turn, 2 * np.arctan(size / 2) * spin / size, atol=EXACT)


def test_raised_arms_are_read_by_the_way_they_came(x64):
    """Sideways and up is abduction beyond a right angle; forwards and up is flexion."""
    low, high = np.radians([[-90, -90, -180], [210, 180, 180]])
    up = rotation_of(np.radians([5, 150, 10]))
    by_abduction, _ = triple(up, np.radians([5, 120, 10]), low, high)
    by_flexion, _ = triple(up, np.radians([170, 40, -160]), low, high)
    np.testing.assert_allclose(np.degrees(by_abduction), [5, 150, 10], atol=1e-6)
    np.testing.assert_allclose(np.degrees(by_flexion), [185, 30, -170], atol=1e-6)
    hanging = rotation_of(np.radians([5, 40, 10]))
    found, _ = triple(hanging, np.radians([180, 130, -165]), low, high)
    np.testing.assert_allclose(np.degrees(found), [5, 40, 10], atol=1e-6)


def test_nearest_turns():
    np.testing.assert_allclose(
        nearest_turn(np.array([0.1, 6.2]), 12.5), [12.666, 12.483], atol=1e-3
    )


# Which joints are balls


def arm(motions, bend="rz"):
    rest = [Joint("elbow", "ball", (0, 1, 0), bend), Joint("wrist", "elbow", (0, 1, 0))]
    return ball(motions, *rest)


def test_axes_that_are_not_orthogonal_make_no_ball():
    assert not balls_of(arm([Motion("r", axis, f"turn_{i}") for i, axis in enumerate("yzy")]))


def test_what_slides_after_its_turns_is_no_ball():
    assert not balls_of(arm("rx ry rz tx"))
    assert balls_of(arm("tx rx ry rz"))


def test_a_dof_of_several_motions_makes_no_ball():
    twist = Motion("r", "y", "twist")
    own = (Motion("r", "x", "flexion"), Motion("r", "z", "abduction"), twist)
    assert [ball.hinges for ball in balls_of(arm(own))] == [(3,)]
    assert not balls_of(arm(own, [twist]))


def test_a_bend_about_the_limb_itself_is_no_hinge():
    assert [ball.hinges for ball in balls_of(arm("rx rz ry", "ry"))] == [()]


# Poses within limits


def test_poses_come_back_into_their_limits_by_other_angles(x64):
    low, high = LIMITED.limits.T
    inside = np.where(np.isfinite(low), RNG.uniform(np.maximum(low, -4), np.minimum(high, 4)), 0.5)
    for i, name in enumerate(NAMES):
        if "shoulder" in name:  # where limits leave two triples, the one nearer to zero
            inside[i] *= 0.3
        if "knee" in name or "elbow" in name:
            inside[i] = 0.9
    outside = inside.copy()
    for i, name in enumerate(NAMES):
        if name in ("left_hip_flexion", "right_shoulder_flexion", "neck_yaw"):
            outside[i : i + 3] = np.array(other_triple(list(inside[i : i + 3])))
        if name == "right_hip_rotation":
            outside[i] += np.pi
            outside[NAMES.index("right_knee_flexion")] *= -1
        if name == "left_shoulder_abduction":
            outside[i] -= 4 * np.pi
    one, two = (forward_kinematics(jnp.asarray(x), LIMITED) for x in (inside, outside))
    np.testing.assert_allclose(one, two, atol=1e-6)
    found = jax.jit(into_limits)(jnp.asarray(outside), LIMITED)
    np.testing.assert_allclose(found, inside, atol=1e-9)
