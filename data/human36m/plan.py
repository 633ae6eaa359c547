"""What can be built from the files at hand, before any picture is decoded."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from data.human36m import archives
from data.human36m.files import (
    BOXES,
    MONO,
    PIXELS,
    VIDEOS,
    WORLD,
    Found,
    find_files,
    missing_files,
    pose_kind,
)
from data.human36m.metadata import Metadata
from data.human36m.names import BROKEN_VIEW, CAMERAS, SUBJECTS, View
from data.human36m.poses import count_poses
from data.human36m.video import count_frames
from data.processes import run_in_processes

_OMITTED = "VideoPose3D's file leaves this clip out."

Show = Callable[..., Iterable]
"""Passes items on and may show how far the work has come: `experiments.progress.show_progress`."""


def quietly(items: Iterable, *_, **__) -> Iterable:
    """A `Show` that shows nothing."""
    return items


class Source(NamedTuple):
    """The files of a view.

    Attributes:
      poses: path of its joints.
      pose_kind: `MONO` or `WORLD`.
      video: path.
      pixels: path of its joints in the image, or None.
      boxes: path of the data set's boxes, or None.
      num_poses: number of poses, the frames that count.
      num_frames: number of the video's frames, as many or more.
    """

    poses: str
    pose_kind: str
    video: str
    pixels: str | None
    boxes: str | None
    num_poses: int
    num_frames: int


def gather_files(
    manual_dir: str | os.PathLike,
    unpacked_dir: str | os.PathLike,
    *,
    with_boxes: bool = False,
    allow_partial: bool = False,
    processes: int | None = None,
    show: Show = quietly,
) -> tuple[Found, list[str]]:
    """Finds the files, and unpacks archives that were not unpacked before.

    Args:
      manual_dir: where archives, or what was in them, lie.
      unpacked_dir: where archives are unpacked to.
      with_boxes: whether the data set's own boxes are wanted.
      allow_partial: whether to go on with what is there.
      processes: that unpack at the same time; the number of cores by default.
      show: see `Show`.

    Returns:
      The files, and what is missing or damaged.

    Raises:
      ValueError: listing all that is missing, or all that is damaged; for no directory; without
        metadata.xml in any case.
    """
    manual_dir = pathlib.Path(manual_dir)
    if not manual_dir.is_dir():
        raise ValueError(f"manual_dir must be the directory of Human3.6M's files: {manual_dir}")
    found = find_files([manual_dir])
    problems = missing_files(found, with_boxes=with_boxes)
    if problems and not (allow_partial and found.metadata):
        raise ValueError(listing(f"{manual_dir} lacks", problems))
    wanted = [
        _Unpack(str(path), kind, subject, str(unpacked_dir))
        for (kind, subject), path in found.archives.items()
        if kind in (pose_kind(found, subject), PIXELS, VIDEOS) or (kind == BOXES and with_boxes)
    ] + [
        _Unpack(str(found.npz), WORLD, subject, str(unpacked_dir))
        for subject in SUBJECTS
        if found.npz and not {(MONO, subject), (WORLD, subject)} & _there(found)
    ]
    wanted = [x for x in wanted if not pathlib.Path(x.directory, x.subject, x.kind).exists()]
    done = run_in_processes(_unpack, wanted, processes) if wanted else []
    damage = [
        str(error)
        for _, error in show(done, "unpacking", unit="archives", total=len(wanted))
        if error
    ]
    if damage and not allow_partial:
        raise ValueError(listing("these are damaged:", damage))
    return find_files([manual_dir, unpacked_dir]), problems + damage


def find_sources(
    found: Found, metadata: Metadata, *, with_boxes: bool = False, allow_partial: bool = False
) -> tuple[dict[View, Source], dict[View, str]]:
    """Looks into all files of all views that metadata.xml names.

    Args:
      found: the files.
      metadata: names of the clips.
      with_boxes: whether the data set's own boxes are wanted.
      allow_partial: whether to go on without views that cannot be used.

    Returns:
      The views that can be used, in the data set's order, and for the others why they cannot.

    Raises:
      ValueError: listing all views that cannot be used but those that are known: the broken one,
        and the clip that VideoPose3D's file leaves out; when there is none that can.
    """
    sources, skipped = {}, {}
    for subject in SUBJECTS:
        for clip in metadata.clips[subject]:
            for camera in CAMERAS:
                view = View(subject, clip, camera)
                try:
                    sources[view] = _source(found, view, with_boxes)
                except ValueError as error:
                    skipped[view] = _OMITTED if _is_omitted(found, view) else str(error)
    unusable = [
        f"{view}: {why}"
        for view, why in skipped.items()
        if view != BROKEN_VIEW and not _is_omitted(found, view)
    ]
    if (unusable and not allow_partial) or not sources:
        raise ValueError(listing("these views cannot be used:", unusable))
    return sources, skipped


def choose_frames(
    num_poses: dict[View, int], *, every: int = 1, number: int | None = None, seed: int = 0
) -> dict[View, np.ndarray]:
    """Chooses frames.

    Args:
      num_poses: of each view.
      every: takes frame 0 and every so many from there on.
      number: takes so many of these at random, or all where there are fewer. None: all.
      seed: of the choice; it depends on the views and their lengths too.

    Returns:
      View -> numbers of its frames, rising.
    """
    frames = {view: np.arange(0, count, every) for view, count in num_poses.items()}
    ends = np.cumsum([len(x) for x in frames.values()], dtype=np.int64)
    if number is None or not frames or number >= ends[-1]:
        return frames
    taken = np.sort(np.random.default_rng(seed).choice(ends[-1], number, replace=False))
    parts = np.split(taken, np.searchsorted(taken, ends[:-1]))
    starts = ends - [len(x) for x in frames.values()]
    return {
        view: frames[view][part - start]
        for view, part, start in zip(frames, parts, starts, strict=True)
    }


class _Unpack(NamedTuple):
    path: str
    kind: str
    subject: str
    directory: str


def _unpack(job: _Unpack) -> None:
    if job.path.endswith(".npz"):
        archives.unpack_npz(job.path, job.subject, job.directory)
    else:
        archives.unpack_archive(*job)


def _there(found: Found) -> set[tuple[str, str]]:
    return {(kind, subject) for kind, subject, *_ in (*found.files, *found.archives)}


def _is_omitted(found: Found, view: View) -> bool:
    """Whether VideoPose3D's file has the subject's poses, but not those of the broken clip."""
    clips = {
        clip: path.suffix
        for (kind, subject, clip, _), path in found.files.items()
        if subject == view.subject and kind in (MONO, WORLD)
    }
    from_npz = set(clips.values()) == {".npy"}
    return view[:2] == BROKEN_VIEW[:2] and from_npz and view.clip not in clips


def _source(found: Found, view: View, with_boxes: bool) -> Source:
    of = functools.partial(found.view_file, view=view)
    kind = MONO if of(MONO) else WORLD
    needed = {"poses": of(kind), "video": of(VIDEOS), "boxes": with_boxes and of(BOXES)}
    for name, path in needed.items():
        if path is None:
            raise ValueError(f"there are no {name}." if name != "video" else "there is no video.")
    num_poses, num_frames = count_poses(needed["poses"]), count_frames(needed["video"])
    if num_frames < num_poses:
        raise ValueError(
            f"{needed['video']} must have a frame for each of {num_poses} poses, but has "
            f"{num_frames}."
        )
    pixels, boxes = of(PIXELS), needed["boxes"] or None
    return Source(
        str(needed["poses"]),
        kind,
        str(needed["video"]),
        pixels and str(pixels),
        boxes and str(boxes),
        num_poses,
        num_frames,
    )


def listing(head: str, lines: list[str]) -> str:
    """An error that names all that stops a build."""
    return "\n  ".join([head, *lines, "With allow_partial what is there is built."])
