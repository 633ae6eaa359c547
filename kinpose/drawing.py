"""One pose, drawn: what `kinpose.plot` and `kinpose.diagram` have in common; see the former.

Shapes: T frames, K keypoints, n space dimension.
"""

import io
import os
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from kinpose._html import COLORS, sides_of
from kinpose.extras import needs
from kinpose.io.files import write_atomically
from kinpose.skeleton import Skeleton

with needs("plot"):
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

VIEWS = {"front": (0.0, 0.0), "side": (-90.0, 0.0), "oblique": (-40.0, 15.0)}
"""Where the eye is: angle from the person's front to their left, and above, in degrees.

"side" is from the person's right, who faces the picture's right edge.
"""

AXIS_COLORS = ("#c92a2a", "#2b8a3e", "#7048e8")
"""Colours of the axes x, y, z."""


def keypoint_sides(skeleton: Skeleton) -> tuple[str, ...]:
    """Which side of the body each keypoint is on, by its name.

    A name with "left" or "right" in it, or that starts or ends in "l" or "r" and has a
    partner with the other letter: `RightArm`, `rfemur` beside `lfemur`, but not `root`.

    Args:
      skeleton: any skeleton.

    Returns:
      K times "left", "right" or "" (neither).
    """
    return sides_of(skeleton.keypoint_names)


def draw_pose(
    ax: Axes,
    joints: ArrayLike,
    skeleton: Skeleton,
    *,
    view: str = "front",
    up: str = "y",
    **style: Any,
) -> list:
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
    joints = checked_poses(joints, (skeleton.num_keypoints, skeleton.ndim))
    in_space = ax.name == "3d"  # whose axes are forward, left, up
    if isinstance(view, str):
        view = view_camera(view, _world_axes(up), skeleton)
    seen = joints @ (np.roll(_world_axes(up), 1, axis=0) if in_space else view).T
    child, parent = np.array(skeleton.bones, int).reshape(-1, 2).T
    bones = np.stack([seen[parent], seen[child]], axis=1)
    whole = np.flatnonzero(np.isfinite(bones).all(axis=(1, 2)))
    order = whole[np.argsort(bones[whole, :, 2].mean(axis=1), kind="stable")]
    colors = [COLORS[side] for side in np.array(keypoint_sides(skeleton))[child[order]]]
    style = {"colors": colors, "linewidth": 2.5, "capstyle": "round", **style}
    if in_space:
        from mpl_toolkits.mplot3d.art3d import Line3DCollection

        drawn = Line3DCollection(bones[order], **style)
        if len(order):
            ax.add_collection3d(drawn)
        else:  # of which it could not tell how far they reach
            ax.add_collection(drawn, autolim=False)
    else:
        drawn = ax.add_collection(LineCollection(bones[order, :, :2], **style))
        ax.autoscale_view()
        ax.yaxis.set_inverted(skeleton.ndim == 2)
    ax.set_aspect("equal")
    return drawn


class _Shown(Figure):
    """A figure that notebooks show as it is, without pyplot and without `%matplotlib inline`."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """A white figure with a canvas of its own; in inches."""
    figure = _Shown(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike | None) -> None:
    """Writes a picture, whole or not at all; None for none."""
    if path is not None:
        with write_atomically(path) as temporary:
            figure.savefig(temporary, dpi=100)


def checked_poses(poses: ArrayLike, shape: tuple[int | None, ...]) -> np.ndarray:
    """float64, NaN for points that are not finite."""
    poses = np.asarray(poses, np.float64)
    fits = len(poses.shape) == len(shape) and all(
        want in (None, size) for want, size in zip(shape, poses.shape, strict=True)
    )
    if not fits:
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"poses must have shape ({want}), but got {poses.shape}.")
    return np.where(np.isfinite(poses).all(axis=-1, keepdims=True), poses, np.nan)


def _world_axes(up: str) -> np.ndarray:
    """(3, 3) rows left, up, forward of a person who faces forward."""
    if up not in ("y", "z"):
        raise ValueError(f"up must be 'y' or 'z', but got {up!r}.")
    return np.roll(np.eye(3), {"y": 0, "z": -1}[up], axis=0)


def person_axes(poses: np.ndarray, skeleton: Skeleton, up: str) -> np.ndarray:
    """(3, 3) rows left, up, forward of the person, upright, on average over the frames."""
    axes, sides = _world_axes(up), np.array(keypoint_sides(skeleton))
    left, right = poses[:, sides == "left"], poses[:, sides == "right"]
    both = np.isfinite(left).all(axis=(1, 2)) & np.isfinite(right).all(axis=(1, 2))
    if skeleton.ndim == 2 or not (left.size and right.size and both.any()):
        return axes
    across = (left[both].mean(axis=1) - right[both].mean(axis=1)).mean(axis=0)
    across -= axes[1] * (axes[1] @ across)
    length = np.linalg.norm(across)
    if length <= 1e-6 * np.nanmax(abs(poses)):
        return axes
    return np.stack([across / length, axes[1], np.cross(across / length, axes[1])])


def view_camera(view: str, axes: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(3, n) rows right, up and to the viewer of a picture of the person with these axes."""
    if view not in VIEWS:
        raise ValueError(f"view must be one of {list(VIEWS)}, but got {view!r}.")
    if skeleton.ndim == 2:
        return np.eye(3)[:, :2]
    angles = np.radians(VIEWS[view])
    (sin_a, sin_e), (cos_a, cos_e) = np.sin(angles), np.cos(angles)
    right = [cos_a, 0.0, -sin_a]
    above = [-sin_a * sin_e, cos_e, -cos_a * sin_e]
    viewer = [sin_a * cos_e, sin_e, cos_a * cos_e]
    return np.array([right, above, viewer]) @ axes
