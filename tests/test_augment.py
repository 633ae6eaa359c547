"""Laws of augmentation: joints project to the pixels of the changed picture, exactly."""

import numpy as np
import pytest

from data.augment import MIRRORED, Augmentation, View, augment, mirror, turn_and_zoom
from data.camera import Camera, four_cameras, project
from data.motion import MOTION_DIR, read_motion
from data.people import load_subjects, photograph, place_in_room
from data.render import render
from data.retarget import retarget
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

SIZE = 64
PIXELS = 1e-3  # of float32 joints some metres away
ALL = Augmentation(flip=0.5, turn_deg=40, zoom=1.5, color=0.3)


@pytest.fixture(scope="module")
def view():
    """Eight pictures."""
    subjects, cameras = load_subjects(), four_cameras()
    motion = read_motion(MOTION_DIR / "kick.bvh")
    photos = []
    for i, subject in enumerate((*subjects.values(), subjects["S1"])):
        rotations, root = place_in_room(*retarget(motion, subject.body), yaw_rad=i)
        t = 5 * i
        photos.append(photograph(subject, rotations[t], root[t], cameras[i % 4], size=SIZE, seed=i))
    return View(
        np.stack([photo.image for photo in photos]),
        np.stack([photo.joints for photo in photos]),
        np.float32([photo.camera.focal_px for photo in photos]),
        np.float32([photo.camera.center_px for photo in photos]),
    )


def pixels_of(view):
    cameras = zip(view.focal_px, view.center_px, strict=True)
    return np.stack(
        [
            project(joints, Camera(None, None, float(focal), center))
            for joints, (focal, center) in zip(view.joints, cameras, strict=True)
        ]
    )


def blobs(centers):
    """(B, S, S, 3) pictures of a soft spot each, around (B, 2)."""
    grid = np.arange(SIZE)
    across, down = (
        np.exp(-((grid - centers[:, i, None]) ** 2) / 18) for i in range(2)
    )  # 3 px wide
    return np.repeat((255 * down[:, :, None] * across[:, None, :])[..., None], 3, -1).astype(
        np.uint8
    )


def centroids(images):
    weight = images[..., 0].astype(np.float64)
    total = weight.sum(axis=(1, 2))
    grid = np.arange(SIZE)
    return np.stack([weight.sum(axis=1) @ grid / total, weight.sum(axis=2) @ grid / total], axis=-1)


def test_nothing_is_changed_by_default(view):
    assert augment(view, range(8), Augmentation(), seed=0, step=0) is view


def test_mirroring_twice_changes_nothing(view):
    for before, after in zip(view, mirror(mirror(view)), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-5)


def test_mirroring_exchanges_left_and_right(view):
    names = np.array(HUMAN36M_KEYPOINTS)
    sides = {"left": "right", "right": "left"}
    for name, other in zip(names, names[list(MIRRORED)], strict=True):
        side, _, joint = name.rpartition("_")
        assert other == (f"{sides[side]}_{joint}" if side else name)
    mirrored = mirror(view)
    wanted = pixels_of(view)[:, list(MIRRORED)] * (-1, 1) + (SIZE - 1, 0)
    np.testing.assert_allclose(pixels_of(mirrored), wanted, atol=PIXELS)
    np.testing.assert_array_equal(mirrored.images[:, :, 0], view.images[:, :, -1])


def test_turning_moves_joints_about_the_middle_of_the_picture(view):
    angle, zoom = np.linspace(-3, 3, 8), np.linspace(0.5, 2, 8)
    turned = turn_and_zoom(view, angle, zoom)
    middle = (SIZE - 1) / 2
    x, y = np.moveaxis(pixels_of(view) - middle, -1, 0)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    wanted = zoom[:, None, None] * np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
    np.testing.assert_allclose(pixels_of(turned), wanted + middle, atol=5 * PIXELS)
    np.testing.assert_allclose(turned.joints[..., 2], view.joints[..., 2])


@pytest.mark.parametrize("change", ["mirror", "turn"])
def test_pictures_move_as_joints_do(view, change):
    pelvis = HUMAN36M_KEYPOINTS.index("pelvis")
    seen = view._replace(images=blobs(pixels_of(view)[:, pelvis]))
    angle, zoom = np.linspace(-3, 3, 8), np.linspace(0.7, 1.3, 8)
    moved = mirror(seen) if change == "mirror" else turn_and_zoom(seen, angle, zoom)
    np.testing.assert_allclose(centroids(moved.images), pixels_of(moved)[:, pelvis], atol=0.1)


def test_a_turned_picture_is_what_a_rolled_camera_sees():
    """Of a triangle before a black background, rendered in both ways."""
    triangle = np.float32([[-300, -200, 4000], [250, 300, 4200], [350, -350, 4100]])
    faces = np.int32([[0, 1, 2], [0, 2, 1]])
    normals, light = np.float32([[0, 0, -1]] * 3), np.float32([0, 0, -1])
    background = np.zeros((SIZE, SIZE, 3), np.float32)

    def draw(vertices, focal, center):
        camera = Camera(np.eye(3), np.zeros(3), focal, center)
        return render(
            vertices, normals, np.ones((3, 3), np.float32), faces, camera, background, light
        )

    focal, center = 200.0, np.array([40.0, 25.0])
    image, _ = draw(triangle, focal, center)
    joints = np.float32(triangle[np.arange(17) % 3])
    before = View(image[None], joints[None], np.float32([focal]), np.float32(center)[None])
    after = turn_and_zoom(before, np.array([0.6]), np.array([1.2]))
    wanted, cover = draw(after.joints[0, :3], float(after.focal_px[0]), after.center_px[0])
    around = np.lib.stride_tricks.sliding_window_view(cover, (3, 3)).reshape(62, 62, 9)
    away = (around == around[..., :1]).all(axis=-1)  # from edges, which are smoothed in two ways
    differs = np.abs(after.images[0, 1:-1, 1:-1].astype(int) - wanted[1:-1, 1:-1])[away]
    assert differs.max() < 10  # of 255, by resampling
    assert (cover[1:-1, 1:-1][away] == 1).sum() > 400


def test_bones_keep_their_lengths_and_joints_fit_their_pixels(view):
    changed = augment(view, range(8), ALL, seed=1, step=2)
    child, parent = np.array(human_17().bones).T

    def lengths(joints):
        return np.sort(np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1), axis=-1)

    np.testing.assert_allclose(lengths(changed.joints), lengths(view.joints), rtol=1e-5)
    assert changed.images.dtype == np.uint8
    assert changed.images.shape == view.images.shape


def test_a_change_depends_on_seed_step_and_index_alone(view):
    index = np.array([10, 11, 12, 13, 14, 15, 16, 17])
    whole = augment(view, index, ALL, seed=1, step=2)
    order = np.array([5, 2, 7])
    some = augment(View(*(x[order] for x in view)), index[order], ALL, seed=1, step=2)
    for a, b in zip(whole, some, strict=True):
        np.testing.assert_array_equal(a[order], b)
    for other in ({"seed": 2, "step": 2}, {"seed": 1, "step": 3}):
        assert (augment(view, index, ALL, **other).joints != whole.joints).any()


def test_colour_alone_leaves_the_geometry(view):
    changed = augment(view, range(8), Augmentation(color=0.5), seed=0, step=0)
    for before, after in zip(view[1:], changed[1:], strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-6)
    assert (changed.images != view.images).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    "wrong", [{"flip": 1.5}, {"turn_deg": -1}, {"zoom": 0.5}, {"color": 1.0}, {"zoom": np.nan}]
)
def test_an_augmentation_out_of_range_is_rejected(view, wrong):
    with pytest.raises(ValueError, match="augmentation needs flip from 0 to 1"):
        augment(view, range(8), Augmentation(**wrong), seed=0, step=0)
