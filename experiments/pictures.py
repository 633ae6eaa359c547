"""Pictures of people out of files, directories and videos, cropped around the person."""

import csv
import pathlib
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from data.camera import Box, square_box
from data.human36m.crop import crop_image
from experiments.progress import show_progress

_MOST_PX = 1e6
"""How far from a picture's corner a side may be."""

_VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class Pictures(NamedTuple):
    """Pictures to read one after the other.

    Attributes:
      images: names and `PIL.Image`s.
      num: how many there are; of a video as it says itself.
      fps: frames per second of a video; None for pictures.
    """

    images: Iterable[tuple[str, Image.Image]]
    num: int
    fps: float | None


def open_pictures(paths: list[pathlib.Path]) -> Pictures:
    """Pictures of which one at a time is read.

    Args:
      paths: pictures; or one directory of pictures, or one video.

    Returns:
      The pictures.

    Raises:
      ValueError: for what is not there, is empty, or, when its turn comes, no picture.
    """
    for path in paths:
        if not path.exists():
            raise ValueError(f"input must be there, but {path} is not.")
    if len(paths) == 1 and paths[0].suffix.lower() in _VIDEOS:
        return _open_video(paths[0])
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(p for p in paths[0].iterdir() if p.suffix.lower() in _PICTURES)
    if not paths:
        raise ValueError(f"input must have pictures ({', '.join(_PICTURES)}), but has none.")
    names = [path.name for path in paths]
    if len({path.stem for path in paths}) < len(names):
        raise ValueError("pictures must have different names, as their results are named by them.")
    return Pictures(zip(names, map(_read_picture, paths), strict=True), len(names), None)


def _read_picture(path: pathlib.Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                ImageOps.exif_transpose(image, in_place=True)  # phones write pictures turned
                image.load()
                return image if image.mode == "RGB" else _eight_bits(image).convert("RGB")
    except Exception as error:  # damaged pictures raise anything
        raise ValueError(f"{path} cannot be read as a picture ({error}).") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, which Pillow would clip, as grey of 8."""
    if image.mode == "F":
        raise ValueError("its pixels are real numbers")
    if not image.mode.startswith("I"):
        return image
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ValueError(f"its pixels are from {pixels.min()} to {pixels.max()}")
    return Image.fromarray(np.round(pixels / 257).astype(np.uint8))


def _open_video(path: pathlib.Path) -> Pictures:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a video needs PyAV: pip install av", name="av") from error

    def frames():
        try:
            with av.open(str(path)) as container:
                for i, frame in enumerate(container.decode(video=0)):
                    turned = getattr(frame, "rotation", 0)  # as phones say it
                    yield str(i), frame.to_image().rotate(turned, expand=True)
        except Exception as error:  # damaged videos raise anything
            raise ValueError(f"{path} cannot be read as a video ({error}).") from error

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate, num = stream.average_rate, stream.frames
            num = num or round((container.duration or 0) / av.time_base * (rate or 0))
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a video ({error}).") from error
    if not rate:
        raise ValueError(f"{path} has no frame rate.")
    return Pictures(frames(), num, float(rate))


def read_crops(pictures: Pictures, boxes: dict[str, Box], size: int):
    """The square around each picture's box, or around all of it; black beyond the picture.

    Args:
      pictures: to crop.
      boxes: by name, for those that have one.
      size: rows and columns of the crops.

    Returns:
      N names, and crops (N, size, size, 3) uint8.

    Raises:
      ValueError: for boxes of other pictures or beyond theirs, and for no pictures.
    """
    names, crops = [], []
    for name, image in show_progress(
        pictures.images, "reading", unit="pictures", total=pictures.num
    ):
        whole = Box(-0.5, -0.5, image.width - 0.5, image.height - 0.5)
        box = boxes.get(name, whole)
        if not _overlap(box, whole):
            raise ValueError(
                f"the box of {name!r} must be in the picture, of {image.width} x {image.height} "
                f"pixels, but is {box}."
            )
        square = square_box(box, margin=0.05 if name in boxes else 0.0)
        names.append(name)
        crops.append(np.asarray(crop_image(image, square, size)))
    if not names:
        raise ValueError("input must have pictures, but has none.")
    if unknown := sorted(boxes.keys() - set(names)):
        raise ValueError(f"boxes name {unknown[0]!r}, which is not in the input.")
    return names, np.stack(crops)


def read_boxes(path) -> dict[str, Box]:
    """Boxes by image name, from a CSV file with a header.

    Raises:
      ValueError: naming the file and the line, for one that is not as it should be, and for a
        box that is given twice or is smaller than a pixel.
    """
    boxes = {}
    with open(path, newline="", encoding="utf-8-sig") as file:  # Excel writes a mark in front
        reader = csv.DictReader(file, skipinitialspace=True)
        try:
            for row in reader:
                box = Box(*(float(row[side]) for side in Box._fields))
                _check_box(box)
                if row["image"] in boxes:
                    raise ValueError(f"{row['image']} has a box already")
                boxes[row["image"]] = box
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(
                f"{path} must have the columns image, left, top, right, bottom, the last four "
                f"in pixels, and each image once, but line {reader.line_num} has not ({error})."
            ) from error
    return boxes


def _check_box(box: Box):
    if not all(abs(side) <= _MOST_PX for side in box):
        raise ValueError(f"{box} is not of numbers up to {_MOST_PX:.0f}")
    if min(box.right - box.left, box.bottom - box.top) < 1:
        raise ValueError(
            f"{box} is not at least one pixel wide and high, from left to right and top to bottom"
        )


def _overlap(one: Box, other: Box) -> bool:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    return bool((low < high).all())
