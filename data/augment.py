"""Augmentation: other pictures of the same people, with truth that stays exact.

A mirrored, turned or enlarged crop is what another camera sees: the mirrored person (left
and right joints exchanged), a camera that is rolled about its optical axis, a longer focal
length. So joints in the camera's frame are mirrored or turned about the axis and nothing else,
and the crop's focal length and centre follow such that joints still project to their pixels.

With p a pixel, m the middle of the crop, f and c focal length and centre, J a joint, R the
turn of x towards y, and s the enlargement:

    p' = m + s R (p - m)    J' = R J    f' = s f    c' = m + s R (c - m)

Shapes: B batch, S rows and columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.pipeline import Samples, in_threads
from kinpose.skeletons import HUMAN36M_KEYPOINTS

_OTHER_SIDE = {"left": "right", "right": "left"}
MIRRORED = tuple(
    HUMAN36M_KEYPOINTS.index("_".join(_OTHER_SIDE.get(word, word) for word in name.split("_")))
    for name in HUMAN36M_KEYPOINTS
)
"""For each of the 17 joints the one on the other side, or itself."""


class View(NamedTuple):
    """Crops, what they show, and the cameras that see them.

    Attributes:
      images: (B, S, S, 3) uint8.
      joints: (B, 17, 3) float32 in the camera's frame (mm).
      focal_px: (B,) float32.
      center_px: (B, 2) float32.
    """

    images: np.ndarray
    joints: np.ndarray
    focal_px: np.ndarray
    center_px: np.ndarray


class Augmentation(NamedTuple):
    """How much views are changed; not at all by default, as in the paper.

    Attributes:
      flip: the part that is mirrored.
      turn_deg: turned by up to this angle, either way.
      zoom: enlarged or made smaller by up to this factor, 1 or more.
      color: the most by which brightness and each colour are changed, as a part.
    """

    flip: float = 0.0
    turn_deg: float = 0.0
    zoom: float = 1.0
    color: float = 0.0


def view_of(samples: Samples, index: Sequence[int]) -> View:
    """The samples of some indices (B,), as they are."""
    index = np.asarray(index)
    columns = (x[index] for x in (samples.joints, samples.focal_px, samples.center_px))
    return View(samples.images(index), *columns)


def augment(
    view: View, index: Sequence[int], augmentation: Augmentation, *, seed: int, step: int
) -> View:
    """Changes each view at random.

    Args:
      view: what is changed.
      index: (B,) of the samples.
      augmentation: how much.
      seed: of the run, at least 0.
      step: of the training. The change of a sample depends on seed, step and index alone.

    Returns:
      New views.

    Raises:
      ValueError: for an augmentation out of range.
    """
    _check(augmentation)
    if augmentation == Augmentation():
        return view
    rngs = [np.random.default_rng((seed, step, int(i))) for i in index]
    draws = np.array([rng.uniform(-1, 1, 7) for rng in rngs], np.float32).reshape(-1, 7)
    flips, turns, zooms, colors = draws[:, 0], draws[:, 1], draws[:, 2], draws[:, 3:]
    chosen = View(*(x.copy() for x in view))
    is_flipped = (flips + 1) / 2 < augmentation.flip
    for mine, mirrored in zip(chosen, mirror(View(*(x[is_flipped] for x in view))), strict=True):
        mine[is_flipped] = mirrored
    angle = np.radians(augmentation.turn_deg) * turns
    turned = turn_and_zoom(chosen, angle, np.float32(augmentation.zoom) ** zooms)
    gains = (1 + augmentation.color * colors[:, :1]) * (1 + augmentation.color * colors[:, 1:])
    return turned._replace(images=np.stack(in_threads(_colored, turned.images, gains)))


def mirror(view: View) -> View:
    """Exchanges left and right: of pictures and joints; its own inverse."""
    last = view.images.shape[2] - 1
    center = np.stack([last - view.center_px[:, 0], view.center_px[:, 1]], axis=-1)
    joints = view.joints[:, list(MIRRORED)] * np.float32([-1, 1, 1])
    return View(view.images[:, :, ::-1], joints, view.focal_px, center)


def turn_and_zoom(view: View, angle_rad: np.ndarray, zoom: np.ndarray) -> View:
    """Turns and enlarges crops about their middle; what comes from outside is black.

    Args:
      view: the crops.
      angle_rad: (B,) from x towards y, that is clockwise.
      zoom: (B,) factors, positive.

    Returns:
      The new crops, of the same size.
    """
    sin, cos = (f(np.asarray(angle_rad, np.float32)) for f in (np.sin, np.cos))
    zoom = np.asarray(zoom, np.float32)
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)  # (B, 2, 2)
    middle = np.float32((view.images.shape[1] - 1) / 2)
    center = middle + zoom[:, None] * np.einsum("bij,bj->bi", turn, view.center_px - middle)
    across = np.einsum("bij,bkj->bki", turn, view.joints[..., :2])
    joints = np.concatenate([across, view.joints[..., 2:]], axis=-1)
    backwards = turn.swapaxes(1, 2) / zoom[:, None, None]
    images = np.stack(in_threads(_warped, view.images, backwards))
    return View(images, joints, zoom * view.focal_px, center)


def _warped(image: np.ndarray, backwards: np.ndarray) -> np.ndarray:
    """(S, S, 3) an image under the linear map about its middle whose inverse (2, 2) is given."""
    if (backwards == np.eye(2)).all():
        return image
    half = len(image) / 2  # Pillow's pixels are squares from 0 to S
    rows = np.column_stack([backwards, half - backwards @ (half, half)])
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(image)).transform(
            image.shape[:2], Image.Transform.AFFINE, rows.ravel(), Image.Resampling.BILINEAR
        )
    )


def _colored(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """(S, S, 3) with its three colours multiplied by `gains`, by a table of the 256 values."""
    if (gains == 1).all():
        return image
    table = np.clip(np.arange(256) * gains[:, None] + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(image).point(table.ravel().tolist()))


def _check(augmentation: Augmentation) -> None:
    flip, turn_deg, zoom, color = augmentation
    if not (0 <= flip <= 1 and 0 <= turn_deg <= 180 and 1 <= zoom <= 10 and 0 <= color < 1):
        raise ValueError(
            "augmentation needs flip from 0 to 1, turn_deg from 0 to 180, zoom from 1 to 10 and "
            f"color from 0 to below 1, but got {augmentation}."
        )
