"""Laws of the face: how the head is turned, from nose, eyes and ears."""

import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import fit_params, forward_kinematics
from kinpose.face import FACE, FACE_MM, head_keypoints
from kinpose.layouts import LAYOUTS, pick_keypoints
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

HUMAN = human_17(directions={"neck-shoulder": (1, 0, 0)})  # detectors: the neck is between them
EXACT = 1e-9

# Another person's face than the mean one, as the ears, eyes and nose of a slim woman may be, mm.
OTHER_FACE = np.array(
    [[0, -24, 100], [30, 18, 64], [-30, 18, 64], [68, 2, -1], [-68, 2, -1]], float
)

ABOVE = (0, 100, 40)  # the ears, from the neck

TURNS = {  # yaw, pitch, roll in degrees: y first, then x, then z, as the model's neck
    "ahead": (0, 0, 0),
    "left": (30, 0, 0),
    "nod": (0, 20, 0),
    "tilt": (0, 0, 15),
    "all": (-50, -25, 20),
}


def rotation(yaw, pitch, roll):
    y, x, z = np.radians([yaw, pitch, roll])
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_y) @ about_x @ about_z


def angles(turn):
    """Yaw, pitch, roll of R = Ry Rx Rz, degrees."""
    yaw, roll = np.arctan2(turn[0, 2], turn[2, 2]), np.arctan2(turn[1, 0], turn[1, 1])
    return np.degrees([yaw, np.arcsin(-turn[1, 2]), roll])


def head_angles(nose, head, neck):
    """Of the frame that the model's nose and head span, against that of the rest pose."""
    offsets = dict(zip(HUMAN.names, np.asarray(HUMAN.offsets, float), strict=True))
    frames = []
    for first, second in ((nose - neck, head - nose), (offsets["nose"], offsets["head"])):
        across = np.cross(second, first)
        axes = np.stack([across, second, np.cross(across, second)], axis=1)
        frames.append(axes / np.linalg.norm(axes, axis=0))
    return angles(frames[0] @ frames[1].T)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize(
    ("face", "error"), [(FACE_MM, EXACT), (0.7 * FACE_MM, EXACT), (OTHER_FACE, 3.0)]
)
def test_a_turned_face_turns_nose_and_head(face, error, turn):
    neck, place = np.array([[100.0, 1400, 50]]), np.array([110.0, 1530, 60])
    points = face @ rotation(*turn).T + place  # it may turn about any point
    nose, head = head_keypoints(points[None], neck)[0]
    np.testing.assert_allclose(head_angles(nose, head, neck[0]), turn, atol=error)


@pytest.mark.parametrize(
    "there", [(0, 3, 4), (0, 1, 2), (0, 1, 4), (1, 2, 3, 4), (0, 1, 3, 4), (1, 3, 4)]
)
def test_three_points_of_a_face_are_enough(there):
    points = np.full((1, 5, 3), np.nan)
    points[0, there] = ((FACE_MM + ABOVE) @ rotation(*TURNS["all"]).T)[list(there)]
    nose, head = head_keypoints(points, np.zeros((1, 3)))[0]
    np.testing.assert_allclose(head_angles(nose, head, np.zeros(3)), TURNS["all"], atol=1e-6)


@pytest.mark.parametrize("there", [(), (0,), (3, 4), (1, 2), (0, 1, 3), (0, 2, 4)])
def test_less_of_a_face_is_no_head(there):
    points = np.full((2, 5, 3), np.nan)
    points[0] = FACE_MM + ABOVE
    points[1, list(there)] = points[0, list(there)]
    found = head_keypoints(points, np.zeros((2, 3)))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_the_head_has_the_size_of_the_face_or_the_one_given():
    rest = head_keypoints((FACE_MM + ABOVE)[None], np.zeros((1, 3)))
    offsets = dict(zip(HUMAN.names, HUMAN.offsets, strict=True))
    np.testing.assert_allclose(rest[0, 0], offsets["nose"], atol=EXACT)
    np.testing.assert_allclose(rest[0, 1], offsets["nose"] + offsets["head"], atol=EXACT)
    doubled = head_keypoints((FACE_MM + ABOVE)[None], np.zeros((1, 3)), scale=2.0)
    np.testing.assert_allclose(doubled, 2 * rest, atol=EXACT)
    metres = head_keypoints(0.001 * (FACE_MM + ABOVE)[None], np.zeros((1, 3)))
    np.testing.assert_allclose(metres, 0.001 * rest, atol=EXACT)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_exchanged_sides_and_mirrored_axes_do_not_turn_the_head_upside_down(turn):
    neck = np.array([[100.0, 1400, 50]])
    points = (FACE_MM + ABOVE) @ rotation(*turn).T + neck
    expected = head_keypoints(points[None], neck)
    exchanged = head_keypoints(points[None, [0, 2, 1, 4, 3]], neck)
    np.testing.assert_allclose(exchanged, expected, atol=1e-6)
    mirror = np.array([-1.0, 1, 1])
    mirrored = head_keypoints(points[None] * mirror, neck * mirror)
    np.testing.assert_allclose(mirrored, expected * mirror, atol=1e-6)


def test_without_a_neck_there_is_no_head():
    assert np.isnan(head_keypoints((FACE_MM + ABOVE)[None], np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize("scale", [0.0006, 1.0])
def test_the_head_has_the_size_of_the_body(scale):
    layout = LAYOUTS["coco_17"]
    points = scale * detected(np.zeros(HUMAN.num_dofs), layout)
    small = points.copy()
    small[:, :5] = points[:, [0]] + 0.6 * (points[:, :5] - points[:, [0]])
    for seen in (points, small):
        nose, head = pick_keypoints(seen, layout.order, layout, HUMAN36M_KEYPOINTS)[0, 9:11]
        assert np.linalg.norm(head - nose) == pytest.approx(115.0 * scale, rel=1e-5)


def detected(params, layout):
    """Points of a layout that see a person in a pose, the face among them."""
    joints = np.asarray(forward_kinematics(jnp.asarray(params, jnp.float32), HUMAN), float)
    points = np.full((1, len(layout.order), 3), np.nan)
    for keypoint, sources in layout.sources.items():
        if len(sources) == 1:
            points[0, layout.order.index(sources[0])] = joints[HUMAN36M_KEYPOINTS.index(keypoint)]
    at = {name: joints[HUMAN36M_KEYPOINTS.index(name)] for name in ("neck", "nose", "head")}
    turn = rotation(*head_angles(at["nose"], at["head"], at["neck"]))
    face = at["nose"] + FACE_MM @ turn.T
    points[0, [layout.order.index(name) for name in FACE]] = face
    return points


@pytest.mark.parametrize("name", ["coco_17", "mediapipe_33"])
def test_a_fit_finds_the_angles_of_the_neck(name):
    layout = LAYOUTS[name]
    params = np.zeros((len(TURNS), HUMAN.num_dofs))
    neck = [HUMAN.dof_names.index(f"neck_{axis}") for axis in ("yaw", "pitch", "roll")]
    params[:, neck] = np.radians(list(TURNS.values()))
    params[:, HUMAN.dof_names.index("spine_yaw")] = 0.3
    points = np.concatenate([detected(row, layout) for row in params])
    joints = pick_keypoints(points, layout.order, layout, HUMAN36M_KEYPOINTS)
    fit = fit_params(jnp.asarray(joints, jnp.float32), HUMAN)
    found = np.degrees(np.asarray(fit.params)[:, neck])
    np.testing.assert_allclose(found, list(TURNS.values()), atol=0.1)
