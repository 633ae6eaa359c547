"""Laws of joint centres from markers on the skin."""

import numpy as np
import pytest

from kinpose.layouts import LAYOUTS, find_layout, pick_keypoints
from kinpose.skeletons import HUMAN36M_KEYPOINTS
from kinpose.surface import joint_centres

# The first frame of SampleData/ROM/Sample_Static.csv of cadop/pyCGM (MIT), mm, z up: a person who
# stands with the arms to the sides. Both the markers and the centres are Vicon's.
MARKERS_MM = {
    "LFHD": (175, 325, 1729),
    "RFHD": (315, 326, 1731),
    "LBHD": (194, 170, 1689),
    "RBHD": (303, 168, 1688),
    "C7": (251, 166, 1528),
    "T10": (233, 144, 1273),
    "CLAV": (251, 310, 1462),
    "STRN": (245, 363, 1297),
    "LSHO": (65, 201, 1507),
    "LELB": (-164, 271, 1284),
    "LWRA": (-233, 485, 1128),
    "LWRB": (-299, 441, 1130),
    "RSHO": (430, 221, 1497),
    "RELB": (654, 312, 1281),
    "RWRA": (699, 537, 1131),
    "RWRB": (770, 500, 1137),
    "LASI": (139, 362, 1030),
    "RASI": (354, 344, 1033),
    "LPSI": (192, 175, 1050),
    "RPSI": (277, 169, 1050),
    "LTHI": (53, 273, 723),
    "LKNE": (89, 242, 530),
    "LTIB": (60, 187, 364),
    "LANK": (73, 162, 86),
    "LHEE": (122, 139, 46),
    "LTOE": (32, 331, 42),
    "RTHI": (428, 237, 674),
    "RKNE": (418, 241, 524),
    "RTIB": (438, 185, 274),
    "RANK": (428, 189, 93),
    "RHEE": (382, 148, 50),
    "RTOE": (433, 355, 44),
}
CENTRES_MM = {  # of Plug-in Gait, which knows this person's widths and legs
    "left_hip": (179, 298, 934),
    "right_hip": (306, 288, 936),
    "left_knee": (148, 238, 526),
    "right_knee": (363, 263, 515),
    "left_ankle": (112, 176, 81),
    "right_ankle": (397, 218, 88),
    "left_shoulder": (60, 210, 1461),
    "right_shoulder": (430, 228, 1451),
    "left_elbow": (-136, 254, 1254),
    "left_wrist": (-258, 450, 1098),
    "right_wrist": (730, 505, 1103),
}
APART_MM = {"knee": 8, "ankle": 4, "elbow": 6, "shoulder": 18, "wrist": 36, "hip": 42}
"""Wrists are taken between their markers, above the joint. Hips of Davis's formula, which Plug-in
Gait has, lie lower and nearer together than those of Bell's, here as in published comparisons
with images (Leardini et al., J. Biomech. 32, 1999)."""

STANDS = {name: np.array(place, float)[None] for name, place in MARKERS_MM.items()}
LEGS = {x for x in STANDS if x[1:] in ("ASI", "PSI", "THI", "KNE", "TIB", "ANK")}


def test_centres_are_near_those_of_plug_in_gait():
    found = joint_centres(STANDS)
    for name, place in CENTRES_MM.items():
        assert np.linalg.norm(found[name][0] - place) < APART_MM[name.split("_")[1]], name


def test_a_standing_person_stands():
    found = {key: places[0] for key, places in joint_centres(STANDS).items()}
    lines = [("pelvis", "neck", 12), ("neck", "head", 12)]
    for side in ("left", "right"):
        lines += [(f"{side}_knee", f"{side}_hip", 12), (f"{side}_ankle", f"{side}_knee", 12)]
    for low, high, most_deg in lines:
        rise = found[high] - found[low]
        assert np.degrees(np.arccos(rise[2] / np.linalg.norm(rise))) < most_deg, high
    for side in ("left", "right"):
        thigh, shank = (found[f"{side}_{a}"] - found[f"{side}_{b}"] for a, b in KNEES)
        bend = np.degrees(np.arccos(thigh @ shank / np.linalg.norm(thigh) / np.linalg.norm(shank)))
        assert bend < 5
    hips = found["right_hip"] - found["left_hip"]
    assert 130 < np.linalg.norm(hips) < 200


KNEES = (("hip", "knee"), ("knee", "ankle"))


@pytest.mark.parametrize("names", [set(STANDS), LEGS], ids=["whole", "legs"])
def test_centres_go_with_the_person_at_any_size(names):
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    found = joint_centres({x: STANDS[x] for x in names})
    moved = joint_centres({x: 0.001 * STANDS[x] @ turn.T + 7 for x in names})
    for key, places in found.items():
        np.testing.assert_allclose(moved[key], 0.001 * places @ turn.T + 7, atol=1e-9)


def test_without_a_trunk_the_pelvis_tells_what_is_upright():
    found = joint_centres({x: STANDS[x] for x in LEGS})
    rise = (found["torso"] - found["pelvis"])[0]
    assert np.degrees(np.arccos(rise[2] / np.linalg.norm(rise))) < 8
    assert not {"neck", "left_elbow"} & set(found)


def test_a_straight_elbow_bends_as_it_did_when_it_was_bent():
    bent = {x: np.repeat(STANDS[x], 3, axis=0) for x in STANDS}
    shoulder, elbow = (joint_centres(STANDS)[f"left_{x}"][0] for x in ("shoulder", "elbow"))
    straight = MARKERS_MM["LELB"] + 0.8 * (MARKERS_MM["LELB"] - shoulder)
    for marker in ("LWRA", "LWRB"):
        bent[marker][1] = straight
    found = joint_centres(bent)["left_elbow"]
    np.testing.assert_allclose(found, np.tile(elbow, (3, 1)), atol=1e-6)
    never = {x: places[1:2] for x, places in bent.items()}
    assert np.isnan(joint_centres(never)["left_elbow"]).all()


def test_a_missing_marker_leaves_out_what_needs_it():
    hidden = dict(STANDS, LKNE=np.full((1, 3), np.nan))
    found = joint_centres(hidden)
    lost = {key for key, places in found.items() if np.isnan(places).any()}
    assert lost == {"left_knee", "left_ankle"}


@pytest.mark.parametrize(
    ("names", "layout"), [(set(STANDS), "plug_in_gait"), (LEGS, "plug_in_gait_legs")]
)
def test_markers_of_plug_in_gait_are_known_and_placed(names, layout):
    names = sorted(names)
    points = np.stack([STANDS[x] for x in names], axis=1)
    named = [f"Ann:{x}" for x in names]
    assert find_layout(named, points) == layout
    picked = pick_keypoints(points, named, LAYOUTS[layout], HUMAN36M_KEYPOINTS)
    for key, places in joint_centres({x: STANDS[x] for x in names}).items():
        np.testing.assert_array_equal(picked[:, HUMAN36M_KEYPOINTS.index(key)], places)
