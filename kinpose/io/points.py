"""Recordings of 3D points: BVH files, and NumPy arrays of keypoints."""

import os
import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.io.bvh import load_bvh
from kinpose.kinematics import forward_kinematics


class Points(NamedTuple):
    """Points over time.

    Attributes:
      positions: (T, N, 3) float64 in the file's unit; NaN where a point is missing.
      names: N names, or () where the file has none.
      frame_time_s: seconds between frames, or None where the file does not say.
    """

    positions: np.ndarray
    names: tuple[str, ...]
    frame_time_s: float | None


def load_points(path: str | os.PathLike) -> Points:
    """Reads a recording of points.

    Args:
      path: a `.bvh` file, whose joints are the points; a `.npy` array (T, N, 3); or a `.npz`
        file with such an array as `joints` or as its only array of three dimensions, and
        optionally `names` (N strings) and `fps`.

    Returns:
      The points.

    Raises:
      ValueError: naming the file, for another suffix or other contents.
    """
    name = os.fspath(path)
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".bvh":
        skeleton, params, frame_time_s = load_bvh(path)
        place = jax.jit(jax.vmap(forward_kinematics, in_axes=(0, None)))
        positions = place(jnp.asarray(params, jnp.float32), skeleton)
        return _checked(name, positions, skeleton.keypoint_names, frame_time_s)
    if suffix not in (".npy", ".npz"):
        raise ValueError(f"{name}: points are read from .bvh, .npy or .npz files.")
    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = dict(content) if suffix == ".npz" else {"joints": content}
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{name}: not a readable NumPy file of numbers: {error}.") from None
    names = tuple(map(str, arrays.pop("names", ())))
    fps = arrays.pop("fps", None)
    if fps is not None and not (np.size(fps) == 1 and np.isfinite(fps).all() and np.all(fps > 0)):
        raise ValueError(f"{name}: fps must be one positive number, but is {fps}.")
    if "joints" not in arrays:
        arrays = {key: x for key, x in arrays.items() if x.ndim == 3}
        if len(arrays) != 1:
            raise ValueError(
                f"{name}: must hold an array 'joints' of shape (T, N, 3), or one array of three "
                f"dimensions, but those of three dimensions are {sorted(arrays)}."
            )
    positions = arrays.get("joints", next(iter(arrays.values())))
    return _checked(name, positions, names, None if fps is None else 1.0 / float(np.squeeze(fps)))


def _checked(name: str, positions, names, frame_time_s) -> Points:
    positions = np.asarray(positions)
    if positions.ndim != 3 or positions.shape[-1] != 3 or not len(positions):
        raise ValueError(
            f"{name}: points must have shape (T, N, 3) with T > 0, but have {positions.shape}."
        )
    if not np.issubdtype(positions.dtype, np.number) or np.iscomplexobj(positions):
        raise ValueError(f"{name}: points must be real numbers, but are {positions.dtype}.")
    if names and len(names) != positions.shape[1]:
        raise ValueError(f"{name}: {positions.shape[1]} points have {len(names)} names.")
    positions = np.where(np.isfinite(positions), positions, np.nan).astype(np.float64)
    return Points(positions, tuple(names), frame_time_s)
