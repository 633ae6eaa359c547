"""Writing C3D files; what they hold is told in `kinpose.io.c3d`."""

import os
import struct
import warnings

import numpy as np

from kinpose.io.files import write_atomically
from kinpose.io.points import Points
from kinpose.io.written import first_frame, point_names, required_frame_time, unit_name

BLOCK = 512
"""Bytes that sections of a file begin at multiples of."""
MAGIC = 0x50
"""The second byte of a file."""
INTEL = 84
"""The kind of processor whose numbers are little-endian."""

_MOST = 65535
"""What the header's numbers of 16 bits hold."""

_COARSE_MM = 0.1
"""Rounding that is worth a warning; of people a few metres away it is a thousandth of a mm."""

_LABELS = 255
"""Labels of one parameter; more go on in LABELS2, LABELS3, ..."""


def save_c3d(path: str | os.PathLike, points: Points) -> None:
    """Writes a C3D file, of floats, that ezc3d and other readers open.

    Args:
      path: the file to write, whole or not at all; an existing one is replaced.
      points: of a known rate; a unit that is not known is written as mm.

    Raises:
      ValueError: for points without a rate, of a unit without a name or without three coordinates,
        and for more than 65535 points or names of more than 127 bytes.
    """
    rate, unit = 1.0 / required_frame_time(points, path), unit_name(points.unit_mm or 1.0)
    if unit is None:
        raise ValueError(f"{path}: a unit of {points.unit_mm:g} mm has no name; scale the points.")
    names, (frames, count, _) = point_names(points), points.positions.shape
    if count > _MOST or max(len(name.encode()) for name in names) > 127:
        raise ValueError(f"{path}: C3D holds 65535 points with names of 127 bytes at most.")
    missing = np.isnan(points.positions).any(axis=-1)
    coarse = np.spacing(np.float32(np.nanmax(np.abs(points.positions)))) * (points.unit_mm or 1.0)
    if coarse > _COARSE_MM:
        warnings.warn(
            f"{path}: C3D has 7 digits: so far from the origin points are rounded to "
            f"{coarse:.3g} mm; move them nearer, or write another kind of file.",
            stacklevel=3,
        )
    cells = np.zeros((frames, count, 4), "<f4")
    cells[..., :3] = np.where(missing[..., None], 0.0, points.positions)
    cells[..., 3] = np.where(missing, -1.0, 0.0)
    start = first_frame(points)
    start = start if start + frames <= 2**31 else 1
    ends = start, start + frames - 1

    def parameters(block: int) -> bytes:
        return _parameter_blocks(rate, unit, points.up, names, ends, block)

    first = 2 + len(parameters(0)) // BLOCK
    shown = ends if ends[1] <= _MOST else (1, min(frames, _MOST))
    header = struct.pack("<BBHHHHHfHHf", 2, MAGIC, count, 0, *shown, 0, -1.0, first, 0, rate)
    with write_atomically(path) as temporary, open(temporary, "wb") as file:
        file.write(header.ljust(BLOCK, b"\0") + parameters(first))
        content = cells.tobytes()
        file.write(content + b"\0" * (-len(content) % BLOCK))


def _parameter_blocks(rate, unit, up, names, ends, first_block) -> bytes:
    shown = min(ends[1] - ends[0] + 1, _MOST)
    point = {
        "USED": np.int16(np.uint16(len(names)).view(np.int16)),
        "SCALE": np.float32(-1.0),
        "RATE": np.float32(rate),
        "DATA_START": np.uint16(first_block).view(np.int16),
        "FRAMES": np.uint16(shown).view(np.int16),
        "UNITS": [unit],
    }
    if up:
        side = "y" if up[-1] == "x" else "x"
        point |= {"X_SCREEN": [f"+{side.upper()}"], "Y_SCREEN": [_signed(up)]}
    for i in range(0, len(names), _LABELS):
        key = "LABELS" + (str(i // _LABELS + 1) if i else "")
        point[key] = names[i : i + _LABELS]
        point[key.replace("LABELS", "DESCRIPTIONS")] = [""] * len(point[key])
    groups = {
        "POINT": point,
        "ANALOG": {
            "USED": np.int16(0),
            "GEN_SCALE": np.float32(1.0),
            "RATE": np.float32(0.0),
        },
        "TRIAL": {
            f"ACTUAL_{end}_FIELD": np.array([x % 65536, x // 65536], np.uint16).view(np.int16)
            for end, x in zip(("START", "END"), ends, strict=True)
        },
    }
    content = b""
    for number, (group, values) in enumerate(groups.items(), 1):
        content += struct.pack("<bb", len(group), -number) + group.encode() + b"\3\0\0"
        for key, value in values.items():
            body = _packed(value) + b"\0"
            content += struct.pack("<bb", len(key), number) + key.encode()
            content += struct.pack("<H", 2 + len(body)) + body
    content += b"\0\0"
    blocks = -(-(4 + len(content)) // BLOCK)
    if blocks > 255:
        raise ValueError(f"{len(names)} points have longer names than a C3D file holds.")
    return (struct.pack("BBBB", 1, MAGIC, blocks, INTEL) + content).ljust(blocks * BLOCK, b"\0")


def _signed(axis: str) -> str:
    return axis.upper() if axis.startswith("-") else f"+{axis.upper()}"


def _packed(value) -> bytes:
    """Type, dimensions and data of a parameter."""
    if isinstance(value, list):
        texts = [text.encode() for text in value]
        width = max(1, *map(len, texts))
        return struct.pack("bBBB", -1, 2, width, len(texts)) + b"".join(
            text.ljust(width) for text in texts
        )
    array = np.asarray(value)
    kind = 4 if array.dtype.kind == "f" else 2
    return struct.pack("bB", kind, array.ndim) + bytes(array.shape) + array.tobytes()
