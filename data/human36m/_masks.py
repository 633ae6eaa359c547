"""Pictures of a MATLAB file; run in a process of its own (`kinpose/io/_apart.py`)."""

import h5py
import numpy as np

_MOST_BYTES = 1 << 26


def read_masks(path: str, frames: list[int]) -> dict[str, np.ndarray]:
    """`boxes` of frames, (N, 4), px: left, top, right and bottom of what is lit."""
    with h5py.File(path, "r") as file:
        cells = np.ravel(_numbers(file["Masks"]))
        boxes = [_box_of(_numbers(file[cells[frame]])) for frame in frames]
    return {"boxes": np.array(boxes, float).reshape(-1, 4)}


def _numbers(found) -> np.ndarray:
    """The numbers of a data set; a damaged one may say that it has more than the whole file."""
    if found.nbytes > _MOST_BYTES:
        raise ValueError(f"shape {found.shape} is that of no picture")
    return np.asarray(found)


def _box_of(lit: np.ndarray) -> tuple[int, int, int, int]:
    columns, rows = (np.flatnonzero(lit.any(axis=axis)) for axis in (1, 0))
    return columns[0], rows[0], columns[-1], rows[-1]
