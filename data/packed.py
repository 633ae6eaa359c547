"""A data set of people in one file that NumPy reads alone, to be taken where nothing else is.

Pictures are kept without loss: differences of differences of neighbours, along rows and columns,
which deflate to two thirds. JPEG takes a third of that, but a decoder, too.
"""

import os
import pathlib
from collections.abc import Mapping

import numpy as np

from kinpose.io.arrays import read_arrays
from kinpose.io.files import write_atomically

PACKED = ".npz"
"""The ending of such files."""


def write_packed(path: str | os.PathLike, splits: Mapping[str, tuple[Mapping, np.ndarray]]) -> None:
    """Writes splits to a file.

    Args:
      path: the file.
      splits: name -> columns (N, ...) by name, and images (N, size, size, 3) uint8.
    """
    arrays = {}
    for split, (columns, images) in splits.items():
        arrays |= {f"{split}.{name}": column for name, column in columns.items()}
        along_rows = np.diff(images, axis=2, prepend=np.uint8(0))
        arrays[f"{split}.steps"] = np.diff(along_rows, axis=1, prepend=np.uint8(0))
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_packed(path: str | os.PathLike, split: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Reads a split of a file of `write_packed`.

    Args:
      path: the file.
      split: its name.

    Returns:
      The columns by name, and the images.

    Raises:
      ValueError: for another split, or a file that is damaged or something else.
    """
    arrays = read_arrays(path)
    known = sorted({name.partition(".")[0] for name in arrays if name.endswith(".steps")})
    if split not in known:
        raise ValueError(f"{path} has the splits {', '.join(known) or 'none'}, but got {split!r}.")
    own = {n.partition(".")[2]: x for n, x in arrays.items() if n.startswith(f"{split}.")}
    along_rows = np.cumsum(own.pop("steps"), axis=1, dtype=np.uint8)
    images = np.cumsum(along_rows, axis=2, dtype=np.uint8)
    lengths = {len(column) for column in own.values()}
    if images.ndim != 4 or lengths != {len(images)}:
        raise ValueError(f"{path}: its columns of {split} have the lengths {sorted(lengths)}.")
    return own, images
