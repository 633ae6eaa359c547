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

from data.camera import four_cameras
from data.motion import BodyMotion, read_motion
from data.people import Subject, load_subjects, photograph, place_in_room, subject_scales
from data.processes import run_in_processes
from data.rendered_people.splits import Part, VariedPart
from data.rendered_people.varied import read_recordings, render_varied
from data.retarget import retarget
from data.sample import photo_features, sample_key
from kinpose.io.bvh import load_bvh
from kinpose.io.files import write_atomically

NUM_CAMERAS = len(four_cameras())


AnyPart = Part | VariedPart

RECORDINGS = "recordings.npz"
"""Beside the parts: what varied pictures take poses from, see `data.rendered_people.varied`."""


def render_parts(
    parts: Sequence[AnyPart], directory: pathlib.Path, size: int, *, processes: int | None = None
) -> Iterator[AnyPart]:
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


def part_file(directory: pathlib.Path, part: AnyPart) -> pathlib.Path:
    """Where a rendered part is."""
    return directory / f"{part.name}.npz"


def count_images(part: AnyPart) -> int:
    """How many pictures a part has."""
    if isinstance(part, VariedPart):
        return part.stop - part.first
    return len(part.frames) * NUM_CAMERAS


def read_part(part: AnyPart, directory: pathlib.Path) -> Iterator[tuple[str, dict]]:
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
    for i, picture in enumerate(pictures):
        row = {name: column[i] for name, column in columns.items()}
        row |= {name: str(row[name]) for name in ("subject", "action", "clip", "camera")}
        key = sample_key(row["subject"], row["clip"], row["camera"], int(row["frame"]))
        yield key, row | {"image": io.BytesIO(picture.tobytes())}


def render_part(part: Part, size: int) -> list[dict]:
    """Takes the pictures of a part.

    Args:
      part: what to render.
      size: rows and columns of the pictures (px).

    Returns:
      The samples of `data.sample.sample_features`; images as JPEG.
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
            rows.append(
                photo_features(photo)
                | {
                    "scale": np.float32(scales()[part.subject]),
                    "subject": part.subject,
                    "action": part.action,
                    "clip": part.clip,
                    "camera": str(name),
                    "frame": np.int32(t),
                    "params": params[t].astype(np.float32),
                }
            )
    return rows


def _render_file(part: AnyPart, directory: pathlib.Path, size: int) -> None:
    path = part_file(directory, part)
    if path.exists():
        return
    if isinstance(part, VariedPart):
        rows = render_varied(part, size, read_recordings(directory / RECORDINGS))
    else:
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
def scales() -> dict[str, float]:
    """Of the seven subjects, see `data.people.subject_scales`."""
    return subject_scales(subjects())


@functools.lru_cache(maxsize=2)  # the parts of a recording follow each other
def _motion(path: str) -> BodyMotion:
    return read_motion(path)
