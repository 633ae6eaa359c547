"""Draws the pictures of the documentation, beside this script: python docs/make_pictures.py."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from kinpose import forward_kinematics, joint_transforms
from kinpose.plot import draw_pose, plot_skeleton
from kinpose.skeletons import HUMAN_LIMITS, human_17, toy

HERE = pathlib.Path(__file__).resolve().parent

TOY_PARAMS = {
    3: (64, 92, 0.5),
    6: (60, 96, 0.2, 0.6, 0.7, -0.4),
    8: (62, 108, -0.1, 0.5, 0.5, -0.3, -1.0, 0.7),
    10: (64, 112, 0.1, 0.6, 0.6, -0.5, 0.9, -0.8, 0.8, -0.7),
}
"""x, y, orientation (not with 3), theta, then the angles of left and right; pixels and rad."""

BONE_LENGTHS = {3: 45.0, 6: 38.0, 8: 32.0, 10: 30.0}
"""So that the examples fit into an image of 128 x 128 pixels."""


def draw_toys() -> Figure:
    """The paper's four toy objects, in image coordinates."""
    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    for ax, (num_params, params) in zip(figure.subplots(1, 4), TOY_PARAMS.items(), strict=True):
        skeleton = toy(num_params, BONE_LENGTHS[num_params])
        joints = forward_kinematics(jnp.array(params, jnp.float32), skeleton)
        draw_pose(ax, joints, skeleton, linewidth=3.5)
        ax.plot(*joints.T, "o", color="white", markeredgecolor="#495057", markersize=5)
        ax.set(xlim=(0, 128), ylim=(128, 0), xticks=(0, 64, 128), yticks=(0, 64, 128))
        ax.set_title(f"{num_params} parameters", fontsize=12)
    return figure


TURN_DEG = 40.0

ANGLES = {
    # dof: (where the viewer stands, degrees round the person and up; what moves; bent meanwhile)
    "pelvis_yaw": (20, 40, "left_wrist", {"left_shoulder_abduction": 70}),
    "pelvis_pitch": (60, 12, "head", {}),
    "pelvis_roll": (0, 8, "head", {}),
    "spine_roll": (0, 8, "head", {}),
    "spine_yaw": (20, 40, "left_wrist", {"left_shoulder_abduction": 70}),
    "neck_yaw": (20, 40, "nose", {}),
    "neck_pitch": (60, 12, "head", {}),
    "neck_roll": (0, 8, "head", {}),
    "left_hip_flexion": (60, 12, "left_ankle", {}),
    "left_hip_abduction": (0, 8, "left_ankle", {}),
    "left_hip_rotation": (30, 30, "left_ankle", {"left_knee_flexion": 80}),
    "left_knee_flexion": (60, 12, "left_ankle", {}),
    "left_shoulder_flexion": (60, 12, "left_wrist", {}),
    "left_shoulder_abduction": (0, 8, "left_wrist", {}),
    "left_shoulder_rotation": (30, 30, "left_wrist", {"left_elbow_flexion": 90}),
    "left_elbow_flexion": (60, 12, "left_wrist", {}),
}


def camera(around_deg: float, above_deg: float) -> np.ndarray:
    """Rows right, up and to a viewer who stands so far round to the person's left and so high."""
    a, e = np.radians([around_deg, above_deg])
    right = [np.cos(a), 0, -np.sin(a)]
    up = [-np.sin(a) * np.sin(e), np.cos(e), -np.cos(a) * np.sin(e)]
    return np.array([right, up, np.cross(right, up)])


def draw_angle(ax, dof: str):
    """The pose before, in grey, and after a positive turn; the axis and the way of the tip."""
    around, above, tip, others = ANGLES[dof]
    human, view = human_17(), camera(around, above)
    steps = np.zeros((21, human.num_dofs), np.float32)
    for name, degrees in others.items():
        steps[:, human.dof_names.index(name)] = np.radians(degrees)
    steps[:, human.dof_names.index(dof)] = np.radians(np.linspace(0, TURN_DEG, len(steps)))
    poses = np.asarray(jax.vmap(forward_kinematics, in_axes=(0, None))(steps, human))
    way = poses[:, human.keypoint_names.index(tip)] @ view[:2].T
    rotations, places = map(np.asarray, joint_transforms(steps[0], human))
    joint, motion = next((j, m) for j, own in enumerate(human.motions) for m in own if m.dof == dof)
    parent = max(human.parents[joint], 0)
    axis = rotations[parent] @ np.array(motion.axis)
    ends = (places[joint] + np.outer([-330, 330], axis)) @ view[:2].T
    draw_pose(ax, poses[0], human, view=view, colors="#ced4da", linewidth=3)
    draw_pose(ax, poses[-1], human, view=view, linewidth=3)
    ax.plot(*ends.T, color="#2b8a3e", linewidth=1.2, linestyle=(0, (4, 2)))
    ax.plot(*(places[joint] @ view[:2].T), "o", color="#2b8a3e", markersize=4)
    ax.plot(*way[:-3].T, color="#212529", linewidth=1.2)
    ax.annotate("", way[-1], way[-4], arrowprops={"arrowstyle": "-|>", "color": "#212529"})
    name = dof.removeprefix("left_").replace("_", " ")
    low, high = np.degrees(HUMAN_LIMITS.get(dof, (-np.inf, np.inf))).round()
    span = f"{low:+.0f} to {high:+.0f}" if np.isfinite(low) else "full circle"
    ax.set_title(f"{name}\n{span}", fontsize=10)
    low, high = (300, 800) if "neck" in dof else (-230, 820)
    low, high = (low, high) if dof.split("_")[-2] in ("neck", "shoulder", "elbow") else (-950, 820)
    middle, half = (ends @ [1, 0]).mean() if "pelvis" not in dof else 0.0, 0.5 * (high - low)
    ax.set(xlim=(middle - half, middle + half), ylim=(low, high), xticks=(), yticks=())
    ax.set_aspect("equal")
    for side in ax.spines.values():
        side.set_visible(False)


def draw_angles() -> Figure:
    """Every angle of the human; the left side stands for both."""
    figure = Figure(figsize=(9.6, 10.4), layout="constrained")
    for ax, dof in zip(figure.subplots(4, 4).flat, ANGLES, strict=True):
        draw_angle(ax, dof)
    return figure


if __name__ == "__main__":
    draw_angles().savefig(HERE / "angles.png", dpi=90)
    plot_skeleton(human_17(), path=HERE / "human_17.png")
    draw_toys().savefig(HERE / "toy.png", dpi=100)
