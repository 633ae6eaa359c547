"""Laws of what a recording is: its sides, the axis up, unit, noise, speed and gaps."""

import numpy as np
import pytest

from kinpose.gaps import determined_dofs, interpolate
from kinpose.io.points import load_points
from kinpose.layouts import LAYOUTS, find_layout, pick_keypoints
from kinpose.recordings import find_noise, find_speed, find_unit, find_up
from kinpose.sides import exchange_sides, find_sides, find_toes
from kinpose.skeletons import human_17
from tests.conftest import ROOT
from tests.troubles import DOFS, FPS, NAMES, exchanged, place, poses, standing, walking

HUMAN = human_17()
MOTIONS = sorted((ROOT / "data" / "motions").glob("*.bvh"))
WALK = place(walking(np.random.default_rng(0), 90))


def keypoints_of(path):
    points = load_points(path)
    layout = LAYOUTS[find_layout(points.names)]
    return pick_keypoints(points.positions, points.names, layout, NAMES), points


def around(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    one, other = (i for i in range(3) if i != axis)
    turn[one, one], turn[one, other], turn[other, one], turn[other, other] = c, -s, s, c
    return turn


@pytest.mark.parametrize("path", MOTIONS, ids=lambda path: path.stem)
def test_sides_of_real_motions_are_right_and_found_when_they_are_not(path):
    """Nobody who crawls, rolls or spins is flagged; mirrored, everybody; of flickers, all."""
    joints, points = keypoints_of(path)
    toes = find_toes(points.positions, points.names)
    for given in (None, toes):
        sides = find_sides(joints, NAMES, toes=given)
        assert not sides.exchanged.any()
        assert not sides.are_wrong
    for wrong in (joints * (1, 1, -1), exchanged(joints)):
        sides = find_sides(wrong, NAMES)
        assert sides.are_wrong
        assert not sides.exchanged.any()
    rng = np.random.default_rng(1)
    hit = np.zeros((len(joints), 2), bool)
    for start in rng.integers(0, len(joints), 3):
        hit[start : start + 4] = True
    hit[len(joints) // 2] = (True, False)  # legs alone
    np.testing.assert_array_equal(
        find_sides(exchange_sides(joints, NAMES, hit), NAMES).exchanged, hit
    )


@pytest.mark.slow
def test_sides_of_the_cmu_clips_are_right(cmu_dir):
    for path in sorted(cmu_dir.glob("*.bvh")):
        joints, _ = keypoints_of(path)
        sides = find_sides(joints, NAMES)
        assert not sides.exchanged.any(), path.name
        assert not sides.are_wrong, path.name
        assert find_sides(joints * (-1, 1, 1), NAMES).are_wrong, path.name
        assert find_up(joints, NAMES).axis == "y"


def test_noise_and_straight_knees_do_not_look_like_exchanged_sides():
    rng = np.random.default_rng(2)
    for knee in (-8.0, 0.0, 3.0):
        points = place(standing(90, knee)) + rng.normal(0, 30, (90, 17, 3))
        sides = find_sides(points, NAMES, noise=30.0)
        assert not sides.exchanged.any()
        assert not sides.are_wrong


def test_a_person_who_stands_still_is_known_mirrored_by_the_face():
    points = place(standing())
    assert not find_sides(points, NAMES).are_wrong
    assert find_sides(points * (1, 1, -1), NAMES).are_wrong


def test_exchanged_frames_are_found_among_missing_points_and_noise():
    rng = np.random.default_rng(3)
    hit = np.zeros(len(WALK), bool)
    hit[[10, 11, 30, 55]] = hit[60:72] = True
    points = np.where(hit[:, None, None], exchanged(WALK), WALK) + rng.normal(0, 10, WALK.shape)
    points[rng.random(points.shape[:2]) < 0.05] = np.nan
    points[40:50] = np.nan
    found = find_sides(points, NAMES, noise=10.0).exchanged
    seen = np.isfinite(points).all(axis=-1).any(axis=1)
    np.testing.assert_array_equal(found[seen], np.stack([hit, hit], axis=1)[seen])


def test_exchanging_needs_sides_and_twice_is_nothing():
    np.testing.assert_array_equal(exchange_sides(exchange_sides(WALK, NAMES), NAMES), WALK)
    np.testing.assert_array_equal(exchange_sides(WALK, NAMES), exchanged(WALK))
    with pytest.raises(ValueError, match="no left and right"):
        exchange_sides(WALK[:, :2], ("a", "b"))


def test_markers_on_the_skin_are_of_legs_or_of_arms_by_their_names():
    legs = [
        f"{side}{x}"
        for x in ("ASI", "PSI", "THI", "KNE", "TIB", "ANK", "HEE", "TOE")
        for side in "LR"
    ]
    arms = [f"{side}{x}" for x in ("SHO", "ELB", "WRA", "FHD") for side in "LR"]
    names = [*legs, *arms, "LHJC_study", "RHJC_study", "L_x", "R_x"]
    values = np.arange(float(len(names)))[None, :, None]
    for where in ([[True, False]], [[False, True]]):
        moved = exchange_sides(values, names, np.array(where), legs=("L_x", "R_x"))[0, :, 0]
        moved = {
            name for name, old, new in zip(names, values[0, :, 0], moved, strict=True) if old != new
        }
        assert moved == (set(names) - set(arms) if where[0][0] else set(arms))


@pytest.mark.parametrize(
    ("turn", "up"),
    [
        (np.eye(3), "y"),
        (np.diag([1.0, -1, -1]), "-y"),
        (around(0, 90), "z"),
        (around(0, -90), "-z"),
        (around(0, 20), "y"),
        (around(2, -25), "y"),
    ],
)
def test_the_body_tells_what_is_up(turn, up):
    legs, hips = ("ankle", "knee"), ("ankle", "knee", "hip", "pelvis", "torso")
    for lost in ((), legs, hips):
        names = [name for name in NAMES if not any(word in name for word in lost)]
        points = WALK[:, [NAMES.index(name) for name in names]] @ turn.T
        found = find_up(points, names)
        assert found.axis == up
        assert not found.doubt or lost == hips  # heads lean
        assert "above" in found.reason


@pytest.mark.parametrize("turn", [around(2, 90), around(2, -90), around(0, 45), around(2, 50)])
def test_who_may_lie_is_asked_about(turn):
    with pytest.raises(ValueError, match="--up"):
        find_up(WALK @ turn.T, NAMES)


@pytest.mark.parametrize("name", ["crawl", "getup_facedown", "getup_faceup", "roll"])
def test_points_of_people_on_the_floor_are_asked_about(name):
    joints, _ = keypoints_of(ROOT / f"data/motions/{name}.bvh")
    for turn in (np.eye(3), around(1, 90), around(0, 90)):
        with pytest.raises(ValueError, match="--up"):
            find_up(joints @ turn.T, NAMES)


def test_a_rest_pose_that_stands_decides_and_one_that_does_not_is_passed_over():
    lying = WALK @ around(2, 90).T
    rest = place(np.zeros((1, len(DOFS))))[0]
    assert find_up(lying, NAMES, rest).axis == "y"
    assert find_up(lying, NAMES, rest @ around(0, 90).T).axis == "z"
    doubtful = find_up(WALK @ around(0, 90).T, NAMES, rest)
    assert doubtful.axis == "y"
    assert "along z" in doubtful.doubt
    along_x = np.abs(rest) @ np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 0]])  # all bones along x
    assert find_up(WALK, NAMES, along_x).axis == "y"


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("cm", 10.0), ("m", 1000.0), ("inch", 25.4)])
def test_units_of_people_are_found(unit, mm):
    assert find_unit(WALK / mm, HUMAN)[:2] == (mm, unit)
    assert find_unit(1.15 * WALK / mm, HUMAN)[:2] == (mm, unit)


@pytest.mark.parametrize("mm", [56.444, 4.0, 300.0, 0.1])
def test_a_size_unlike_a_person_has_no_unit(mm):
    found = find_unit(WALK / mm, HUMAN)
    assert found.mm is None
    assert "unlike a person's" in found.reason


def test_noise_and_speed_are_measured():
    rng = np.random.default_rng(4)
    noisy = WALK + rng.normal(0, 20, WALK.shape)
    assert find_noise(WALK, HUMAN.bones) < 0.1
    assert find_noise(noisy, HUMAN.bones) == pytest.approx(20, rel=0.15)
    turning = poses(90, {"hip_flexion": np.degrees(np.sin(np.arange(90) / FPS * 3))})
    for points, noise in (
        (place(turning), 0.0),
        (place(turning) + rng.normal(0, 5, (90, 17, 3)), 5),
    ):
        found = find_speed(points, HUMAN.bones, FPS, noise)
        assert found == pytest.approx(3.0, rel=0.15)  # the sine's fastest, nearly
    still = place(standing()) + rng.normal(0, 20, (90, 17, 3))
    assert find_speed(still, HUMAN.bones, FPS, 20.0) < 2


def test_points_that_are_missing_leave_open_what_only_they_tell():
    def open_dofs(*missing):
        seen = np.array([[name not in missing for name in NAMES]])
        told = determined_dofs(seen, HUMAN)[0]
        return {dof for dof, known in zip(DOFS, told, strict=True) if not known}

    leg = {f"left_hip_{angle}" for angle in ("flexion", "abduction", "rotation")}
    assert open_dofs() == set()
    assert open_dofs("left_ankle") == {"left_hip_rotation", "left_knee_flexion"}
    assert open_dofs("left_knee", "left_ankle") == leg | {"left_knee_flexion"}
    assert open_dofs("nose", "head") == {"neck_yaw", "neck_pitch", "neck_roll"}
    assert open_dofs("torso", "pelvis") == set()
    assert open_dofs(*NAMES) == set(DOFS)


def test_gaps_are_filled_by_straight_lines_and_ends_are_not():
    values = np.array([[9.0], [0.0], [5.0], [7.0], [3.0], [8.0]])
    known = np.array([[False], [True], [False], [False], [True], [False]])
    found, filled = interpolate(values, known)
    np.testing.assert_allclose(found[:, 0], [9.0, 0.0, 1.0, 2.0, 3.0, 8.0])
    np.testing.assert_array_equal(filled[:, 0], [False, False, True, True, False, False])
