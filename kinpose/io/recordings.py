"""Any recording of points, in and out: what a file is, its content tells."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kinpose.io.c3d import is_c3d, load_c3d, save_c3d
from kinpose.io.datasets import points_of_dataset
from kinpose.io.files import write_atomically
from kinpose.io.openpose import load_openpose
from kinpose.io.points import Points, load_points, points_of_individual
from kinpose.io.qualisys import KEYWORD, load_qualisys
from kinpose.io.tables import load_table, save_table
from kinpose.io.text import first_text
from kinpose.io.trc import load_trc, save_trc

_BEGIN = 4096
"""Bytes that tell what a file is."""

_OWN = (".bvh", ".npy", ".npz")
"""Endings of files that `load_points` reads."""


def load_recording(
    path: str | os.PathLike,
    *,
    order: Sequence[str] = (),
    columns: Mapping[str, Any] | None = None,
    individual: str | None = None,
) -> Points:
    """Reads points over time from any file that is known.

    Known are BVH; C3D; TRC; Qualisys TSV; tables as text (FreeMoCap, Anipose, DeepLabCut, Vicon,
    OptiTrack, or any by a map of columns); folders of OpenPose's JSON files; NumPy arrays.

    Args:
      path: a file, a folder of OpenPose, or an xarray data set of `movement`.
      order: names of the points of an array without names.
      columns: which columns of a table are what, as of `kinpose.io.tables.load_table`.
      individual: whose points to take of a file that has several: the name that stands before
        those of the points, or the number of a person of OpenPose. By default all points, of
        OpenPose's people the first.

    Returns:
      The points with what the file says of names, rate, confidence, unit and axis up.

    Raises:
      ValueError: naming the file, where it is unknown or damaged; OSError where there is none.
    """
    if not isinstance(path, (str, os.PathLike)):
        return points_of_dataset(path, individual)
    if individual is None:
        return _load(path, order, columns)
    if individual.isdecimal() and _is_openpose(path):
        return load_openpose(path, int(individual))
    points = _load(path, order, columns)
    try:
        return points_of_individual(points, individual)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _is_openpose(path: str | os.PathLike) -> bool:
    if os.path.isdir(path):
        return True
    with open(path, "rb") as file:
        return first_text(file.read(_BEGIN)).startswith("{")


def _load(path: str | os.PathLike, order, columns) -> Points:
    """All points of a file."""
    if os.path.isdir(path):
        return load_openpose(path)
    if columns is not None:
        return load_table(path, columns)
    with open(path, "rb") as file:
        begin = file.read(_BEGIN)
    if os.path.splitext(path)[1].lower() in _OWN:
        return load_points(path, order)
    if is_c3d(begin):
        return load_c3d(path)
    text = first_text(begin)
    if text.startswith("PathFileType"):
        return load_trc(path)
    if text.startswith("{"):
        return load_openpose(path)
    if text.startswith(KEYWORD) or f"\n{KEYWORD}\t" in text:
        return load_qualisys(path)
    if text.upper().startswith("HIERARCHY") or begin.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        raise ValueError(f"{path}: by its content its name must end in {', '.join(_OWN)}.")
    try:
        return load_table(path)
    except ValueError as error:
        raise ValueError(
            f"{error} Points are read from .bvh, .c3d, .trc, .tsv of Qualisys, .csv, .npy and .npz "
            "files and from folders of OpenPose."
        ) from None


def save_recording(path: str | os.PathLike, points: Points) -> None:
    """Writes points over time, by the ending: .trc, .c3d, .csv or .npz.

    Args:
      path: the file to write, whole or not at all; an existing one is replaced.
      points: to write.

    Raises:
      ValueError: for another ending, and for points that such a file does not hold.
    """
    writer = WRITERS.get(pathlib.Path(path).suffix.lower())
    if writer is None:
        raise ValueError(f"{path}: points are written to {', '.join(WRITERS)} files.")
    writer(path, points)


def _save_archive(path: str | os.PathLike, points: Points) -> None:
    """The .npz file that `kinpose.io.points.load_points` reads."""
    said = {
        "names": np.array(points.names, str) if points.names else None,
        "fps": 1.0 / points.frame_time_s if points.frame_time_s else None,
        "confidence": points.confidence,
        "unit_mm": points.unit_mm,
        "up": points.up,
        "start_s": points.start_s or None,
    }
    with write_atomically(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(  # to a name of another ending it would add one
            file,
            joints=points.positions,
            **{key: np.asarray(value) for key, value in said.items() if value is not None},
        )


WRITERS: dict[str, Callable] = {
    ".trc": save_trc,
    ".c3d": save_c3d,
    ".csv": save_table,
    ".npz": _save_archive,
}
"""What writes files of which ending."""
