"""metadata.xml of Human3.6M: cameras, names of clips, frame counts, bone lengths.

The file was written from MATLAB: tables are rows <tr> of cells <td>, matrices are texts such as
"[1 2;3 4]". Read by the rules of the data set's own code.
"""

import os
import re
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from data.human36m.lens import Lens, read_lens
from data.human36m.names import CAMERAS, SUBJECTS, clip_of

_NUM_SUBJECTS = 11
_EXTRINSICS, _INTRINSICS = 6, 9
_FIRST_INTRINSIC = len(CAMERAS) * _NUM_SUBJECTS * _EXTRINSICS
_NUM_CAMERA_NUMBERS = _FIRST_INTRINSIC + len(CAMERAS) * _INTRINSICS

# Ends of the 16 bones among the measured points, in the order of `HUMAN36M_KEYPOINTS`:
# right leg, left leg, trunk and head, left arm, right arm.
_BONE_ENDS = (
    *((10, 5), (5, 6), (6, 7)),
    *((10, 0), (0, 1), (1, 2)),
    *((10, 11), (11, 12), (12, 13), (13, 14)),
    *((12, 16), (16, 17), (17, 18)),
    *((12, 23), (23, 24), (24, 25)),
)


_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


class Metadata(NamedTuple):
    """What metadata.xml says about the subjects with poses.

    Attributes:
      lenses: (subject, camera) -> the camera.
      clips: subject -> its clips.
      num_poses: (subject, clip) -> number of poses, where the file says it.
      bone_lengths: subject -> (16,) (mm), where the file says it.
    """

    lenses: dict[tuple[str, str], Lens]
    clips: dict[str, tuple[str, ...]]
    num_poses: dict[tuple[str, str], int]
    bone_lengths: dict[str, np.ndarray]


def read_metadata(path: str | os.PathLike) -> Metadata:
    """Reads the file.

    Args:
      path: of metadata.xml.

    Returns:
      What it says.

    Raises:
      ValueError: naming the file, where it is not XML or lacks the names or the cameras.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # of encodings, too
        raise ValueError(f"{os.fspath(path)}: not an XML file: {error}.") from None
    names, frames = _cells(root.find("mapping")), _cells(root.find("frames"))
    cameras = _numbers(root.findtext("w0", ""))
    if not names or not set(SUBJECTS) <= set(names[0]):
        raise ValueError(
            f"{os.fspath(path)}: <mapping> must be a table headed by the subjects "
            f"{', '.join(SUBJECTS)}, but its first row is {names[0] if names else 'missing'}."
        )
    if len(cameras) != _NUM_CAMERA_NUMBERS:
        raise ValueError(
            f"{os.fspath(path)}: <w0> must hold the cameras' {_NUM_CAMERA_NUMBERS} numbers, but "
            f"has {len(cameras)}."
        )
    clips, num_poses = {}, {}
    for subject in SUBJECTS:
        column, row = names[0].index(subject), int(subject[1:]) - 1
        named = {i: clip_of(cells[column]) for i, cells in enumerate(names) if len(cells) > column}
        clips[subject] = tuple(clip for clip in named.values() if clip)
        counts = frames[row] if row < len(frames) else []
        for i, clip in named.items():
            # The fifth number of a cell counts the frames of motion capture, four to a pose.
            numbers = _numbers(counts[i]) if clip and i < len(counts) else []
            if len(numbers) == len(CAMERAS) + 1:
                num_poses[subject, clip] = int(numbers[-1]) // 4
    lenses = {
        (subject, camera): _lens(cameras, subject, i)
        for subject in SUBJECTS
        for i, camera in enumerate(CAMERAS)
    }
    lengths = _bone_lengths(root.findtext("subject_measurements", ""))
    return Metadata(lenses, clips, num_poses, lengths)


def _cells(table) -> list[list[str]]:
    rows = [] if table is None else table
    return [[(cell.text or "").strip() for cell in row] for row in rows]


def _numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(_NUMBER, text)]


def _lens(numbers, subject: str, camera: int) -> Lens:
    start = _EXTRINSICS * (camera * _NUM_SUBJECTS + int(subject[1:]) - 1)
    first = _FIRST_INTRINSIC + _INTRINSICS * camera
    return read_lens(numbers[start : start + _EXTRINSICS], numbers[first : first + _INTRINSICS])


def _bone_lengths(text: str) -> dict[str, np.ndarray]:
    """Distances of measured points; {} where the text is not a matrix of such points."""
    rows = [_numbers(row) for row in text.split(";")]
    width = len(rows[0])
    if len(rows) != _NUM_SUBJECTS or width % 3 or width <= 3 * np.max(_BONE_ENDS):
        return {}
    if any(len(row) != width for row in rows):
        return {}
    points = np.reshape(rows, (_NUM_SUBJECTS, -1, 3))
    start, end = np.transpose(_BONE_ENDS)
    lengths = np.linalg.norm(points[:, end] - points[:, start], axis=-1)
    return {subject: lengths[int(subject[1:]) - 1] for subject in SUBJECTS}
