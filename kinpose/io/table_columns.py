"""Which columns of a table of points are what, by their titles."""

import collections
import itertools
import re
from typing import NamedTuple

from kinpose.io._times import UNITS_S
from kinpose.io.text import is_number
from kinpose.io.written import UNITS_MM

AXES = "xyz"
"""Names of a point's coordinates."""

_SURE = ("confidence", "conf", "score", "likelihood", "visibility", "probability", "c")
_TIMES = {
    "time": None,
    "t": None,
    "timestamp": None,
    "timestamps": None,
    "seconds": 1.0,
    "ms": 1e-3,
}
_TIME_UNITS = UNITS_S | {
    "seconds": 1.0,
    "sec": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
    "s": 1.0,
}
_FRAMES = ("frame", "frames", "fnum", "framenumber", "frameno", "frameindex", "index", "image")
_POINTS = ("keypoint", "bodypart", "marker", "joint", "point", "landmark", "name", "label", "node")
_WHOSE = (
    "individual",
    "individuals",
    "person",
    "personid",
    "subject",
    "animal",
    "track",
    "trackid",
)
_NO_LENGTHS = ("px", "pixel", "pixels", "deg", "degrees", "rad")
_UNIT = re.compile(
    rf"[\[(]\s*({'|'.join([*UNITS_MM, *_TIME_UNITS, *_NO_LENGTHS])})\s*[\])]", re.IGNORECASE
)
_TITLE = re.compile(
    rf"(?P<point>.*?[^\s._:|/-]|)[\s._:|/-]*[\[(]?(?P<axis>[xyz]|{'|'.join(_SURE[:-1])})[\])]?",
    re.IGNORECASE,
)
_TURNED_TITLE = re.compile(r"(?P<axis>[xyz])[\s._:|/-]+(?P<point>.+)", re.IGNORECASE)

_VICON = ("trajectories", "model outputs")
"""What tables of Vicon are of, as they say at their top."""

_OTHER_ROWS = ("id", "parent", "type")
"""Rows of OptiTrack's header that are no names."""

_HEADER = 30
"""Rows that a header has at most."""

_LONGEST = 200
"""Characters of a title that are looked at."""


class Columns(NamedTuple):
    """Which columns of a table are what, by their number.

    Attributes:
      points: for each point, x, y, perhaps z.
      sure: for each point, its confidence, or None.
      time: when it was, or None.
      time_s: seconds per unit of time, or None where no title says.
      unit_mm: mm per unit of length, or None.
      frame: the frame's number, or None.
      fps: frames per second, or None.
      others: titles of coordinates that are of no point: twice there, or without the others.
    """

    points: dict[str, tuple[int, ...]]
    sure: dict[str, int | None]
    time: int | None = None
    time_s: float | None = None
    unit_mm: float | None = None
    frame: int | None = None
    fps: float | None = None
    others: tuple[str, ...] = ()


def first_of_data(rows: list[list[str]]) -> int:
    """The first row that has more numbers than words, and not fewer cells than most."""
    axes = [i for i, row in enumerate(rows[:_HEADER]) if _axes_of(row)]
    for start, row in enumerate(rows[: 2 * _HEADER]):
        if axes and start <= axes[-1]:
            continue
        count = sum(map(is_number, row))
        words = sum(1 for cell in row if cell and not is_number(cell) and cell.lower() != "nan")
        wide = len(row) >= 0.5 * len(rows[-1]) and len(row) > 1
        if wide and count > words and not _is_heading(row):
            return start
        if wide and start and not count and not words:
            return start
    return len(rows)


def _is_heading(row: list[str]) -> bool:
    """Whether a row has a title before its numbers, as one that counts the columns."""
    return bool(row[0]) and not is_number(row[0]) and sum(map(is_number, row)) < 3


def _plain(title: str) -> str:
    return re.sub(r"[\W_]", "", _UNIT.sub("", title.lower()))


def time_column(titles: list[str]) -> tuple[int | None, float | None]:
    """The column of time, and seconds per unit where its title says."""
    for i, title in enumerate(titles):
        match, word = _UNIT.search(title.lower()), _plain(title)
        if word in _TIMES:
            return i, _TIME_UNITS.get(match.group(1) if match else "", _TIMES[word])
        for suffix, scale in _TIME_UNITS.items():
            if word.endswith(suffix) and word.removesuffix(suffix) in _TIMES:
                return i, scale
    return None, None


def _fps(header: list[list[str]]) -> float | None:
    """The rate in files of Vicon: a number that stands alone below what the table is of."""
    for above, row in itertools.pairwise([[cell for cell in row if cell] for row in header]):
        if len(above) == len(row) == 1 and above[0].lower() in _VICON and is_number(row[0]):
            return float(row[0].replace(",", ".")) or None
    return None


def wide_columns(header: list[list[str]]) -> Columns:
    """What the rows above the numbers say; no points where they say nothing."""
    if not header:
        return Columns({}, {})
    titles = header[-1]
    times = (x for x in map(time_column, header[::-1]) if x[0] is not None)
    time, time_s = next(times, (None, None))
    axes = [i for i, row in enumerate(header) if _axes_of(row)]
    if axes:
        labels = _stacked(header, axes[-1])
    else:
        titles = max(header, key=lambda row: sum(_split_title(cell) is not None for cell in row))
        labels = [_split_title(cell) for cell in titles]
    points: dict[str, dict[str, int]] = {}
    for i, label in enumerate(labels):
        if label is not None and i != time:
            points.setdefault(label[0], {}).setdefault(label[1], i)
    of_points = {i for x in points.values() for i in x.values()}
    titled = [i for row in header for i, cell in enumerate(row) if _plain(cell) in _FRAMES]
    whole = {p: x for p, x in points.items() if {"x", "y"} <= set(x)}
    ndim = 3 if any("z" in x for x in whole.values()) else 2
    whole = {p: x for p, x in whole.items() if ndim == 2 or "z" in x}
    taken = {i for x in whole.values() for i in x.values()}
    lost = [i for i, x in enumerate(labels) if x and x[1] in AXES and i not in taken | {time}]
    return Columns(
        {p: tuple(x[axis] for axis in AXES[:ndim]) for p, x in whole.items()},
        {p: x.get("sure") for p, x in whole.items()},
        time,
        time_s,
        header_unit(header),
        next((i for i in titled if i not in of_points), None),
        _fps(header),
        tuple(f"{labels[i][0]} {labels[i][1]}" for i in lost),
    )


def _axes_of(row: list[str]) -> list[str]:
    """Axes and confidences of a row that has nothing else, but for titles of frame and time."""
    words = [_plain(cell) for cell in row]
    axes = [word for word in words if word in (*AXES, "w", *_SURE)]
    others = [word for word in words if word and word not in axes]
    enough = {"x", "y"} <= set(axes) and len(others) <= max(2, len(axes) // 3)
    return words if enough else []


def _stacked(header: list[list[str]], at: int) -> list[tuple[str, str] | None]:
    """Point and axis of each column, from a row of axes and the rows around it."""
    words = [_plain(cell) for cell in header[at]]
    columns = [i for i, word in enumerate(words) if word in AXES or word in _SURE]
    kinds = [row for row in header if "position" in {cell.lower() for cell in row[1:]}]
    if kinds:  # OptiTrack: rotations and errors have axes, too
        kinds = kinds[-1]
        columns = [i for i in columns if i < len(kinds) and kinds[i].lower() == "position"]

    def filled(row):
        """Names stand above the first of their columns, or above each."""
        cells, last = [], ""
        for i in range(len(words)):
            last = row[i] if i < len(row) and row[i] else last
            cells.append(last)
        return cells

    def told(names):
        pairs = [(names[i], words[i]) for i in columns]
        return len(set(pairs)) if all(name for name, _ in pairs) else 0

    heads = [next(filter(None, row), "").lower() for row in header[:at]]
    above = [row for row, head in zip(header, heads, strict=False) if head not in _OTHER_ROWS]
    if not above:
        return [None] * len(words)
    above = [filled(row) for row in above[::-1]]
    joined = [  # names are those of several rows, as of individuals above their body parts
        ["_".join(dict.fromkeys(filter(None, names))) for names in zip(outer, inner, strict=True)]
        for i, inner in enumerate(above)
        for outer in above[i + 1 :]
    ]
    best = max([*above, *joined], key=told)
    kept = set(columns)
    return [
        (best[i], words[i] if words[i] in AXES else "sure") if i in kept else None
        for i in range(len(words))
    ]


def _split_title(title: str) -> tuple[str, str] | None:
    """Point and axis that a title names."""
    title = _UNIT.sub("", title[:_LONGEST]).strip()
    match = _TITLE.fullmatch(title)
    if match and match["point"] and _apart(title, match):
        axis = match["axis"].lower()
        return match["point"], axis if axis in AXES else "sure"
    match = _TURNED_TITLE.fullmatch(title)
    return (match["point"], match["axis"].lower()) if match else None


def _apart(title: str, match) -> bool:
    """Whether an axis is no letter of a word: hip_x, hipX and hip2x, but not index."""
    before, axis = title[: match.start("axis")], match["axis"]
    return not before[-1:].isalpha() or (axis.isupper() and before[-1].islower())


def header_unit(header: list[list[str]]) -> float | None:
    """Millimetres per unit of length, where titles or the rows around them say one."""
    cells = [cell.lower() for row in header for cell in row]
    for i, cell in enumerate(cells[:-1]):
        if cell == "length units":
            return UNITS_MM.get(cells[i + 1])
    found = {match.group(1) for cell in cells if (match := _UNIT.search(cell))}
    found |= {cell for cell, count in collections.Counter(cells).items() if count > 2}
    units = {UNITS_MM[x] for x in found if x in UNITS_MM}
    return units.pop() if len(units) == 1 else None


def whose_column(titles: list[str]) -> int | None:
    """The column that says of which individual a line is, or None."""
    return next((i for i, title in enumerate(titles) if _plain(title) in _WHOSE), None)


def long_columns(titles: list[str]) -> dict[str, int]:
    """The columns of a long table: point, x, y, perhaps z and more; {} of another table."""
    words = [_plain(title) for title in titles]
    axes = {axis: i for i, axis in enumerate(words) if axis in AXES}
    if not {"x", "y"} <= set(axes) or any(words.count(axis) > 1 for axis in axes):
        return {}
    kinds = {"point": _POINTS, "frame": _FRAMES, "confidence": _SURE}
    kinds |= {"model": ("model",), "individual": _WHOSE}
    found = {
        key: next((words.index(word) for word in choices if word in words), None)
        for key, choices in kinds.items()
    }
    found["time"] = time_column(titles)[0]
    found = axes | {key: i for key, i in found.items() if i is not None and i not in axes.values()}
    return found if "point" in found else {}
