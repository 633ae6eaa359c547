"""Folders of OpenPose's JSON files, one per frame; Pose2Sim and others write the same.

Each holds `people`, each with `pose_keypoints_3d`, rows of x, y, z and confidence, or
`pose_keypoints_2d`, rows of x, y (px, y down) and confidence; rows of zeros were not seen. The
number of points tells their names, as those who write such files use one model of each number.

Shapes: T frames, N points, n 2 or 3 dimensions.
"""

import json
import os
import pathlib
import re
import warnings

import numpy as np

from kinpose.io._times import timed
from kinpose.io.points import Points, checked_points
from kinpose.layout_rows import ROWS

_MODELS = {17: "coco_17", 25: "body_25", 26: "halpe_26", 133: "coco_wholebody_133"}
"""Layouts of detectors by their number of points."""

_LARGEST = 64 * 2**20
"""Bytes of one frame's file that are read; a crowd's file has less than one million."""


def load_openpose(path: str | os.PathLike, individual: int | None = None) -> Points:
    """Reads a folder of OpenPose's JSON files.

    Several people are told apart by their places: each is the one nearest to where he or she was
    last seen.

    Args:
      path: the folder, or one of its files for one frame.
      individual: which of them, from 1, in the order of their appearance and of several at once
        the surest first; by default the first, with a warning where there are others.

    Returns:
      The points (T, N, n) with confidence, and names where their number is known; the files say
      neither unit nor rate.

    Raises:
      ValueError: naming the folder or the file, for other contents, and where there are fewer
        individuals.
    """
    name, path = os.fspath(path), pathlib.Path(path)
    files = sorted(path.glob("*.json"), key=_order) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{name}: a folder of OpenPose has .json files, but this one has none.")
    frames = [_people(file) for file in files]
    shapes = {rows.shape for people in frames for rows in people}
    if not shapes:
        raise ValueError(f"{name}: there are no people in any file.")
    if len(shapes) > 1:
        raise ValueError(f"{name}: all people must have as many points, but have {shapes}.")
    (shape,) = shapes
    crowded, most = sum(len(people) > 1 for people in frames), max(map(len, frames))
    number = 1 if individual is None else individual
    if not 1 <= number <= most:
        raise ValueError(f"{name}: individual must be of 1 to {most}, but is {individual}.")
    picked = _followed(frames, number - 1)
    if crowded and individual is None:
        warnings.warn(
            f"{name}: {crowded} of {len(frames)} frames have several people, up to {most}; the "
            "first and surest is followed, --individual=2 takes the next.",
            stacklevel=3,
        )
    sure = np.nan_to_num(picked[..., -1])
    model = _MODELS.get(shape[0])
    names = ROWS[model].order if model else ()
    points = checked_points(name, picked[..., :-1], names, None, sure)
    return timed(name, points, None, _numbers(files))


def _numbers(files: list[pathlib.Path]) -> np.ndarray | None:
    """The frames' numbers, where just one number of the names differs."""
    numbers = [[int(x) for x in re.findall(r"\d+", file.name)] for file in files]
    if len({len(x) for x in numbers}) > 1:
        return None
    differing = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    return np.array(differing[0], np.float64) if len(differing) == 1 else None


def _order(path: pathlib.Path) -> list:
    """Numbers in a name count as numbers."""
    return [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", path.name)]


def _people(path: pathlib.Path) -> list[np.ndarray]:
    """Rows (N, n + 1) of each person in a file, NaN where a point was not seen."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        content = json.loads(path.read_bytes())
        people = content["people"]
        return [rows for person in people if (rows := _rows(person)) is not None]
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"{path}: not a file of OpenPose: {error!r}.") from None


def _rows(person: dict) -> np.ndarray | None:
    for key, width in (("pose_keypoints_3d", 4), ("pose_keypoints_2d", 3)):
        if person.get(key):
            rows = np.array(person[key], np.float64).reshape(-1, width)
            seen = (rows[:, -1] > 0) & np.isfinite(rows).all(axis=1)
            return np.where(seen[:, None], rows, np.nan)
    return None


def _followed(frames: list[list[np.ndarray]], individual: int) -> np.ndarray:
    """Rows (T, N, n + 1) of one of those who appear, NaN where he or she is not seen."""
    shape = next(rows.shape for people in frames for rows in people)
    picked = np.full((len(frames), *shape), np.nan)
    last: list[np.ndarray] = []  # where each was last seen
    for t, people in enumerate(frames):
        people = sorted(people, key=lambda rows: -np.nansum(rows[:, -1]))
        for who, rows in _matched(last, people):
            if who == len(last):
                last.append(rows)
            last[who] = np.where(np.isnan(rows), last[who], rows)
            if who == individual:
                picked[t] = rows
    return picked


def _matched(last: list[np.ndarray], people: list[np.ndarray]) -> list[tuple[int, np.ndarray]]:
    """Who it is and rows: of those known the nearest pairs first, then those who are new."""
    pairs = sorted(
        (_apart(rows, seen), who, i)
        for i, rows in enumerate(people)
        for who, seen in enumerate(last)
    )
    found: dict[int, int] = {}
    for _, who, i in pairs:
        if who not in found and i not in found.values():
            found[who] = i
    new = [i for i in range(len(people)) if i not in found.values()]
    found |= {len(last) + k: i for k, i in enumerate(new)}
    return [(who, people[i]) for who, i in found.items()]


def _apart(rows: np.ndarray, others: np.ndarray) -> float:
    """Mean distance of the points that both have; infinite where there are none."""
    apart = np.linalg.norm(rows[:, :-1] - others[:, :-1], axis=1)
    seen = np.isfinite(apart)
    return float(apart[seen].mean()) if seen.any() else np.inf
