"""NumPy files of anybody: read within bounds, refused by name where they are damaged."""

import os
import zipfile

import numpy as np

_MOST_TIMES, _MOST_MORE = 3, 2**28
"""What a compressed file may grow to: so many times its size, and so many bytes more."""


def read_arrays(path: str | os.PathLike, only: str = "") -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, or the one of a `.npy` file.

    Args:
      path: of the file, whose content tells its kind.
      only: the name that the array of a `.npy` file gets.

    Returns:
      Plain arrays: numbers, texts, times and records, never objects.

    Raises:
      OSError: for a file that is not there or cannot be opened.
      ValueError: naming the file, for one that is damaged, that grows to more than three times
        its size and 256 MB, or that holds anything else.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return {only: _read_array(file, size)}
            with zipfile.ZipFile(file) as archive:
                total = sum(entry.file_size for entry in archive.infolist())
                if total > _MOST_TIMES * size + _MOST_MORE:
                    raise ValueError(f"{size} bytes that grow to {total}")
                arrays = {}
                for entry in archive.infolist():
                    with archive.open(entry) as member:
                        name = entry.filename.removesuffix(".npy")
                        arrays[name] = _read_array(member, entry.file_size)
                return arrays
        except Exception as error:  # damaged files raise anything, from zlib's to MemoryError
            reason = str(error)[:200] or type(error).__name__
            raise ValueError(
                f"{os.fspath(path)}: not a readable NumPy file of numbers: {reason}."
            ) from None


def _read_array(file, size: int) -> np.ndarray:
    array = np.lib.format.read_array(file, allow_pickle=False)
    if array.size > size:  # items without bytes
        raise ValueError(f"{size} bytes for an array of shape {array.shape}")
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        codes = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder + "u4")
        if codes.max() > 0x10FFFF:
            raise ValueError("text of no characters")
    return array
