"""Laws of rendered people: posing, joints in the picture, left and right, errors."""

import numpy as np
import pytest

from data.body import SEGMENTS, pose_body
from data.camera import four_cameras, project, to_camera
from data.motion import MOTION_DIR, find_motions, read_motion
from data.people import (
    TEST_SUBJECTS,
    TRAIN_SUBJECTS,
    load_subjects,
    photograph,
    place_in_room,
    subject_scales,
)
from data.retarget import retarget
from kinpose.io.points import load_points
from kinpose.layouts import LAYOUTS, find_layout, pick_keypoints
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

LIMBS = [i for i, name in enumerate(HUMAN36M_KEYPOINTS) if "_" in name]
LIMB_BONES = [(c, p) for c, p in human_17().bones if c in LIMBS and p in LIMBS]
CAMERAS = four_cameras()
LEVEL = 2e-3  # of unit vectors, by way of float32 angles and transforms
CMU_SAMPLES = ("02_05", "03_03", "05_06_cgspeed", "eval8_train_basketball_signal_1")


@pytest.fixture(scope="module")
def subjects():
    return load_subjects()


def posed_joints(subject, rotations, root, frames):
    return np.stack([pose_body(subject.body, rotations[t], root[t]).joints for t in frames])


def check_directions(path, body):
    """Upper arms, forearms, thighs, shanks point where the recording's do."""
    rotations, root = retarget(read_motion(path), body)
    frames = np.linspace(0, len(root) - 1, 12).astype(int)
    ours = np.stack([pose_body(body, rotations[t], root[t]).joints for t in frames])
    points = load_points(path)
    layout = find_layout(points.names)
    joints = pick_keypoints(points.positions, points.names, LAYOUTS[layout], HUMAN36M_KEYPOINTS)
    if layout == "humanoid3d":  # x forward, y up, z to the right: see data/motions/README.md
        joints = joints[..., [2, 1, 0]] * [-1, 1, 1]
    for child, parent in LIMB_BONES:
        bones = [x[:, child] - x[:, parent] for x in (ours, joints[frames])]
        unit = [bone / np.linalg.norm(bone, axis=1, keepdims=True) for bone in bones]
        np.testing.assert_allclose(*unit, atol=LEVEL)


@pytest.mark.parametrize("path", find_motions(), ids=lambda path: path.stem)
def test_limbs_point_where_the_recordings_do(subjects, path):
    check_directions(path, subjects["S7"].body)


@pytest.mark.parametrize("name", CMU_SAMPLES)
def test_limbs_point_where_those_of_cmu_do(subjects, cmu_dir, name):
    check_directions(cmu_dir / f"{name}.bvh", subjects["S6"].body)


def test_bones_of_a_subject_are_constant_over_all_frames(subjects):
    child, parent = np.array(human_17().bones).T
    for name, path in zip(subjects, find_motions(), strict=False):
        rotations, root = retarget(read_motion(path), subjects[name].body)
        joints = posed_joints(subjects[name], rotations, root, range(0, len(root), 5))
        lengths = np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)
        assert np.ptp(lengths, axis=0).max() < 0.01  # mm


def test_the_subjects_differ_and_their_mean_scale_is_one(subjects):
    assert tuple(subjects) == TRAIN_SUBJECTS + TEST_SUBJECTS
    scales = np.array(list(subject_scales(subjects).values()))
    np.testing.assert_allclose(scales.mean(), 1)
    assert len(np.unique(scales.round(3))) == 7
    assert 0.85 < scales.min() < scales.max() < 1.15


def test_shoulders_and_torso_are_not_those_of_the_kinematic_model(subjects):
    motion = read_motion(MOTION_DIR / "dance_b.bvh")
    rotations, root = retarget(motion, subjects["S1"].body)
    joints = posed_joints(subjects["S1"], rotations, root, range(0, len(root), 5))
    at = dict(zip(HUMAN36M_KEYPOINTS, joints.swapaxes(0, 1), strict=True))
    midpoint = (at["pelvis"] + at["neck"]) / 2
    assert np.linalg.norm(at["torso"] - midpoint, axis=-1).mean() > 10
    shoulders = (at["left_shoulder"] + at["right_shoulder"]) / 2 - at["neck"]
    upwards = (at["neck"] - at["torso"]) / np.linalg.norm(at["neck"] - at["torso"], axis=-1)[
        :, None
    ]
    assert np.ptp((shoulders * upwards).sum(axis=-1)) > 10  # they rise with the arms


def test_limb_joints_lie_on_the_silhouette_and_people_inside_the_picture(subjects):
    inside, border = [], []
    for i, path in enumerate(find_motions()):
        subject = list(subjects.values())[i % 7]
        rotations, root = place_in_room(*retarget(read_motion(path), subject.body), yaw_rad=i)
        for k, t in enumerate(np.linspace(0, len(root) - 1, 8).astype(int)):
            photo = photograph(subject, rotations[t], root[t], CAMERAS[k % 4], size=160)
            x, y = np.round(project(photo.joints[LIMBS], photo.camera)).astype(int).T
            inside += list(photo.cover[y, x] > 0)
            border.append(np.concatenate([photo.cover[[0, -1]], photo.cover[:, [0, -1]].T]).max())
    assert np.mean(inside) >= 0.99
    assert max(border) == 0


def test_right_is_left_in_the_picture_of_who_faces_the_camera(subjects):
    subject, camera = subjects["S5"], CAMERAS[0]
    rotations, root = retarget(read_motion(MOTION_DIR / "walk.bvh"), subject.body)
    yaw = np.arctan2(camera.position[0], camera.position[2])
    rotations, root = place_in_room(rotations, root, yaw_rad=yaw)
    posed = pose_body(subject.body, rotations[0], root[0])
    hand = [
        subject.body.weights[:, list(SEGMENTS).index(f"{s}_hand")] > 0.9 for s in ("left", "right")
    ]
    left, right = (project(to_camera(posed.vertices[h], camera), camera).mean(axis=0) for h in hand)
    assert left[0] > right[0]
    photo = photograph(subject, rotations[0], root[0], camera)
    x = dict(zip(HUMAN36M_KEYPOINTS, project(photo.joints, photo.camera)[:, 0], strict=True))
    for name in ("hip", "shoulder", "elbow", "wrist"):
        assert x[f"left_{name}"] > x[f"right_{name}"]
    depth = dict(zip(HUMAN36M_KEYPOINTS, photo.joints[:, 2], strict=True))
    assert depth["nose"] < depth["neck"]  # the face is on the camera's side


def test_a_photo_depends_on_its_arguments_alone(subjects):
    motion = read_motion(MOTION_DIR / "kick.bvh")

    def take(subject, seed):
        rotations, root = place_in_room(*retarget(motion, subject.body))
        return photograph(subject, rotations[9], root[9], CAMERAS[1], size=96, seed=seed)

    first, again = take(subjects["S9"], (1, 2)), take(load_subjects()["S9"], (1, 2))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.joints.tobytes() == again.joints.tobytes()
    other = take(subjects["S9"], (1, 3))
    assert (other.image != first.image).any()
    np.testing.assert_array_equal(other.cover, first.cover)


def test_people_stay_near_the_middle_of_the_room(subjects):
    motion = read_motion(MOTION_DIR / "jump.bvh")
    _, root = place_in_room(*retarget(motion, subjects["S1"].body), yaw_rad=0.3)
    assert np.linalg.norm(root[:, [0, 2]], axis=1).max() < 1000.1


def test_a_person_behind_the_camera_is_rejected(subjects):
    rotations = np.tile(np.eye(3), (len(SEGMENTS), 1, 1))
    with pytest.raises(ValueError, match="in front of the camera"):
        photograph(subjects["S1"], rotations, np.array([0.0, 1000.0, 9000.0]), CAMERAS[0])


def test_a_missing_or_empty_motion_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere: expected a directory .* does not exist"):
        find_motions(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"expected a directory .* has none"):
        find_motions(tmp_path)


@pytest.mark.parametrize("joint", ["LeftLeg", "Chest", "RightHand"])
def test_a_recording_without_a_needed_joint_is_named_with_the_joint(tmp_path, joint):
    text = (MOTION_DIR / "run.bvh").read_text().replace(f"JOINT {joint}\n", "JOINT Tail\n")
    (tmp_path / "tail.bvh").write_text(text)
    with pytest.raises(ValueError, match=rf"tail\.bvh: .*humanoid3d it lacks {joint}\."):
        read_motion(tmp_path / "tail.bvh")


def test_a_recording_without_frames_is_rejected(tmp_path):
    head, _ = (MOTION_DIR / "run.bvh").read_text().split("MOTION")
    (tmp_path / "still.bvh").write_text(head + "MOTION\nFrames: 0\nFrame Time: 0.03\n")
    with pytest.raises(ValueError, match=r"still\.bvh: expected a recording of one frame"):
        read_motion(tmp_path / "still.bvh")


def test_a_rest_pose_that_lies_is_rejected(tmp_path):
    text = (MOTION_DIR / "run.bvh").read_text()
    text = text.replace("OFFSET 0 -42.1546 0", "OFFSET 42.1546 0 0")  # thighs forward
    (tmp_path / "seated.bvh").write_text(text)
    with pytest.raises(ValueError, match=r"seated\.bvh: expected a rest pose that stands"):
        read_motion(tmp_path / "seated.bvh")
