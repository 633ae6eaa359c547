"""The data set's own boxes, which it keeps as pictures in MATLAB files; slow to read."""

import os
from collections.abc import Sequence

import numpy as np

from data.camera import Box

_MOST_BYTES = 1 << 26


def read_boxes(path: str | os.PathLike, frames: Sequence[int]) -> list[Box]:
    """Boxes around the person in some frames of a view.

    A file is HDF5 (MATLAB 7.3) with a cell array `Masks`: for each frame a picture, columns
    before rows, that is lit inside the box.

    Args:
      path: of the .mat file.
      frames: numbers of the frames.

    Returns:
      The boxes (px); sides are centres of the outermost lit pixels.

    Raises:
      ValueError: naming the file, when it cannot be read, has too few frames or an empty one.
    """
    import h5py  # for these files alone

    try:
        with h5py.File(path, "r") as file:
            cells = np.ravel(_numbers(file["Masks"]))
            return [_box_of(_numbers(file[cells[frame]])) for frame in frames]
    except Exception as error:  # h5py raises whatever comes about in a damaged file
        raise ValueError(f"{os.fspath(path)}: boxes cannot be read from it ({error}).") from None


def _numbers(found) -> np.ndarray:
    """The numbers of a data set; a damaged one may say that it has more than the whole file."""
    if found.nbytes > _MOST_BYTES:
        raise ValueError(f"shape {found.shape} is that of no picture")
    return np.asarray(found)


def _box_of(lit: np.ndarray) -> Box:
    columns, rows = (np.flatnonzero(lit.any(axis=axis)) for axis in (1, 0))
    return Box(*map(float, (columns[0], rows[0], columns[-1], rows[-1])))
