"""Built data sets of people, by random access: `data.rendered_people` and `data.human36m`.

    samples = open_samples("rendered_people/small_64", "train", data_dir="datasets")
    index = batch_indices(len(samples), batch_size, step, seed)  # kinpose.train
    images, joints = samples.images(index), samples.joints[index]

A batch is a function of seed and step, so a run may stop and go on anywhere, and each process
takes its own part. Pictures that fit in memory are decoded once; the others on demand, by
threads, and `prefetched` works ahead of the training.

Shapes: N samples, B batch.
"""

import concurrent.futures
import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data.packed import PACKED, read_packed
from data.sample import sample_key

_NUMBERS = ("joints", "pixels", "box", "focal_px", "center_px", "scale", "frame")
_NAMES = ("subject", "action", "clip", "camera")
_RECORDS = 1024  # read at a time
_THREADS = min(32, os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class Samples:
    """A split of a data set: all but the pictures as NumPy arrays; see `data.sample`.

    Attributes:
      joints: (N, 17, 3) float32 in the camera's frame (mm).
      pixels: (N, 17, 2) float32 in the crop (px).
      box: (N, 4) float32 left, top, right, bottom in the whole image (px).
      focal_px: (N,) float32 of the crop's camera.
      center_px: (N, 2) float32 of the crop's camera.
      scale: (N,) float32 of the subject.
      frame: (N,) int32 of the recording.
      subject: (N,) str.
      action: (N,) str.
      clip: (N,) str.
      camera: (N,) str.
      size: rows and columns of the pictures (px).
      images: from indices (B,) to pictures (B, size, size, 3) uint8.
    """

    joints: np.ndarray
    pixels: np.ndarray
    box: np.ndarray
    focal_px: np.ndarray
    center_px: np.ndarray
    scale: np.ndarray
    frame: np.ndarray
    subject: np.ndarray
    action: np.ndarray
    clip: np.ndarray
    camera: np.ndarray
    size: int
    images: Callable[[Sequence[int]], np.ndarray]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.joints)

    @functools.cached_property
    def keys(self) -> list[str]:
        """N names, see `data.sample.sample_key`."""
        columns = zip(self.subject, self.clip, self.camera, self.frame, strict=True)
        return [sample_key(*map(str, names), int(frame)) for *names, frame in columns]


def open_samples(
    name: str, split: str, *, data_dir: str | os.PathLike, memory_bytes: int = 2**32
) -> Samples:
    """Opens a split of a built data set.

    A file of `experiments.pack_data` may stand where the data set would: it needs NumPy alone.

    Args:
      name: data set and configuration, such as rendered_people/small_64.
      split: train or test, or a part as tensorflow-datasets writes it (`test[:10%]`).
      data_dir: where data sets are built.
      memory_bytes: pictures that need at most this are decoded now and kept.

    Returns:
      The samples, in the order of the files, which is shuffled and always the same.

    Raises:
      ValueError: for a data set that is not built, is damaged, or has no such split.
    """
    packed = pathlib.Path(data_dir) / f"{name}{PACKED}"
    if packed.exists():
        columns, images = read_packed(packed, split)
        if wrong := set(columns) ^ {*_NUMBERS, *_NAMES}:
            raise ValueError(f"{packed} has other columns than samples have: {sorted(wrong)}.")
        return Samples(**columns, size=images.shape[1], images=images.__getitem__)
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(_newest_version(pathlib.Path(data_dir) / name))
    decoders = {"image": tfds.decode.SkipDecoding()}
    try:
        source = builder.as_data_source(split, decoders=decoders)
    except (ValueError, KeyError) as error:
        known = ", ".join(sorted(builder.info.splits))
        raise ValueError(f"{name} has the splits {known}, but got {split!r} ({error}).") from None
    size = builder.info.features["image"].shape[0]
    in_memory = len(source) * size**2 * 3 <= memory_bytes
    try:
        columns, images = _read_columns(source, size, in_memory)
    except Exception as error:  # readers raise errors of many kinds
        raise ValueError(f"{builder.data_path} cannot be read ({error}); build it anew.") from error
    if not in_memory:
        images = functools.partial(_read_images, source, size)
    return Samples(**columns, size=size, images=images)


def prefetched(load_batch: Callable[[int], Any], *, ahead: int = 2) -> Callable[[int], Any]:
    """Works ahead: while a step is trained a thread loads the next batches.

    Args:
      load_batch: from a step to its batch; a pure function.
      ahead: batches to hold ready.

    Returns:
      The same function; fast for the step after the one before.
    """
    thread, waiting = concurrent.futures.ThreadPoolExecutor(1), {}

    def load(step: int):
        coming = range(step, step + ahead + 1)
        for other in waiting.keys() - set(coming):
            waiting.pop(other).cancel()
        for other in coming:
            if other not in waiting:
                waiting[other] = thread.submit(load_batch, other)
        return waiting.pop(step).result()

    return load


def in_threads(function: Callable, *columns: Sequence) -> list:
    """Like `map` over columns of equal length; pays for functions that let other threads run."""
    return list(_pool().map(function, *columns))


def decode(jpeg: bytes) -> np.ndarray:
    """(size, size, 3) uint8 of an encoded picture."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def _newest_version(directory: pathlib.Path) -> pathlib.Path:
    """The directory of a data set's newest version."""
    infos = directory.glob("*.*.*/dataset_info.json")
    versions = [path.parent for path in infos if path.parent.name.replace(".", "").isdecimal()]
    if not versions:
        raise ValueError(
            f"{directory} is no built data set; `python -m experiments.build_data --dataset="
            f"{'/'.join(directory.parts[-2:])}` builds those of rendered people."
        )
    return max(versions, key=lambda path: tuple(map(int, path.name.split("."))))


def _read_columns(source, size: int, with_images: bool):
    """All columns, and a function from indices to images where they are kept."""
    num = len(source)
    images = np.empty((num if with_images else 0, size, size, 3), np.uint8)
    rows = []
    for start in range(0, num, _RECORDS):
        records = source.__getitems__(range(start, min(start + _RECORDS, num)))
        if with_images:
            pictures = in_threads(decode, [record["image"] for record in records])
            images[start : start + len(records)] = pictures
        rows += [[record[name] for name in (*_NUMBERS, *_NAMES)] for record in records]
    columns = dict(zip((*_NUMBERS, *_NAMES), zip(*rows, strict=True), strict=True))
    numbers = {name: np.stack(columns[name]) for name in _NUMBERS}
    names = {name: np.array([x.decode() for x in columns[name]]) for name in _NAMES}
    return numbers | names, images.__getitem__


def _read_images(source, size: int, index: Sequence[int]) -> np.ndarray:
    """(B, size, size, 3) read and decoded now."""
    records = source.__getitems__([int(i) for i in index])
    pictures = in_threads(decode, [record["image"] for record in records])
    return np.stack(pictures) if records else np.empty((0, size, size, 3), np.uint8)


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(_THREADS)
