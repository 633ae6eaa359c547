"""Maps of a table's columns, where its titles do not tell what they are.

Of a wide table {"points": {"left_knee": ["kx", "ky", "kz"], ...}}, with a fourth title for the
confidence; of a long one {"point": "joint", "x": "px", "y": "py", "z": "pz"} and perhaps "frame"
and "confidence"; of both perhaps "time" (s), "fps" and "unit". A column is its title, or its
number from 0.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from kinpose.io.table_columns import AXES, Columns
from kinpose.io.written import UNITS_MM


def load_columns(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a map of columns, as of `load_table`, from a JSON file.

    Raises:
      ValueError: naming the file, for other contents.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            given = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not a JSON file: {error}.") from None
    if not isinstance(given, dict):
        raise ValueError(f"{name}: a map of columns is an object, but got {str(given)[:80]}.")
    check_map(name, given)
    return given


def check_map(name: str, given: Mapping[str, Any]) -> None:
    """The gate of maps of columns; `name` is for the error."""
    kinds = {"points", "point", *AXES, "frame", "confidence", "time", "fps", "unit"}
    if unknown := sorted(set(given) - kinds):
        raise ValueError(
            f"{name}: a map of columns has keys of {sorted(kinds)}, but got {unknown}."
        )
    points = given.get("points", {})
    if not isinstance(points, dict) or not all(
        isinstance(x, list) and len(x) in (2, 3, 4) for x in points.values()
    ):
        raise ValueError(
            f"{name}: 'points' maps a name to a list of its columns: x, y, z, confidence."
        )
    if "fps" in given and not (isinstance(given["fps"], (int, float)) and 0 < given["fps"] < 1e9):
        raise ValueError(f"{name}: 'fps' must be a positive number, but is {given['fps']!r}.")
    if "unit" in given and given["unit"] not in list(UNITS_MM):  # perhaps no text
        raise ValueError(f"{name}: 'unit' must be of {list(UNITS_MM)}, but is {given['unit']!r}.")


def wide_by_map(name: str, titles: list[str], given: Mapping[str, Any]) -> Columns:
    """The columns of a wide table by a map."""
    places = {p: [_column(name, titles, c) for c in cells] for p, cells in given["points"].items()}
    time = _column(name, titles, given["time"]) if "time" in given else None
    return Columns(
        {p: tuple(x[:3]) for p, x in places.items()},
        {p: x[3] if len(x) > 3 else None for p, x in places.items()},
        time,
    )


def _column(name: str, titles: list[str], wanted) -> int:
    if isinstance(wanted, int) and wanted >= 0:
        return wanted
    if wanted not in titles:
        raise ValueError(f"{name}: has no column {wanted!r}; its titles are {titles[:40]}.")
    return titles.index(wanted)


def long_by_map(name: str, titles: list[str], given: Mapping[str, Any]) -> dict[str, int]:
    """The columns of a long table by a map; {} for a map of another table."""
    if "point" not in given:
        return {}
    keys = [key for key in ("point", *AXES, "frame", "confidence", "time") if key in given]
    if not {"point", "x", "y"} <= set(keys):
        raise ValueError(f"{name}: a map of a long table names 'point', 'x', 'y' and 'z'.")
    return {key: _column(name, titles, given[key]) for key in keys}
