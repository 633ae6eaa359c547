"""C3D files: positions of markers, the exchange format of motion capture (c3d.org).

Blocks of 512 bytes: a header; parameters in groups, of which POINT tells labels, unit, rate and
scale; then the frames, each its points of four numbers (x, y, z, and a residual that is negative
where the point was not seen) and its analog samples, which are passed over.

Shapes: T frames, N points.
"""

import math
import os
import pathlib
import struct
import warnings
from typing import Any, NamedTuple

import numpy as np

from kinpose.io.c3d_writer import BLOCK, INTEL, MAGIC, save_c3d
from kinpose.io.points import Points, checked_points
from kinpose.io.text import unique_names
from kinpose.io.written import UNITS_MM

__all__ = ["is_c3d", "load_c3d", "save_c3d"]

_DEC, _MIPS = 85, 86
"""Kinds of processors besides Intel's: VAX floats, big-endian."""

_COMPUTED = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS")
"""Parameters of POINT that list labels of what is no position."""


def is_c3d(data: bytes) -> bool:
    """Whether a file that begins with these bytes is a C3D file."""
    return len(data) > 1 and data[1] == MAGIC and 0 < data[0] < 128


def load_c3d(path: str | os.PathLike) -> Points:
    """Reads a C3D file.

    Args:
      path: the file, of any processor, with coordinates in floats or in scaled integers.

    Returns:
      The points that are positions, with unit and, where POINT:Y_SCREEN tells it, the axis up. A
      file that is cut short gives the frames that are whole, with a warning.

    Raises:
      ValueError: naming the file, for what is no C3D file or a damaged one.
    """
    name, data = os.fspath(path), pathlib.Path(path).read_bytes()
    if not is_c3d(data) or len(data) < BLOCK:
        raise ValueError(f"{name}: not a C3D file.")
    try:
        return _read(name, data)
    except (struct.error, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"{name}: a damaged C3D file: {error!r}.") from None


class _Numbers(NamedTuple):
    """How a processor writes numbers."""

    order: str
    is_vax: bool

    def words(self, data: bytes) -> np.ndarray:
        return np.frombuffer(data[: len(data) // 2 * 2], f"{self.order}i2")

    def floats(self, data: bytes) -> np.ndarray:
        data = data[: len(data) // 4 * 4]
        if self.is_vax:  # halves exchanged, and an exponent that is two more
            words = np.frombuffer(data, "<u2").reshape(-1, 2)[:, ::-1]
            data, order = np.ascontiguousarray(words).tobytes(), "<"
        else:
            order = self.order
        with np.errstate(invalid="ignore"):  # signalling NaN
            values = np.frombuffer(data, f"{order}f4").astype(np.float64)
        return values / 4 if self.is_vax else values


def _read(name: str, data: bytes) -> Points:
    start = BLOCK * (data[0] - 1)
    kind = data[start + 3]
    if kind not in (INTEL, _DEC, _MIPS):
        raise ValueError(f"{name}: processor must be 84, 85 or 86, but is {kind}.")
    numbers = _Numbers(">" if kind == _MIPS else "<", kind == _DEC)
    parameters = _read_parameters(data, start, numbers)
    header = numbers.words(data[:24]).astype(int) & 0xFFFF
    scale, rate = (float(numbers.floats(data[at : at + 4])[0]) for at in (12, 20))
    num_points, num_analog = int(header[1]), int(header[2])
    if not num_points:
        raise ValueError(f"{name}: has no points.")
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(f"{name}: the scale of the points must be a number, but is {scale}.")
    first, count = _first_frame_and_count(parameters, header)
    at = BLOCK * (int(header[8]) - 1)
    if at < BLOCK:
        raise ValueError(
            f"{name}: the data must begin after the header, but are in block {header[8]}."
        )
    size = (4 * num_points + num_analog) * (4 if scale < 0 else 2)
    there = (len(data) - at) // size
    if there < count:
        if there < 1:
            raise ValueError(f"{name}: has no frames; the header says {count}.")
        warnings.warn(
            f"{name}: the header says {count} frames, but {there} follow; these are used.",
            stacklevel=4,
        )
    values = data[at : at + min(count, there) * size]
    positions, residuals = _frames(values, num_points, size, scale, numbers)
    positions[residuals < 0] = np.nan
    labels = _labels(parameters, num_points)
    kept = [n for n, label in enumerate(labels) if label not in _computed(parameters)]
    rates = parameters.get(("POINT", "RATE"), [rate])
    rate = float(rates[0]) if len(rates) and not isinstance(rates[0], str) else rate
    points = checked_points(
        name,
        positions[:, kept],
        [unique_names(labels)[n] for n in kept],
        1.0 / rate if 0 < rate < math.inf else None,
    )
    unit = _text(parameters, "UNITS").lower()
    up = _text(parameters, "Y_SCREEN").lower().removeprefix("+")
    return points._replace(
        unit_mm=UNITS_MM.get(unit),
        up=up if up in ("x", "y", "z", "-x", "-y", "-z") else None,
        start_s=max(first - 1, 0) * (points.frame_time_s or 0.0),
    )


def _read_parameters(data: bytes, start: int, numbers: _Numbers) -> dict[tuple[str, str], Any]:
    """Values by group and name; texts as lists of strings."""
    groups: dict[int, str] = {}
    found: list[tuple[int, str, Any]] = []
    at = start + 4
    while at + 2 <= len(data):
        length, number = struct.unpack_from("bb", data, at)
        length = abs(length)
        if not length or not number:
            break
        name = data[at + 2 : at + 2 + length].decode("latin-1").upper().strip()
        at += 2 + length
        step = int(numbers.words(data[at : at + 2])[0])
        if number < 0:
            groups[-number] = name
        else:
            found.append((number, name, _value(data, at + 2, numbers)))
        if step <= 0:
            break
        at += step
    return {(groups.get(number, ""), name): value for number, name, value in found}


def _value(data: bytes, at: int, numbers: _Numbers):
    """What a parameter holds: a list of strings, or an array of numbers in the file's order."""
    size, ndim = struct.unpack_from("bB", data, at)
    shape = list(data[at + 2 : at + 2 + ndim])
    count = math.prod(shape)
    content = data[at + 2 + ndim :][: abs(size) * count]
    if size == -1:
        width = shape[0] if shape else 1
        text = content.decode("utf-8" if _is_utf8(content) else "latin-1")
        if len(text) != len(content):  # widths count bytes
            parts = [content[i : i + width] for i in range(0, len(content), max(width, 1))]
            return [part.decode("utf-8", "replace").strip(" \0") for part in parts]
        return [text[i : i + width].strip(" \0") for i in range(0, len(text), max(width, 1))]
    if size == 2:
        return numbers.words(content)
    if size == 4:
        return numbers.floats(content)
    return np.frombuffer(content, "i1")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(parameters, name: str) -> str:
    value = parameters.get(("POINT", name), [""])
    return value[0] if len(value) and isinstance(value[0], str) else ""


def _texts(parameters, name: str) -> list[str]:
    """A list of labels, with what of it goes on in name2, name3, ..."""
    texts: list[str] = []
    for key in (name, *(f"{name}{i}" for i in range(2, 300))):
        value = parameters.get(("POINT", key))
        if value is None:
            break
        texts += [text for text in value if isinstance(text, str)]
    return texts


def _labels(parameters, count: int) -> list[str]:
    labels = _texts(parameters, "LABELS")[:count]
    return labels + [""] * (count - len(labels))


def _computed(parameters) -> set[str]:
    return {label for key in _COMPUTED for label in _texts(parameters, key) if label}


def _first_frame_and_count(parameters, header) -> tuple[int, int]:
    """Of the header, unless the numbers are more than its 16 bits hold."""
    first, count = int(header[3]), max(int(header[4]) - int(header[3]) + 1, 1)
    fields = [parameters.get(("TRIAL", f"ACTUAL_{end}_FIELD")) for end in ("START", "END")]
    if all(x is not None and len(x) == 2 and not isinstance(x[0], str) for x in fields):
        start, last = (int(x[0]) % 65536 + 65536 * (int(x[1]) % 65536) for x in fields)
        if last - start + 1 == count or last - start + 1 > 65535:
            return start, last - start + 1
    long = parameters.get(("POINT", "LONG_FRAMES"), [])
    if len(long) and not isinstance(long[0], str) and 65535 < long[0] < 2**31:
        count = int(long[0])
    return first, count


def _frames(values: bytes, num_points: int, size: int, scale: float, numbers: _Numbers):
    """Positions (T, N, 3) float64 and residuals (T, N)."""
    frames = len(values) // size
    width = size // (4 if scale < 0 else 2)
    cells = numbers.floats(values) if scale < 0 else numbers.words(values).astype(np.float64)
    cells = cells.reshape(frames, width)[:, : 4 * num_points].reshape(frames, num_points, 4)
    return cells[..., :3] * (scale if scale > 0 else 1.0), cells[..., 3]
