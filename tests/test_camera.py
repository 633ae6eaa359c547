import numpy as np
import pytest

from data.camera import (
    IMAGE_SIZE,
    Box,
    back_project,
    bounding_box,
    crop_camera,
    crop_unit_mm,
    four_cameras,
    look_at,
    project,
    square_box,
    to_camera,
    to_crop_units,
    to_millimetres,
    to_world,
)

EXACT = 1e-9  # relative, of float64
CAMERAS = four_cameras()


@pytest.fixture
def points():
    """(200, 3) in the room (mm), where people are."""
    return np.random.default_rng(0).uniform((-1500, 0, -1500), (1500, 2000, 1500), (200, 3))


@pytest.mark.parametrize("camera", CAMERAS)
def test_world_and_camera_frames_are_inverse(camera, points):
    back = to_world(to_camera(points, camera), camera)
    np.testing.assert_allclose(back, points, rtol=EXACT, atol=1e-9)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=EXACT)
    np.testing.assert_allclose(np.linalg.det(camera.rotation), 1)


@pytest.mark.parametrize("camera", CAMERAS)
def test_projection_and_back_projection_are_inverse(camera, points):
    seen = to_camera(points, camera)
    back = back_project(project(seen, camera), seen[:, 2], camera)
    np.testing.assert_allclose(back, seen, rtol=EXACT, atol=1e-9)


def test_projection_by_hand():
    camera = look_at((0, 0, 5000), (0, 0, 0), 1000, (500, 400))
    # The camera looks along -z: x = 1000 is to its right, y = 500 is up and so smaller in rows.
    seen = to_camera(np.array([[1000.0, 500.0, 0.0]]), camera)
    np.testing.assert_allclose(seen, [[1000, -500, 5000]], atol=EXACT)
    np.testing.assert_allclose(project(seen, camera), [[700, 300]])


@pytest.mark.parametrize("camera", CAMERAS)
def test_cameras_are_placed_as_in_human36m(camera):
    assert 1400 < camera.position[1] < 1700
    assert 4000 < np.linalg.norm(camera.position[[0, 2]]) < 5600
    assert 1100 < camera.focal_px < 1200


@pytest.mark.parametrize("camera", CAMERAS)
def test_every_camera_sees_the_whole_room(camera):
    angles = np.linspace(0, 2 * np.pi, 20)
    rim = 1300 * np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=1)
    points = np.concatenate([rim, rim + np.array([0, 2000, 0])])
    pixels = project(to_camera(points, camera), camera)
    assert pixels.min() > 0
    assert pixels.max() < IMAGE_SIZE - 1


def test_a_crop_shows_its_box_from_edge_to_edge():
    camera, box = CAMERAS[0], Box(210.5, 333.25, 610.5, 733.25)
    crop = crop_camera(camera, box, 224)
    corners = np.array([box[:2], box[2:]])
    seen = back_project(corners, np.full(2, 4000.0), camera)
    np.testing.assert_allclose(project(seen, crop), [[-0.5] * 2, [223.5] * 2], atol=1e-9)


def test_the_square_keeps_the_middle_and_the_longer_side():
    square = square_box(Box(10, 20, 50, 120), margin=0.05)
    np.testing.assert_allclose(square, (30 - 55, 70 - 55, 30 + 55, 70 + 55))


def test_a_box_without_size_is_rejected():
    with pytest.raises(ValueError, match=r"positive finite size.*left=3"):
        square_box(Box(3, 4, 3, 4))


def test_the_bounding_box_is_the_smallest():
    assert bounding_box([[1, 5], [3, 2], [2, 9]]) == Box(1, 2, 3, 9)


def test_crop_units_and_millimetres_are_inverse(points):
    joints = to_camera(points.reshape(10, 20, 3), CAMERAS[1])
    root, unit = joints[:, 0], crop_unit_mm(CAMERAS[1], 224, joints[:, 0, 2])
    back = to_millimetres(to_crop_units(joints, root, unit), root, unit)
    np.testing.assert_allclose(back, joints, rtol=EXACT)


def test_the_crop_unit_spans_the_crop_at_the_roots_depth():
    crop = crop_camera(CAMERAS[2], Box(300, 300, 700, 700), 224)
    ends = back_project(np.array([[-0.5, 0], [223.5, 0]]), np.full(2, 4321.0), crop)
    unit = crop_unit_mm(crop, 224, 4321.0)
    np.testing.assert_allclose(np.linalg.norm(ends[1] - ends[0]), unit, rtol=EXACT)
    # Twice the box or twice the depth double it: 400 px * 4321 mm / focal length.
    np.testing.assert_allclose(unit, 400 * 4321 / CAMERAS[2].focal_px, rtol=EXACT)
