"""Laws of the layouts: which points stand for which keypoints."""

import json
import re

import numpy as np
import pytest

from kinpose import forward_kinematics
from kinpose.io.points import load_points
from kinpose.layouts import (
    DISPLAY_NAMES,
    LAYOUTS,
    Layout,
    check_proportions,
    find_layout,
    load_layout,
    pick_confidence,
    pick_keypoints,
)
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17
from tests.conftest import ROOT

POINTS = np.arange(24.0).reshape(2, 4, 3)
HUMAN = human_17()
RNG = np.random.default_rng(0)
POSES = np.stack(
    [
        forward_kinematics(params, HUMAN)
        for params in RNG.normal(0, 0.3, (5, HUMAN.num_dofs)).astype(np.float32)
    ]
)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_names_keypoints_of_the_human(name):
    assert set(LAYOUTS[name].sources) <= set(HUMAN36M_KEYPOINTS)


@pytest.mark.parametrize(
    ("name", "count"), [("human36m_17", 17), ("coco_17", 17), ("mediapipe_33", 33)]
)
def test_a_layout_of_arrays_names_every_point_once(name, count):
    layout = LAYOUTS[name]
    assert len(set(layout.order)) == len(layout.order) == count
    assert {p for points in layout.sources.values() for p in points} <= set(layout.order)
    assert set(layout.face) <= set(layout.order)


def test_mediapipe_landmarks_have_their_published_numbers():
    order = LAYOUTS["mediapipe_33"].order
    numbers = {"nose": 0, "left_ear": 7, "left_shoulder": 11, "right_wrist": 16, "left_hip": 23}
    assert {name: order.index(name) for name in numbers} == numbers
    assert order.index("right_foot_index") == 32


def test_coco_keypoints_have_their_published_numbers():
    order = LAYOUTS["coco_17"].order
    numbers = {"nose": 0, "right_ear": 4, "left_shoulder": 5, "right_hip": 12, "right_ankle": 16}
    assert {name: order.index(name) for name in numbers} == numbers


def test_a_keypoint_is_the_mean_of_its_points_and_missing_ones_are_nan():
    layout = Layout({"b": ("p", "q"), "a": ("s",)})
    picked = pick_keypoints(POINTS, "pqrs", layout, ("a", "b", "c"))
    np.testing.assert_array_equal(picked[:, 0], POINTS[:, 3])
    np.testing.assert_array_equal(picked[:, 1], POINTS[:, :2].mean(axis=1))
    assert np.isnan(picked[:, 2]).all()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"x": ("p",)}, r"keypoints \['x'\].*\['a', 'b'\]"),
        ({"a": ("z",)}, r"points \['z'\].*\['p', 'q', 'r', 's'\]"),
        ({}, "layout names"),
    ],
)
def test_names_that_do_not_exist_are_refused(sources, message):
    with pytest.raises(ValueError, match=message):
        pick_keypoints(POINTS, "pqrs", Layout(sources), ("a", "b"))


def test_a_layout_is_found_by_its_names():
    names = [p for points in LAYOUTS["cmu"].sources.values() for p in points]
    assert find_layout([*names, "more"]) == "cmu"
    with pytest.raises(ValueError, match=r"no known layout.*'one'"):
        find_layout(["one"])


def all_names(layout):
    return list(dict.fromkeys([*(p for ps in layout.sources.values() for p in ps), *layout.face]))


def spaced(name):
    """LeftLeg as left_leg, left_hip as Left Hip."""
    if "_" in name:
        return name.replace("_", " ").title()
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize(
    "spell",
    [
        str,
        str.upper,
        str.lower,
        "mixamorig:{}".format,
        "rig|skel:{}".format,
        "Character1_{}".format,
        "mixamorig{}".format,
        lambda name: f"Bip01 {name.upper()}",
        spaced,
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_case_prefix_and_punctuation_of_names_do_not_matter(layout, spell):
    if layout == "mediapipe_33":
        return  # has the names of coco_17, which is found first and means the same points
    names = [*map(spell, all_names(LAYOUTS[layout])), "unrelated"]
    assert find_layout(names) == layout
    points = RNG.normal(size=(2, len(names), 3))
    picked = pick_keypoints(points, names, LAYOUTS[layout], HUMAN36M_KEYPOINTS)
    exact = [*all_names(LAYOUTS[layout]), "unrelated"]
    expected = pick_keypoints(points, exact, LAYOUTS[layout], HUMAN36M_KEYPOINTS)
    np.testing.assert_array_equal(picked, expected)


def test_of_two_names_alike_the_exact_one_is_meant():
    layout = Layout({"a": ("Leg",)})
    for names, index in ((["a:Leg", "Leg", "leg"], 1), (["leg", "x", "y:Arm"], 0)):
        picked = pick_keypoints(POINTS[:, : len(names)], names, layout, ("a",))
        np.testing.assert_array_equal(picked[:, 0], POINTS[:, index])
    with pytest.raises(ValueError, match=r"points \['Leg'\].*\['a:Leg', 'b:Leg'\]"):
        pick_keypoints(POINTS[:, :2], ["a:Leg", "b:Leg"], layout, ("a",))


def test_a_prefix_is_that_of_all_points():
    layout = Layout({"a": ("arm",), "b": ("leg",)})
    with pytest.raises(ValueError, match=r"points \['(arm|leg)'\]"):
        pick_keypoints(POINTS[:, :2], ["forearm", "leg"], layout, ("a", "b"))


def test_confidence_of_a_keypoint_is_the_least_of_its_points():
    layout = Layout({"b": ("p", "q"), "a": ("s",)})
    confidence = np.array([[0.5, 0.25, 1, 0.75], [1, 1, 0, 0]])
    picked = pick_confidence(confidence, "pqrs", layout, ("a", "b", "c"))
    np.testing.assert_array_equal(picked, [[0.75, 0.25, 0], [0, 1, 0]])


def test_confidence_of_the_head_is_the_least_of_the_points_of_the_face_that_are_there():
    layout = LAYOUTS["coco_17"]
    confidence = np.full((2, 17), 0.9)
    confidence[0, [layout.order.index("left_eye"), layout.order.index("nose")]] = 0, 0.5
    confidence[1, :5] = 0
    picked = pick_confidence(confidence, layout.order, layout, HUMAN36M_KEYPOINTS)
    at = [HUMAN36M_KEYPOINTS.index(name) for name in ("nose", "head", "neck", "torso")]
    np.testing.assert_array_equal(picked[:, at], [[0.5, 0.5, 0.9, 0], [0, 0, 0.9, 0]])


@pytest.mark.parametrize("scale", [0.001, 1.0, 0.6])
def test_a_person_has_the_proportions_of_one(scale):
    noisy = scale * (POSES + RNG.normal(0, 30, POSES.shape))
    noisy[0, 3] = np.nan
    assert check_proportions(noisy, HUMAN36M_KEYPOINTS) == []


@pytest.mark.parametrize("path", sorted((ROOT / "data" / "motions").glob("*a*.bvh")), ids=str)
def test_own_recordings_have_the_proportions_of_a_person(path):
    points = load_points(path)
    assert find_layout(points.names, points.positions) == "humanoid3d"


def test_clips_of_people_have_the_proportions_of_people(cmu_dir):
    for path in sorted(cmu_dir.glob("*.bvh"))[::5]:
        points = load_points(path)
        assert find_layout(points.names, points.positions) in ("cmu", "cgspeed"), path.name


def test_points_in_another_order_have_not_the_proportions_of_a_person():
    order = LAYOUTS["coco_17"].order
    wrong = pick_keypoints(POSES, order, LAYOUTS["coco_17"], HUMAN36M_KEYPOINTS)
    assert check_proportions(wrong, HUMAN36M_KEYPOINTS)
    points = np.zeros((len(POSES), 17, 3)) + POSES[:, [9]]  # a face is small
    for keypoint, (source, *more) in LAYOUTS["coco_17"].sources.items():
        if not more:
            points[:, order.index(source)] = POSES[:, HUMAN36M_KEYPOINTS.index(keypoint)]
    right = pick_keypoints(points, order, LAYOUTS["coco_17"], HUMAN36M_KEYPOINTS)
    assert check_proportions(right, HUMAN36M_KEYPOINTS) == []
    assert check_proportions(points, HUMAN36M_KEYPOINTS)


def test_what_is_unlike_a_person_is_said_in_numbers():
    long = POSES.copy()
    knee, ankle = (HUMAN36M_KEYPOINTS.index(f"left_{name}") for name in ("knee", "ankle"))
    long[:, ankle] += 2 * (long[:, ankle] - long[:, knee])
    faults = check_proportions(long, HUMAN36M_KEYPOINTS)
    assert faults[0] == "left thigh / left shank is 0.34, of people 0.6 to 1.7"
    assert len(faults) == 2
    assert check_proportions(np.zeros_like(POSES), HUMAN36M_KEYPOINTS)
    assert check_proportions(np.full_like(POSES, np.nan), HUMAN36M_KEYPOINTS) == []


def test_a_body_with_the_names_but_not_the_shape_of_a_person_is_refused():
    names = list(HUMAN36M_KEYPOINTS)
    assert find_layout(names, POSES) == "human36m_17"
    with pytest.raises(ValueError, match=r"human36m_17, but .* not a person's: .*thigh"):
        find_layout(names, RNG.permutation(POSES, axis=1))


def test_the_nose_within_the_head_is_called_by_what_it_is():
    assert set(DISPLAY_NAMES) <= set(HUMAN36M_KEYPOINTS)
    assert "skull" in DISPLAY_NAMES["nose"]


def test_a_layout_file_says_what_a_layout_says(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"head": "top", "pelvis": ["l", "r"], "order": ["l", "r", "top"]}))
    assert load_layout(path) == Layout({"head": ("top",), "pelvis": ("l", "r")}, ("l", "r", "top"))


def test_a_layout_file_may_name_a_face(tmp_path):
    face = ("n", "le", "re", "la", "ra")
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"neck": "c", "face": face}))
    assert load_layout(path) == Layout({"neck": ("c",)}, (), face)
    points = RNG.normal(size=(3, 6, 3))
    picked = pick_keypoints(points, ["c", *face], load_layout(path), HUMAN36M_KEYPOINTS)
    seen = {HUMAN36M_KEYPOINTS[k] for k in np.flatnonzero(np.isfinite(picked).all((0, 2)))}
    assert seen == {"neck", "nose", "head"}
    path.write_text(json.dumps({"neck": "c", "face": face[:4]}))
    with pytest.raises(ValueError, match=r"map\.json: a face is.*\('n', 'le', 're', 'la'\)"):
        load_layout(path)


@pytest.mark.parametrize("sources", [{"head": ("c",), "neck": ("c",)}, {"pelvis": ("c",)}])
def test_a_face_stands_on_a_neck_and_is_the_only_head(sources):
    face = ("n", "le", "re", "la", "ra")
    layout = Layout(sources, (), face)
    with pytest.raises(ValueError, match="needs 'neck' and leaves out 'nose' and 'head'"):
        pick_keypoints(np.zeros((1, 6, 3)), ["c", *face], layout, HUMAN36M_KEYPOINTS)


@pytest.mark.parametrize("text", ["", "{", "[3]", '{"a": 1}', '{"a": [1]}', "3"])
def test_a_broken_layout_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"map\.json"):
        load_layout(path)
