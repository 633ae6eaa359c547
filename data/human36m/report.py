"""The build report: what was built, beside what was published about the data set."""

import collections
import json
import math
import os
import pathlib
from typing import NamedTuple

from data.human36m.names import ACTIONS, BROKEN_VIEW, CAMERAS, SHIFTED_CLIPS, View, split_of
from data.human36m.plan import Source
from kinpose.io.files import write_atomically

REPORT = "build_report"
"""Files beside the data set, .json and .txt, that say what it was built from."""

FRAMES = {"train": 1_559_752, "test": 550_644}
"""Frames with poses, four cameras together (Ionescu et al., 2014)."""

TRAIN_FRAMES_OF_5 = 312_188
"""Frames 0, 5, 10, ... of every training view."""

TEST_FRAMES_OF_64 = {
    "Directions": 536,
    "Discussion": 1008,
    "Eating": 620,
    "Greeting": 488,
    "Phoning": 880,
    "Posing": 432,
    "Purchases": 312,
    "Sitting": 640,
    "SittingDown": 528,
    "Smoking": 876,
    "TakingPhoto": 468,
    "Waiting": 600,
    "Walking": 468,
    "WalkingDog": 448,
    "WalkingTogether": 420,
}
"""Frames 0, 64, 128, ... of every test view, by action; 8,724 together."""

BROKEN_FRAMES = 1_825
"""Frames of `BROKEN_VIEW`, which most builds are without, and of each other view of its clip."""

_AGREE_PX = 1.0


class Report(NamedTuple):
    """What a build found and did.

    Attributes:
      name: of the data set's configuration.
      partial: what is missing or damaged and was allowed to be.
      splits: split -> "subject", "action", "camera" or "all" -> name -> frames with poses as
        metadata.xml has it (None where it does not say), at hand, and written.
      published: what is counted -> published number, number here.
      broken: view -> why it is left out.
      shifted: views whose known shift was undone.
      longer: view -> number of poses, number of its video's frames.
      scales: subject -> scale.
      warnings: sentences; whatever is not as published.
    """

    name: str
    partial: list[str]
    splits: dict[str, dict[str, dict[str, list]]]
    published: dict[str, list[int]]
    broken: dict[str, str]
    shifted: list[str]
    longer: dict[str, list[int]]
    scales: dict[str, float]
    warnings: list[str]


def make_report(
    name: str,
    *,
    sources: dict[View, Source],
    broken: dict[View, str],
    written: dict[View, int],
    poses_in_metadata: dict[tuple[str, str], int],
    problems: list[str],
    scales: dict[str, float],
    scale_differences: list[str],
    disagreement_px: dict[View, float],
    steps: dict[str, int | None],
) -> Report:
    """Counts and compares.

    Args:
      name: of the configuration.
      sources: the views that can be used.
      broken: the others, and why they cannot.
      written: number of frames of each view in the data set.
      poses_in_metadata: (subject, clip) -> number of poses as metadata.xml has it.
      problems: what is missing or damaged.
      scales: subject -> scale.
      scale_differences: what differs from the published lengths.
      disagreement_px: view -> how far projected joints are from those of the data set; NaN
        where they could not be compared.
      steps: split -> every how many frames were taken; None for frames taken at random.

    Returns:
      The report.
    """
    here = {view: source.num_poses for view, source in sources.items()}
    usable = {view: count for view, count in here.items() if view not in broken}
    expected = {
        View(subject, clip, camera): count
        for (subject, clip), count in poses_in_metadata.items()
        for camera in CAMERAS
    }
    splits = {split: _tables(split, expected, usable, written) for split in FRAMES}
    published = _published(splits, [v.camera for v in broken if v[:2] == BROKEN_VIEW[:2]], steps)
    longer = {
        view: [source.num_poses, source.num_frames]
        for view, source in sources.items()
        if source.num_frames > source.num_poses
    }
    warnings = [
        *problems,
        *_left_out(broken, here),
        *(
            f"{view} has {here[view]} poses; metadata.xml says {count}."
            for view, count in expected.items()
            if here.get(view, count) != count
        ),
        *(
            f"{what}: {number} here, {known} published."
            for what, (known, number) in published.items()
            if number != known
        ),
        *scale_differences,
        *(
            f"{view}: joints in the image are up to {error:.2f} px from those of the data set; "
            f"cameras and poses do not belong together."
            for view, error in disagreement_px.items()
            if error > _AGREE_PX
        ),
        *(
            f"{view}: joints in the image are not compared, as {sources[view].pixels} is damaged "
            f"or has not all of them."
            for view, error in disagreement_px.items()
            if math.isnan(error) and sources[view].pixels
        ),
    ]
    return Report(
        name=name,
        partial=problems,
        splits=splits,
        published=published,
        broken={str(view): why for view, why in broken.items()},
        shifted=[str(view) for view in usable if view[:2] in SHIFTED_CLIPS],
        longer={str(view): counts for view, counts in longer.items()},
        scales=scales,
        warnings=warnings,
    )


def format_report(report: Report) -> str:
    """The report as text."""
    lines = [f"Human3.6M, {report.name}", ""]
    lines += [f"WARNING: {warning}" for warning in report.warnings] or ["All is as published."]
    for split, tables in report.splits.items():
        lines += ["", f"{split:<28}{'metadata.xml':>14}{'here':>12}{'written':>12}"]
        for counts in tables.values():
            for name, numbers in counts.items():
                shown = ["-" if x is None else f"{x:,}" for x in numbers]
                lines.append(f"  {name:<26}{shown[0]:>14}{shown[1]:>12}{shown[2]:>12}")
    lines += ["", f"{'':<42}{'published':>12}{'here':>12}"]
    for what, (known, number) in report.published.items():
        mark = "" if known == number else "  <- differs"
        lines.append(f"  {what:<40}{known:>12,}{number:>12,}{mark}")
    lines += ["", "left out"] + [f"  {view}: {why}" for view, why in report.broken.items()]
    lines += ["", "200 mm shift along world x undone", *(f"  {view}" for view in report.shifted)]
    lines += ["", "videos longer than their poses (the rest is not used)"]
    lines += [f"  {view}: {n} poses, {m} frames" for view, (n, m) in report.longer.items()]
    scales = ", ".join(f"{subject} {scale:.4f}" for subject, scale in report.scales.items())
    return "\n".join([*lines, "", f"scales: {scales}", ""])


def write_report(report: Report, directory: str | os.PathLike) -> None:
    """Writes the report as JSON and as text.

    Args:
      report: of a build.
      directory: where the files go.
    """
    texts = {"json": json.dumps(report._asdict(), indent=1) + "\n", "txt": format_report(report)}
    for suffix, text in texts.items():
        with write_atomically(pathlib.Path(directory, f"{REPORT}.{suffix}")) as path:
            path.write_text(text, encoding="utf-8")


def _left_out(broken: dict[View, str], here: dict[View, int]) -> list[str]:
    """A line per view, or per subject of whom nothing is there."""
    there = {view.subject for view in here}
    names = {view: str(view) if view.subject in there else view.subject for view in broken}
    lines = [f"{names[view]} is left out: {why}" for view, why in broken.items()]
    return list(dict.fromkeys(lines))


def _tables(split, expected, here, written):
    views = {view: None for view in (*expected, *here) if split_of(view.subject) == split}
    names = {
        "subject": lambda view: view.subject,
        "action": lambda view: view.action,
        "camera": lambda view: view.camera,
        "all": lambda view: "all",
    }
    tables = {}
    for what, name_of in names.items():
        counts = collections.defaultdict(lambda: [0, 0, 0])
        for view in views:
            counts[name_of(view)][0] += expected.get(view, math.nan)
            counts[name_of(view)][1] += here.get(view, 0)
            counts[name_of(view)][2] += written.get(view, 0)
        tables[what] = {
            name: [None if math.isnan(known) else known, *rest]
            for name, (known, *rest) in counts.items()
        }
    return tables


def _published(splits, lost: list[str], steps) -> dict[str, list[int]]:
    """What is counted -> published number, less the broken clip of `lost` cameras, number here."""

    def here(split, what, name, column=1):
        return splits[split][what].get(name, [0, 0, 0])[column]

    rows = {}
    for split, count in FRAMES.items():
        gone = {camera: BROKEN_FRAMES for camera in lost if split == "test"}
        rows[f"{split} frames"] = [count - sum(gone.values()), here(split, "all", "all")]
        for camera in CAMERAS:
            rows[f"{split} frames of {camera}"] = [
                count // len(CAMERAS) - gone.get(camera, 0),
                here(split, "camera", camera),
            ]
    if steps["train"] == 5:
        rows["training frames, every 5th"] = [TRAIN_FRAMES_OF_5, here("train", "all", "all", 2)]
    if steps["test"] == 64:
        gone = len(lost) * math.ceil(BROKEN_FRAMES / 64)
        total = sum(TEST_FRAMES_OF_64.values())
        rows["test frames, every 64th"] = [total - gone, here("test", "all", "all", 2)]
        for action in ACTIONS:
            known = TEST_FRAMES_OF_64[action] - gone * (action == BROKEN_VIEW.action)
            rows[f"{action}, every 64th"] = [known, here("test", "action", action, 2)]
    return rows
