"""When the frames of a text file were taken: how far apart they are, and which the file leaves out.

Shapes: T frames.
"""

import math
import warnings

import numpy as np

from kinpose.io.points import Points

_SPARSEST, _SHORT = 10, 10_000
"""Frames may be this many times those that are in the file; up to this many they may be any."""

_SLOWEST_S = 1.0
"""Between frames; as far apart, the numbers are likely of another unit, or count frames."""

UNITS_S = {"milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
"""Seconds per unit of time."""

_LIKELY_S = (1 / 250, 1 / 5)
"""Between frames, in a unit that nobody names."""

_EVEN, _MOST_UNEVEN = 0.4, 0.1
"""How far a step may be from a whole number of steps, and in how many of them it is not, where gaps
can be told."""

_AGREE = 0.02
"""Rates of the header and of the times may differ by this part."""


def step_of(times: np.ndarray) -> float | None:
    """The usual step between times (T,); None where they do not tell."""
    steps = np.diff(times[np.isfinite(times)])
    step = float(np.median(steps)) if len(steps) else 0.0
    return step if 0 < step < math.inf else None


def agreed_step(name: str, by_header: float | None, by_times: float | None) -> float | None:
    """The header's, which has all digits, where the times agree or do not tell."""
    if by_times is None or by_header is None:
        return by_header or by_times
    if abs(by_times / by_header - 1.0) < _AGREE:
        return by_header
    warnings.warn(
        f"{name}: the header says {1 / by_header:g} frames a second, but by their times there are "
        f"{1 / by_times:g}; that is taken.",
        stacklevel=3,
    )
    return by_times


def in_seconds(name: str, times: np.ndarray, unit_s: float | None) -> np.ndarray:
    """Times (T,) of a column whose title says the unit or, by None, nothing: in seconds.

    Warns of frames that are seconds apart; takes another unit for what no title says, where
    the numbers can be that.
    """
    step, (low, high) = step_of(times), _LIKELY_S
    apart = 0.0 if step is None else step * (unit_s or 1.0)
    if apart >= _SLOWEST_S:
        likely = [x for x, s in UNITS_S.items() if unit_s is None and low <= step * s <= high]
        said = f"are taken for {likely[0]}" if likely else f"leave {apart:g} s between frames"
        warnings.warn(f"{name}: times that are {step:g} apart {said}.", stacklevel=5)
        unit_s = UNITS_S[likely[0]] if likely else unit_s
    return times * (unit_s or 1.0)


def timed(
    name: str, points: Points, times: np.ndarray | None, numbers: np.ndarray | None
) -> Points:
    """Points at even times: where the file leaves frames out, there are frames without points.

    Warns of these, and where times or numbers are uneven.

    Args:
      name: of the file, for warnings.
      points: of T frames.
      times: (T,) when each was taken (s), where the file says.
      numbers: (T,) of the frames, where the file says; they tell gaps better than times.
    """
    step = None if times is None else step_of(times)
    if numbers is not None and step_of(numbers):
        places = _places(name, "numbers of frames", numbers)
    else:
        places = np.arange(len(points.positions)) if step is None else _places(name, "times", times)
    if step is not None:
        whole = float(times[-1] - times[0]) / int(places[-1])  # each step may be rounded
        points = points._replace(frame_time_s=whole if abs(whole / step - 1) < _EVEN else step)
    if times is not None and np.isfinite(times[0]):
        points = points._replace(start_s=float(times[0]))
    return spread(points, places)


def _places(name: str, what: str, given: np.ndarray) -> np.ndarray:
    """(T,) the places of frames among those that there were, from 0."""
    one_by_one = np.arange(len(given))
    with np.errstate(over="ignore", invalid="ignore"):
        step, steps = step_of(given), np.diff(given)
    if not np.isfinite(steps).all():
        return one_by_one
    count = np.maximum(np.rint(steps / step), 1)
    uneven = np.abs(steps / step - count) > _EVEN
    if uneven.any():
        warnings.warn(
            f"{name}: {what} are uneven, {steps.min():g} to {steps.max():g} apart; usually "
            f"{step:g}.",
            stacklevel=5,
        )
    lost = int(np.sum(count - 1))
    if not lost or uneven.mean() > _MOST_UNEVEN:
        return one_by_one
    spare = lost < max(_SPARSEST * len(given), _SHORT)
    taken = "taken as frames without points" if spare else "passed over"
    warnings.warn(
        f"{name}: by their {what}, {lost} frames are not in the file, in {np.sum(count > 1)} "
        f"gaps; they are {taken}.",
        stacklevel=5,
    )
    return np.concatenate([[0], np.cumsum(count)]).astype(int) if spare else one_by_one


def spread(points: Points, places: np.ndarray) -> Points:
    """Frames at these places (T,) of a longer recording, in which the others have no points."""
    size = int(places[-1]) + 1
    if size == len(places):
        return points
    positions = np.full((size, *points.positions.shape[1:]), np.nan)
    positions[places] = points.positions
    confidence = points.confidence
    if confidence is not None:
        confidence = np.zeros(positions.shape[:2])
        confidence[places] = points.confidence
    return points._replace(positions=positions, confidence=confidence)
