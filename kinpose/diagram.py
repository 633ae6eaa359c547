"""A labelled drawing of a skeleton: its keypoints, its dofs and their axes.

Shapes: J joints, K keypoints, D dofs. Drawings are made in 3D; a 2D object lies in z = 0.
"""

import math
import os
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from kinpose.drawing import (
    AXIS_COLORS,
    COLORS,
    draw_pose,
    keypoint_sides,
    new_figure,
    person_axes,
    save_figure,
    view_camera,
)
from kinpose.extras import needs
from kinpose.kinematics import joint_transforms
from kinpose.skeleton import Skeleton

with needs("plot"):
    from matplotlib.figure import Figure

_LINE_IN, _GAP_IN = 0.175, 0.55  # of the labels, in inches


def plot_skeleton(
    skeleton: Skeleton,
    params: ArrayLike | None = None,
    *,
    path: str | os.PathLike | None = None,
    up: str = "y",
) -> Figure:
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
    pose, n = places[list(skeleton.keypoints)], skeleton.ndim
    person = person_axes(pose[None, :, :n], skeleton, up)
    panels = _panels(skeleton, pose, person, labels)
    has_sides = {"left", "right"} <= set(keypoint_sides(skeleton))
    known = (n == 3) * np.array([has_sides, True, has_sides])  # left, up and forward of a person
    longest = max(sum(len(labels[k]) + 0.5 for k in c) for p in panels for c in p.columns)
    height = max(7.0, _LINE_IN * longest + 2.0)  # in inches, as the widths
    inch = (max(np.ptp(panel.seen[:, 1]) for panel in panels) or 1.0) / (height - 1.7)
    widths = [np.ptp(panel.seen[:, 0]) / inch + sum(panel.rooms) for panel in panels]
    figure = new_figure(sum(widths), height)
    for i, panel in enumerate(panels):
        ax = figure.add_axes((sum(widths[:i]) / sum(widths), 0, widths[i] / sum(widths), 1))
        bones = draw_pose(ax, pose[:, :n], skeleton, view=panel.camera[:, :n])
        bones.set(linewidth=4, color=0.5 + 0.5 * bones.get_color()[:, :3])
        _set_limits(ax, panel, height, inch)
        for joint, motion, axis in motions:
            _draw_motion(ax, panel.camera, places[joint], motion, axis, 0.17 * inch)
        _draw_world_axes(ax, panel.camera, person * known[:, None], inch)
        for side in (0, 1):
            _draw_labels(ax, labels, panel, side, inch)
    save_figure(figure, path)
    return figure


class _Panel(NamedTuple):
    """A view of the pose and its labels."""

    name: str
    camera: np.ndarray  # (3, 3)
    seen: np.ndarray  # (K, 2) the pose in the picture
    columns: tuple[np.ndarray, np.ndarray]  # keypoints that are labelled left and right of it
    rooms: list[float]  # for these labels, in inches


def _panels(skeleton: Skeleton, pose, person, labels) -> list[_Panel]:
    """For 3D, the limbs from the front and the trunk from the side."""
    sides = np.array(keypoint_sides(skeleton))
    views = [("", np.diag([1.0, -1.0, 1.0]), np.full(len(sides), True))]
    if skeleton.ndim == 3:
        limbs = sides != "" if (sides != "").any() else sides == ""
        owns = {"front": limbs, "side": ~limbs}
        views = [(view, view_camera(view, person, skeleton), own) for view, own in owns.items()]
    text = max(0.095 * len(line) for label in labels for line, _ in label) + _GAP_IN
    panels = []
    for name, camera, own in views:
        seen = (pose @ camera.T)[:, :2]
        columns = _columns(seen, sides, own)
        rooms = [text if len(column) else 0.9 for column in columns]
        panels.append(_Panel(name, camera, seen, columns, rooms))
    return panels


def _set_limits(ax, panel: _Panel, height: float, inch: float):
    """Around the pose and its labels, the name on top; and the keypoints."""
    (low, bottom), (high, _) = panel.seen.min(axis=0), panel.seen.max(axis=0)
    ax.set_xlim(low - panel.rooms[0] * inch, high + panel.rooms[1] * inch)
    ax.set_ylim(bottom - 1.1 * inch, bottom + (height - 1.1) * inch)
    ax.set_axis_off()
    top = bottom + (height - 1.2) * inch
    ax.text((low + high) / 2, top, panel.name, ha="center", va="top", fontsize=11)
    ax.plot(*panel.seen.T, "o", color="white", markeredgecolor=COLORS[""], markersize=5)


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
        path, visible = np.array([[0.0], [2.2]]) * axis, abs(axis[2]) < 0.7
    else:  # y down is a mirror image, which turns the other way
        path, visible = _turn_path(axis * np.linalg.det(camera)), abs(axis[0]) < 0.7
    if visible:
        path = (camera @ place + radius * path)[:, :2]
        ax.plot(*path.T, color=color, linewidth=1.3, zorder=5)
        _draw_arrow(ax, path[-2], path[-1], color)


def _turn_path(axis) -> np.ndarray:
    """(40, 3) most of a circle about an axis, seen from 20 degrees above."""
    above = np.array([[1, 0, 0], [0, 0.94, -0.34], [0, 0.34, 0.94]])
    right = np.eye(3)[0] if abs(axis[2]) > 0.9 else np.cross(axis, np.eye(3)[2])
    angle = np.pi * np.linspace(0.65, 2.3, 40)[:, None]
    return (np.cos(angle) * right + np.sin(angle) * np.cross(axis, right)) @ above.T


def _draw_arrow(ax, start, end, color):
    arrow = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    ax.annotate("", end, start, arrowprops=arrow, zorder=5)


def _draw_world_axes(ax, camera, person, inch: float):
    """In the lower left corner, those that lie in the picture, and what they mean.

    Rows of `person` that are zero mean nothing.
    """
    meanings = np.array([("left", "up", "forward"), ("right", "down", "back")])
    axes = camera[:2].T
    corner = np.array([ax.get_xlim()[0], ax.get_ylim()[0]]) + 0.25 * inch
    corner += inch * (-axes).max(axis=0).clip(0) * (1.1, 0.5)  # for those that point left or down
    for i in np.flatnonzero(np.linalg.norm(axes, axis=1) > 0.7):
        row = abs(person[:, i]).argmax()
        known = abs(person[row, i]) > 0.9
        name = "xyz"[i] + (f" {meanings[int(person[row, i] < 0), row]}" if known else "")
        (x, y), flat = axes[i], abs(axes[i, 0]) > 0.5
        ha = ("left" if x > 0 else "right") if flat else "center"
        va = "center" if flat else ("bottom" if y > 0 else "top")
        _draw_arrow(ax, corner, corner + 0.45 * inch * axes[i], AXIS_COLORS[i])
        ax.text(*(corner + 0.5 * inch * axes[i]), name, color=AXIS_COLORS[i], ha=ha, va=va)


def _draw_labels(ax, labels, panel: _Panel, side: int, inch: float):
    """Left (0) or right (1) of the pose, at the height of their keypoints where there is room."""
    seen, column, line = panel.seen, panel.columns[side], _LINE_IN * inch
    column = column[np.argsort(-seen[column, 1], kind="stable")]
    heights = [(len(labels[k]) + 0.5) * line for k in column]
    floor = ax.get_ylim()[0] + 0.9 * inch
    tops = _spread(seen[column, 1] + 0.5 * line, heights, floor)
    edge, sign = (seen[:, 0].min(), -1) if side == 0 else (seen[:, 0].max(), 1)
    x = edge + sign * _GAP_IN * inch
    style = {"ha": "left" if sign > 0 else "right", "va": "center", "fontsize": 10}
    for k, top in zip(column, tops, strict=True):
        for row, (text, color) in enumerate(labels[k]):
            weight = "normal" if row else "bold"
            ax.text(x, top - (row + 0.5) * line, text, color=color, weight=weight, **style)
        ends = [x - sign * 0.06 * inch, seen[k, 0]], [top - 0.5 * line, seen[k, 1]]
        ax.plot(*ends, color="#ced4da", linewidth=0.8, zorder=1)


def _spread(tops, heights, floor: float):
    """Moves boxes, given from the top, down off one another and then up off the floor."""
    for i in range(1, len(tops)):
        tops[i] = min(tops[i], tops[i - 1] - heights[i - 1])
    for i in reversed(range(len(tops))):
        floor = tops[i] = max(tops[i], floor + heights[i])
    return tops
