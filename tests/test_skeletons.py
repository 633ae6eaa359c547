import numpy as np
import pytest

from kinpose import forward_kinematics, joint_jacobian, joint_transforms, limit_skeleton
from kinpose.skeletons import HUMAN_LIMITS, human_17, toy

# Positions are in mm or pixels, float64 rounding is far below: exact for all purposes.
EXACT = 1e-9

HUMAN = human_17()
LEFT_RIGHT = {"left": "right", "right": "left"}


def mirrored_name(name):
    side, _, rest = name.partition("_")
    return f"{LEFT_RIGHT.get(side, side)}_{rest}" if rest else name


def pose(**values):
    """Parameters of the human, zero where not named."""
    params = np.zeros(27)
    for name, value in values.items():
        params[HUMAN.dof_names.index(name)] = value
    return params


def place(name, params):
    return forward_kinematics(params, HUMAN)[HUMAN.keypoint_names.index(name), :]


def random_pose(seed=0):
    return np.random.default_rng(seed).normal(size=27)


def test_the_human_is_the_paper_s():
    assert HUMAN.num_dofs == 27
    assert HUMAN.keypoint_names == (
        *("pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee"),
        *("left_ankle", "torso", "neck", "nose", "head", "left_shoulder", "left_elbow"),
        *("left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
    )
    child, parent = np.transpose(HUMAN.bones)
    np.testing.assert_array_equal(child, range(1, 17))
    np.testing.assert_array_equal(parent, [0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15])
    dofs = [name.rpartition("_")[0] for name in HUMAN.dof_names]
    assert {name: dofs.count(name) for name in dofs} == {
        **{"pelvis": 6, "spine": 2, "neck": 3, "left_hip": 3, "right_hip": 3},
        **{"left_shoulder": 3, "right_shoulder": 3, "left_knee": 1, "right_knee": 1},
        **{"left_elbow": 1, "right_elbow": 1},
    }
    assert np.isinf(HUMAN.limits).all()


def test_human_bones_have_the_mean_lengths_of_human36m(x64):
    child, parent = np.transpose(HUMAN.bones)
    points = forward_kinematics(random_pose(), HUMAN)
    leg, arm, half_trunk = [134.2, 456.1, 451.9], [157.5, 284.2, 249.6], (245.4 + 254.0) / 2
    expected = [*leg, *leg, half_trunk, half_trunk, 116.7, 115.0, *arm, *arm]
    lengths = np.linalg.norm(points[child, :] - points[parent, :], axis=-1)
    np.testing.assert_allclose(lengths, expected, rtol=EXACT)
    np.testing.assert_allclose(sum(expected), 4198.0, atol=0.11)  # of the rounded lengths


def test_shoulders_and_head_of_the_human_sit_as_in_human36m(x64):
    """Means over S9's test poses, by hand: mm from the neck, the head from the nose."""
    rest = pose()
    for child, parent, seen in (
        ("left_shoulder", "neck", (174, -47, -14)),
        ("right_shoulder", "neck", (-172, -54, -14)),
        ("nose", "neck", (0, 99, 58)),
        ("head", "nose", (0, 105, -33)),
    ):
        bone, seen = place(child, rest) - place(parent, rest), np.array(seen, float)
        cosine = bone @ seen / np.linalg.norm(bone) / np.linalg.norm(seen)
        assert np.degrees(np.arccos(cosine)) < 4.0, child


def test_directions_of_fixed_bones_are_taken_at_any_length(x64):
    given = {"neck-shoulder": (2, -1, 2), "pelvis-hip": (0, -3, 4)}
    human = human_17(directions=given)
    offsets = dict(zip(human.names, human.offsets, strict=True))
    np.testing.assert_allclose(offsets["left_shoulder"], np.multiply(157.5 / 3, (2, -1, 2)))
    np.testing.assert_allclose(offsets["right_shoulder"], np.multiply(157.5 / 3, (-2, -1, 2)))
    np.testing.assert_allclose(offsets["right_hip"], np.multiply(134.2 / 5, (0, -3, 4)))
    default = dict(zip(HUMAN.names, HUMAN.offsets, strict=True))
    np.testing.assert_array_equal(offsets["head"], default["head"])


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        ({"hip-knee": (0, 1, 0)}, r"some of pelvis-hip, .* but got \['hip-knee'\]"),
        ({"neck-nose": (0, 0, 0)}, r"neck-nose must be three numbers .* got \(0, 0, 0\)"),
        ({"neck-nose": (0, 1)}, r"neck-nose must be three numbers"),
    ],
)
def test_wrong_directions_are_refused(directions, message):
    with pytest.raises(ValueError, match=message):
        human_17(directions=directions)


def test_the_torso_is_the_midpoint_of_pelvis_and_neck(x64):
    params = random_pose()
    middle = (place("pelvis", params) + place("neck", params)) / 2
    np.testing.assert_allclose(place("torso", params), middle, atol=EXACT)


def test_the_human_s_mirror_image_is_a_pose_of_the_human(x64):
    params = random_pose()
    turned = ("_tx", "_yaw", "_roll")  # limbs are anatomical: the same sign on both sides
    mirrored = pose(
        **{
            mirrored_name(name): -value if name.endswith(turned) else value
            for name, value in zip(HUMAN.dof_names, params, strict=True)
        }
    )
    order = [HUMAN.keypoint_names.index(mirrored_name(name)) for name in HUMAN.keypoint_names]
    expected = np.asarray(forward_kinematics(params, HUMAN))[order] * (-1, 1, 1)
    np.testing.assert_allclose(forward_kinematics(mirrored, HUMAN), expected, atol=EXACT)


# x to the person's left, y up, z forward.
@pytest.mark.parametrize(
    ("dof", "keypoint", "direction"),
    [
        ("pelvis_tx", "head", "+x"),
        ("pelvis_ty", "head", "+y"),
        ("pelvis_tz", "head", "+z"),
        ("pelvis_yaw", "nose", "+x"),
        ("spine_yaw", "nose", "+x"),
        ("neck_yaw", "nose", "+x"),
        ("pelvis_pitch", "head", "+z"),
        ("neck_pitch", "head", "+z"),
        ("pelvis_roll", "head", "-x"),
        ("spine_roll", "head", "-x"),
        ("neck_roll", "head", "-x"),
        *((f"{side}_hip_flexion", f"{side}_knee", "+z") for side in LEFT_RIGHT),
        *((f"{side}_knee_flexion", f"{side}_ankle", "-z") for side in LEFT_RIGHT),
        *((f"{side}_shoulder_flexion", f"{side}_elbow", "+z") for side in LEFT_RIGHT),
        *((f"{side}_elbow_flexion", f"{side}_wrist", "+z") for side in LEFT_RIGHT),
        ("left_hip_abduction", "left_ankle", "+x"),
        ("right_hip_abduction", "right_ankle", "-x"),
        ("left_shoulder_abduction", "left_wrist", "+x"),
        ("right_shoulder_abduction", "right_wrist", "-x"),
    ],
)
def test_a_positive_dof_moves_as_in_everyday_use(dof, keypoint, direction):
    moved = place(keypoint, pose(**{dof: 0.5})) - place(keypoint, pose())
    sign, axis = direction
    assert moved["xyz".index(axis)] * float(f"{sign}1") > 0.4


@pytest.mark.parametrize(("side", "inwards"), [("left", -1), ("right", 1)])
def test_limbs_rotate_inwards(side, inwards):
    params = pose(**{f"{side}_hip_rotation": 0.5})
    toes = joint_transforms(params, HUMAN)[0][HUMAN.names.index(f"{side}_ankle"), :, 2]
    assert toes[0] * inwards > 0.4
    bent = {f"{side}_elbow_flexion": 1.5}
    moved = place(f"{side}_wrist", pose(**bent, **{f"{side}_shoulder_rotation": 0.5})) - place(
        f"{side}_wrist", pose(**bent)
    )
    assert moved[0] * inwards > 0


def test_every_parameter_of_the_human_can_be_seen(x64):
    _, jacobian = joint_jacobian(random_pose(), HUMAN)
    assert np.linalg.matrix_rank(jacobian.reshape(51, 27), rtol=1e-4) == 27


@pytest.mark.parametrize("ball", ["neck", "left_hip", "right_hip"])
def test_every_orientation_has_one_triple_within_limits(ball):
    """The other triple that turns a joint alike is beyond them."""
    words = ("yaw", "pitch", "roll") if ball == "neck" else ("flexion", "abduction", "rotation")
    low, high = np.array([HUMAN_LIMITS[f"{ball}_{word}"] for word in words]).T
    inside = np.random.default_rng(0).uniform(low, high, (1000, 3))
    others = inside * [1, -1, 1] + np.pi
    turns = 2 * np.pi * np.round((0.5 * (low + high) - others) / (2 * np.pi))
    assert not ((low <= others + turns) & (others + turns <= high)).all(axis=1).any()


def test_a_shoulder_has_two_triples_above_the_horizontal_only():
    """By flexion and by abduction, as people speak of raised arms; below, both need a detour."""
    low, high = np.array([HUMAN_LIMITS[f"left_shoulder_{x}"] for x in ("flexion", "abduction")]).T
    inside = np.random.default_rng(0).uniform(low, high, (10_000, 2))
    natural = (np.abs(inside[:, 1]) <= np.pi / 2) | (np.abs(inside[:, 0]) <= np.pi / 2)
    others = np.stack([inside[:, 0] + np.pi, np.pi - inside[:, 1]], axis=1)
    others -= 2 * np.pi * np.round((others - 0.5 * (low + high)) / (2 * np.pi))
    both = ((low <= others) & (others <= high)).all(axis=1)
    height = -np.cos(inside[:, 0]) * np.cos(inside[:, 1])  # of the elbow over the shoulder
    shorter = np.abs(inside).sum(axis=1) < np.abs(others).sum(axis=1)
    assert (height[both & natural & ~shorter] > 0).all()


@pytest.mark.parametrize(
    ("dof", "low", "high"),
    [  # normal ranges of motion, American Academy of Orthopaedic Surgeons (1965), degrees
        ("hip_flexion", -30, 120),
        ("hip_abduction", -30, 45),
        ("hip_rotation", -45, 45),
        ("knee_flexion", -10, 135),
        ("shoulder_flexion", -60, 180),
        ("shoulder_abduction", -50, 180),
        ("shoulder_rotation", -90, 70),
        ("elbow_flexion", -10, 150),
    ],
)
def test_limits_leave_room_for_what_people_can_do(dof, low, high):
    for side in LEFT_RIGHT:
        least, most = np.degrees(HUMAN_LIMITS[f"{side}_{dof}"])
        assert least <= low
        assert high <= most


@pytest.mark.parametrize(
    ("dof", "low", "high"),
    [  # means of men, Boone and Azen (1979), and of girls of 2 to 8, Soucie et al. (2011), degrees
        ("hip_flexion", -10, 141),
        ("hip_abduction", -27, 46),
        ("hip_rotation", -47, 47),
        ("knee_flexion", -5, 153),
        ("shoulder_flexion", -62, 167),
        ("shoulder_rotation", -104, 69),
        ("elbow_flexion", -1, 143),
    ],
)
def test_limits_contain_measured_means(dof, low, high):
    for side in LEFT_RIGHT:
        least, most = np.degrees(HUMAN_LIMITS[f"{side}_{dof}"])
        assert least <= low
        assert high <= most


@pytest.mark.parametrize("side", LEFT_RIGHT)
def test_an_arm_raised_sideways_past_the_vertical_has_a_triple_within_limits(x64, side):
    """184 degrees, the mean of Boone and Azen (1979)."""
    words, limits = ("flexion", "abduction", "rotation"), limit_skeleton(HUMAN, HUMAN_LIMITS).limits
    past, other = (
        pose(**{f"{side}_shoulder_{w}": np.radians(x) for w, x in zip(words, degrees, strict=True)})
        for degrees in ((0, 184, 0), (180, -4, 180))
    )
    frames = [joint_transforms(params, HUMAN)[0] for params in (past, other)]
    np.testing.assert_allclose(*frames, atol=EXACT)
    low, high = np.transpose(limits)
    assert not (past <= high).all()
    assert ((low - EXACT <= other) & (other <= high + EXACT)).all()


def test_every_angle_but_the_pelvis_s_has_limits():
    limits = limit_skeleton(HUMAN, HUMAN_LIMITS).limits
    bounded = [n for n, row in zip(HUMAN.dof_names, limits, strict=True) if np.isfinite(row).all()]
    assert bounded == [name for name in HUMAN.dof_names if not name.startswith("pelvis")]


@pytest.mark.parametrize(("num_params", "num_joints"), [(3, 3), (6, 5), (8, 7), (10, 9)])
def test_the_toy_has_its_joints_and_bones(x64, num_params, num_joints):
    skeleton = toy(num_params)
    params = np.random.default_rng(0).normal(size=skeleton.num_dofs)
    points = forward_kinematics(params, skeleton)
    assert (skeleton.num_dofs, points.shape) == (num_params, (num_joints, 2))
    child, parent = np.transpose(skeleton.bones)
    np.testing.assert_array_equal(parent, [0, 0, 1, 2, 3, 4, 5, 6][: num_joints - 1])
    lengths = np.linalg.norm(points[child, :] - points[parent, :], axis=-1)
    np.testing.assert_allclose(lengths, 45.0, rtol=EXACT)


def test_toy_of_three_by_hand(x64):
    """Bones up at 30 degrees to both sides: half a bone aside, sqrt(3)/2 of one up."""
    points = forward_kinematics(np.array([64.0, 100.0, np.pi / 6]), toy(3))
    up = 100 - 45 * np.sqrt(3) / 2
    np.testing.assert_allclose(points, [[64, 100], [41.5, up], [86.5, up]], rtol=EXACT)


def test_toy_of_six_by_hand(x64):
    """Turned by 90 degrees (x to y: clockwise in the image), bones straight, then tips bent.

    Both first bones point to +x. The left tip turns another 90 degrees, to +y (down); the
    right one turns back, to -y (up).
    """
    skeleton = toy(6, bone_length=10)
    assert skeleton.dof_names == ("x", "y", "orientation", "theta", "left_1", "right_1")
    assert skeleton.keypoint_names == ("root", "left_1", "right_1", "left_2", "right_2")
    points = forward_kinematics(np.array([1, 2, np.pi / 2, 0, np.pi / 2, -np.pi / 2]), skeleton)
    expected = [[1, 2], [11, 2], [11, 2], [11, 12], [11, -8]]
    np.testing.assert_allclose(points, expected, rtol=EXACT)


def test_the_toy_s_orientation_turns_the_opening_of_theta(x64):
    points = forward_kinematics(np.array([0, 0, np.pi / 2, np.pi / 2, 0, 0]), toy(6))
    np.testing.assert_allclose(points, [[0, 0], [0, -45], [0, 45], [0, -90], [0, 90]], atol=EXACT)


@pytest.mark.parametrize("num_params", [0, 4, 12])
def test_other_toys_are_refused(num_params):
    with pytest.raises(ValueError, match=f"3, 6, 8 or 10 parameters, but got {num_params}"):
        toy(num_params)
