"""Pinhole cameras, crops of their images, and the units of a crop.

Conventions: the world has y up, in mm. A camera's frame has x to the right, y down and z
forward, in mm. Pixel (row i, column j) has its centre at (x, y) = (j, i); y points down.

A crop of an image, enlarged to any size, is what another camera sees: one with another focal
length and centre, at the same place and turned the same way. So a crop is rendered at once, and
joints in a camera's frame are the same for the image and for all its crops.

Shapes: ... any, N points.
"""

import math
from typing import NamedTuple

import numpy as np

IMAGE_SIZE = 1000
"""Rows and columns of Human3.6M's images, about (px)."""


class Camera(NamedTuple):
    """A pinhole camera with square pixels and without distortion.

    Attributes:
      rotation: (3, 3) from the world to the camera's frame; rows point right, down, forward.
      position: (3,) in the world (mm).
      focal_px: focal length (px).
      center_px: (2,) where the optical axis meets the image, x before y (px).
    """

    rotation: np.ndarray
    position: np.ndarray
    focal_px: float
    center_px: np.ndarray


class Box(NamedTuple):
    """A rectangle in an image, along its axes (px).

    Attributes:
      left: smallest x.
      top: smallest y.
      right: largest x.
      bottom: largest y.
    """

    left: float
    top: float
    right: float
    bottom: float


_PLACES_MM = ((1800, 1550, 4900), (1750, 1600, -5000), (-1850, 1500, 5100), (-1800, 1550, -3800))
_AIM_MM = (0.0, 950.0, 0.0)
_FOCAL_PX = 1146.0


def four_cameras() -> tuple[Camera, ...]:
    """Four cameras placed as in Human3.6M's room: two in front of, two behind its middle.

    Rounded by us: 1.5 to 1.6 m above the floor, 4.2 to 5.4 m from the middle, at the corners of an
    oblong room, with a field of view of 47 degrees (Ionescu et al., 2014).

    Returns:
      The cameras; the room's middle is the world's origin, the floor is y = 0, x and z are
      the room's shorter and longer side.
    """
    center = np.full(2, (IMAGE_SIZE - 1) / 2)
    return tuple(look_at(place, _AIM_MM, _FOCAL_PX, center) for place in _PLACES_MM)


def look_at(position, target, focal_px: float, center_px) -> Camera:
    """An upright camera.

    Args:
      position: (3,) where it is (mm).
      target: (3,) what it looks at (mm); not straight above or below it.
      focal_px: focal length (px).
      center_px: (2,) where the target appears (px).

    Returns:
      The camera.
    """
    position = np.asarray(position, np.float64)
    forward = np.asarray(target, np.float64) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera(rotation, position, float(focal_px), np.asarray(center_px, np.float64))


def draw_camera(rng: np.random.Generator, target) -> Camera:
    """A camera anywhere around somebody: low or high, near or far, wide or long, a little askew.

    2.2 to 9 m away, 0.2 to 3.5 m above the floor, with a field of view of 24 to 69 degrees for
    the longer side of `IMAGE_SIZE`, rolled by some 6 degrees, aimed at within 0.4 m of the target.

    Args:
      rng: where the randomness comes from.
      target: (3,) whom it sees (mm), the floor is y = 0.

    Returns:
      The camera.
    """
    target, around = np.asarray(target, np.float64), rng.uniform(-math.pi, math.pi)
    away = 2200 * (9000 / 2200) ** rng.uniform()
    height = rng.triangular(200, 1500, 3500)
    place = target + away * np.array([math.sin(around), 0, math.cos(around)])
    place[1] = np.clip(height, target[1] - away, target[1] + away)
    focal_px = 728 * (2352 / 728) ** rng.uniform()
    aim = target + rng.uniform(-400, 400, 3)
    camera = look_at(place, aim, focal_px, np.full(2, (IMAGE_SIZE - 1) / 2))
    return roll_camera(camera, rng.normal(0, math.radians(6)))


def roll_camera(camera: Camera, angle_rad: float) -> Camera:
    """The camera, turned about its optical axis: what it sees turns clockwise."""
    sin, cos = math.sin(angle_rad), math.cos(angle_rad)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return camera._replace(rotation=turn @ camera.rotation)


def to_camera(points, camera: Camera) -> np.ndarray:
    """From the world to the camera's frame.

    Args:
      points: (..., 3) in the world (mm).
      camera: the camera.

    Returns:
      (..., 3) in the camera's frame (mm), in the dtype of `points`.
    """
    points = np.asarray(points)
    rotation, position = (np.asarray(x, points.dtype) for x in camera[:2])
    return (points - position) @ rotation.T


def to_world(points, camera: Camera) -> np.ndarray:
    """From the camera's frame to the world: the inverse of `to_camera`."""
    points = np.asarray(points)
    rotation, position = (np.asarray(x, points.dtype) for x in camera[:2])
    return points @ rotation + position


def project(points, camera: Camera) -> np.ndarray:
    """Where points appear in the image.

    Args:
      points: (..., 3) in the camera's frame (mm), in front of it (z > 0).
      camera: the camera.

    Returns:
      (..., 2) x and y (px), in the dtype of `points`.
    """
    points = np.asarray(points)
    center = np.asarray(camera.center_px, points.dtype)
    return points[..., :2] / points[..., 2:] * points.dtype.type(camera.focal_px) + center


def back_project(pixels, depth_mm, camera: Camera) -> np.ndarray:
    """The points of a given depth that appear at given pixels: the inverse of `project`.

    Args:
      pixels: (..., 2) x and y (px).
      depth_mm: (...,) z in the camera's frame (mm).
      camera: the camera.

    Returns:
      (..., 3) in the camera's frame (mm).
    """
    depth = np.asarray(depth_mm)[..., None]
    across = (np.asarray(pixels) - camera.center_px) / camera.focal_px * depth
    return np.concatenate([across, depth], axis=-1)


def bounding_box(pixels) -> Box:
    """The smallest box around pixels (N, 2)."""
    low, high = np.min(pixels, axis=0), np.max(pixels, axis=0)
    return Box(*map(float, (*low, *high)))


def square_box(box: Box, *, margin: float = 0.05) -> Box:
    """The square around a box: its longer side, the shorter one padded on both ends alike.

    Args:
      box: of positive size.
      margin: what is added at each end of the longer side, as a part of it.

    Returns:
      The square, with the same middle; it may reach beyond the image.

    Raises:
      ValueError: for a box without size.
    """
    half = (0.5 + margin) * max(box.right - box.left, box.bottom - box.top)
    if not 0 < half < math.inf:
        raise ValueError(f"a box must have a positive finite size, but got {box}.")
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return Box(x - half, y - half, x + half, y + half)


def crop_camera(camera: Camera, box: Box, size: int) -> Camera:
    """The camera that sees a square box of the image as an image of its own.

    Args:
      camera: sees the whole image.
      box: a square in it (px), see `square_box`.
      size: rows and columns of the crop (px).

    Returns:
      The camera of the crop; the box's sides are the outer edges of the crop's first and last
      pixels, at -0.5 and size - 0.5.
    """
    scale = size / (box.right - box.left)
    corner = np.array([box.left, box.top])
    return camera._replace(
        focal_px=scale * camera.focal_px,
        center_px=scale * (np.asarray(camera.center_px) - corner) - 0.5,
    )


def crop_unit_mm(camera: Camera, size: int, root_depth_mm) -> np.ndarray:
    """The length that spans the crop at the root's depth: what box-normalised targets count in.

    The box's size, the root's depth and the focal length enter as box * depth / focal. Where the
    depth is not known, as at test time, a fixed one makes the same unit for all.

    Args:
      camera: of the crop.
      size: rows and columns of the crop (px).
      root_depth_mm: (...,) z of the root in the camera's frame (mm).

    Returns:
      (...,) the unit (mm).
    """
    return np.asarray(root_depth_mm) * (size / camera.focal_px)


def to_crop_units(joints, root, unit_mm) -> np.ndarray:
    """Joints as a network's targets: offsets from the root in units of the crop.

    A skeleton in the same units is `scale_skeleton(skeleton, subject_scale / unit_mm)`.

    Args:
      joints: (..., K, 3) in the camera's frame (mm).
      root: (..., 3) position of the root (mm).
      unit_mm: (...,) see `crop_unit_mm`.

    Returns:
      (..., K, 3), nearly all within -1 to 1.
    """
    return (np.asarray(joints) - np.asarray(root)[..., None, :]) / _per_pose(unit_mm)


def to_millimetres(targets, root, unit_mm) -> np.ndarray:
    """The inverse of `to_crop_units`.

    Args:
      targets: (..., K, 3) offsets from the root in units of the crop.
      root: (..., 3) position of the root (mm); zeros for root-relative joints.
      unit_mm: (...,) see `crop_unit_mm`.

    Returns:
      (..., K, 3) in the camera's frame (mm).
    """
    return np.asarray(targets) * _per_pose(unit_mm) + np.asarray(root)[..., None, :]


def _per_pose(unit_mm) -> np.ndarray:
    return np.asarray(unit_mm)[..., None, None]
