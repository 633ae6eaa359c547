"""The angles of several fits: curves in one picture, and a table of their differences.

  kinpose compare runs/one_camera runs/four_cameras --output_dir=runs/compared

Each run is a directory of `kinpose fit`, or its angles.csv. The first is compared with each other
one, at its own times: the root mean square (RMS) of the differences of each angle, the mean
difference, and the RMS without it; of curves that lie whole turns apart the later one is moved.
Times are those of the recordings; --from_start counts each run's from its first frame.
A second table has each angle's range of motion (5th to 95th percentile), left and right.
--output_dir also gets curves.png and both tables as compare.csv.
"""

import collections
import csv
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np
from absl import app, flags

from kinpose.curves import Curves, side_of, without_side


def define_flags() -> None:
    """Of this verb; not at import, as those of others have the same names."""
    flags.DEFINE_string("output_dir", None, "New directory for curves.png, compare.csv.")
    flags.DEFINE_bool("from_start", False, "Count the time of each run from its first frame.")


def main(argv: list[str]) -> None:
    """Reads, compares, writes."""
    if not 3 <= len(argv) <= 5:
        raise app.UsageError("give two to four runs to compare.")
    output_dir = flags.FLAGS.output_dir and pathlib.Path(flags.FLAGS.output_dir)
    if output_dir and output_dir.exists():
        raise ValueError(f"{output_dir} exists; give another --output_dir.")
    runs = _told_apart([read_angles(path) for path in argv[1:]], argv[1:])
    if flags.FLAGS.from_start:
        runs = [run._replace(time_s=run.time_s - run.time_s[0]) for run in runs]
    elif len({run.time_s[0] for run in runs}) > 1:
        begin = ", ".join(f"{run.label} at {run.time_s[0]:g} s" for run in runs)
        print(f"the runs begin at different times, and are compared by these: {begin}")
    runs[1:] = [without_turns(runs[0], run) for run in runs[1:]]
    differences = [row for run in runs[1:] for row in compare(runs[0], run)]
    ranges = [row for run in runs for row in ranges_of(run)]
    for rows in (differences, ranges):
        print(_table(rows))
    if output_dir:
        _write(output_dir, runs, differences, ranges)
        print(f"written to {output_dir}: compare.csv, curves.png")


def read_angles(path: str) -> Curves:
    """Angles of a run: columns that end in _deg of its angles.csv.

    Raises:
      ValueError: for a file that is none; OSError where there is none.
    """
    file = pathlib.Path(path)
    file = file / "angles.csv" if file.is_dir() else file
    with open(file, newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        try:
            names = [name for name in reader.fieldnames or () if name.endswith("_deg")]
            rows = [[float(row[key] or "nan") for key in ("time_s", *names)] for row in reader]
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise ValueError(f"{file}: not the angles.csv of a fit: {error!r}.") from None
    if not rows or not names:
        raise ValueError(f"{file}: has no angles, columns that end in _deg.")
    values = np.array(rows)
    angles = tuple(name.removesuffix("_deg") for name in names)
    label = file.parent.name if file.name == "angles.csv" else file.stem
    return Curves(values[:, 0], angles, values[:, 1:], label=label or str(file))


def _told_apart(runs: list[Curves], paths: list[str]) -> list[Curves]:
    """Runs, of which those with the same label get their paths for it."""
    count = collections.Counter(run.label for run in runs)
    return [
        run._replace(label=path) if count[run.label] > 1 else run
        for run, path in zip(runs, paths, strict=True)
    ]


def without_turns(first: Curves, other: Curves) -> Curves:
    """Another run whose angles lie no whole turns beside those of the first."""
    degrees = other.degrees.copy()
    for name, apart in _apart(first, other):
        degrees[:, other.names.index(name)] -= 360 * np.round(np.median(apart) / 360)
    return other._replace(degrees=degrees)


def compare(first: Curves, other: Curves) -> list[dict]:
    """Differences of the angles that two runs share, where both are known.

    Raises:
      ValueError: where they share no angle, or no time.
    """
    rows = []
    for name, apart in _apart(first, other):
        mean = float(apart.mean())
        rows.append(
            {
                "run": f"{other.label} - {first.label}",
                "angle": name,
                "rms_deg": float(np.sqrt(np.mean(apart**2))),
                "mean_deg": mean,
                "rms_without_mean_deg": float(np.sqrt(np.mean((apart - mean) ** 2))),
                "frames": len(apart),
            }
        )
    if not rows:
        raise ValueError(f"{first.label} and {other.label} have no angle at the same time.")
    return rows


def _apart(first: Curves, other: Curves) -> Iterator[tuple[str, np.ndarray]]:
    """Of each angle that two runs share, the differences at times when both are known, if any."""
    for name in (name for name in first.names if name in other.names):
        a = first.degrees[:, first.names.index(name)]
        b = _at(first.time_s, other.time_s, other.degrees[:, other.names.index(name)])
        apart = (b - a)[np.isfinite(b - a)]
        if len(apart):
            yield name, apart


def _at(times: np.ndarray, own: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at other times, linear between; NaN where a neighbour is, and outside."""
    if np.array_equal(times, own):
        return values
    return np.interp(times, own, values, left=np.nan, right=np.nan)


def ranges_of(run: Curves) -> list[dict]:
    """Ranges of motion of the angles that have a left and a right."""
    ranges: dict[str, dict[str, float]] = {}
    for name, values in zip(run.names, run.degrees.T, strict=True):
        seen = values[np.isfinite(values)]
        if side_of(name) and len(seen):
            low, high = np.percentile(seen, (5, 95))
            ranges.setdefault(without_side(name), {})[side_of(name)] = float(high - low)
    return [
        {
            "run": run.label,
            "angle": name,
            "range_left_deg": sides["left"],
            "range_right_deg": sides["right"],
            "left_minus_right_deg": sides["left"] - sides["right"],
        }
        for name, sides in ranges.items()
        if len(sides) == 2
    ]


def _table(rows: list[dict]) -> str:
    """Rows for a person."""
    if not rows:
        return ""
    cells = [[_cell(x) for x in row.values()] for row in rows]
    heads = [key.removesuffix("_deg").replace("_", " ") for key in rows[0]]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    pads = [str.ljust] * 2 + [str.rjust] * (len(heads) - 2)
    texts = [
        "  ".join(pad(x, width) for pad, x, width in zip(pads, row, widths, strict=True))
        for row in (heads, *cells)
    ]
    return "\n".join(text.rstrip() for text in texts) + "\n"


def _cell(value) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _write(output_dir: pathlib.Path, runs, differences, ranges) -> None:
    """Both files or none."""
    from kinpose.plot import plot_angles  # takes a second to import

    output_dir.parent.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
    try:
        with open(made / "compare.csv", "w", newline="", encoding="utf-8") as file:
            for rows in (differences, ranges):
                if rows:
                    writer = csv.DictWriter(file, rows[0])
                    writer.writeheader()
                    writer.writerows(rows)
        plot_angles(runs, path=made / "curves.png")
        made.chmod(0o755)
        made.rename(output_dir)
    finally:
        shutil.rmtree(made, ignore_errors=True)
