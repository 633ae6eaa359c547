"""Rendering of the varied training pictures, see `data.varied`; and what they are made of.

The recordings are read once, into a file beside the rendered parts that all processes share.
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.motion import read_motion
from data.people import load_subjects, relative_scale
from data.poses import Moments, collect_moments
from data.rendered_people.splits import VariedPart, action_of, read_descriptions
from data.sample import photo_features
from data.varied import draw_shot, load_crowd
from kinpose.io.files import write_atomically

SEED = 0
"""Of all varied pictures: another one would make another data set."""


class Recordings(NamedTuple):
    """What poses are taken from.

    Attributes:
      moments: the poses.
      clips: names of the recordings.
      actions: what is done in them.
    """

    moments: Moments
    clips: tuple[str, ...]
    actions: tuple[str, ...]


def write_recordings(path: pathlib.Path, recordings: Sequence) -> None:
    """Reads recordings into one file, unless it is there.

    Args:
      path: where the file goes.
      recordings: paths of BVH files.

    Raises:
      ValueError: for a recording that cannot be used, see `data.motion.read_motion`.
    """
    if path.exists():
        return
    described = read_descriptions(recordings)
    actions = [action_of(recording, described) for recording in recordings]
    moments = collect_moments([read_motion(recording) for recording in recordings], actions)
    columns = {
        "rotations": np.concatenate(moments.rotations),
        "lengths": np.array([len(x) for x in moments.rotations]),
        "shares": moments.shares,
        "clips": np.array([pathlib.Path(recording).stem for recording in recordings]),
        "actions": np.array(actions),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **columns)


@functools.cache
def read_recordings(path: pathlib.Path) -> Recordings:
    """Reads the file of `write_recordings`, once in each process."""
    with np.load(path) as file:
        columns = dict(file)
    ends = np.cumsum(columns["lengths"])[:-1]
    moments = Moments(tuple(np.split(columns["rotations"], ends)), columns["shares"])
    return Recordings(moments, *(tuple(columns[x].tolist()) for x in ("clips", "actions")))


def render_varied(part: VariedPart, size: int, recordings: Recordings) -> list[dict]:
    """Takes the pictures of a part.

    Args:
      part: what to render.
      size: rows and columns of the pictures (px).
      recordings: what poses are taken from.

    Returns:
      The samples of `data.sample.sample_features`; images as JPEG. Each has its own subject,
      whose number is the sample's; a pose is in no recording, so no `params` are known.
    """
    rows = []
    for number in range(part.first, part.stop):
        shot = draw_shot(_crowd(), recordings.moments, seed=(SEED, number), size=size)
        rows.append(
            photo_features(shot.photo)
            | {
                "scale": np.float32(relative_scale(shot.body, _subjects())),
                "subject": f"V{number:06d}",
                "action": recordings.actions[shot.recording],
                "clip": recordings.clips[shot.recording],
                "camera": "0",
                "frame": np.int32(number),
                "params": np.zeros(0, np.float32),
            }
        )
    return rows


_crowd, _subjects = functools.cache(load_crowd), functools.cache(load_subjects)
