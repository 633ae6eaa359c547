"""Pictures of people no two of which are alike: everything is drawn anew for each.

    crowd = load_crowd(); moments = collect_moments(motions, actions)
    shot = draw_shot(crowd, moments, seed=(0, 17), size=64)

A sample has its own body, clothes, skin, hair, pose, camera, light, background and things in
front. Each of these has a stream of random numbers of its own: with other occluders, the rest of
a sample stays as it was. Everything is a function of its arguments: equal seeds, equal bytes.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.body import SHAPES_FILE, Body, load_bodies, mix_bodies, pose_body
from data.camera import draw_camera
from data.clothes import as_cloth_lies, draw_clothes
from data.people import Photo, Subject, take_photo
from data.poses import Moments, draw_pose
from data.scenery import develop, draw_any_light, draw_background, draw_occluders

_MIXED = 4  # shapes in a body: more of them come near the mean


class Crowd(NamedTuple):
    """Shapes that bodies are mixed of.

    Attributes:
      bodies: without clothes.
      smooth: the same as cloth shapes them, see `data.clothes.as_cloth_lies`.
    """

    bodies: tuple[Body, ...]
    smooth: tuple[Body, ...]


class Shot(NamedTuple):
    """A photo of somebody who is in no other.

    Attributes:
      photo: the picture, with what stands in front, and the truth.
      body: without clothes.
      recording: number of the one that the pose begins with.
      hidden: (size, size) bool, where something stands in front.
    """

    photo: Photo
    body: Body
    recording: int
    hidden: np.ndarray


def load_crowd(path: str | os.PathLike = SHAPES_FILE) -> Crowd:
    """Reads the shapes that bodies are mixed of; takes seconds.

    Args:
      path: a file of bodies.

    Returns:
      The shapes.

    Raises:
      ValueError: for an unusable file, see `data.body.load_bodies`.
    """
    bodies = load_bodies(path)
    return Crowd(bodies, tuple(map(as_cloth_lies, bodies)))


def draw_shot(crowd: Crowd, moments: Moments, *, seed: Sequence[int], size: int) -> Shot:
    """Draws a person, a pose and all around them, and takes the picture.

    Args:
      crowd: what bodies are mixed of.
      moments: what poses are taken from.
      seed: numbers that are not negative.
      size: rows and columns of the crop (px).

    Returns:
      The shot.
    """
    names = ("body", "clothes", "pose", "camera", "scene", "occluders", "sensor")
    rngs = {name: np.random.default_rng((*seed, i)) for i, name in enumerate(names)}
    body, smooth = _mix(rngs["body"], crowd)
    subject = Subject(*draw_clothes(rngs["clothes"], body, smooth))
    rotations, recording = draw_pose(rngs["pose"], moments, body)
    posed = pose_body(subject.body, rotations, np.zeros(3))
    floor = np.float32([0, posed.vertices[:, 1].min(), 0])
    posed = posed._replace(vertices=posed.vertices - floor, joints=posed.joints - floor)
    camera = draw_camera(rngs["camera"], posed.joints.mean(axis=0))
    light, background = draw_any_light(rngs["scene"]), draw_background(rngs["scene"], size)
    photo = take_photo(subject, posed, camera, light, background)
    front, hidden = draw_occluders(rngs["occluders"], size)
    photo.image[hidden] = 255 * front[hidden]
    image = develop(rngs["sensor"], photo.image)
    return Shot(photo._replace(image=image), body, recording, hidden)


def _mix(rng: np.random.Generator, crowd: Crowd) -> tuple[Body, Body]:
    """A body, and the same as cloth shapes it."""
    num = min(_MIXED, len(crowd.bodies))
    chosen, shares = rng.choice(len(crowd.bodies), num, replace=False), rng.dirichlet(np.ones(num))
    return tuple(mix_bodies([bodies[i] for i in chosen], shares) for bodies in crowd)
