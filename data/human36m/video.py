"""Frames of videos, decoded one after the other and kept only where they are wanted."""

import os
import pathlib
from collections.abc import Iterator, Sequence

import av
from PIL import Image

_DAMAGED = (av.FFmpegError, UnicodeError, OverflowError, MemoryError)
"""What PyAV raises at damaged videos, their texts included."""


def count_frames(path: str | os.PathLike) -> int:
    """How many frames a video has, from its table of contents; nothing is decoded.

    Args:
      path: of the video.

    Returns:
      The number.

    Raises:
      ValueError: naming the video, when it cannot be opened or ends before its table says.
    """
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{os.fspath(path)} is damaged: it has no video stream.")
            stream = container.streams.video[0]
            end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
            num_frames = stream.frames or len(stream.index_entries)
    except _DAMAGED as error:
        raise ValueError(f"{os.fspath(path)} is damaged: {error}.") from None
    size = pathlib.Path(path).stat().st_size
    if end > size:
        raise ValueError(
            f"{os.fspath(path)} is cut short: it should have {end} bytes or more, but has {size}."
        )
    return num_frames


def read_frames(path: str | os.PathLike, frames: Sequence[int]) -> Iterator[Image.Image]:
    """Decodes chosen frames.

    A frame is named by its place in the order of showing, the first one is 0. All frames up to
    the last chosen one are decoded, as a video is a chain; only the chosen ones are converted,
    and one at a time is in memory.

    Args:
      path: of the video.
      frames: numbers of the frames, rising.

    Yields:
      Each of them, RGB, of the video's size.

    Raises:
      ValueError: naming the video and the frame, when it is damaged or ends too early.
    """
    wanted, i = iter(frames), -1
    next_one = next(wanted, None)
    try:
        with av.open(os.fspath(path)) as container:
            container.streams.video[0].thread_count = 1  # views are decoded side by side
            for i, frame in enumerate(container.decode(video=0)):
                if next_one is None:
                    return
                if frame.is_corrupt:
                    raise ValueError(f"{os.fspath(path)} is damaged at frame {i}.")
                if i == next_one:
                    yield frame.to_image()
                    next_one = next(wanted, None)
    except (*_DAMAGED, IndexError) as error:
        raise ValueError(f"{os.fspath(path)} is damaged after frame {i}: {error}.") from None
    if next_one is not None:
        raise ValueError(
            f"{os.fspath(path)} must have frame {next_one}, but ends after {i + 1} frames."
        )
