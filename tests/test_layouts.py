"""Laws of the layouts: which points stand for which keypoints."""

import json

import numpy as np
import pytest

from kinpose.layouts import LAYOUTS, Layout, find_layout, load_layout, pick_keypoints
from kinpose.skeletons import HUMAN36M_KEYPOINTS

POINTS = np.arange(24.0).reshape(2, 4, 3)


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


def test_a_layout_file_says_what_a_layout_says(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"head": "top", "pelvis": ["l", "r"], "order": ["l", "r", "top"]}))
    assert load_layout(path) == Layout({"head": ("top",), "pelvis": ("l", "r")}, ("l", "r", "top"))


@pytest.mark.parametrize("text", ["", "{", "[3]", '{"a": 1}', '{"a": [1]}', "3"])
def test_a_broken_layout_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"map\.json"):
        load_layout(path)
