"""Which files of Human3.6M there are, and what is missing.

Files are known by what kind of directory they lie in and by their own name, wherever below the
manual directory that is: `S1/MyPoseFeatures/D3_Positions_mono/Directions 1.54138969.cdf`. Some
tools call that directory Poses_D3_Positions_mono.
"""

import os
import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from data.human36m.names import CAMERAS, SUBJECTS, View, clip_of

MONO, WORLD, PIXELS = "D3_Positions_mono", "D3_Positions", "D2_Positions"
VIDEOS, BOXES = "Videos", "ground_truth_bb"

ARCHIVES = {
    MONO: "Poses_D3_Positions_mono_{}",
    WORLD: "Poses_D3_Positions_{}",
    PIXELS: "Poses_D2_Positions_{}",
    VIDEOS: "Videos_{}",
    BOXES: "Segments_mat_gt_bb_{}",
}
"""Names of the official archives by kind of file; {} is the subject."""

NPZ_NAME = "data_3d_h36m.npz"
"""VideoPose3D's file of world positions."""

_ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar")
_SUFFIXES = {
    MONO: (".cdf",),
    WORLD: (".cdf", ".npy"),
    PIXELS: (".cdf",),
    VIDEOS: (".mp4",),
    BOXES: (".mat",),
}


class Found(NamedTuple):
    """What lies in a directory.

    Attributes:
      files: (kind, subject, clip, camera) -> path; the camera of `WORLD` positions is "".
      archives: (kind, subject) -> path.
      npz: VideoPose3D's file, or None.
      metadata: path of metadata.xml, or None.
      unknown: files in places of the data set whose names say nothing.
    """

    files: dict[tuple[str, str, str, str], pathlib.Path]
    archives: dict[tuple[str, str], pathlib.Path]
    npz: pathlib.Path | None
    metadata: pathlib.Path | None
    unknown: list[pathlib.Path]

    def view_file(self, kind: str, view: View) -> pathlib.Path | None:
        """The file of a kind that belongs to a view."""
        return self.files.get((kind, view.subject, view.clip, "" if kind == WORLD else view.camera))


def find_files(directories: Iterable[str | os.PathLike]) -> Found:
    """Looks through directories; of two files for the same thing the first one found counts.

    Args:
      directories: where to look.

    Returns:
      What is there.
    """
    found = Found({}, {}, None, None, [])
    for path in _walk(directories):
        if path.name == "metadata.xml":
            found = found._replace(metadata=found.metadata or path)
        elif path.name == NPZ_NAME:
            found = found._replace(npz=found.npz or path)
        elif archive := _archive_key(path.name):
            found.archives.setdefault(archive, path)
        elif path.suffix in _SUFFIXES.get(_kind(path), ()):
            key = _file_key(path)
            if key:
                found.files.setdefault(key, path)
            elif not path.name.startswith(("_ALL", ".")):
                found.unknown.append(path)
    return found


def pose_kind(found: Found, subject: str) -> str | None:
    """The kind of file that a subject's poses are taken from: `MONO` before `WORLD`."""
    there = {kind for kind, who, *_ in (*found.files, *found.archives) if who == subject}
    if MONO in there:
        return MONO
    return WORLD if WORLD in there or found.npz else None


def missing_files(found: Found, *, with_boxes: bool = False) -> list[str]:
    """What a build of all subjects lacks, seen from outside the archives.

    Args:
      found: what is there.
      with_boxes: whether the boxes of the data set are asked for.

    Returns:
      A sentence for each thing.
    """
    there = {(kind, subject) for kind, subject, *_ in (*found.files, *found.archives)}
    lines = [] if found.metadata else ["metadata.xml, which comes with the data set's code"]
    for subject in SUBJECTS:
        if not pose_kind(found, subject):
            names = " or ".join(ARCHIVES[kind].format(subject) + ".tgz" for kind in (MONO, WORLD))
            lines.append(f"poses of {subject}: {names}")
        for kind in (VIDEOS, BOXES)[: 1 + with_boxes]:
            if (kind, subject) not in there:
                what = "videos" if kind == VIDEOS else "boxes"
                lines.append(f"{what} of {subject}: {ARCHIVES[kind].format(subject)}.tgz")
    return lines


def _walk(directories):
    for directory in directories:
        for place, below, names in os.walk(directory, followlinks=True):
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield from (pathlib.Path(place, name) for name in sorted(names))


def _archive_key(name: str) -> tuple[str, str] | None:
    suffix = next((x for x in _ARCHIVE_SUFFIXES if name.lower().endswith(x)), None)
    stem = suffix and name.lower().removesuffix(suffix)
    for kind, pattern in ARCHIVES.items():
        for subject in SUBJECTS:
            if stem == pattern.format(subject).lower():
                return kind, subject
    return None


def _kind(path: pathlib.Path) -> str:
    return path.parent.name.removeprefix("Poses_")


def _file_key(path: pathlib.Path) -> tuple[str, str, str, str] | None:
    subject = next((x for x in reversed(path.parts[:-2]) if re.fullmatch(r"S\d+", x)), None)
    name, *camera = path.stem.split(".")
    kind, clip = _kind(path), clip_of(name)
    if subject not in SUBJECTS or not clip or len(camera) != (kind != WORLD):
        return None
    if camera and camera[0] not in CAMERAS:
        return None
    return kind, subject, clip, camera[0] if camera else ""
