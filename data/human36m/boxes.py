"""The data set's own boxes, which it keeps as pictures in MATLAB files; slow to read."""

import os
from collections.abc import Sequence

from data.camera import Box
from kinpose.io._apart import read_apart


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
    from data.human36m import _masks  # needs h5py, for these files alone

    try:
        boxes = read_apart(_masks.read_masks, path, [int(frame) for frame in frames])["boxes"]
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: boxes cannot be read from it ({error}).") from None
    return [Box(*box) for box in boxes.tolist()]
