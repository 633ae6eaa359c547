"""Points of a person in a video, by MediaPipe's pose landmarker.

  kinpose video clip.mp4 points.npz --model=pose_landmarker_heavy.task
  kinpose fit points.npz --output_dir=runs/clip

The model is a .task file of https://developers.google.com/mediapipe (pose landmarker). Writes 33
landmarks about the middle of the hips, in metres, -y up, with their visibility as confidence, to a
.npz, .csv, .trc or .c3d file; frames without a person are missing, as are those that the video
leaves out. One camera tells depth badly:
angles of limbs that point at it may be tens of degrees off.
"""

import contextlib
import os
import pathlib

import numpy as np
from absl import app, flags

from kinpose.apps._outputs import refuse_existing
from kinpose.apps._reading import heard
from kinpose.apps.progress import show_progress
from kinpose.extras import needs
from kinpose.io import save_recording
from kinpose.io._times import timed
from kinpose.io.points import checked_points
from kinpose.io.recordings import WRITERS
from kinpose.layouts import LAYOUTS

_NAMES = LAYOUTS["mediapipe_33"].order


def define_flags() -> None:
    """Of this verb; not at import, as those of others have the same names."""
    flags.DEFINE_string("model", None, "The pose landmarker, a .task file.", required=True)
    flags.DEFINE_bool("overwrite", False, "Replace the output, if it is there.")


def main(argv: list[str]) -> None:
    """Reads a video, finds a person's points, writes them."""
    if len(argv) != 3:
        raise app.UsageError("give the video to read and the file of points to write.")
    source, target = argv[1:]
    refuse_existing(target, flags.FLAGS.overwrite)
    if pathlib.Path(target).suffix.lower() not in WRITERS:
        raise ValueError(f"{target}: points are written to {', '.join(WRITERS)} files.")
    for path in (source, flags.FLAGS.model):
        if not os.path.isfile(path):
            raise ValueError(f"{path} is no file.")
    rows, times = [], []
    with _frames(source) as (frames, num, fps), _landmarker(flags.FLAGS.model) as detect:
        for time_s, frame in show_progress(frames, "detecting", unit="frames", total=num):
            rows.append(detect(frame, round(1000 * time_s)))
            times.append(time_s)
    if not rows:
        raise ValueError(f"{source} has no frames.")
    points = np.stack(rows)
    lost = int(np.isnan(points[:, 0, 0]).sum())
    if lost == len(points):
        raise ValueError(f"{source} shows no person in any of its {len(points)} frames.")
    found = checked_points(
        source, points[..., :3], _NAMES, 1.0 / fps, np.nan_to_num(points[..., 3])
    )
    found, said = heard(timed, source, found, np.array(times), None)
    for sentence in said:
        print(f"warning: {sentence}")
    save_recording(target, found._replace(unit_mm=1000.0, up="-y"))
    print(f"{target}: {len(points)} frames, {lost} without a person")


@contextlib.contextmanager
def _frames(path: str):
    """Times (s) and upright pictures (H, W, 3) uint8 of a video, how many it says, and its rate."""
    with needs("video"):
        import av
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            if not stream.average_rate:
                raise ValueError(f"{path} has no frame rate.")
            num = stream.frames or round((container.duration or 0) * stream.average_rate / 1e6)
            rate = float(stream.average_rate)
            yield _upright(container.decode(stream), rate), num, rate
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video ({error}).") from error


def _upright(frames, rate: float):
    """Each frame when it is shown, from 0 on and later than the one before, and as it is shown.

    Phones store what they see lying on its side, and by how much to turn it.
    """
    first, last = None, -1.0
    for t, frame in enumerate(frames):
        shown = t / rate if frame.time is None else float(frame.time)
        first = shown if first is None else first
        last = max(shown - first, last + 1e-3)
        turns = round(getattr(frame, "rotation", 0) / 90)  # counter-clockwise
        yield last, np.rot90(frame.to_ndarray(format="rgb24"), turns)


@contextlib.contextmanager
def _landmarker(model: str):
    """A function from a picture and its time (ms) to landmarks (33, 4): x, y, z, visibility."""
    with needs("video"):
        import mediapipe as mp
        from mediapipe.tasks.python import BaseOptions, vision
    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model),
        running_mode=vision.RunningMode.VIDEO,
    )
    try:
        landmarker = vision.PoseLandmarker.create_from_options(options)
    except RuntimeError as error:
        raise ValueError(f"{model} is no pose landmarker: {error}") from error

    def detect(frame: np.ndarray, time_ms: int) -> np.ndarray:
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
        people = landmarker.detect_for_video(image, time_ms).pose_world_landmarks
        if not people:
            return np.full((len(_NAMES), 4), np.nan)
        return np.array([(x.x, x.y, x.z, x.visibility) for x in people[0]])

    try:
        yield detect
    finally:
        landmarker.close()
