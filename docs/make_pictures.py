"""Draws the pictures of the documentation, beside this script: python docs/make_pictures.py."""

import pathlib

import jax.numpy as jnp
from matplotlib.figure import Figure

from kinpose import forward_kinematics
from kinpose.plot import draw_pose, plot_skeleton
from kinpose.skeletons import human_17, toy

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


if __name__ == "__main__":
    plot_skeleton(human_17(), path=HERE / "human_17.png")
    draw_toys().savefig(HERE / "toy.png", dpi=100)
