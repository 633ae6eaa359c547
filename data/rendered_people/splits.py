"""Who does what in which split, and which frames are taken: a plan, before anything is drawn.

Each recording is performed by all subjects of its split, each of them turned another way and
at times of their own, seen by all four cameras. See the README beside this file for what the
two splits share.
"""

import csv
import os
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.motion import read_motion
from data.people import TEST_SUBJECTS, TRAIN_SUBJECTS

TEST_EVERY = 5
"""Of the performers in order of their numbers, every fifth is for testing, from the first on."""

TRAIN_PART, TEST_PART = (0.0, 0.7), (0.8, 1.0)
"""Of a recording, where performers are not known: the rest between them is not used."""

FEWEST_FRAMES = 10
"""Of a recording that is divided, so that a frame lies between the parts."""

ACTIONS = (
    *("terrain", "signal", "traffic", "basketball", "dance", "bend", "sword", "punch", "kick"),
    *("wash", "cartwheel", "crawl", "getup", "roll", "jump", "hop", "run", "walk"),
)
"""Words that name an action; of those in a description the first of this list counts."""

MANIFEST = "manifest.csv"
"""Beside recordings: a table with columns `file` and `description`, which need not be there."""


class Part(NamedTuple):
    """One subject in one recording: what is rendered together.

    Attributes:
      split: train or test.
      subject: who, see `data.people`.
      path: of the recording.
      action: a coarse name of what is done.
      frames: of the recording, rising.
    """

    split: str
    subject: str
    path: str
    action: str
    frames: tuple[int, ...]

    @property
    def name(self) -> str:
        """Among the parts of a data set."""
        return f"{self.split}-{self.subject}-{self.clip}"

    @property
    def clip(self) -> str:
        """The recording's name."""
        return pathlib.Path(self.path).stem


class VariedPart(NamedTuple):
    """Training pictures no two of which are alike, see `data.varied`; rendered together.

    Attributes:
      first: number of the first picture.
      stop: number of the one behind the last.
    """

    first: int
    stop: int

    @property
    def split(self) -> str:
        """They are for training alone."""
        return "train"

    @property
    def name(self) -> str:
        """Among the parts of a data set."""
        return f"train-varied-{self.first:07d}"


VARIED_AT_ONCE = 200
"""Pictures of a `VariedPart`; a few seconds of work."""


def plan_varied(num: int) -> list[VariedPart]:
    """The parts of a number of training pictures."""
    firsts = range(0, num, VARIED_AT_ONCE)
    return [VariedPart(first, min(first + VARIED_AT_ONCE, num)) for first in firsts]


def divide_recordings(paths: Sequence) -> tuple[list, list]:
    """Recordings for training and for testing: none is in both.

    Those of held-out performers test; where performers are not known, every fifth recording.

    Args:
      paths: the recordings, in order of their names.

    Returns:
      The paths of both.

    Raises:
      ValueError: where there is one recording only.
    """
    if len(paths) < 2:
        raise ValueError(
            "expected two recordings or more, so that some can be for testing alone, but got "
            f"{', '.join(map(os.fspath, paths))}."
        )
    testers = held_out_performers([pathlib.Path(path).stem for path in paths])
    tests = [
        performer(pathlib.Path(path).stem) in testers if testers else i % TEST_EVERY == 0
        for i, path in enumerate(paths)
    ]
    pairs = list(zip(paths, tests, strict=True))
    return [path for path, test in pairs if not test], [path for path, test in pairs if test]


def action_of(path, described: dict[str, str]) -> str:
    """What is done in a recording, by its description or its name."""
    clip = pathlib.Path(path).stem
    return coarse_action(described.get(clip, clip))


def plan_tests(paths: Sequence, *, test_step_s: float) -> list[Part]:
    """Whole recordings, performed by the subjects that test; see `plan_parts`."""
    described, parts = read_descriptions(paths), []
    for path in paths:
        num_frames, frame_time_s = _length(path, divided=False)
        step, action = max(test_step_s / frame_time_s, 1.0), action_of(path, described)
        for i, subject in enumerate(TEST_SUBJECTS):
            frames = _frames(0, num_frames, step, phase=i / len(TEST_SUBJECTS))
            parts.append(Part("test", subject, os.fspath(path), action, frames))
    return parts


def plan_parts(paths: Sequence, *, train_step_s: float, test_step_s: float) -> list[Part]:
    """Reads all recordings and chooses subjects and frames.

    Args:
      paths: the recordings, see `data.motion.find_motions`.
      train_step_s: time between two training frames of a subject in a recording; at least one
        frame is taken.
      test_step_s: the same for testing.

    Returns:
      The parts, training first; those of one recording follow each other.

    Raises:
      ValueError: for a recording that cannot be used, see `data.motion.read_motion`, or an
        unusable list of descriptions.
    """
    clips = [pathlib.Path(path).stem for path in paths]
    testers = held_out_performers(clips)
    described = read_descriptions(paths)
    lengths = [_length(path, divided=not testers) for path in paths]
    parts = []
    for split, subjects, span, step_s in (
        ("train", TRAIN_SUBJECTS, TRAIN_PART, train_step_s),
        ("test", TEST_SUBJECTS, TEST_PART, test_step_s),
    ):
        for path, clip, (num_frames, frame_time_s) in zip(paths, clips, lengths, strict=True):
            if testers and (performer(clip) in testers) != (split == "test"):
                continue
            first, last = np.multiply((0, 1) if testers else span, num_frames)
            step = max(step_s / frame_time_s, 1.0)
            action = action_of(path, described)
            for i, subject in enumerate(subjects):
                frames = _frames(np.ceil(first), np.floor(last), step, phase=i / len(subjects))
                parts.append(Part(split, subject, os.fspath(path), action, frames))
    return parts


def held_out_performers(clips: Sequence[str]) -> tuple[str, ...]:
    """The performers that are for testing alone.

    Args:
      clips: names of recordings; a number and an underscore in front say who performs, as in
        the CMU database (02_05).

    Returns:
      Their numbers; none where fewer than two performers are known.
    """
    known = sorted({performer(clip) for clip in clips} - {""}, key=lambda x: (int(x), x))
    return tuple(known[::TEST_EVERY]) if len(known) > 1 else ()


def performer(clip: str) -> str:
    """Who performs: the number in front of a recording's name, "" if there is none."""
    found = re.match(r"(\d+)_", clip)
    return found[1] if found else ""


def coarse_action(description: str) -> str:
    """The action that scores are averaged over: a word of `ACTIONS`, or the first word."""
    text = description.lower()
    words = re.findall(r"[a-z]+", text)
    return next((action for action in ACTIONS if action in text), words[0] if words else "motion")


def _length(path, *, divided: bool) -> tuple[int, float]:
    """Number of frames and time between them of a recording that can be used."""
    motion = read_motion(path)
    if divided and len(motion.root) < FEWEST_FRAMES:
        raise ValueError(
            f"{os.fspath(path)}: expected {FEWEST_FRAMES} frames or more, to divide them between "
            f"training and testing, but it has {len(motion.root)}."
        )
    return len(motion.root), motion.frame_time_s


def read_descriptions(paths: Sequence) -> dict[str, str]:
    """Clip -> description, where a manifest.csv with columns `file` and `description` has it."""
    found = {}
    for manifest in sorted({pathlib.Path(path).parent / MANIFEST for path in paths}):
        if not manifest.exists():
            continue
        try:
            with open(manifest, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            found |= {pathlib.Path(row["file"]).stem: row["description"] or "" for row in rows}
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise ValueError(
                f"{manifest}: expected a table with columns file and description ({error!r})."
            ) from None
    return found


def _frames(start: float, stop: float, step: float, phase: float) -> tuple[int, ...]:
    """Every `step`-th frame between two, beginning at a part of a step; at least one."""
    first = start + phase * min(step, stop - start)
    places = np.floor(np.arange(first, stop, step)).astype(int)
    return tuple(np.unique(places).tolist())
