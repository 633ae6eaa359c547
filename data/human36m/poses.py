"""Joints of Human3.6M from its files: CDF of the data set, or arrays."""

import math
import os
import pathlib

import cdflib
import numpy as np

from data.camera import to_camera
from data.human36m.files import MONO
from data.human36m.lens import Lens
from kinpose.io.arrays import read_arrays

_NUM_JOINTS = 32
_VARIABLE = 8
"""The kind of record that has dimensions of its own."""

_MOST_BYTES = 2**28


def count_poses(path: str | os.PathLike) -> int:
    """How many poses a file holds.

    Args:
      path: see `read_joints`.

    Returns:
      The number.

    Raises:
      ValueError: naming the file, when it cannot be read.
    """
    if pathlib.Path(path).suffix == ".npy":
        return len(read_joints(path))
    return _from_cdf(path, lambda file: int(file.varinq("Pose").Dim_Sizes[0]))


def read_joints(path: str | os.PathLike) -> np.ndarray:
    """Reads all poses of a clip.

    Args:
      path: a `.cdf` file with a variable `Pose` (1, T, 96) or (1, T, 64), or a `.npy` file
        (T, 32, 3).

    Returns:
      (T, 32, 3) in mm or (T, 32, 2) in px, float64.

    Raises:
      ValueError: naming the file, when it cannot be read or holds something else.
    """
    if pathlib.Path(path).suffix == ".npy":
        (poses,) = read_arrays(path).values()
        if poses.dtype.kind not in "iuf" or poses.shape[1:] != (_NUM_JOINTS, 3):
            raise ValueError(
                f"{os.fspath(path)}: poses must have shape (T, 32, 3), but got {poses.shape}."
            )
        return poses.astype(np.float64)
    poses = _from_cdf(path, _poses)
    if poses.ndim < 2 or poses.shape[-1] not in (2 * _NUM_JOINTS, 3 * _NUM_JOINTS):
        raise ValueError(
            f"{os.fspath(path)}: poses must have shape (1, T, 96) or (1, T, 64), but got "
            f"{poses.shape}."
        )
    return poses.reshape(-1, _NUM_JOINTS, poses.shape[-1] // _NUM_JOINTS)


def camera_joints(path: str | os.PathLike, kind: str, lens: Lens) -> np.ndarray:
    """All poses of a view.

    Args:
      path: of the file.
      kind: `MONO` or `WORLD`, what its coordinates are in.
      lens: the camera, needed for `WORLD`.

    Returns:
      (T, 32, 3) in the camera's frame (mm).

    Raises:
      ValueError: naming the file, see `read_joints`, and for joints in the image.
    """
    joints = read_joints(path)
    if joints.shape[-1] != 3:
        raise ValueError(
            f"{os.fspath(path)}: poses must have shape (1, T, 96), but have (1, T, 64)."
        )
    return joints if kind == MONO else to_camera(joints, lens.camera)


class _Reader(cdflib.CDF):
    """Refuses counts beyond the file, for which cdflib would work for hours.

    Files of version 2 have 4 bytes where those of version 3 have 8.
    """

    def _read_gdr(self, place):
        self._check_counts(place, (44, 48, 56, 60))  # variables, attributes, dimensions
        return super()._read_gdr(place)

    def _read_gdr2(self, place):
        self._check_counts(place, (24, 28, 36, 40))
        return super()._read_gdr2(place)

    def _read_vxrs(self, place, *args, **kwargs):
        self._check_counts(place, (20, 24))  # entries of an index
        return super()._read_vxrs(place, *args, **kwargs)

    def _read_vxrs2(self, place, *args, **kwargs):
        self._check_counts(place, (12, 16))
        return super()._read_vxrs2(place, *args, **kwargs)

    def _read_vdr3(self, place):
        self._check_counts(place, (64,))  # numbers of the value that stands for missing ones
        self._check_counts(place, (340,), kind_at=8)  # dimensions of a variable
        return super()._read_vdr3(place)

    def _read_vdr2(self, place):
        more = 0 if self._post25 else 128  # of its name
        self._check_counts(place, (48 + more,))
        self._check_counts(place, (128 + more,), kind_at=4)
        return super()._read_vdr2(place)

    def _check_counts(self, place, counts, kind_at=None):
        self._f.seek(place)
        record = self._f.read(344)
        if kind_at is not None and int.from_bytes(record[kind_at : kind_at + 4]) != _VARIABLE:
            return
        most = max(int.from_bytes(record[at : at + 4]) for at in counts)
        if most > os.stat(self.file).st_size // 4:
            raise ValueError(f"it counts {most} things")


def _poses(file: _Reader) -> np.ndarray:
    """All records, which may be fewer in the file: cdflib fills those that are not there."""
    said = file.varinq("Pose")
    if said.Data_Type_Description in ("CDF_CHAR", "CDF_UCHAR"):
        raise ValueError("its poses are text")
    size = 8 * (said.Last_Rec + 1) * math.prod(said.Dim_Sizes)
    if size > 3 * os.stat(file.file).st_size + _MOST_BYTES:
        raise ValueError(f"it says that it has {size} bytes of poses")
    return np.asarray(file.varget("Pose"), np.float64)


def _from_cdf(path, read):
    # cdflib raises whatever comes about where a file is not what it expects.
    try:
        return read(_Reader(os.fspath(path)))
    except Exception as error:
        raise ValueError(f"{os.fspath(path)}: not a CDF file with poses ({error}).") from None
