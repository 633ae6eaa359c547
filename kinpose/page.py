"""One self-contained page that plays clips, without a server: in a file, or in a notebook."""

import base64
import html
import json
import math
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinpose._html import COLORS
from kinpose.clips import (
    Clip,
    eye_of,
    place_side_by_side,
    radii_of,
    reach_of,
    track_of,
)
from kinpose.io.files import write_atomically

_TEMPLATE = pathlib.Path(__file__).with_name("page.html")

_MOST_BYTES = 6_000_000
"""Of numbers in a page; what is more goes every second frame, or every third, ..."""

_HEIGHT_PX = 420
"""Of a notebook's frame."""

_FOCAL = 1.7
"""Of the page's camera, in heights of the picture."""


class Page(NamedTuple):
    """A page that notebooks show inline, in a frame of its own.

    Attributes:
      html: all of it.
    """

    html: str

    def __repr__(self) -> str:
        return f"<Page of {len(self.html) / 1000:.0f} kB>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" width="100%" height="{_HEIGHT_PX}" '
            'style="border:0;border-radius:8px" title="skeleton in motion"></iframe>'
        )


def save_page(
    path: str | os.PathLike, clips: Sequence[Clip], ghosts: Sequence[Clip] = (), title: str = ""
) -> int:
    """Writes one file that shows clips in any browser, from a disk, too.

    Places are kept in 65,534 steps of the recording's extent along each axis.

    Args:
      path: the .html file to write, whole or not at all; an existing one is replaced.
      clips: they stand side by side.
      ghosts: shown pale, where the first clip is.
      title: above the picture.

    Returns:
      Every how manieth frame is in it: 1, unless there are too many.
    """
    content, stride = page_of(clips, ghosts, title)
    with write_atomically(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return stride


def page_of(clips: Sequence[Clip], ghosts: Sequence[Clip], title: str) -> tuple[str, int]:
    """The page's text, and every how manieth frame is in it."""
    shifts = place_side_by_side(clips)
    everyone = [*clips, *ghosts]
    shifts += [shifts[0]] * len(ghosts)
    size = sum(2 * (clip.poses.size + clip.points.size) for clip in everyone)
    stride = max(1, math.ceil(size / _MOST_BYTES))
    low, high = reach_of(clips, shifts[: len(clips)])
    center, extent = 0.5 * (low + high), float((high - low).max()) or 1.0  # of one still point
    yaw, pitch = eye_of(clips[0])
    scene = {
        "title": title,
        "about": _about(clips, stride),
        "key": _key(clips, ghosts),
        "several": len(clips) > 1,
        "colors": COLORS,
        "cell": 10.0 ** math.floor(math.log10(max(extent, 1e-6)) - 0.2),
        "yaw": yaw,
        "pitch": pitch,
        "focal": _FOCAL,
        "distance": 1.3 * _FOCAL * extent,
        "target": center.tolist(),
        "stride": stride,
        "clips": [
            _packed_clip(clip, shift, stride, is_ghost=i >= len(clips))
            for i, (clip, shift) in enumerate(zip(everyone, shifts, strict=True))
        ],
    }
    text = json.dumps(scene, separators=(",", ":"), allow_nan=False)
    before, after = _TEMPLATE.read_text(encoding="utf-8").split("{{scene}}")
    page = before.replace("{{title}}", html.escape(title))
    return page + text.replace("<", "\\u003c") + after, stride  # no name is markup


def _about(clips: Sequence[Clip], stride: int) -> str:
    lengths = [len(clip.poses) for clip in clips]
    if max(lengths) == 1:
        return ""
    first = clips[int(np.argmax(lengths))]
    seconds, rate = (len(first.poses) - 1) * first.frame_time_s, 1 / first.frame_time_s
    every = "" if stride == 1 else f", one in {stride} is shown"
    return f"{max(lengths)} frames in {seconds:.3g} s, {rate:.4g} a second{every}"


def _key(clips: Sequence[Clip], ghosts: Sequence[Clip]) -> list[tuple[str, str]]:
    """Kinds of colour, and what they mean."""
    sides = {side for clip in clips for side in clip.sides}
    key = [(side, side) for side in ("right", "left") if side in sides]
    key += [("points", "recorded points")] if any(c.points.shape[1] for c in clips) else []
    return key + [("", f"ghost: {ghost.name}") for ghost in ghosts]


def _packed_clip(clip: Clip, shift: np.ndarray, stride: int, *, is_ghost: bool) -> dict:
    poses, points, track = (x[::stride] for x in (clip.poses, clip.points, track_of(clip)))
    radii = radii_of(clip)
    return {
        "name": clip.name,
        "names": clip.names,
        "bones": clip.bones,
        "sides": clip.sides,
        "frames": len(poses),
        "frame_time_s": clip.frame_time_s * stride,
        "ghost": is_ghost,
        "radii": {"bones": radii.bones.tolist(), "joints": radii.joints.tolist()},
        "point_radius": radii.points,
        "halos": clip.has_halos,
        "point_count": points.shape[1],
        "point_names": clip.point_names,
        "poses": pack(poses + shift),
        "points": pack(points + shift),
        "track": pack(track),
    }


def pack(places: np.ndarray) -> dict:
    """Places (..., 3), with NaN, as numbers of 16 bits, base64."""
    places = np.asarray(places, np.float64).reshape(-1, 3)
    seen = places[np.isfinite(places).all(axis=1)]
    low, high = (seen.min(axis=0), seen.max(axis=0)) if len(seen) else (np.zeros(3), np.zeros(3))
    step = np.maximum((high - low) / 65534.0, 1e-9)
    whole = np.where(np.isfinite(places), np.rint((places - low) / step) - 32767.0, -32768.0)
    data = base64.b64encode(whole.astype("<i2").tobytes()).decode()
    return {"data": data, "low": low.tolist(), "step": step.tolist()}
