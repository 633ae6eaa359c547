"""TSV files of Qualisys Track Manager: positions of markers, in mm, as text.

Lines of a keyword and its values, then, perhaps, a line of column titles, then a line per frame:
three coordinates per marker, with frame and time before them where the export says so. Empty
cells are missing points; older exports write zeros, which `kinpose.io.mark_missing` finds.
"""

import os

from kinpose.io._times import agreed_step, timed
from kinpose.io.points import Points, checked_points
from kinpose.io.text import (
    even_rows,
    frame_time_of,
    is_nothing,
    is_number,
    read_numbers,
    read_text,
    unique_names,
)

KEYWORD = "NO_OF_FRAMES"
"""What a file begins with."""

_LEAD = ("frame", "time")
"""What may come before the markers, by its titles."""


def load_qualisys(path: str | os.PathLike) -> Points:
    """Reads a TSV file of positions (DATA_INCLUDED 3D).

    Args:
      path: the file.

    Returns:
      The markers, in mm; the file says nothing of the axes.

    Raises:
      ValueError: for another file, saying where, what was expected and what was found.
    """
    name, text = os.fspath(path), read_text(path)
    lines = [line.rstrip("\n").split("\t") for line in text.split("\n")]
    first = next((i for i, cells in enumerate(lines) if _is_frame(cells)), len(lines))
    start = max((i + 1 for i, cells in enumerate(lines[:first]) if cells[0].strip()), default=0)
    header: dict[str, list[str]] = {}
    for key, *values in ([cell.strip() for cell in cells] for cells in lines[:start]):
        header.setdefault(key.upper(), values)
    if KEYWORD not in header or "MARKER_NAMES" not in header:
        raise ValueError(f"{name}: a file of Qualisys has {KEYWORD} and MARKER_NAMES.")
    kind = (header.get("DATA_INCLUDED") or ["3D"])[0].upper()
    if kind not in ("3D", ""):
        raise ValueError(f"{name}: DATA_INCLUDED must be 3D, positions, but is {kind}.")
    names = unique_names([x for x in header["MARKER_NAMES"] if x], "marker")
    least = 3 * len(names)  # cells of a frame in which no marker was seen
    numbers = [
        n
        for n in range(start, len(lines))
        if len(lines[n]) >= least or any(map(str.strip, lines[n]))
    ]
    if not names or first == len(lines):
        raise ValueError(f"{name}: has no {'frames' if names else 'markers'}.")
    rows, places = [lines[n] for n in numbers], [n + 1 for n in numbers]
    titles = [cell.strip().lower() for cell in lines[start - 1]]
    lead = _lead(titles, rows, 3 * len(names))
    if lead:
        kept = [i for i, row in enumerate(rows) if row[0].strip()]
        rows, places = [rows[i] for i in kept], [places[i] for i in kept]
    if not rows:
        raise ValueError(f"{name}: has no frames.")
    width = len(lead) + 3 * len(names)
    rows = even_rows(name, rows, places, width, is_whole=text.endswith("\n"))
    cells = read_numbers(name, rows, places)
    by_header = frame_time_of((header.get("FREQUENCY") or [""])[0])
    positions = cells[:, len(lead) :].reshape(len(rows), -1, 3)
    points = checked_points(name, positions, names, None)._replace(unit_mm=1.0)
    told = dict(zip(lead, cells.T, strict=False))
    points = timed(name, points, told.get("time"), told.get("frame"))
    return points._replace(frame_time_s=agreed_step(name, by_header, points.frame_time_s))


def _lead(titles: list[str], rows: list[list[str]], count: int) -> list[str]:
    """What comes before the markers' `count` cells, of `_LEAD`."""
    told = [title for title in titles[:2] if title in _LEAD]
    if told:
        return told
    if max(map(len, rows)) == count + len(_LEAD):  # of which the last marker may be empty
        return list(_LEAD)
    filled = max(i + 1 for row in rows for i, cell in enumerate(row) if cell.strip())
    return list(_LEAD[: max(filled - count, 0)])


def _is_frame(cells: list[str]) -> bool:
    """Whether a line is numbers only, some of which may be missing."""
    return any(map(is_number, cells)) and all(is_number(x) or is_nothing(x) for x in cells)
