"""Tables of points as text: a line per frame (wide), or a line per point and frame (long).

What is read without being told: the CSV files of FreeMoCap, Anipose and DeepLabCut (3D), of
Vicon and OptiTrack, and any table whose titles name each point with x, y and z: nose_x, "nose X",
x_nose, or a line of names above a line of axes; beside them, perhaps, a confidence (score,
likelihood, visibility). Of the rest, a map of columns tells.

Shapes: T frames, N points, n 2 or 3 dimensions.
"""

import csv
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from kinpose.io._times import in_seconds, timed
from kinpose.io.column_maps import check_map, long_by_map, wide_by_map
from kinpose.io.points import Points, checked_points
from kinpose.io.table_columns import (
    AXES,
    Columns,
    first_of_data,
    header_unit,
    long_columns,
    time_column,
    whose_column,
    wide_columns,
)
from kinpose.io.text import (
    even_rows,
    find_delimiter,
    format_of,
    format_rows,
    format_times,
    is_number,
    read_numbers,
    read_text,
    unique_names,
    write_lines,
)
from kinpose.io.written import UNITS_MM, point_names

_EMPTIEST = 1000
"""Places of points may be this many times the lines."""


def load_table(path: str | os.PathLike, columns: Mapping[str, Any] | None = None) -> Points:
    """Reads a table of points.

    Args:
      path: the file: cells between commas, semicolons, tabs or spaces; decimals with a point or,
        where no comma is between cells, a comma; empty cells are missing.
      columns: a map of the columns, as `kinpose.io.column_maps` tells, where their titles do not.

    Returns:
      The points (T, N, n), in the order of the columns or, of a long table, of the lines.

    Raises:
      ValueError: naming the file, for a table that is none, or none of points.
    """
    name, text = os.fspath(path), read_text(path)
    every, numbers = _split(name, text)
    filled = [i for i, row in enumerate(every) if any(row)]
    if not filled:
        raise ValueError(f"{name}: is empty.")
    rows, lines = [every[i] for i in filled], [numbers[i] for i in filled]
    given = dict(columns or {})
    check_map(name, given)
    start = first_of_data(rows)
    titles = rows[start - 1] if start else []
    long = long_by_map(name, rows[0], given) or ({} if given else long_columns(rows[0]))
    if long:
        points = _read_long(name, rows, lines, long)
    else:
        if start == len(rows):
            raise ValueError(f"{name}: has no line of numbers.")
        found = (
            wide_by_map(name, titles, given) if "points" in given else wide_columns(rows[:start])
        )
        if not found.points:
            shown = ", ".join(titles[:8]) or "none"
            raise ValueError(
                f"{name}: the titles of the columns name no points with x, y and z (they are: "
                f"{shown[:200]}); say by a map of columns which they are."
            )
        if found.others:
            shown = ", ".join(found.others[:8]) + ", ..." * (len(found.others) > 8)
            warnings.warn(
                f"{name}: {len(found.others)} columns of coordinates are of no point, as they are "
                f"there twice or lack others: {shown}.",
                stacklevel=4,
            )
        width = max(map(len, rows[:start] if titles else rows))
        if not _are_numbered(rows[start:], found):
            first = filled[start - 1] + 1 if start else 0
            rows, lines = rows[:start] + every[first:], lines[:start] + numbers[first:]
        body = even_rows(name, rows[start:], lines[start:], width, is_whole=text.endswith("\n"))
        _refuse_several(name, titles, body)
        points = _read_wide(name, body, lines[start:], found)
    if "fps" in given:
        points = points._replace(frame_time_s=1.0 / float(given["fps"]))
    if "unit" in given:
        points = points._replace(unit_mm=UNITS_MM[given["unit"]])
    return points


def _refuse_several(name: str, titles: list[str], body) -> None:
    """The gate of wide tables: a line is a frame of one individual."""
    column = whose_column(titles)
    whose = {} if column is None else dict.fromkeys(filter(None, (row[column] for row in body)))
    if len(whose) > 1:
        shown = ", ".join(list(whose)[:8])
        raise ValueError(
            f"{name}: its lines are of {len(whose)} individuals by {titles[column]!r} ({shown}); "
            "keep the lines of one of them."
        )


def _are_numbered(rows: list[list[str]], columns: Columns) -> bool:
    """Whether each line has something beside its points, as a time.

    If so, a line of nothing but marks is no frame; if not, it is one in which nothing was seen.
    """
    of_points = {c for cells in columns.points.values() for c in cells} | {*columns.sure.values()}
    others = set(range(min(map(len, rows)))) - of_points
    return any(all(row[c] for row in rows) for c in others)


def _split(name: str, text: str) -> tuple[list[list[str]], list[int]]:
    """Cells of the lines that have any, and the lines' numbers."""
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    said = [line for _, line in lines if line.strip(" ,;\t")]
    # Titles may lack marks that numbers have, and comments at the top anything.
    mark = find_delimiter(said[len(said) // 2]) if said else None
    if mark is None:
        rows = [line.split() for _, line in lines]
    else:
        try:
            rows = list(csv.reader((line for _, line in lines), delimiter=mark, strict=False))
        except csv.Error as error:
            raise ValueError(f"{name}: not a table: {error}.") from None
    if len(rows) != len(lines):
        raise ValueError(f"{name}: not a table: a quotation mark is not closed on its line.")
    return [[cell.strip() for cell in row] for row in rows], [n for n, _ in lines]


def _read_wide(name: str, rows, lines, columns: Columns) -> Points:
    frame = columns.frame
    if frame is not None and not all(is_number(row[frame]) for row in rows):  # names of pictures
        columns = columns._replace(frame=None)
    used = sorted(
        {c for cells in columns.points.values() for c in cells}
        | {c for c in (*columns.sure.values(), columns.time, columns.frame) if c is not None}
    )
    if used[-1] >= len(rows[0]):
        raise ValueError(f"{name}: has {len(rows[0])} columns, but column {used[-1]} is named.")
    cells = read_numbers(name, [[row[c] for c in used] for row in rows], lines)
    place = {c: i for i, c in enumerate(used)}
    index = [[place[c] for c in points] for points in columns.points.values()]
    if len({len(x) for x in index}) > 1:
        raise ValueError(f"{name}: all points must have as many coordinates.")
    positions = cells[:, np.array(index)]
    sure = [None if c is None else place[c] for c in columns.sure.values()]
    confidence = None
    if any(c is not None for c in sure):
        confidence = np.stack(
            [np.ones(len(rows)) if c is None else cells[:, c] for c in sure], axis=1
        )
        confidence = np.nan_to_num(confidence)
    names, frame_time_s = unique_names(columns.points), 1.0 / columns.fps if columns.fps else None
    points = checked_points(name, positions, names, frame_time_s, confidence)
    times, numbers = (
        None if c is None else cells[:, place[c]] for c in (columns.time, columns.frame)
    )
    if times is not None:
        times = in_seconds(name, times, columns.time_s)
    return timed(name, points._replace(unit_mm=columns.unit_mm), times, numbers)


def _read_long(name: str, rows, lines, columns: dict[str, int]) -> Points:
    titles, rows, lines = rows[0], rows[1:], lines[1:]
    width = max(columns.values()) + 1
    if any(len(row) < width for row in rows):
        line = next(n for n, row in zip(lines, rows, strict=True) if len(row) < width)
        raise ValueError(f"{name}, line {line}: expected {width} cells or more.")
    labels = [row[columns["point"]] for row in rows]
    keys = [key for key in columns if key not in ("point", "model", "individual")]
    wanted = [[row[columns[key]] for key in keys] for row in rows]
    cells = dict(zip(keys, read_numbers(name, wanted, lines).T, strict=True)) if rows else {}
    if not rows:
        raise ValueError(f"{name}: has titles and no line below them.")
    if "individual" in columns and len({row[columns["individual"]] for row in rows}) > 1:
        labels = _with_before(labels, rows, columns["individual"])
    points, n = _numbered(labels)
    if "model" in columns and len({*zip(_frames_of(name, cells, n), n, strict=True)}) < len(n):
        labels = _with_before(labels, rows, columns["model"])
        points, n = _numbered(labels)
    t = _frames_of(name, cells, n)
    axes = [axis for axis in AXES if axis in cells]
    shape = (int(t.max()) + 1, len(points))
    places, counts = np.unique(t * len(points) + n, return_counts=True)
    if (counts > 1).any():
        frame, point = divmod(int(places[counts > 1][0]), len(points))
        raise ValueError(f"{name}: frame {frame} has {points[point]!r} more than once.")
    if shape[0] * shape[1] > _EMPTIEST * len(rows):
        raise ValueError(f"{name}: {shape[0]} frames of {shape[1]} points have {len(rows)} lines.")
    positions = np.full((*shape, len(axes)), np.nan)
    positions[t, n] = np.stack([cells[axis] for axis in axes], axis=-1)
    confidence = None
    if "confidence" in cells:
        confidence = np.zeros(shape)
        confidence[t, n] = np.nan_to_num(cells["confidence"])
    found = checked_points(name, positions, unique_names(points), None, confidence)
    found = found._replace(unit_mm=header_unit([titles]))
    times, numbers = (
        cells[key][np.unique(t, return_index=True)[1]] if key in cells else None
        for key in ("time", "frame")
    )
    if times is not None:
        times = in_seconds(name, times, time_column(titles)[1])
    return timed(name, found, times, numbers)


def _with_before(labels: list[str], rows, column: int) -> list[str]:
    """Labels with what a column has of each before them."""
    return [f"{row[column]}_{label}" for row, label in zip(rows, labels, strict=True)]


def _numbered(labels: list[str]) -> tuple[list[str], np.ndarray]:
    """Names that differ, and the number of each label's."""
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return list(number), np.array([number[label] for label in labels])


def _frames_of(name: str, cells, n: np.ndarray) -> np.ndarray:
    """The frame of each line, from 0."""
    given = cells.get("frame", cells.get("time"))
    if given is None:  # a point again begins a frame
        seen = np.zeros(n.max() + 1, int)
        t = np.empty(len(n), int)
        for i, point in enumerate(n):
            t[i] = seen[point]
            seen[point] += 1
        return t
    if not np.isfinite(given).all():
        raise ValueError(f"{name}: each line must have a frame.")
    return np.unique(given, return_inverse=True)[1]


def save_table(path: str | os.PathLike, points: Points) -> None:
    """Writes a wide table: time_s, then x, y and z, and perhaps a score, of each point.

    Args:
      path: the .csv file to write, whole or not at all; an existing one is replaced.
      points: to write; a missing one is empty.
    """
    names, sure = point_names(points), points.confidence
    axes = AXES[: points.positions.shape[-1]]
    titles = [
        f"{name}_{part}" for name in names for part in (*axes, *(["score"] * (sure is not None)))
    ]
    rows = points.positions
    if sure is not None:
        rows = np.concatenate([rows, np.asarray(sure)[..., None]], axis=-1)
    cells = format_rows(format_of(rows), ",", rows.reshape(len(rows), -1))
    if points.frame_time_s is not None:
        titles = ["time_s", *titles]
        times = format_times(len(cells), points.frame_time_s, points.start_s)
        cells = [f"{time},{row}" for time, row in zip(times, cells, strict=True)]
    write_lines(path, [_csv_line(titles), *cells])


def _csv_line(cells: list[str]) -> str:
    return ",".join(
        '"' + cell.replace('"', '""') + '"' if set(',;"\t') & set(cell) else cell for cell in cells
    )
