"""Where the person is in an image, and the image cut out around them."""

import math

import numpy as np
from PIL import Image

from data.camera import Box, bounding_box

FLESH = 0.05
"""What a person reaches beyond their joints on each side, in lengths of the joints' box."""


_MOST_SIDE = 8192
"""Rows and columns that are looked at for a crop (px): a picture of so many has 270 MB."""


def person_box(pixels) -> Box:
    """The box around a person whose joints are known.

    Human3.6M's 32 joints include toes, finger tips and the top of the head; what lies around
    them is taken to be `FLESH` of the longer side of their box, the same on all four sides.

    Args:
      pixels: (32, 2) joints in the image (px).

    Returns:
      The box.
    """
    box = bounding_box(pixels)
    more = FLESH * max(box.right - box.left, box.bottom - box.top)
    return Box(box.left - more, box.top - more, box.right + more, box.bottom + more)


def moved_box(box: Box, by) -> Box:
    """The box moved by x and y (px)."""
    x, y = (float(value) for value in by)
    return Box(box.left + x, box.top + y, box.right + x, box.bottom + y)


def to_crop_pixels(pixels, box: Box, size: int) -> np.ndarray:
    """Where pixels of the image lie in a crop, as `data.camera.crop_camera` would project them.

    Args:
      pixels: (..., 2) in the image (px).
      box: the square that is cropped.
      size: rows and columns of the crop.

    Returns:
      (..., 2) in the crop (px).
    """
    scale = size / (box.right - box.left)
    return scale * (np.asarray(pixels) - np.array([box.left, box.top])) - 0.5


def crop_image(image: Image.Image, box: Box, size: int) -> Image.Image:
    """Cuts a square out of an image and brings it to a size.

    Every pixel of the crop is a mean over what it covers. What lies beyond the image is black. A
    square of more than `_MOST_SIDE`, as around a panorama, is made smaller by whole pixels first,
    as most of it may be black that would fill the memory.

    Args:
      image: any.
      box: a square in it, see `data.camera.square_box`; it may reach beyond the image.
      size: rows and columns of the crop.

    Returns:
      The crop.
    """
    factor = max(1, math.ceil((box.right - box.left) / _MOST_SIDE))
    image = image.reduce(factor) if factor > 1 else image
    # Pillow counts from the corner of the first pixel, a box from its centre.
    left, top, right, bottom = ((side + 0.5) / factor for side in box)
    x, y = math.floor(left) - 1, math.floor(top) - 1
    around = image.crop((x, y, math.ceil(right) + 1, math.ceil(bottom) + 1))
    inside = (left - x, top - y, right - x, bottom - y)
    return around.resize((size, size), Image.Resampling.BILINEAR, box=inside)
