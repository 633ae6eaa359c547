"""Pictures of poses for people: a pose, a sheet of frames, films, a page, a skeleton, curves.

3D poses are shown flat, in parallel projection, as an engineer draws front and side. The
person's right is orange, the left blue, the trunk grey; measured points are pale dots.
Only matplotlib's objects are used and never pyplot: no window, no display, no global state.

Shapes: T frames, K keypoints, P points, n space dimension (2: image coordinates, y down).
Lengths are in the skeleton's unit. `up` is the axis that points up in 3D data: "y" (then
x is left, z forward) or "z" (y left, x forward).
"""

import math
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from kinpose.clips import Clip
from kinpose.curves import Curves, plot_angles
from kinpose.diagram import plot_skeleton
from kinpose.drawing import (
    AXIS_COLORS,
    COLORS,
    VIEWS,
    checked_poses,
    draw_pose,
    keypoint_sides,
    new_figure,
    person_axes,
    save_figure,
    view_camera,
)
from kinpose.extras import needs
from kinpose.io.files import write_atomically
from kinpose.page import Page, page_of
from kinpose.recordings import UP
from kinpose.skeleton import Skeleton

with needs("plot"):
    from matplotlib.animation import FFMpegWriter
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MultipleLocator
    from PIL import Image

__all__ = [
    "AXIS_COLORS",
    "COLORS",
    "VIEWS",
    "Curves",
    "animate_poses",
    "draw_pose",
    "keypoint_sides",
    "play_poses",
    "plot_angles",
    "plot_poses",
    "plot_skeleton",
]

_PERSON_M = 1.7
"""The greatest extent of what is played."""

_MAX_FPS = 25.0
_BELOW_IN = 0.4  # the panels, for the legend


def plot_poses(
    fitted: ArrayLike,
    skeleton: Skeleton,
    *,
    path: str | os.PathLike | None = None,
    points: ArrayLike | None = None,
    frames: Sequence[int] | None = None,
    frame_time_s: float | None = None,
    views: Sequence[str] = ("front", "side"),
    up: str = "y",
    title: str = "",
) -> Figure:
    """A sheet of frames: the model's bones over the measured points, one row per view.

    All panels have one scale and follow the person. The views are from the person's own
    front, on average over the frames, where names tell left from right.

    Args:
      fitted: (T, K, n) poses of the model, NaN where there is none.
      skeleton: the model.
      path: the picture to write (.png, .pdf, .svg, ...), whole or not at all; None for none.
      points: (T, P, n) measured points, NaN where missing; P need not be K.
      frames: the frames to show, counted from 0; six over the whole time by default.
      frame_time_s: time from one frame to the next, for the labels.
      views: keys of `VIEWS`; 2D poses have only one view.
      up: "y" or "z".
      title: above the sheet.

    Returns:
      The figure.

    Raises:
      ValueError: for wrong shapes, poses without a finite number, an unknown view or up
        axis, a frame that is not there, and a suffix that matplotlib cannot write.
    """
    scene = _scene(fitted, points, skeleton, views, up)
    last = len(scene.fitted) - 1
    frames = np.unique(np.rint(np.linspace(0, last, 6) if frames is None else frames).astype(int))
    if not len(frames) or frames[0] < 0 or frames[-1] > last:
        raise ValueError(f"frames must be among 0 ... {last}, but got {frames.tolist()}.")
    above = 0.25 + 0.2 * (frame_time_s is not None) + 0.3 * bool(title)
    figure, axes = _panels(scene, len(scene.cameras), len(frames), (9.6, 2.8), above)
    figure.text(0.5, 1 - 0.08 / figure.get_figheight(), title, ha="center", va="top", fontsize=12)
    for column, frame in enumerate(frames):
        time = "" if frame_time_s is None else f"\n{frame * frame_time_s:.2f} s"
        axes[0, column].set_title(f"frame {frame}{time}", fontsize=10)
        for row, ax in enumerate(axes[:, column]):
            _draw(ax, scene, row, frame)
    for ax, view in zip(axes[:, 0], views if skeleton.ndim == 3 else [], strict=False):
        ax.set_ylabel(view, fontsize=10)
    save_figure(figure, path)
    return figure


def animate_poses(
    path: str | os.PathLike,
    fitted: ArrayLike,
    skeleton: Skeleton,
    frame_time_s: float,
    *,
    points: ArrayLike | None = None,
    views: Sequence[str] = ("front", "side"),
    up: str = "y",
    progress: Callable | None = None,
) -> None:
    """An animation in real time, of at most 25 frames a second, that follows the person.

    Args:
      path: the .gif or, with ffmpeg installed, .mp4 to write, whole or not at all.
      fitted: (T, K, n) poses of the model, NaN where there is none.
      skeleton: the model.
      frame_time_s: time from one frame to the next.
      points: (T, P, n) measured points, NaN where missing.
      views: keys of `VIEWS`, side by side.
      up: "y" or "z".
      progress: wraps the range of frames, as `tqdm.tqdm` does.

    Raises:
      ValueError: for another suffix, .mp4 without ffmpeg, a frame time that is not positive,
        and as `plot_poses`.
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in (".gif", ".mp4"):
        raise ValueError(f"an animation is a .gif or .mp4 file, but got the suffix {suffix!r}.")
    if suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise ValueError("a .mp4 file needs ffmpeg, which is not installed; write a .gif file.")
    if not 0 < frame_time_s < math.inf:
        raise ValueError(f"frame_time_s must be positive, but got {frame_time_s}.")
    scene = _scene(fitted, points, skeleton, views, up)
    figure, axes = _panels(scene, 1, len(scene.cameras), (4.8, 4.1), above=0.3)
    clock = figure.text(0.02, 0.99, "", va="top", fontsize=11)
    step = max(1, math.ceil(1 / (_MAX_FPS * frame_time_s) - 1e-6))
    shown = range(0, len(scene.fitted), step)

    def show_each():
        drawn = []
        for frame in shown if progress is None else progress(shown):
            for artist in drawn:
                artist.remove()
            clock.set_text(f"{frame * frame_time_s:.2f} s")
            drawn = [a for view, ax in enumerate(axes[0]) for a in _draw(ax, scene, view, frame)]
            yield figure

    with write_atomically(path) as temporary:
        if suffix == ".gif":
            _save_gif(temporary, show_each(), len(shown), step * frame_time_s)
        else:
            writer = FFMpegWriter(fps=1 / (step * frame_time_s))
            with writer.saving(figure, temporary, dpi=100):
                for _ in show_each():
                    writer.grab_frame()


def play_poses(
    fitted: ArrayLike,
    skeleton: Skeleton,
    frame_time_s: float,
    *,
    path: str | os.PathLike | None = None,
    points: ArrayLike | None = None,
    up: str = "y",
    title: str = "",
) -> Page:
    """A page that plays poses in 3D, to be turned and stopped; notebooks show it inline.

    It needs no server and no other file. What is large or small is shown as large as a person.

    Args:
      fitted: (T, K, n) poses of the model, NaN where there is none.
      skeleton: the model; its names tell left from right.
      frame_time_s: time from one frame to the next.
      path: the .html file to write, whole or not at all; None for none.
      points: (T, P, n) measured points, NaN where missing.
      up: "y" or "z"; of 2D poses y points down.
      title: above the picture.

    Returns:
      The page.

    Raises:
      ValueError: for wrong shapes, poses without a finite number, another axis up, and a frame
        time that is not positive.
    """
    fitted = checked_poses(fitted, (None, skeleton.num_keypoints, skeleton.ndim))
    points = fitted[:, :0] if points is None else points
    points = checked_poses(points, (len(fitted), None, skeleton.ndim))
    if not 0 < frame_time_s < math.inf:
        raise ValueError(f"frame_time_s must be positive, but got {frame_time_s}.")
    if up not in ("y", "z"):
        raise ValueError(f"up must be 'y' or 'z', but got {up!r}.")
    if np.isnan(fitted).all():
        raise ValueError("poses must have finite numbers, but all are missing or infinite.")
    beside = [(0, 0), (0, 0), (0, 3 - skeleton.ndim)]
    turn = UP[up if skeleton.ndim == 3 else "-y"]
    fitted, points = (np.pad(x, beside) @ turn.T for x in (fitted, points))
    seen = fitted[np.isfinite(fitted).any(axis=(1, 2))]
    scale = _PERSON_M / (np.max(np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1)) or 1.0)
    clip = Clip(
        name=title,
        names=skeleton.keypoint_names,
        bones=skeleton.bones,
        sides=keypoint_sides(skeleton),
        poses=scale * fitted,
        frame_time_s=float(frame_time_s),
        points=scale * points,
    )
    page = Page(page_of([clip], (), title)[0])
    if path is not None:
        with write_atomically(path) as temporary:
            temporary.write_text(page.html, encoding="utf-8")
    return page


class _Scene(NamedTuple):
    """Poses, V cameras, and windows of one size that follow the person."""

    fitted: Any  # (T, K, n)
    points: Any  # (T, P, n); P may be 0
    skeleton: Skeleton
    cameras: list  # V times (3, n)
    centers: Any  # (V, T, 3) what is in the middle of the ground, as seen
    half: float  # of a window's width
    bottom: float  # of a window, from the center; for 2D the upper edge
    top: float


def _scene(fitted, points, skeleton: Skeleton, views, up: str) -> _Scene:
    fitted = checked_poses(fitted, (None, skeleton.num_keypoints, skeleton.ndim))
    points = fitted[:, :0] if points is None else points
    points = checked_poses(points, (len(fitted), None, skeleton.ndim))
    if np.isnan(fitted).all():
        raise ValueError("poses must have finite numbers, but all are missing or infinite.")
    person = person_axes(fitted, skeleton, up if skeleton.ndim == 3 else "y")
    views = views if skeleton.ndim == 3 else ["front"]
    cameras = [view_camera(view, person, skeleton) for view in views]
    ground = _track(fitted) * (1 - person[1, : skeleton.ndim])  # so that jumps are seen
    centers = np.stack([ground @ camera.T for camera in cameras])
    seen = np.stack([np.concatenate([fitted, points], axis=1) @ c.T for c in cameras])
    x, y, _ = np.moveaxis(seen - centers[:, :, None], -1, 0)
    half, bottom, top = np.nanmax(abs(x)), np.nanmin(y), np.nanmax(y)
    margin = 0.05 * max(2 * half, top - bottom) or 1.0
    half = max(half, (top - bottom) / 5) + margin
    return _Scene(fitted, points, skeleton, cameras, centers, half, bottom - margin, top + margin)


def _track(poses: np.ndarray) -> np.ndarray:
    """(T, n) the mean of (T, K, n) over the keypoints, interpolated where all are missing."""
    seen = np.flatnonzero(np.isfinite(poses).any(axis=(1, 2)))
    means = np.nanmean(poses[seen], axis=1)
    return np.stack([np.interp(np.arange(len(poses)), seen, mean) for mean in means.T], axis=1)


def _panels(scene: _Scene, rows: int, columns: int, size, above: float):
    """Panels for the windows; `size` is of all columns and of one row, in inches as `above`."""
    width, height = 2 * scene.half, scene.top - scene.bottom
    aside, gap = 0.4, 0.06
    scale = min((size[0] - 2 * aside) / columns / width, size[1] / height)
    width, height = max(width * scale, 3.0 / columns), max(height * scale, 0.5)
    total = 2 * aside + columns * width, above + _BELOW_IN + rows * height
    figure = new_figure(*total)
    axes = figure.subplots(rows, columns, squeeze=False)
    x, y = aside / total[0], _BELOW_IN / total[1]
    figure.subplots_adjust(x, y, 1 - x, 1 - above / total[1], gap / width, gap / height)
    unit = 10 ** math.floor(math.log10(scene.half))
    unit *= next(factor for factor in (1, 2, 5) if scene.half <= 2.5 * factor * unit)
    for ax in axes.flat:
        _draw_grid(ax, unit)
    sides = [side for side in ("right", "left") if side in keypoint_sides(scene.skeleton)]
    _draw_legend(figure, (sides or ["model"]) + ["points"] * (scene.points.shape[1] > 0))
    return figure, axes


def _draw_grid(ax, unit: float):
    ax.spines[:].set_visible(False)
    ax.tick_params(bottom=False, left=False, labelbottom=False, labelleft=False)
    ax.grid(color="#e9ecef", linewidth=0.8)
    ax.xaxis.set_major_locator(MultipleLocator(unit))
    ax.yaxis.set_major_locator(MultipleLocator(unit))


def _draw_legend(figure: Figure, kinds: list[str]):
    """Below the panels, an inch for each kind."""
    width, height = figure.get_size_inches()
    y = _BELOW_IN / height / 2
    for i, kind in enumerate(kinds):
        x = 0.5 + (i - len(kinds) / 2) / width
        dot = {"marker": "o", "linewidth": 0} if kind == "points" else {"linewidth": 2.5}
        ends = np.array([0.05, 0.25] if kind != "points" else [0.2]) / width + x
        color = COLORS["" if kind == "model" else kind]
        figure.add_artist(Line2D(ends, [y] * len(ends), color=color, **dot))
        figure.text(x + 0.33 / width, y, kind, va="center_baseline", fontsize=10)


def _draw(ax, scene: _Scene, view: int, frame: int) -> list:
    """The points and the bones over them."""
    camera, (x0, y0, _) = scene.cameras[view], scene.centers[view, frame]
    x, y, _ = camera @ scene.points[frame].T
    dots = ax.plot(x, y, "o", color=COLORS["points"], markersize=5, markeredgewidth=0)
    bones = draw_pose(ax, scene.fitted[frame], scene.skeleton, view=camera, zorder=3)
    ax.set_xlim(x0 - scene.half, x0 + scene.half)
    ends = y0 + scene.bottom, y0 + scene.top
    ax.set_ylim(ends if scene.skeleton.ndim == 3 else ends[::-1])
    return [*dots, bones]


def _save_gif(path, figures, num_frames: int, frame_time_s: float):
    """A GIF counts time in 10 ms; rounding the clock and not the steps keeps real time."""
    durations = 10 * np.diff(np.rint(100 * frame_time_s * np.arange(num_frames + 1))).astype(int)

    def images():
        palette = None
        for figure in figures:
            figure.canvas.draw()
            image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
            palette = palette or image.quantize(128, Image.Quantize.MAXCOVERAGE)
            yield image.quantize(palette=palette, dither=Image.Dither.NONE)

    images, durations = images(), np.maximum(durations, 10).tolist()
    style = {"save_all": True, "append_images": images, "duration": durations, "loop": 0}
    with open(path, "wb") as file:  # Pillow would leave its own open after a failure
        next(images).save(file, "GIF", **style)
