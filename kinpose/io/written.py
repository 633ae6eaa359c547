"""What writers of points ask of them: a rate, names, a unit that has a name."""

import os

from kinpose.io.points import Points
from kinpose.io.text import unique_names

UNITS_MM = {
    "mm": 1.0,
    "millimeters": 1.0,
    "millimetres": 1.0,
    "cm": 10.0,
    "centimeters": 10.0,
    "centimetres": 10.0,
    "m": 1000.0,
    "meters": 1000.0,
    "metres": 1000.0,
    "inch": 25.4,
    "in": 25.4,
    "inches": 25.4,
    "ft": 304.8,
    "feet": 304.8,
}
"""Millimetres per unit, by what files call it."""


def unit_name(unit_mm: float) -> str | None:
    """What files call a unit; None for one that has no name."""
    return next((name for name, mm in UNITS_MM.items() if mm == unit_mm), None)


def required_frame_time(points: Points, path: str | os.PathLike) -> float:
    """Seconds between frames; the gate of points for files that need it and three coordinates."""
    if points.frame_time_s is None:
        raise ValueError(f"{path}: frame_time_s of the points must be known for such a file.")
    if points.positions.shape[-1] != 3:
        raise ValueError(
            f"{path}: points must have 3 coordinates, but have shape {points.positions.shape}."
        )
    return points.frame_time_s


def first_frame(points: Points) -> int:
    """The number of the first frame, of which number 1 was taken at 0 s; 1 for what is before."""
    return max(round(points.start_s / points.frame_time_s), 0) + 1


def point_names(points: Points) -> list[str]:
    """Names of the points; `point_1`, ... where they have none."""
    return unique_names(points.names or [""] * points.positions.shape[1])
