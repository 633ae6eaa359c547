"""Recordings of 3D points: BVH files, and NumPy arrays of keypoints."""

import collections
import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from kinpose._html import points_html, sides_of
from kinpose.frames import frames_of
from kinpose.io.arrays import read_arrays
from kinpose.io.bvh import load_bvh
from kinpose.io.missing import mark_missing
from kinpose.layouts import LAYOUTS, find_layout, pick_keypoints
from kinpose.recordings import find_up
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

__all__ = ["Points", "checked_points", "load_points", "mark_missing", "points_of_individual"]


_RATES = ("fps", "mocap_framerate", "mocap_frame_rate")
"""What archives call the number of frames per second."""

_UPS = ("x", "y", "z", "-x", "-y", "-z")

_LOOKED_AT = 200
"""Frames that tell which way is up, for the picture."""


class Points(NamedTuple):
    """Points over time.

    Attributes:
      positions: (T, N, 3) float64 in the file's unit; NaN where a coordinate is not finite or
        the confidence is 0.
      names: N names, or () where the file has none.
      frame_time_s: seconds between frames, or None where the file does not say.
      confidence: (T, N) how sure each point is, from 0 to 1, or None where the file does not
        say.
      unit_mm: millimetres per unit of length, or None where the file does not say.
      up: the axis that points up, such as "y" or "-z", or None where the file does not say.
      start_s: when the first frame was taken, as the file counts time.
    """

    positions: np.ndarray
    names: tuple[str, ...]
    frame_time_s: float | None
    confidence: np.ndarray | None = None
    unit_mm: float | None = None
    up: str | None = None
    start_s: float = 0.0

    def _repr_html_(self) -> str:
        return points_html(self, *_body(self))


def points_of_individual(points: Points, individual: str) -> Points:
    """Takes the points of one of several individuals.

    Args:
      points: whose names begin with that of an individual and a mark: "Ann:LASI", "mouse1_nose".
      individual: the name.

    Returns:
      The points of this individual, by what stands behind the name and the mark.

    Raises:
      ValueError: where no name begins so.
    """
    mine = {
        n: name[len(individual) + 1 :]
        for n, name in enumerate(points.names)
        if re.fullmatch(re.escape(individual) + r"[\W_].+", name, re.IGNORECASE | re.DOTALL)
    }
    if not mine:
        raise ValueError(
            f"no point is of the individual {individual!r}: their names are {list(points.names)}."
        )
    columns, confidence = list(mine), points.confidence
    return points._replace(
        positions=points.positions[:, columns],
        names=tuple(mine.values()),
        confidence=None if confidence is None else confidence[:, columns],
    )


def load_points(path: str | os.PathLike, order: Sequence[str] = ()) -> Points:
    """Reads a recording of points.

    Args:
      path: a `.bvh` file, whose joints are the points; a `.npy` array; or a `.npz` file with
        an array `joints`, or another of three dimensions, and optionally `names` (N strings),
        `fps` (AMASS: `mocap_framerate`), `confidence` (T, N), `unit_mm`, `up` and `start_s`. An
        array has the shape (T, N, 3) or (T, N, 4), whose fourth column is the confidence; with one
        person's axis of length 1 before N or before T; or, where the number of points is known
        from names, (T, 3 N), (T, 4 N), (N, T, 3) or (N, T, 4).
      order: names of the points of an array without names, which tell N.

    Returns:
      The points. Confidences above 1 are divided by the greatest.

    Raises:
      ValueError: naming the file, for another suffix or other contents.
    """
    name = os.fspath(path)
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".bvh":
        recording = load_bvh(path)
        names = recording.skeleton.keypoint_names
        _, places = frames_of(recording.params, recording.skeleton)  # far off, float32 loses mm
        return checked_points(name, places, names, recording.frame_time_s)
    if suffix not in (".npy", ".npz"):
        raise ValueError(f"{name}: points are read from .bvh, .npy or .npz files.")
    arrays = read_arrays(name, only="joints")
    names = _texts(name, arrays.pop("names", np.array((), str)))
    rates = [arrays.pop(key) for key in _RATES if key in arrays]
    frame_time_s = _frame_time(name, rates[0] if rates else None)
    said = ("confidence", "unit_mm", "up", "start_s")
    confidence, unit_mm, up, start_s = (arrays.pop(key, None) for key in said)
    if "joints" not in arrays:
        if {"poses", "trans"} <= set(arrays):
            raise ValueError(
                f"{name}: has poses and trans, parameters of the body model SMPL, and no joints; "
                "compute them with the model and save them as 'joints'."
            )
        arrays = {key: x for key, x in arrays.items() if x.ndim == 3}
        if len(arrays) != 1:
            raise ValueError(
                f"{name}: must hold an array 'joints' of shape (T, N, 3), or one array of three "
                f"dimensions, but those of three dimensions are {sorted(arrays)}."
            )
    (joints,) = (arrays["joints"],) if "joints" in arrays else arrays.values()
    if not np.issubdtype(joints.dtype, np.number) or np.iscomplexobj(joints):
        raise ValueError(f"{name}: points must be real numbers, but are {joints.dtype}.")
    is_own = suffix == ".npz" and "joints" in arrays
    rows = _rows(name, joints.astype(np.float64), len(names or order), is_own)
    if rows.shape[-1] == 4:
        if confidence is not None:
            raise ValueError(f"{name}: has 'confidence' and a fourth column too; give one.")
        confidence = rows[..., 3]
    points = checked_points(name, rows[..., :3], names, frame_time_s, confidence)
    return points._replace(**_unit_up_and_start(name, unit_mm, up, start_s))


def _texts(name: str, array: np.ndarray) -> tuple[str, ...]:
    try:
        return tuple(x.decode() if isinstance(x, bytes) else str(x) for x in array.ravel().tolist())
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: names must be text: {error}.") from None


def _unit_up_and_start(name: str, unit_mm, up, start_s) -> dict:
    """What an archive says of the unit, the axis up and the time of the first frame."""
    for key, x in {"unit_mm": unit_mm, "start_s": start_s}.items():
        if x is not None and not (x.dtype.kind in "iuf" and x.size == 1 and np.isfinite(x).all()):
            raise ValueError(f"{name}: {key} must be one number, but is {x}.")
    if unit_mm is not None and not 0 < unit_mm.item() < math.inf:
        raise ValueError(f"{name}: unit_mm must be positive, but is {unit_mm}.")
    if up is not None and str(up) not in _UPS:
        raise ValueError(f"{name}: up must be of {_UPS}, but is {up}.")
    return {
        "unit_mm": None if unit_mm is None else float(unit_mm.item()),
        "up": None if up is None else str(up),
        "start_s": 0.0 if start_s is None else float(start_s.item()),
    }


def _frame_time(name: str, fps) -> float | None:
    if fps is None:
        return None
    number = np.issubdtype(np.asarray(fps).dtype, np.number) and not np.iscomplexobj(fps)
    if not (number and np.size(fps) == 1 and 0 < np.squeeze(fps) < math.inf):
        raise ValueError(f"{name}: fps must be one positive number, but is {fps}.")
    return 1.0 / float(np.squeeze(fps))


def _rows(name: str, array: np.ndarray, count: int, is_own: bool) -> np.ndarray:
    """The array as (T, N, 3 or 4), of `save_recording` perhaps 2; `count` is N, 0 if not known."""
    shape = array.shape
    if is_own and array.ndim == 3 and shape[1] == count and shape[2] in (2, 3):
        return array
    if array.ndim == 4 and 1 in shape[:2]:
        array = np.squeeze(array, shape.index(1))
    if array.ndim == 2 and count and array.shape[1] in (3 * count, 4 * count):
        return array.reshape(len(array), count, array.shape[1] // count)
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        frames_first = count in (0, array.shape[1])
        points_first = count == array.shape[0]
        if frames_first and points_first and len(array) > 1:
            seen = np.where(np.isfinite(array), array, 0.0)
            steps = [np.median(np.abs(np.diff(seen[..., :3], axis=axis))) for axis in (0, 1)]
            frames_first, points_first = steps[0] < steps[1] / 2, steps[1] < steps[0] / 2
            if frames_first == points_first:
                raise ValueError(
                    f"{name}: the shape {shape} can be read as (T, N, 3) and as (N, T, 3), and "
                    "the points move alike along both; bring it to another number of frames."
                )
        if frames_first or points_first:
            return array if frames_first else array.swapaxes(0, 1)
    if count and array.ndim == 3 and array.shape[-1] in (3, 4):
        raise ValueError(f"{name}: {shape[-2]} points have {count} names; the shape is {shape}.")
    n = count or "N"
    raise ValueError(
        f"{name}: points must have shape (T, {n}, 3) or (T, {n}, 4) or, where names tell the "
        f"number of points, (T, 3 N), (T, 4 N), (N, T, 3) or (N, T, 4), but have {shape}."
    )


def checked_points(
    name: str,
    positions: ArrayLike,
    names: Sequence[str],
    frame_time_s: float | None,
    confidence: ArrayLike | None = None,
) -> Points:
    """The gate of points from any file; `name` is the file's, for errors."""
    if not positions.size:
        raise ValueError(
            f"{name}: points must have shape (T, N, 3), T > 0 and N > 0, but have "
            f"{positions.shape}."
        )
    if names and len(names) != positions.shape[1]:
        raise ValueError(f"{name}: {positions.shape[1]} points have {len(names)} names.")
    twice = [x for x, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{name}: names must differ, but {twice[0]!r} is there twice.")
    positions = np.where(np.isfinite(positions), positions, np.nan)
    if confidence is not None:
        confidence = _checked_confidence(name, positions, confidence)
        positions = np.where(confidence[..., None] > 0, positions, np.nan)
    if not np.isfinite(positions).all(axis=-1).any():
        raise ValueError(f"{name}: no point is finite in all its coordinates.")
    return Points(positions, tuple(names), frame_time_s, confidence)


def _checked_confidence(name: str, positions, confidence) -> np.ndarray:
    """(T, N) from 0 to 1; 0 where a point is missing."""
    if confidence.shape == (*positions.shape[:2], 1):
        confidence = confidence[..., 0]
    if confidence.shape != positions.shape[:2] or confidence.dtype.kind not in "buif":
        raise ValueError(
            f"{name}: confidence must be real numbers of shape {positions.shape[:2]}, but is "
            f"{confidence.dtype} of shape {confidence.shape}."
        )
    # A row of one value throughout, such as -1, is a mark of a missing point.
    marked = (positions == confidence[..., None]).all(axis=-1)
    seen = np.isfinite(positions).all(axis=-1) & ~marked
    wrong = seen & ~((confidence >= 0) & (confidence < math.inf))
    if wrong.any():
        t, n = np.argwhere(wrong)[0]
        raise ValueError(
            f"{name}: confidences must be finite and at least 0, but that of point {n} in frame "
            f"{t} is {confidence[t, n]}."
        )
    confidence = np.where(seen, confidence, 0.0).astype(np.float64)
    if not confidence.any() and seen.any():
        raise ValueError(f"{name}: the confidence of every point is 0.")
    return confidence / max(1.0, confidence.max())


def _body(points: Points) -> tuple[list, str | None]:
    """Lines of the middle frame, and the axis up, where names are those of a person's points."""
    if points.positions.shape[-1] != 3:  # of pictures
        return [], None
    try:
        layout = LAYOUTS[find_layout(points.names)]
        middle = len(points.positions) // 2
        frames = points.positions[:: -(-len(points.positions) // _LOOKED_AT)]
        frames = np.concatenate([points.positions[middle : middle + 1], frames])
        joints = pick_keypoints(frames, points.names, layout, HUMAN36M_KEYPOINTS)
    except ValueError:
        return [], None
    sides, shown = sides_of(HUMAN36M_KEYPOINTS), joints[0]
    lines = [(sides[child], shown[parent], shown[child]) for child, parent in human_17().bones]
    try:
        return lines, find_up(joints[1:], HUMAN36M_KEYPOINTS).axis
    except ValueError:
        return lines, None
