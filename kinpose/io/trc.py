"""TRC files: positions of markers as text, of Motion Analysis, OpenSim and Pose2Sim.

A header of five lines, then a line per frame: its number, its time and three coordinates per
marker, with tabs between. Files differ from that, and are read: spaces instead of tabs, no
empty line below the header, empty cells or "nan" where a marker was not seen, ends of lines
that are not there, counts that are not those of the file, decimal commas, frames that are left
out. Where nothing but spaces stands between, a line that is too short is a frame without points.

Shapes: T frames, N points.
"""

import os
import pathlib
import warnings

from kinpose.io._times import agreed_step, timed
from kinpose.io.points import Points, checked_points
from kinpose.io.text import (
    even_rows,
    format_rows,
    frame_time_of,
    is_number,
    read_numbers,
    read_text,
    unique_names,
    write_lines,
)
from kinpose.io.written import UNITS_MM, first_frame, point_names, required_frame_time, unit_name


def load_trc(path: str | os.PathLike) -> Points:
    """Reads a TRC file.

    Args:
      path: the file.

    Returns:
      The markers; the unit is the file's, which says nothing of the axes.

    Raises:
      ValueError: for another file, saying where, what was expected and what was found.
    """
    name, text = os.fspath(path), read_text(path)
    lines = text.split("\n")
    if len(lines) < 5 or not lines[0].lstrip().startswith("PathFileType"):
        raise ValueError(f"{name}: a TRC file begins with PathFileType and has a header.")
    keys, values = (_cells(line) for line in lines[1:3])
    header = dict(zip([key.lower() for key in keys], values, strict=False))
    names, rows, numbers = _rows(name, lines)
    rows = even_rows(name, rows, numbers, 2 + 3 * len(names), is_whole=text.endswith("\n"))
    if not rows:
        raise ValueError(f"{name}: has no frames below its header.")
    cells = read_numbers(name, rows, numbers)
    count = header.get("numframes", "")
    if is_number(count) and float(count) != len(rows):
        warnings.warn(
            f"{name}: the header says {count} frames, but {len(rows)} follow; these are used.",
            stacklevel=2,
        )
    unit = header.get("units", "").strip("\"'").lower()
    positions = cells[:, 2:].reshape(len(rows), -1, 3)
    points = checked_points(name, positions, names, None)._replace(unit_mm=UNITS_MM.get(unit))
    points = timed(name, points, cells[:, 1], cells[:, 0])
    by_header = frame_time_of(header.get("datarate", ""))
    return points._replace(frame_time_s=agreed_step(name, by_header, points.frame_time_s))


def _cells(line: str) -> list[str]:
    cells = line.split("\t") if "\t" in line.strip() else line.split()
    return [cell.strip() for cell in cells]


def _rows(name: str, lines: list[str]) -> tuple[list[str], list[list[str]], list[int]]:
    """The names of the markers, the frames, and the numbers of their lines."""
    titles = _cells(lines[3].rstrip())
    if len(titles) < 3 or not titles[0].lower().startswith("frame"):
        raise ValueError(
            f"{name}, line 4: expected Frame#, Time and names of markers, but found "
            f"{lines[3][:60]!r}."
        )
    names = titles[2:]
    if len(names) > 3 and not any(names[1::3] + names[2::3]):  # a name per three columns
        names = names[::3]
    else:
        names = [cell for cell in names if cell]
    rows, numbers, short = [], [], []
    for number, line in enumerate(lines[4:], 5):
        cells = _cells(line)
        words = [cell for cell in cells if cell]
        if words and not rows and words[0][0] in "XYZxyz":  # X1 Y1 Z1 X2 ...
            names += [""] * (len(words) // 3 - len(names))
            if len(words) != 3 * len(names):
                raise ValueError(
                    f"{name}: line 4 names {len(names)} markers, but line {number} has "
                    f"{len(words)} axes."
                )
        elif words:
            if "\t" not in line.strip() and len(cells) < 2 + 3 * len(names):
                short.append(number)
                cells = cells[:2]
            rows.append(cells)
            numbers.append(number)
    if short:
        warnings.warn(
            f"{name}, line {short[0]}: {len(short)} lines have fewer numbers than {len(names)} "
            "markers need, and spaces do not tell whose are missing: all of these frames are.",
            stacklevel=3,
        )
    return unique_names(names, "marker"), rows, numbers


def save_trc(path: str | os.PathLike, points: Points) -> None:
    """Writes a TRC file that OpenSim opens; missing points are empty cells.

    Args:
      path: the file to write, whole or not at all; an existing one is replaced.
      points: of a known rate, and in mm, cm, m, inches or feet; a unit that is not known is
        written as mm. The axes stay as they are; OpenSim's y is up.

    Raises:
      ValueError: for points without a rate, of another unit or without three coordinates, and for
        names with tabs.
    """
    rate, unit = 1.0 / required_frame_time(points, path), unit_name(points.unit_mm or 1.0)
    if unit is None:
        raise ValueError(f"{path}: TRC knows no unit of {points.unit_mm:g} mm; scale the points.")
    names = point_names(points)
    if any(set("\t\n\r") & set(name) for name in names):
        raise ValueError(f"{path}: names of a TRC file must be without tabs and ends of lines.")
    frames, first = len(points.positions), first_frame(points)
    header = {
        "DataRate": f"{rate:.12g}",
        "CameraRate": f"{rate:.12g}",
        "NumFrames": str(frames),
        "NumMarkers": str(len(names)),
        "Units": unit,
        "OrigDataRate": f"{rate:.12g}",
        "OrigDataStartFrame": str(first),
        "OrigNumFrames": str(frames),
    }
    axes = [f"{axis}{n}" for n in range(1, len(names) + 1) for axis in "XYZ"]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{pathlib.Path(path).name}",
        "\t".join(header),
        "\t".join(header.values()),
        "\t".join(["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))]),
        "\t".join(["", "", *axes]),
        "",
    ]
    rows = format_rows("%.6f", "\t", points.positions.reshape(frames, -1))
    lines += [f"{first + t}\t{points.start_s + t / rate:.6f}\t{row}" for t, row in enumerate(rows)]
    write_lines(path, lines)
