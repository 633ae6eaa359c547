"""Text files of numbers: their characters, their delimiter, their cells.

Shapes: T rows, C columns.
"""

import codecs
import math
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from kinpose.io.files import write_atomically

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_WIDENED = 10
"""Cells that are not there may be this many times those that are."""

_NOTHING = {"", "nan", "na", "n/a", "none", "null", "nil", "-", "--", "#n/a", "inf", "-inf"}
"""Cells of a missing number, in lower case."""


def read_text(path: str | os.PathLike) -> str:
    """The text of a file: UTF-8, UTF-16 with its mark, or else Latin-1, as older programs write.

    Raises:
      ValueError: naming the file, for bytes that are no text.
    """
    data = pathlib.Path(path).read_bytes()
    for encoding in ["utf-16"] if _is_utf16(data) else ["utf-8-sig", "latin-1"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise ValueError(f"{os.fspath(path)}: must be text, but has bytes that are none.")


def first_text(data: bytes) -> str:
    """What a file that begins with these bytes begins with as text, if it is text."""
    if _is_utf16(data):
        return data.decode("utf-16", "ignore").lstrip()
    return data.removeprefix(codecs.BOM_UTF8).decode("latin-1").lstrip()


def _is_utf16(data: bytes) -> bool:
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def find_delimiter(line: str) -> str | None:
    """What stands between the cells of a line; None for spaces."""
    # A comma may be that of decimals where something else delimits.
    return next((mark for mark in "\t;," if line.count(mark) > 1), None)


def is_number(cell: str) -> bool:
    """Whether a cell holds a number; decimals may have a comma."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def is_nothing(cell: str) -> bool:
    """Whether a cell is of a missing number."""
    return cell.strip().lower() in _NOTHING


def read_numbers(name: str, rows: Sequence[Sequence[str]], lines: Sequence[int]) -> np.ndarray:
    """Cells as numbers.

    Args:
      name: of the file, for errors.
      rows: T rows of C cells each.
      lines: the number of each row's line, for errors.

    Returns:
      (T, C) float64; NaN for cells without a number.

    Raises:
      ValueError: for a cell that is no number, saying where.
    """
    try:  # what is usual, fast
        values = np.array([[float(x) if x else math.nan for x in row] for row in rows])
        if not any("_" in x for row in rows for x in row):  # float would take "1_000"
            return values.reshape(len(rows), -1)
    except ValueError:
        pass
    values = np.full((len(rows), len(rows[0]) if rows else 0), math.nan)
    for t, row in enumerate(rows):
        for c, cell in enumerate(row):
            if is_number(cell):
                values[t, c] = float(cell.strip().replace(",", "."))
            elif not is_nothing(cell):
                raise ValueError(
                    f"{name}, line {lines[t]}: expected a number, but found {cell[:40]!r} in "
                    f"column {c + 1}."
                )
    return values


def even_rows(
    name: str, rows: list[list[str]], lines: list[int], width: int, *, is_whole: bool
) -> list[list[str]]:
    """Rows of one width: empty cells at an end are as good as not there.

    Args:
      name: of the file, for errors.
      rows: the rows.
      lines: the number of each row's line.
      width: how many cells a row has.
      is_whole: whether the file ends with the end of a line; if not, a last row that is
        shorter was cut and is left out, with a warning.

    Returns:
      The rows, of `width` cells each.

    Raises:
      ValueError: for a row with more cells, saying where.
    """
    if width * len(rows) > _WIDENED * sum(map(len, rows)) + 1_000_000:
        raise ValueError(f"{name}: expected {width} cells in a line, but most have far fewer.")
    if not is_whole and len(rows) > 1 and len(rows[-1]) < min(width, len(rows[-2])):
        warnings.warn(f"{name}: the last line is cut short and left out.", stacklevel=4)
        rows = rows[:-1]
    for row, line in zip(rows, lines, strict=False):
        if any(cell.strip() for cell in row[width:]):
            raise ValueError(f"{name}, line {line}: expected {width} cells, but found {len(row)}.")
    return [[*row[:width], *[""] * (width - len(row))] for row in rows]


def unique_names(names: Iterable[str], what: str = "point") -> list[str]:
    """Names that differ: the later of equal ones become `name_2`, `name_3`, ...

    Those that are empty are named by their number, `point_1`, ...
    """
    counts: dict[str, int] = {}  # of each name, also of those that were made
    unique = []
    for i, name in enumerate(names):
        own = new = name.strip() or f"{what}_{i + 1}"
        while new in counts:
            counts[own] += 1
            new = f"{own}_{counts[own]}"
        counts[new] = 1
        unique.append(new)
    return unique


def frame_time_of(rate: str) -> float | None:
    """Seconds between frames by a cell with frames per second; None where it tells nothing."""
    value = float(rate.replace(",", ".")) if is_number(rate) else 0.0
    return 1.0 / value if 1e-9 < value < 1e9 else None


def format_of(values: np.ndarray, digits: int = 9) -> str:
    """How to write numbers: with so many digits, more where numbers are above 10,000."""
    most = np.max(np.abs(values), initial=0.0, where=np.isfinite(values))
    return f"%.{min(digits + max(len(f'{most:.0f}') - 4, 0), 17)}g"


def format_rows(number: str, mark: str, values: np.ndarray) -> list[str]:
    """Rows (T, C) as text, with a mark between numbers, which are empty where they are NaN."""
    line = mark.join([number] * values.shape[1])
    return [(line % tuple(row)).replace("nan", "") for row in values.tolist()]


def format_times(count: int, frame_time_s: float, start_s: float = 0.0) -> list[str]:
    """When each of some frames was taken, in seconds, with all digits that count."""
    return [repr(round(float(start_s + t * frame_time_s), 9)) for t in range(count)]


def write_lines(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """A text file, whole or not at all."""
    with (
        write_atomically(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(line + "\n" for line in lines)
