"""Pictures of poses for people: one pose, a sheet of frames, an animation, a skeleton.

3D poses are shown flat, in parallel projection, as an engineer draws front and side. The
person's right is orange, the left blue, the trunk grey; measured points are pale dots.
Only matplotlib's objects are used and never pyplot: no window, no display, no global state.

Shapes: T frames, K keypoints, P points, n space dimension (2: image coordinates, y down).
Lengths are in the skeleton's unit. `up` is the axis that points up in 3D data: "y" (then
x is left, z forward) or "z" (y left, x forward).
"""

import contextlib
import math
import os
import pathlib
import uuid
from typing import Any, NamedTuple

import numpy as np

from kinpose.kinematics import joint_transforms
from kinpose.skeleton import Skeleton

try:
    from matplotlib.animation import FFMpegWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MultipleLocator
    from PIL import Image
except ImportError as error:
    raise ImportError("kinpose.plot needs matplotlib: pip install 'kinpose[plot]'.") from error

COLORS = {"right": "#e8590c", "left": "#1971c2", "": "#495057", "points": "#b4bac0"}
"""Colours by side ("" is the trunk), distinct for every kind of colour vision."""

VIEWS = {"front": (0.0, 0.0), "side": (-90.0, 0.0), "oblique": (-40.0, 15.0)}
"""Where the eye is: angle from the person's front to their left, and above, in degrees.

"side" is from the person's right, who faces the picture's right edge.
"""

AXIS_COLORS = ("#c92a2a", "#2b8a3e", "#7048e8")
"""Colours of the axes x, y, z."""

_MAX_FPS = 25.0
_LINE_IN, _GAP_IN = 0.175, 0.55  # of the labels, in inches


def keypoint_sides(skeleton: Skeleton) -> tuple[str, ...]:
    """Which side of the body each keypoint is on, by its name.

    A name with "left" or "right" in it, or that starts or ends in "l" or "r" and has a
    partner with the other letter: `RightArm`, `rfemur` beside `lfemur`, but not `root`.

    Args:
      skeleton: any skeleton.

    Returns:
      K times "left", "right" or "" (neither).
    """
    names = [name.lower() for name in skeleton.keypoint_names]

    def is_on(side: str, name: str) -> bool:
        mine, other = side[0], "r" if side == "left" else "l"
        starts = name[:1] == mine and other + name[1:] in names
        ends = name[-1:] == mine and name[:-1] + other in names
        return side in name or starts or ends

    return tuple(next((s for s in ("left", "right") if is_on(s, n)), "") for n in names)


def draw_pose(ax, joints, skeleton: Skeleton, *, view="front", up: str = "y", **style):
    """Draws the bones of one pose; those with a missing (NaN) end are left out.

    Args:
      ax: flat axes, or 3D axes (`projection="3d"`), on which the pose stands upright.
      joints: (K, n) keypoints.
      skeleton: says which keypoints are joined and, by their names, what is left and right.
      view: of 3D poses on flat axes: a key of `VIEWS`, for a person who faces forward, or
        a (3, 3) rotation whose rows point right, up and to the viewer.
      up: "y" or "z".
      **style: for matplotlib's `LineCollection`: `linewidth`, `colors`, `alpha`, ...

    Returns:
      matplotlib's collection of bones, the nearest one last.

    Raises:
      ValueError: for joints of a wrong shape, an unknown view or up axis.

    Example:
      >>> from kinpose.skeletons import toy
      >>> bones = draw_pose(Figure().subplots(), [[0, 0], [-3, -4], [3, -4]], toy(3))
      >>> len(bones.get_segments())
      2
    """
    joints = _checked(joints, (skeleton.num_keypoints, skeleton.ndim))
    in_space = ax.name == "3d"  # whose axes are forward, left, up
    if isinstance(view, str):
        view = _camera(view, _world_axes(up), skeleton)
    seen = joints @ (np.roll(_world_axes(up), 1, axis=0) if in_space else view).T
    child, parent = np.array(skeleton.bones, int).reshape(-1, 2).T
    bones = np.stack([seen[parent], seen[child]], axis=1)
    whole = np.flatnonzero(np.isfinite(bones).all(axis=(1, 2)))
    order = whole[np.argsort(bones[whole, :, 2].mean(axis=1), kind="stable")]
    colors = [COLORS[side] for side in np.array(keypoint_sides(skeleton))[child[order]]]
    style = {"colors": colors, "linewidth": 2.5, "capstyle": "round", **style}
    if in_space:
        from mpl_toolkits.mplot3d.art3d import Line3DCollection

        drawn = ax.add_collection3d(Line3DCollection(bones[order], **style))
    else:
        drawn = ax.add_collection(LineCollection(bones[order, :, :2], **style))
        ax.autoscale_view()
        ax.yaxis.set_inverted(skeleton.ndim == 2)
    ax.set_aspect("equal")
    return drawn


def plot_poses(
    path,
    fitted,
    skeleton: Skeleton,
    *,
    points=None,
    frames=None,
    frame_time_s: float | None = None,
    views=("front", "side"),
    up: str = "y",
    title: str = "",
) -> Figure:
    """A sheet of frames: the model's bones over the measured points, one row per view.

    All panels have one scale and follow the person. The views are from the person's own
    front, on average over the frames, where names tell left from right.

    Args:
      path: the picture to write (.png, .pdf, .svg, ...), whole or not at all; None for none.
      fitted: (T, K, n) poses of the model, NaN where there is none.
      skeleton: the model.
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
    figure, axes = _panels(scene, len(scene.cameras), len(frames), (9.6, 2.8), above=0.75)
    figure.text(0.5, 1 - 0.08 / figure.get_figheight(), title, ha="center", va="top", fontsize=12)
    for column, frame in enumerate(frames):
        time = "" if frame_time_s is None else f"\n{frame * frame_time_s:.2f} s"
        axes[0, column].set_title(f"frame {frame}{time}", fontsize=10)
        for row, ax in enumerate(axes[:, column]):
            _draw(ax, scene, row, frame)
    for ax, view in zip(axes[:, 0], views if skeleton.ndim == 3 else [], strict=False):
        ax.set_ylabel(view, fontsize=10)
    if path is not None:
        with _written_whole(path) as temporary:
            figure.savefig(temporary, dpi=100)
    return figure


def animate_poses(
    path,
    fitted,
    skeleton: Skeleton,
    frame_time_s: float,
    *,
    points=None,
    views=("front", "side"),
    up: str = "y",
    progress=None,
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

    with _written_whole(path) as temporary:
        if suffix == ".gif":
            _save_gif(temporary, show_each(), len(shown), step * frame_time_s)
        else:
            writer = FFMpegWriter(fps=1 / (step * frame_time_s))
            with writer.saving(figure, temporary, dpi=100):
                for _ in show_each():
                    writer.grab_frame()


def plot_skeleton(skeleton: Skeleton, params=None, *, path=None, up: str = "y") -> Figure:
    """A labelled drawing of keypoints, dofs and axes, for documentation.

    3D skeletons are drawn from the front, with the labels of the limbs, and from the side,
    with those of the trunk. Curved arrows turn as their dof grows, straight ones slide; the
    colour tells the axis, and "+z" means right-handed about z, or along it. A dof stands
    below the keypoint that it is at, without repeating its name.

    Args:
      skeleton: any skeleton.
      params: (D,) the pose to draw; the rest pose by default. Arrows show the axes as they
        are before the joint's own motions.
      path: the picture to write, whole or not at all; None for none.
      up: "y" or "z".

    Returns:
      The figure.

    Raises:
      ValueError: for params of a wrong shape, an unknown up axis and an unknown suffix.
    """
    params = np.zeros(skeleton.num_dofs, np.float32) if params is None else params
    places, motions = _placed_motions(skeleton, params)
    labels = _labels(skeleton, places, motions)
    pose, sides = places[list(skeleton.keypoints)], np.array(keypoint_sides(skeleton))
    person, limbs = _person_axes(pose[None, :, : skeleton.ndim], skeleton, up), sides != ""
    panels = [("", np.diag([1.0, -1.0, 1.0]), np.ones_like(limbs))]
    if skeleton.ndim == 3:
        limbs = limbs if limbs.any() else ~limbs
        owns = {"front": limbs, "side": ~limbs}
        panels = [(view, _camera(view, person, skeleton), own) for view, own in owns.items()]
    views = [(pose @ camera.T)[:, :2] for _, camera, _ in panels]
    columns = [_columns(v, sides, own) for v, (_, _, own) in zip(views, panels, strict=True)]
    longest = max(sum(len(labels[k]) + 0.5 for k in column) for c in columns for column in c)
    height = max(7.0, _LINE_IN * longest + 2.0)  # in inches, as the widths
    inch = (max(np.ptp(view[:, 1]) for view in views) or 1.0) / (height - 1.7)
    text = max(0.095 * len(line) for label in labels for line, _ in label) + _GAP_IN
    rooms = [[text if len(column) else 0.9 for column in c] for c in columns]
    widths = [np.ptp(v[:, 0]) / inch + sum(r) for v, r in zip(views, rooms, strict=True)]
    figure = Figure(figsize=(sum(widths), height), facecolor="white")
    FigureCanvasAgg(figure)
    for i, (name, camera, _) in enumerate(panels):
        ax = figure.add_axes((sum(widths[:i]) / sum(widths), 0, widths[i] / sum(widths), 1))
        bones = draw_pose(ax, pose[:, : skeleton.ndim], skeleton, view=camera[:, : skeleton.ndim])
        bones.set(linewidth=4, color=0.5 + 0.5 * bones.get_color()[:, :3])
        (low, bottom), (high, _) = views[i].min(axis=0), views[i].max(axis=0)
        ax.set_xlim(low - rooms[i][0] * inch, high + rooms[i][1] * inch)
        ax.set_ylim(bottom - 1.1 * inch, bottom + (height - 1.1) * inch)
        ax.set_axis_off()
        top = bottom + (height - 1.2) * inch
        ax.text((low + high) / 2, top, name, ha="center", va="top", fontsize=11)
        ax.plot(*views[i].T, "o", color="white", markeredgecolor=COLORS[""], markersize=5)
        for joint, motion, axis in motions:
            _draw_motion(ax, camera, camera @ places[joint], motion, axis, 0.17 * inch)
        _draw_world_axes(ax, camera, person if skeleton.ndim == 3 else None, inch)
        for column, edge, sign in zip(columns[i], (low, high), (-1, 1), strict=True):
            _draw_labels(ax, labels, views[i], column, edge, sign, inch)
    if path is not None:
        with _written_whole(path) as temporary:
            figure.savefig(temporary, dpi=100)
    return figure


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
    fitted = _checked(fitted, (None, skeleton.num_keypoints, skeleton.ndim))
    points = fitted[:, :0] if points is None else points
    points = _checked(points, (len(fitted), None, skeleton.ndim))
    if np.isnan(fitted).all():
        raise ValueError("poses must have finite numbers, but all are missing or infinite.")
    person = _person_axes(fitted, skeleton, up if skeleton.ndim == 3 else "y")
    cameras = [_camera(v, person, skeleton) for v in (views if skeleton.ndim == 3 else ["front"])]
    ground = _track(fitted) * (1 - person[1, : skeleton.ndim])  # so that jumps are seen
    centers = np.stack([ground @ camera.T for camera in cameras])
    seen = np.stack([np.concatenate([fitted, points], axis=1) @ c.T for c in cameras])
    x, y, _ = np.moveaxis(seen - centers[:, :, None], -1, 0)
    half, bottom, top = np.nanmax(abs(x)), np.nanmin(y), np.nanmax(y)
    margin = 0.05 * max(2 * half, top - bottom) or 1.0
    half = max(half, (top - bottom) / 5) + margin
    return _Scene(fitted, points, skeleton, cameras, centers, half, bottom - margin, top + margin)


def _panels(scene: _Scene, rows: int, columns: int, size, above: float):
    """Panels for the windows; `size` is of all columns and of one row, in inches as `above`."""
    width, height = 2 * scene.half, scene.top - scene.bottom
    aside, below, gap = 0.4, 0.4, 0.06
    scale = min((size[0] - 2 * aside) / columns / width, size[1] / height)
    width, height = max(width * scale, 3.0 / columns), max(height * scale, 0.5)
    total = 2 * aside + columns * width, above + below + rows * height
    figure = Figure(figsize=total, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    x, y = aside / total[0], below / total[1]
    figure.subplots_adjust(x, y, 1 - x, 1 - above / total[1], gap / width, gap / height)
    unit = 10 ** math.floor(math.log10(scene.half))
    unit *= next(factor for factor in (1, 2, 5) if scene.half <= 2.5 * factor * unit)
    for ax in axes.flat:
        ax.spines[:].set_visible(False)
        ax.tick_params(bottom=False, left=False, labelbottom=False, labelleft=False)
        ax.grid(color="#e9ecef", linewidth=0.8)
        ax.xaxis.set_major_locator(MultipleLocator(unit))
        ax.yaxis.set_major_locator(MultipleLocator(unit))
    kinds = ["right", "left"] + ["points"] * (scene.points.shape[1] > 0)
    for i, kind in enumerate(kinds):
        x = 0.5 + (i - len(kinds) / 2) / total[0]  # an inch each
        dot = {"marker": "o", "linewidth": 0} if kind == "points" else {"linewidth": 2.5}
        ends = np.array([0.05, 0.25] if kind != "points" else [0.2]) / total[0] + x
        figure.add_artist(Line2D(ends, [y / 2] * len(ends), color=COLORS[kind], **dot))
        figure.text(x + 0.33 / total[0], y / 2, kind, va="center_baseline", fontsize=10)
    return figure, axes


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

    images = images()
    next(images).save(
        path,
        "GIF",
        save_all=True,
        append_images=images,
        duration=np.maximum(durations, 10).tolist(),
        loop=0,
    )


@contextlib.contextmanager
def _written_whole(path):
    """A file beside the target that takes its place at the end."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _checked(poses, shape) -> np.ndarray:
    """float64, NaN for points that are not finite."""
    poses = np.asarray(poses, np.float64)
    fits = len(poses.shape) == len(shape) and all(
        want in (None, size) for want, size in zip(shape, poses.shape, strict=True)
    )
    if not fits:
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"poses must have shape ({want}), but got {poses.shape}.")
    return np.where(np.isfinite(poses).all(axis=-1, keepdims=True), poses, np.nan)


def _track(poses: np.ndarray) -> np.ndarray:
    """(T, n) the mean of (T, K, n) over the keypoints, interpolated where all are missing."""
    seen = np.flatnonzero(np.isfinite(poses).any(axis=(1, 2)))
    means = np.nanmean(poses[seen], axis=1)
    return np.stack([np.interp(np.arange(len(poses)), seen, mean) for mean in means.T], axis=1)


def _world_axes(up: str) -> np.ndarray:
    """(3, 3) rows left, up, forward of a person who faces forward."""
    if up not in ("y", "z"):
        raise ValueError(f"up must be 'y' or 'z', but got {up!r}.")
    return np.roll(np.eye(3), {"y": 0, "z": -1}[up], axis=0)


def _person_axes(poses: np.ndarray, skeleton: Skeleton, up: str) -> np.ndarray:
    """(3, 3) rows left, up, forward of the person, upright, on average over the frames."""
    axes, sides = _world_axes(up), np.array(keypoint_sides(skeleton))
    left, right = poses[:, sides == "left"], poses[:, sides == "right"]
    both = np.isfinite(left).all(axis=(1, 2)) & np.isfinite(right).all(axis=(1, 2))
    if skeleton.ndim == 2 or not (left.size and right.size and both.any()):
        return axes
    across = (left[both].mean(axis=1) - right[both].mean(axis=1)).mean(axis=0)
    across -= axes[1] * (axes[1] @ across)
    length = np.linalg.norm(across)
    if length < 1e-6 * np.nanmax(abs(poses)):
        return axes
    return np.stack([across / length, axes[1], np.cross(across / length, axes[1])])


def _camera(view: str, axes: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(3, n) rows right, up and to the viewer of a picture of the person with these axes."""
    if view not in VIEWS:
        raise ValueError(f"view must be one of {list(VIEWS)}, but got {view!r}.")
    if skeleton.ndim == 2:
        return np.eye(3)[:, :2]
    (sin_a, sin_e), (cos_a, cos_e) = (
        np.sin(np.radians(VIEWS[view])),
        np.cos(np.radians(VIEWS[view])),
    )
    return (
        np.array(
            [
                [cos_a, 0, -sin_a],
                [-sin_a * sin_e, cos_e, -cos_a * sin_e],
                [sin_a * cos_e, sin_e, cos_a * cos_e],
            ]
        )
        @ axes
    )


def _placed_motions(skeleton: Skeleton, params):
    """(J, 3) places of the joints, and (joint, motion, its axis in the world) for all motions."""
    rotations, places = (np.asarray(a, float) for a in joint_transforms(params, skeleton))
    n, frames = skeleton.ndim, np.tile(np.eye(3), (skeleton.num_joints + 1, 1, 1))
    frames[:-1, :n, :n] = rotations  # and the world's last, which is the root's parent
    motions = [
        (joint, motion, frames[parent] @ motion.axis)
        for joint, parent in enumerate(skeleton.parents)
        for motion in skeleton.motions[joint]
    ]
    return np.pad(places, ((0, 0), (0, 3 - n))), motions


def _labels(skeleton: Skeleton, places, motions) -> list[list[tuple[str, str]]]:
    """For each keypoint its name and the dofs that are there, as (text, colour)."""
    names, points = skeleton.keypoint_names, places[list(skeleton.keypoints)]
    lines = [{} for _ in names]
    for joint, motion, axis in motions:
        k = np.linalg.norm(points - places[joint], axis=1).argmin()
        k = skeleton.keypoints.index(joint) if joint in skeleton.keypoints else k
        i = abs(axis).argmax()
        sign = "+" if axis[i] * motion.multiplier > 0 else "\N{MINUS SIGN}"
        known = skeleton.ndim == 3 and abs(axis[i]) > 0.99
        dof = motion.dof.removeprefix(f"{names[k]}_") + (f" {sign}{'xyz'[i]}" if known else "")
        lines[k][dof] = AXIS_COLORS[i]
    return [[(n, COLORS[""]), *dofs.items()] for n, dofs in zip(names, lines, strict=True)]


def _columns(view, sides, own):
    """Keypoints labelled on the left and on the right: sides together, the trunk by place."""
    x, middle = view[:, 0].copy(), view[0, 0]
    if (sides == "left").any() and (sides == "right").any():
        for side in ("left", "right"):
            x[sides == side] = x[sides == side].mean()
        middle = (x[sides == "left"][0] + x[sides == "right"][0]) / 2
    left = x < middle - 1e-3 * np.ptp(view)
    return np.flatnonzero(own & left), np.flatnonzero(own & ~left)


def _draw_motion(ax, camera, place, motion, axis, radius: float):
    """An arrow for one motion; none where it would be seen end on."""
    color = AXIS_COLORS[abs(axis).argmax()]
    axis = camera @ axis * math.copysign(1.0, motion.multiplier)
    if motion.kind == "t":
        path, visible = place + radius * np.array([[0.0], [2.2]]) * axis, abs(axis[2]) < 0.7
    else:
        axis = axis * np.linalg.det(camera)  # y down is a mirror image, which turns the other way
        above = np.array([[1, 0, 0], [0, 0.94, -0.34], [0, 0.34, 0.94]])  # 20 degrees
        right = np.eye(3)[0] if abs(axis[2]) > 0.9 else np.cross(axis, np.eye(3)[2])
        angle = np.pi * np.linspace(0.65, 2.3, 40)[:, None]
        circle = np.cos(angle) * right + np.sin(angle) * np.cross(axis, right)
        path, visible = place + radius * circle @ above.T, abs(axis[0]) < 0.7
    if visible:
        ax.plot(*path[:, :2].T, color=color, linewidth=1.3, zorder=5)
        _draw_arrow(ax, path[-2, :2], path[-1, :2], color)


def _draw_arrow(ax, start, end, color):
    arrow = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    ax.annotate("", end, start, arrowprops=arrow, zorder=5)


def _draw_world_axes(ax, camera, person, inch: float):
    """In the lower left corner, those that lie in the picture, and what they mean."""
    meanings = np.array([("left", "up", "forward"), ("right", "down", "back")])
    axes = camera[:2].T
    corner = np.array([ax.get_xlim()[0], ax.get_ylim()[0]]) + 0.25 * inch
    corner += inch * (-axes).max(axis=0).clip(0) * (1.1, 0.5)  # for those that point left or down
    for i in np.flatnonzero(np.linalg.norm(axes, axis=1) > 0.7):
        row = 0 if person is None else abs(person[:, i]).argmax()
        known = person is not None and abs(person[row, i]) > 0.9
        name = "xyz"[i] + (f" {meanings[int(person[row, i] < 0), row]}" if known else "")
        (x, y), flat = axes[i], abs(axes[i, 0]) > 0.5
        ha = ("left" if x > 0 else "right") if flat else "center"
        va = "center" if flat else ("bottom" if y > 0 else "top")
        _draw_arrow(ax, corner, corner + 0.45 * inch * axes[i], AXIS_COLORS[i])
        ax.text(*(corner + 0.5 * inch * axes[i]), name, color=AXIS_COLORS[i], ha=ha, va=va)


def _draw_labels(ax, labels, view, column, edge: float, sign: int, inch: float):
    """Labels beside the pose, at the height of their keypoints where there is room."""
    line = _LINE_IN * inch
    column = column[np.argsort(-view[column, 1], kind="stable")]
    heights = [(len(labels[k]) + 0.5) * line for k in column]
    tops, floor = view[column, 1] + 0.5 * line, ax.get_ylim()[0] + 0.9 * inch
    for i in range(1, len(column)):
        tops[i] = min(tops[i], tops[i - 1] - heights[i - 1])
    for i in reversed(range(len(column))):
        tops[i] = max(tops[i], (tops[i + 1] if i + 1 < len(column) else floor) + heights[i])
    x = edge + sign * _GAP_IN * inch
    style = {"ha": "left" if sign > 0 else "right", "va": "center", "fontsize": 10}
    for k, top in zip(column, tops, strict=True):
        for row, (text, color) in enumerate(labels[k]):
            weight = "normal" if row else "bold"
            ax.text(x, top - (row + 0.5) * line, text, color=color, weight=weight, **style)
        ends = [x - sign * 0.06 * inch, view[k, 0]], [top - 0.5 * line, view[k, 1]]
        ax.plot(*ends, color="#ced4da", linewidth=0.8, zorder=1)
