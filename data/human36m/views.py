"""One view at a time: its chosen frames cropped, with the truth, in a file of their own.

The file is a ZIP of JPEG pictures and arrays. It appears whole or not at all, and its name tells
what it was made from, so what is there need not be made again.
"""

import hashlib
import io
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data.camera import crop_camera, square_box
from data.human36m.boxes import read_boxes
from data.human36m.crop import crop_image, moved_box, person_box, to_crop_pixels
from data.human36m.lens import Lens, project_through
from data.human36m.names import KEYPOINTS_OF_32, SHIFT_MM, SHIFTED_CLIPS, View
from data.human36m.poses import camera_joints, read_joints
from data.human36m.video import read_frames
from data.sample import JPEG
from kinpose.io.files import write_atomically

_KEYPOINTS = list(KEYPOINTS_OF_32)
_ARRAYS = "arrays.npz"


class Job(NamedTuple):
    """What is to be made of a view.

    Attributes:
      view: which.
      lens: its camera.
      poses: path of its poses.
      pose_kind: what their coordinates are in, see `data.human36m.poses.camera_joints`.
      video: path of its video.
      pixels: path of its joints in the image, to compare with, or None.
      boxes: path of the data set's own boxes, or None to take those of the joints.
      frames: numbers of the chosen frames, rising.
      size: rows and columns of the crops.
    """

    view: View
    lens: Lens
    poses: str
    pose_kind: str
    video: str
    pixels: str | None
    boxes: str | None
    frames: np.ndarray
    size: int


class Truth(NamedTuple):
    """What is known about a person in some frames of a view.

    Attributes:
      joints: (T, 17, 3) in the camera's frame (mm).
      pixels: (T, 17, 2) in the image (px).
      boxes: T boxes around the person in the image (px).
      disagreement_px: how far joints in the image are from those of the data set, at most; NaN
        where these are not at hand, or their file is short or damaged.
    """

    joints: np.ndarray
    pixels: np.ndarray
    boxes: list
    disagreement_px: float


def find_truth(job: Job) -> Truth:
    """Reads what is known about the chosen frames.

    Args:
      job: of the view.

    Returns:
      The truth, with the known shift of some clips undone.

    Raises:
      ValueError: naming the file, when one that is needed cannot be read, has too few frames, or
        joints that no camera sees.
    """
    poses = camera_joints(job.poses, job.pose_kind, job.lens)
    last = job.frames.max(initial=-1)
    if len(poses) <= last:
        raise ValueError(f"{job.poses} must have frame {last}, but has {len(poses)} poses.")
    joints = poses[job.frames]
    in_front = (np.isfinite(joints) & (joints[..., 2:] > 0)).all(axis=(1, 2))
    if not in_front.all():
        raise ValueError(
            f"{job.poses}: joints must be finite and in front of the camera, but those of frame "
            f"{job.frames[~in_front][0]} are not."
        )
    given = seen = project_through(joints, job.lens)
    disagreement = _disagreement_px(job, given, len(poses))
    if job.view[:2] in SHIFTED_CLIPS:
        joints = joints - job.lens.camera.rotation @ np.array(SHIFT_MM)
        seen = project_through(joints, job.lens)
    if job.boxes is None:
        boxes = [person_box(pixels) for pixels in seen]
    else:
        # The data set's boxes were found around the joints as given.
        moves = seen[:, 0] - given[:, 0]
        found = read_boxes(job.boxes, job.frames)
        boxes = [moved_box(box, move) for box, move in zip(found, moves, strict=True)]
    return Truth(joints[:, _KEYPOINTS], seen[:, _KEYPOINTS], boxes, disagreement)


def part_path(job: Job, directory: str | os.PathLike) -> pathlib.Path:
    """Where the file of a view is: its name has a digest of all that the file depends on."""
    known = hashlib.sha256(job.frames.tobytes())
    for path in filter(None, (job.poses, job.video, job.boxes)):
        status = os.stat(path)
        known.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    known.update(repr((job.lens, job.pose_kind, job.size, JPEG)).encode())
    name = "-".join((*job.view, known.hexdigest()[:16])).replace(" ", "_")
    return pathlib.Path(directory, f"{name}.zip")


def make_part(job: Job, directory: str | os.PathLike) -> float:
    """Makes the file of a view, unless it is there.

    Args:
      job: of the view.
      directory: where the file goes.

    Returns:
      How far the joints in the image are from those of the data set, see `Truth`.

    Raises:
      ValueError: naming the file, when poses, boxes or video are damaged or too short.
    """
    path = part_path(job, directory)
    if path.exists():
        return float(_read_arrays(path)["disagreement_px"])
    truth = find_truth(job)
    squares = [square_box(box) for box in truth.boxes]
    crops = [crop_camera(job.lens.camera, square, job.size) for square in squares]
    arrays = {
        "joints": truth.joints.astype(np.float32),
        "pixels": np.array(
            [
                to_crop_pixels(pixels, square, job.size)
                for pixels, square in zip(truth.pixels, squares, strict=True)
            ],
            np.float32,
        ).reshape(-1, len(_KEYPOINTS), 2),
        "box": np.array(truth.boxes, np.float32).reshape(-1, 4),
        "focal_px": np.array([crop.focal_px for crop in crops], np.float32),
        "center_px": np.array([crop.center_px for crop in crops], np.float32),
        "frame": job.frames.astype(np.int32),
    }
    with write_atomically(path) as temporary, zipfile.ZipFile(temporary, "w") as part:
        images = read_frames(job.video, job.frames)
        for frame, square, image in zip(job.frames, squares, images, strict=True):
            with part.open(_image_name(frame), "w") as out:
                crop_image(image, square, job.size).save(out, **JPEG)
        with part.open(_ARRAYS, "w") as out:
            np.savez(out, disagreement_px=truth.disagreement_px, **arrays)
    return truth.disagreement_px


def read_part(path: str | os.PathLike) -> Iterator[dict]:
    """The samples in the file of a view, one at a time.

    Args:
      path: from `part_path`.

    Yields:
      The features of `data.sample.sample_features` that differ from frame to frame.
    """
    arrays = _read_arrays(path)
    del arrays["disagreement_px"]
    with zipfile.ZipFile(path) as part:
        for i, frame in enumerate(arrays["frame"]):
            image = io.BytesIO(part.read(_image_name(frame)))
            yield {"image": image} | {name: column[i] for name, column in arrays.items()}


def _disagreement_px(job: Job, given: np.ndarray, num_poses: int) -> float:
    """See `Truth`. Nothing else is made of the file, so whatever is wrong with it stops nothing."""
    try:
        known = np.zeros(0) if job.pixels is None else read_joints(job.pixels)
    except ValueError:
        return np.nan
    if len(known) < num_poses or known.shape[1:] != given.shape[1:]:
        return np.nan
    return float(np.linalg.norm(known[job.frames] - given, axis=-1).max(initial=0))


def _image_name(frame: int) -> str:
    return f"{frame:06d}.jpg"


def _read_arrays(path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as part, part.open(_ARRAYS) as file, np.load(file) as arrays:
        return dict(arrays)
