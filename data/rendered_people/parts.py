"""Rendering in several processes: one file per part, each of which appears whole or not at all.

So an interrupted build goes on where it was. A file depends on its part alone: the recording,
the subject, the frames and the size.
"""

import functools
import io
import pathlib
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from data.camera import four_cameras, project
from data.motion import BodyMotion, read_motion
from data.people import Subject, load_subjects, photograph, place_in_room, subject_scales
from data.processes import run_in_processes
from data.rendered_people.splits import Part
from data.retarget import retarget
from data.sample import JPEG, crop_features, sample_key
from kinpose.io.bvh import load_bvh
from kinpose.io.files import write_atomically

NUM_CAMERAS = len(four_cameras())


def render_parts(
    parts: Sequence[Part], directory: pathlib.Path, size: int, *, processes: int | None = None
) -> Iterator[Part]:
    """Renders the parts whose files are not there yet.

    Args:
      parts: what to render.
      directory: where the files go, see `part_file`; made if it is not there.
      size: rows and columns of the pictures (px).
      processes: that work at the same time; the number of cores by default. 1: this one.

    Yields:
      Each part when its file is there.

    Raises:
      ValueError: for a recording that cannot be used.
      OSError: when writing fails; finished files stay, no other does.
    """
    directory.mkdir(parents=True, exist_ok=True)
    render = functools.partial(_render_file, directory=directory, size=size)
    for part, result in run_in_processes(render, parts, processes):
        if isinstance(result, ValueError):
            raise result
        yield part


def part_file(directory: pathlib.Path, part: Part) -> pathlib.Path:
    """Where a rendered part is."""
    return directory / f"{part.split}-{part.subject}-{part.clip}.npz"


def read_part(part: Part, directory: pathlib.Path) -> Iterator[tuple[str, dict]]:
    """The samples of a rendered part.

    Args:
      part: rendered by `render_parts`.
      directory: where.

    Yields:
      Keys and samples, see `data.sample.sample_features`.
    """
    with np.load(part_file(directory, part)) as file:
        columns = dict(file)
    pictures = np.split(columns.pop("jpeg"), columns.pop("ends")[:-1])
    who = {"subject": part.subject, "action": part.action, "clip": part.clip}
    for i, picture in enumerate(pictures):
        row = {name: column[i] for name, column in columns.items()} | who
        row["camera"] = str(row["camera"])
        key = sample_key(part.subject, part.clip, row["camera"], int(row["frame"]))
        yield key, row | {"image": io.BytesIO(picture.tobytes())}


def render_part(part: Part, size: int) -> list[dict]:
    """Takes the pictures of a part.

    Args:
      part: what to render.
      size: rows and columns of the pictures (px).

    Returns:
      The samples of `data.sample.sample_features` without the names of subject, action and
      clip; images as JPEG.
    """
    subject, params = subjects()[part.subject], load_bvh(part.path).params
    rng = np.random.default_rng(_seed(f"{part.subject}/{part.clip}"))
    turned = retarget(_motion(part.path), subject.body)
    rotations, root = place_in_room(*turned, yaw_rad=rng.uniform(-np.pi, np.pi))
    rows = []
    for t in part.frames:
        for name, camera in enumerate(four_cameras()):
            key = sample_key(part.subject, part.clip, str(name), t)
            photo = photograph(subject, rotations[t], root[t], camera, size=size, seed=_seed(key))
            image = io.BytesIO()
            Image.fromarray(photo.image).save(image, **JPEG)
            rows.append(
                {
                    "image": image.getvalue(),
                    "joints": photo.joints,
                    "pixels": project(photo.joints, photo.camera),
                    "box": np.array(photo.box, np.float32),
                    **crop_features(photo.camera),
                    "scale": np.float32(_scales()[part.subject]),
                    "camera": str(name),
                    "frame": np.int32(t),
                    "params": params[t].astype(np.float32),
                }
            )
    return rows


def _render_file(part: Part, directory: pathlib.Path, size: int) -> None:
    path = part_file(directory, part)
    if path.exists():
        return
    rows = render_part(part, size)
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0] if name != "image"}
    images = [row["image"] for row in rows]
    columns["jpeg"] = np.frombuffer(b"".join(images), np.uint8)
    columns["ends"] = np.cumsum([len(image) for image in images])
    with write_atomically(path) as temporary:
        np.savez(temporary, **columns)


def _seed(name: str) -> int:
    """A seed that depends on a name alone."""
    return zlib.crc32(name.encode())


@functools.cache
def subjects() -> dict[str, Subject]:
    """The seven subjects, dressed once in each process."""
    return load_subjects()


@functools.cache
def _scales() -> dict[str, float]:
    return subject_scales(subjects())


@functools.lru_cache(maxsize=2)  # the parts of a recording follow each other
def _motion(path: str) -> BodyMotion:
    return read_motion(path)
