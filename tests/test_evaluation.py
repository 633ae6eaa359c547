"""Laws of the evaluator: known errors, any order, and no sample lost, invented or doubled."""

import tracemalloc

import numpy as np
import pytest

from kinpose.evaluation import PAPER, Truth, describe, evaluate, mean_interval
from kinpose.io.predictions import read_predictions
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

# float32 rounding of joints of some 1000 mm.
TOLERANCE_MM = 1e-3


@pytest.fixture
def truth():
    """Twelve samples, of two subjects and two actions of unequal number."""
    rng = np.random.default_rng(0)
    joints = rng.normal(scale=300, size=(12, 17, 3)).astype(np.float32)
    joints[:, 0] += [0, 0, 4000]
    subjects = np.array(["S9"] * 6 + ["S11"] * 6)
    actions = np.array((["walk"] * 5 + ["sit"]) * 2)
    frames = np.tile(np.arange(6), 2)
    keys = [f"{s}/{a}/1/{f:06d}" for s, a, f in zip(subjects, actions, frames, strict=True)]
    return Truth(keys, joints, subjects, actions, frames)


def test_perfect_predictions_in_any_place_have_no_error(truth):
    found = evaluate(truth.keys, truth.joints + np.float32([100, -50, 7]), truth)
    assert found["score_mm"] < TOLERANCE_MM
    assert found["over_frames"]["pck_percent"] == 100
    assert found["over_frames"]["auc_percent"] == pytest.approx(100 * 30 / 31)
    assert found["bone_length_error_mm"] < TOLERANCE_MM
    assert max(found["mpjpe_by_joint_mm"].values()) < TOLERANCE_MM


def test_actions_weigh_alike_and_frames_weigh_alike(truth):
    joints = truth.joints.copy()
    joints[truth.actions == "sit", 1:] += np.float32([0, 0, 170])
    found = evaluate(truth.keys, joints, truth)
    error = 170 * 16 / 17  # the root has none
    assert found["score_by_action_mm"]["sit"] == pytest.approx(error, abs=TOLERANCE_MM)
    assert found["score_mm"] == pytest.approx(error / 2, abs=TOLERANCE_MM)
    assert found["over_frames"]["mpjpe_mm"] == pytest.approx(error / 6, abs=TOLERANCE_MM)
    assert found["over_actions"]["pck_percent"] == pytest.approx(100 * (1 + 1 / 17) / 2)
    assert found["frames_by_action"] == {"sit": 2, "walk": 10}
    for by_action in found["score_by_subject_mm"].values():
        assert by_action == pytest.approx({"sit": error, "walk": 0.0}, abs=TOLERANCE_MM)
    by_frames = evaluate(truth.keys, joints, truth, PAPER._replace(averaging="frames"))
    assert by_frames["score_mm"] == found["over_frames"]["mpjpe_mm"]


def test_joints_that_do_not_count_move_no_others(truth):
    """Neither by the root's place nor by the alignment."""
    few = tuple(name for name in HUMAN36M_KEYPOINTS if name not in ("nose", "head", "torso"))
    joints = truth.joints.copy()
    joints[:, [HUMAN36M_KEYPOINTS.index(x) for x in HUMAN36M_KEYPOINTS if x not in few]] += 500
    for alignment in ("root", "procrustes"):
        protocol = PAPER._replace(keypoints=few, alignment=alignment)
        assert evaluate(truth.keys, joints, truth, protocol)["score_mm"] < 0.01
        assert evaluate(truth.keys, joints, truth, PAPER)["score_mm"] > 10


def test_an_interval_has_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    drawn = rng.exponential(3.0, size=(300, 40))
    hits = [low < 3.0 < high for low, high in map(mean_interval, drawn)]
    assert 0.88 < np.mean(hits) < 0.98
    narrow, wide = (mean_interval(drawn[0], level=level) for level in (0.5, 0.95))
    assert wide[0] < narrow[0] < drawn[0].mean() < narrow[1] < wide[1]
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_an_interval_of_too_little_is_refused(values):
    with pytest.raises(ValueError, match="two or more finite numbers"):
        mean_interval(values)


@pytest.mark.parametrize("level", [-1, 0, 1, 95, np.nan])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(ValueError, match=f"level must be a share between 0 and 1, .* {level}"):
        mean_interval([1.0, 2.0], level=level)


def test_a_similarity_costs_nothing_under_procrustes(truth):
    turn = np.float32([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    found = evaluate(
        truth.keys, 1.3 * truth.joints @ turn.T, truth, PAPER._replace(alignment="procrustes")
    )
    assert found["score_mm"] < 0.01
    assert found["over_actions"]["mpjpe_mm"] > 100


def test_the_order_of_predictions_does_not_matter(truth):
    rng = np.random.default_rng(1)
    joints = truth.joints + rng.normal(size=truth.joints.shape).astype(np.float32)
    order = rng.permutation(12)
    shuffled = evaluate([truth.keys[i] for i in order], joints[order], truth)
    assert shuffled == evaluate(truth.keys, joints, truth)


def test_a_joint_of_its_own_has_its_own_error(truth):
    joints = truth.joints.copy()
    joints[:, 3] += np.float32([0, 30, 40])
    found = evaluate(truth.keys, joints, truth)["mpjpe_by_joint_mm"]
    wrong = {name for name, error in found.items() if error > TOLERANCE_MM}
    assert wrong == {"right_ankle"}
    assert found["right_ankle"] == pytest.approx(50, abs=TOLERANCE_MM)
    few = PAPER._replace(keypoints=("left_ankle", "right_ankle"))
    assert evaluate(truth.keys, joints, truth, few)["score_mm"] == pytest.approx(25, abs=0.01)


def test_bones_are_judged_by_length_spread_and_symmetry(truth):
    skeleton, rest = human_17(), np.zeros((17, 3))
    for child, parent in skeleton.bones:
        rest[child] = rest[parent] + [100 + child, 0, 0]
    names = list(HUMAN36M_KEYPOINTS)
    for name in names:
        if "left" in name:  # as long as the right
            child = names.index(name)
            parent = dict(skeleton.bones)[child]
            right = names.index(name.replace("left", "right"))
            rest[child] = rest[parent] + [100 + right, 0, 0]
    true = truth._replace(joints=np.tile(rest, (12, 1, 1)).astype(np.float32))
    same = evaluate(true.keys, true.joints, true)
    assert same["asymmetry_mm"] < TOLERANCE_MM
    longer = true.joints.copy()
    longer[:, names.index("left_ankle"), 0] += 12
    found = evaluate(true.keys, longer, true)
    assert found["bone_length_error_mm"] == pytest.approx(12 / 16, abs=TOLERANCE_MM)
    assert found["asymmetry_mm"] == pytest.approx(12 / 6, abs=TOLERANCE_MM)
    assert found["bone_length_spread_mm"] < TOLERANCE_MM
    one_subject = np.where((true.subjects == "S9")[:, None], 12, 0).ravel()
    longer = true.joints.copy()
    longer[:, names.index("left_ankle"), 0] += one_subject
    assert evaluate(true.keys, longer, true)["bone_length_spread_mm"] < TOLERANCE_MM


def test_samples_that_are_missing_unknown_or_doubled_are_named(truth):
    keys = [*truth.keys[2:], truth.keys[5], "S9/fly/1/000000"]
    with pytest.raises(
        ValueError,
        match=r"each of the 12 test samples once, but 2 missing \(S9/walk/1/000000, "
        r"S9/walk/1/000001\), 1 unknown \(S9/fly/1/000000\), 1 there more than once",
    ):
        evaluate(keys, truth.joints, truth)
    with pytest.raises(ValueError, match=r"12 missing \(S11/sit/1/000005, .* and 9 more\)"):
        evaluate([], np.zeros((0, 17, 3)), truth)


def test_a_protocol_chooses_samples_and_leaves_the_others_out(truth):
    wrong = truth.joints.copy()
    wrong[truth.frames % 2 == 1] = 1e6
    found = evaluate(truth.keys, wrong, truth, PAPER._replace(every=2, test_subjects=("S11",)))
    assert found["score_mm"] < TOLERANCE_MM
    assert found["frames_by_action"] == {"walk": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alignment": "rigid"}, "alignment must be one of"),
        ({"averaging": "joints"}, "averaging must be one of"),
        ({"keypoints": ("tail",)}, "known keypoints"),
        ({"test_subjects": ("S1",)}, "every 1th frame of S1, but the data set has none"),
    ],
)
def test_an_impossible_protocol_is_refused(change, message, truth):
    with pytest.raises(ValueError, match=message):
        evaluate(truth.keys, truth.joints, truth, PAPER._replace(**change))


def test_joints_that_are_not_finite_are_named(truth):
    joints = truth.joints.copy()
    joints[3, 5, 1] = np.nan
    with pytest.raises(ValueError, match=r"those of S9/walk/1/000003 are not"):
        evaluate(truth.keys, joints, truth)
    with pytest.raises(ValueError, match=r"joints must have shape \(12, 17, 3\)"):
        evaluate(truth.keys, joints[:, :16], truth)


def test_a_protocol_says_what_it_does():
    said = describe(PAPER._replace(every=64, alignment="procrustes"))
    for part in ("S9, S11", "every 64th frame", "PA-MPJPE of 17 joints", "depth of the root"):
        assert part in said


def test_a_file_of_predictions_is_read_in_both_forms(truth, tmp_path):
    np.savez(tmp_path / "a.npz", keys=truth.keys, joints=truth.joints)
    found = read_predictions(tmp_path / "a.npz")
    assert list(found.keys) == truth.keys
    assert found.params is None
    views = {}
    for key, joints in zip(truth.keys, truth.joints, strict=True):
        views.setdefault(key.rpartition("/")[0], []).append(joints)
    np.savez(tmp_path / "b.npz", **views)
    found = read_predictions(tmp_path / "b.npz", truth.keys)
    assert evaluate(found.keys, found.joints, truth)["score_mm"] < TOLERANCE_MM


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"poses": np.zeros((2, 17, 3))}, "one per recording and camera, such as S9/walk/1"),
        ({"S9/walk/1": np.zeros((4, 17, 3))}, r"must have shape \(5, K, 3\), a row per sample"),
        ({"keys": ["a"], "joints": np.zeros((2, 17, 3))}, r"shapes \(1,\) and \(2, 17, 3\)"),
        ({"keys": np.array([{}]), "joints": np.zeros((1, 17, 3))}, "a.npz: not a readable"),
        ({}, "has no arrays"),
    ],
)
def test_a_file_of_another_form_is_refused(arrays, message, truth, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path / "a.npz", truth.keys)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "a.npz").write_text("joints")
    with pytest.raises(ValueError, match=r"a\.npz: not a readable NumPy file"):
        read_predictions(tmp_path / "a.npz")


def test_truth_that_is_none_is_refused(truth):
    lost = truth.joints.copy()
    lost[3, 5] = np.nan
    with pytest.raises(ValueError, match="true joints must be finite, but those of"):
        evaluate(truth.keys, truth.joints, truth._replace(joints=lost))
    with pytest.raises(ValueError, match=r"true joints must have shape \(N, 17, 3\)"):
        evaluate(truth.keys, truth.joints[:, 1:], truth._replace(joints=truth.joints[:, 1:]))


def test_an_interval_of_many_values_is_drawn_some_at_a_time():
    values = np.random.default_rng(1).normal(size=3000)
    low, high = mean_interval(values)
    assert [low, high] == pytest.approx(
        values.mean() + np.array([-1.96, 1.96]) * values.std() / np.sqrt(3000), abs=2e-3
    )
    tracemalloc.start()
    mean_interval(values)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
