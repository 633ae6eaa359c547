"""Pictures of people with exact joints: seven subjects, recordings, four cameras.

    subject = load_subjects()["S1"]
    motion = read_motion("data/motions/walk.bvh")
    rotations, root = place_in_room(*retarget(motion, subject.body))
    photo = photograph(subject, rotations[0], root[0], four_cameras()[0], seed=0)

The subjects bear the names of Human3.6M's, as they play their parts in its protocol; they are
not these people. Everything is a function of its arguments: equal seeds, equal bytes.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from data.body import BODY_FILE, Body, PosedBody, load_bodies, pose_body, rest_joints
from data.camera import (
    Box,
    Camera,
    bounding_box,
    crop_camera,
    project,
    square_box,
    to_camera,
)
from data.clothes import dress
from data.render import render
from data.scenery import draw_background, draw_light
from kinpose.metrics import bone_lengths
from kinpose.skeleton import Skeleton
from kinpose.skeletons import HUMAN36M_DIRECTIONS, HUMAN36M_KEYPOINTS, human_17

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")

_BODIES = {"S1": 0, "S5": 1, "S6": 4, "S7": 5, "S8": 8, "S9": 2, "S11": 3}
_ROOM_MM = 1000.0
_BONES = np.array(human_17().bones).T
_WARDROBE = 227  # a seed that gives the seven different clothes, skins and hair


class Subject(NamedTuple):
    """A person with clothes.

    Attributes:
      body: dressed, see `data.clothes`.
      colors: (V, 3) float32 of the vertices, from 0 to 1.
    """

    body: Body
    colors: np.ndarray


class Photo(NamedTuple):
    """A picture of a person, cropped to them.

    Attributes:
      image: (size, size, 3) uint8.
      cover: (size, size) float32, the part of each pixel that the person covers.
      joints: (17, 3) float32 in the camera's frame (mm), as `HUMAN36M_KEYPOINTS`.
      box: around the person in the whole image (px), the "known bounding box".
      camera: of the crop; `project(joints, camera)` gives the joints' pixels.
    """

    image: np.ndarray
    cover: np.ndarray
    joints: np.ndarray
    box: Box
    camera: Camera


def load_subjects(path: str | os.PathLike = BODY_FILE) -> dict[str, Subject]:
    """The seven subjects.

    Args:
      path: the file of bodies.

    Returns:
      Name -> subject, `TRAIN_SUBJECTS` before `TEST_SUBJECTS`.

    Raises:
      ValueError: for an unusable file, see `data.body.load_bodies`.
    """
    bodies = load_bodies(path)
    if len(bodies) <= max(_BODIES.values()):
        raise ValueError(
            f"{os.fspath(path)}: expected {max(_BODIES.values()) + 1} bodies or more, but it "
            f"has {len(bodies)}."
        )
    return {
        name: Subject(*dress(np.random.default_rng((_WARDROBE, i)), bodies[i]))
        for name, i in _BODIES.items()
    }


def subject_scales(subjects: dict[str, Subject]) -> dict[str, float]:
    """Each subject's sum of bone lengths over the mean sum (Sec. 4.2).

    Args:
      subjects: from `load_subjects`.

    Returns:
      Name -> scale, around 1.
    """
    joints = jnp.stack([rest_joints(subject.body) for subject in subjects.values()])
    sums = np.asarray(bone_lengths(joints, human_17()), np.float64).sum(axis=-1)
    return dict(zip(subjects, (sums / sums.mean()).tolist(), strict=True))


def relative_scale(body: Body, subjects: dict[str, Subject]) -> float:
    """A body's sum of bone lengths over the mean sum of the subjects."""
    child, parent = _BONES
    bodies = [body, *(subject.body for subject in subjects.values())]
    joints = np.stack([rest_joints(body) for body in bodies]).astype(np.float64)
    sums = np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1).sum(axis=-1)
    return float(sums[0] / sums[1:].mean())


def mean_skeleton(subjects: dict[str, Subject]) -> Skeleton:
    """The kinematic model's human with the subjects' mean bones, left = right.

    Lengths, and directions of the bones that no angle turns; the bodies rest upright, arms hanging.

    Args:
      subjects: from `load_subjects`.

    Returns:
      `kinpose.skeletons.human_17` with these lengths (mm) and directions.
    """
    skeleton = human_17()
    joints = jnp.stack([rest_joints(subject.body) for subject in subjects.values()])
    means = np.asarray(bone_lengths(joints, skeleton), np.float64).mean(axis=0)
    rest = np.asarray(joints, np.float64).mean(axis=0)
    measured, directions = {}, {}
    for (child, parent), mean in zip(skeleton.bones, means, strict=True):
        bone = "-".join(HUMAN36M_KEYPOINTS[i].split("_")[-1] for i in (parent, child))
        measured.setdefault(bone, []).append(mean)
        if bone in HUMAN36M_DIRECTIONS and "right" not in HUMAN36M_KEYPOINTS[child]:
            directions[bone] = rest[child] - rest[parent]
    return human_17({bone: float(np.mean(both)) for bone, both in measured.items()}, directions)


def place_in_room(rotations, root, *, yaw_rad: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Turns a motion about the vertical and keeps it in the middle of the room.

    The middle of the path comes to the room's middle; who would go further than a metre from
    there stays at a metre, so that all cameras see all of them from some way off.

    Args:
      rotations: (T, S, 3, 3) of segments, see `data.retarget.retarget`.
      root: (T, 3) of the pelvis (mm).
      yaw_rad: angle about the vertical, positive to the person's left.

    Returns:
      The rotations and the root's places in the room of `data.camera.four_cameras`.
    """
    sin, cos = np.sin(yaw_rad), np.cos(yaw_rad)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], np.float32)
    root = root @ turn.T
    middle = (root.min(axis=0) + root.max(axis=0)) / 2
    flat = (root - middle) * np.float32([1, 0, 1])
    away = np.linalg.norm(flat, axis=1, keepdims=True)
    inside = flat * np.minimum(1, _ROOM_MM / np.maximum(away, 1)).astype(np.float32)
    return turn @ rotations, inside + root * np.float32([0, 1, 0])


def photograph(
    subject: Subject,
    rotations: np.ndarray,
    root: np.ndarray,
    camera: Camera,
    *,
    size: int = 224,
    seed: int | Sequence[int] = 0,
) -> Photo:
    """Poses a subject and takes a picture, cropped to the subject.

    The crop is the square around the person's box with a margin of 5 %: what the box has not is
    padded by more of the surroundings.

    Args:
      subject: who.
      rotations: (S, 3, 3) of the segments in the world.
      root: (3,) of the pelvis in the world (mm).
      camera: of the whole image; the person is in front of it.
      size: rows and columns of the crop (px).
      seed: of background and light, one or several numbers that are not negative.

    Returns:
      The photo.

    Raises:
      ValueError: when a part of the person is not in front of the camera, or size < 1.
    """
    if size < 1:
        raise ValueError(f"a photo needs a positive size, but got {size}.")
    rng = np.random.default_rng(seed)
    light, background = draw_light(rng), draw_background(rng, size)
    return take_photo(subject, pose_body(subject.body, rotations, root), camera, light, background)


def take_photo(subject: Subject, posed: PosedBody, camera: Camera, light, background) -> Photo:
    """Takes a picture of a posed subject, cropped as by `photograph`.

    Args:
      subject: who.
      posed: the subject's body, in the world.
      camera: of the whole image; the person is in front of it.
      light: (3,) towards the lamp, in the camera's frame; its length is the lamp's strength.
      background: (size, size, 3) float32 from 0 to 1, of the crop.

    Returns:
      The photo.

    Raises:
      ValueError: when a part of the person is not in front of the camera.
    """
    vertices = to_camera(posed.vertices, camera)
    if not vertices[:, 2].min() > 0:
        raise ValueError(
            "a photo needs a person in front of the camera, but got depths from "
            f"{vertices[:, 2].min():g} mm on."
        )
    box = bounding_box(project(vertices, camera))
    crop = crop_camera(camera, square_box(box), len(background))
    normals = posed.normals @ camera.rotation.T.astype(np.float32)
    faces = subject.body.faces
    image, cover = render(vertices, normals, subject.colors, faces, crop, background, light)
    return Photo(image, cover, to_camera(posed.joints, camera), box, crop)
