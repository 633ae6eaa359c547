"""What is asked of a recording, and its file as it is read."""

import math
import pathlib
import warnings as python_warnings
from typing import NamedTuple

import numpy as np

from kinpose.io import load_recording
from kinpose.io.bvh import load_bvh
from kinpose.io.column_maps import load_columns
from kinpose.io.points import Points, points_of_individual
from kinpose.layouts import LAYOUTS, Layout, find_individuals, load_layout
from kinpose.recordings import UNITS_MM
from kinpose.skeletons import human_17

_RATES_AGREE = 0.01
"""Part by which a rate that is given may differ from the file's."""


class Settings(NamedTuple):
    """How a recording is to be taken; see the flags of `kinpose fit`."""

    skeleton: str = "human_17"
    layout: str = "auto"
    unit: str = "auto"
    up: str = "auto"
    fps: float | None = None
    columns: str | None = None
    individual: str | None = None
    mirror: bool = False
    swap_sides: bool = False
    missing: str = "auto"
    ignore: tuple[str, ...] = ()
    lengths: str = "symmetric"
    limits: bool = True
    robust: str = "auto"
    fill: str = "none"
    convention: str = "anatomical"

    @property
    def is_human(self) -> bool:
        """Whether the model is the built-in human."""
        return self.skeleton == "human_17"


class Input(NamedTuple):
    """A file as it is read.

    Attributes:
      name: for messages.
      points: all points.
      rest: (N, 3) the points in the rest pose of a BVH file, else None.
      warnings: what the reader said.
    """

    name: str
    points: Points
    rest: np.ndarray | None = None
    warnings: tuple[str, ...] = ()


def check_settings(settings: Settings):
    """The gate of settings that are numbers, or names in places of numbers."""
    if settings.fps is not None and not 0 < settings.fps < math.inf:
        raise ValueError(f"--fps must be positive, but is {settings.fps:g}.")
    if settings.layout not in ("auto", *LAYOUTS) and not settings.layout.endswith(".json"):
        raise ValueError(
            f"--layout must be auto, one of {list(LAYOUTS)} or a .json file, but is "
            f"{settings.layout}."
        )
    if settings.unit not in ("auto", *UNITS_MM) and not _number(settings.unit) > 0:
        raise ValueError(
            f"--unit must be auto, one of {list(UNITS_MM)} or a positive number of mm, but is "
            f"{settings.unit}."
        )
    if settings.robust != "auto" and not _number(settings.robust) >= 0:
        raise ValueError(
            f"--robust must be auto, 0 or a distance in the input's unit, but is {settings.robust}."
        )
    if settings.unit == "auto" and not settings.is_human:
        raise ValueError("the unit is guessed from the size of a human; give --unit as well.")
    if settings.convention == "isb" and not settings.is_human:
        raise ValueError("--convention=isb is known of human_17 only.")
    if settings.is_human:
        for keypoint in settings.ignore:
            check_keypoint(keypoint, human_17().keypoint_names)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if value < math.inf else math.nan


def check_keypoint(keypoint: str, names):
    """The gate of keypoints to leave out."""
    if keypoint not in names:
        raise ValueError(f"--ignore={keypoint} is none of {list(names)}.")


def read_input(path: str, settings: Settings) -> Input:
    """Reads a file of points, and what is said about it."""
    check_settings(settings)
    order = ()
    if settings.layout != "auto":
        order = layout_by_name(settings.layout).order
    columns = load_columns(settings.columns) if settings.columns else None
    points, said = heard(
        load_recording, path, order=order, columns=columns, individual=settings.individual
    )
    points, also = _of_one(points, settings)
    said += also
    if points.positions.shape[-1] != 3:
        raise ValueError(
            f"{path}: points must have 3 coordinates, but have {points.positions.shape[-1]}: those "
            "of one picture tell no depth; triangulate the points of several cameras."
        )
    if pathlib.Path(path).suffix.lower() != ".bvh":
        return Input(path, points, warnings=said)
    skeleton = heard(load_bvh, path)[0].skeleton
    rest = np.zeros((skeleton.num_joints, 3))
    for joint, parent in enumerate(skeleton.parents):
        rest[joint] = skeleton.offsets[joint] + (rest[parent] if parent >= 0 else 0.0)
    return Input(path, points, rest[list(skeleton.keypoints)], said)


def _of_one(points: Points, settings: Settings) -> tuple[Points, tuple[str, ...]]:
    """The points of the first individual, and what is to be said where there are several."""
    layout = None if settings.layout == "auto" else layout_by_name(settings.layout)
    if settings.individual is not None or not (settings.is_human or layout):
        return points, ()
    individuals = find_individuals(points.names, layout)
    if not individuals:
        return points, ()
    first, *others = individuals
    said = f"points of {len(individuals)} individuals: {first} is taken; --individual takes "
    return points_of_individual(points, first), (f"{said}{' or '.join(others)}.",)


def contradicted_rate(fps: float | None, frame_time_s: float | None) -> str:
    """What is to be said where --fps is not the file's rate, if both are known; else ""."""
    if not fps or not frame_time_s or abs(fps * frame_time_s - 1) <= _RATES_AGREE:
        return ""
    return f"{fps:g} frames/s are taken, as --fps says; the file says {1 / frame_time_s:g}."


def heard(function, *args, **kwargs) -> tuple:
    """What a function returns, and what it warns of, each sentence once."""
    with python_warnings.catch_warnings(record=True) as caught:
        python_warnings.simplefilter("always", UserWarning)
        result = function(*args, **kwargs)
    return result, tuple(dict.fromkeys(str(warning.message) for warning in caught))


def layout_by_name(name: str) -> Layout:
    """A known layout, or one from a file."""
    return LAYOUTS[name] if name in LAYOUTS else load_layout(name)
