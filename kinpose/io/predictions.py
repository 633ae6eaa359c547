"""Files of predicted poses.

`.npz` with `keys` (N,) and `joints` (N, K, 3) in mm, and optionally `params` (N, D); or an array
(T, K, 3) per recording and camera, named by the beginning of its samples' keys, S9/walk/2, with a
row for each of its samples in order.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinpose.io.arrays import read_arrays


class Predictions(NamedTuple):
    """Poses of named samples.

    Attributes:
      keys: (N,) names, as in the data set.
      joints: (N, K, 3) mm, in the camera's frame or relative to the root.
      params: (N, D) motion parameters; None where there are none.
    """

    keys: np.ndarray
    joints: np.ndarray
    params: np.ndarray | None = None


def read_predictions(path: str | os.PathLike, known_keys: Sequence[str] = ()) -> Predictions:
    """Reads a file of predictions.

    Args:
      path: the file.
      known_keys: of the data set, in order of time within a recording; needed for a file
        with an array per recording.

    Returns:
      The predictions, unchecked against the data set.

    Raises:
      ValueError: for a file that is no .npz of plain arrays, and for other names or shapes.
    """
    arrays = read_arrays(path)
    if "joints" in arrays and "keys" in arrays:
        keys, joints, params = (arrays.get(name) for name in Predictions._fields)
    else:
        keys, joints, params = *_by_recording(path, arrays, known_keys), None
    numbers = joints, params
    if keys.dtype.kind != "U" or any(x is not None and x.dtype.kind not in "iuf" for x in numbers):
        raise ValueError(
            f"{os.fspath(path)}: keys must be text, joints and params real numbers, but they are "
            f"{', '.join(str(x.dtype) for x in (keys, joints, params) if x is not None)}."
        )
    if keys.ndim != 1 or joints.ndim != 3 or joints.shape[::2] != (len(keys), 3):
        raise ValueError(
            f"{os.fspath(path)} must have keys (N,) and joints (N, K, 3), but they have shapes "
            f"{keys.shape} and {joints.shape}."
        )
    if params is not None and params.shape[:-1] != keys.shape:
        raise ValueError(
            f"{os.fspath(path)} must have params ({len(keys)}, D), but they have {params.shape}."
        )
    return Predictions(keys, joints, params)


def _by_recording(path, arrays, known_keys):
    views: dict[str, list[str]] = {}
    for key in known_keys:
        views.setdefault(key.rpartition("/")[0], []).append(key)
    keys, joints = [], []
    for name, poses in arrays.items():
        if name not in views:
            raise ValueError(
                f"{os.fspath(path)} must have the arrays keys and joints, or one per recording "
                f"and camera, such as {next(iter(views), 'S9/walk/2')}, but it has {name}."
            )
        if poses.ndim != 3 or poses.shape[::2] != (len(views[name]), 3):
            raise ValueError(
                f"{os.fspath(path)}: {name} must have shape ({len(views[name])}, K, 3), a row "
                f"per sample of the data set, but got {poses.shape}."
            )
        keys, joints = keys + views[name], [*joints, poses]
    if not joints:
        raise ValueError(f"{os.fspath(path)} has no arrays.")
    return np.array(keys), np.concatenate(joints)
