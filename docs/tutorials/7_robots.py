# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Robots: URDF in, inverse kinematics, in batches
#
# **What it shows.** A robot's arm out of a URDF file as a skeleton like any other; poses for
# places of its hand within its limits, one and a thousand; which places are out of reach; the
# gradient of a pose by its target; and the way back to the robot's own coordinates.
#
# **Cost.** About 30 s on 2 CPU cores, nearly all of it compilation.
#
# **Needs.** `pip install 'kinpose[plot,robots]'`: MuJoCo, whose compiler reads the files.

# %%
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from kinpose import forward_kinematics, inverse_kinematics, pose_dict
from kinpose.io.robots import load_urdf, params_to_qpos, save_urdf
from kinpose.plot import play_poses, plot_poses, plot_skeleton

# %% [markdown]
# ## A file
#
# An arm of six joints with a gripper, whose second finger mimics the first. Meshes would be named
# here, too; they are not read and need not be there. `load_mjcf` reads MuJoCo's own files.


# %%
def joint(name, kind, parent, child, xyz, axis, lower, upper, more=""):
    return (
        f'<link name="{child}"/><joint name="{name}" type="{kind}"><parent link="{parent}"/>'
        f'<child link="{child}"/><origin xyz="{xyz}"/><axis xyz="{axis}"/>'
        f'<limit lower="{lower}" upper="{upper}" effort="9" velocity="2"/>{more}</joint>'
    )


parts = [
    joint("base_yaw", "revolute", "base", "turret", "0 0 0.1", "0 0 1", -2.9, 2.9),
    joint("shoulder", "revolute", "turret", "upper_arm", "0 0 0.1", "0 1 0", -1.8, 1.8),
    joint("elbow", "revolute", "upper_arm", "forearm", "0 0 0.3", "0 1 0", -2.4, 2.4),
    joint("wrist_roll", "revolute", "forearm", "wrist", "0 0 0.12", "0 0 1", -2.9, 2.9),
    joint("wrist_pitch", "revolute", "wrist", "palm", "0 0 0.13", "0 1 0", -1.9, 1.9),
    joint("flange", "revolute", "palm", "hand", "0 0 0.08", "0 0 1", -2.9, 2.9),
    joint("grip", "prismatic", "hand", "finger_1", "0 0.01 0.06", "0 1 0", 0, 0.03),
    joint(
        "grip_2", "prismatic", "hand", "finger_2", "0 -0.01 0.06", "0 -1 0", 0, 0.03,
        '<mimic joint="grip"/>',
    ),
]  # fmt: skip
path = pathlib.Path(tempfile.mkdtemp()) / "arm.urdf"
path.write_text(f'<robot name="arm"><link name="base"/>{"".join(parts)}</robot>')

robot = load_urdf(path)
arm = robot.skeleton
arm

# %%
print(arm.table())

# %%
ready = np.zeros(arm.num_dofs, np.float32)
for name, angle in {"shoulder": 0.5, "elbow": 1.2, "wrist_pitch": 0.9, "grip": 0.02}.items():
    ready[arm.dof_index(name)] = angle
plot_skeleton(arm, ready, up="z")

# %% [markdown]
# ## A place for the hand
#
# Targets are places by the names of links, in the file's metres. Limits hold; what the targets
# leave open comes as near to the rest pose as it can. So two targets are enough here: where the
# hand is, and where the palm behind it is, which makes the hand point downwards.

# %%
place = jnp.array([0.35, 0.2, 0.15])
above = place + jnp.array([0.0, 0.0, 0.08])
fit = inverse_kinematics({"hand": place, "palm": above}, arm, rest=ready)
print("off by", fit.residuals, "m")
for name, value in pose_dict(fit.params, arm).items():
    print(f"{name:12} {value:6.3f}")

# %% [markdown]
# ## A thousand places
#
# Leading dimensions are batches. These places lie in a box that is partly out of reach; the
# residuals say which.

# %%
rng = np.random.default_rng(0)
places = rng.uniform((-0.2, -0.6, 0.0), (0.8, 0.6, 0.6), (1000, 3)).astype(np.float32)


@jax.jit
def solve(places):
    return inverse_kinematics({"hand": places}, arm, rest=ready)


jax.block_until_ready(solve(places))  # compiles
start = time.perf_counter()
fits = jax.block_until_ready(solve(places))
took = time.perf_counter() - start
reached = np.asarray(fits.residuals[:, 0]) < 1e-4
print(f"{took:.2f} s for {len(places)} places; {reached.mean():.1%} reached to 0.1 mm")
fits

# %%
low, high = np.asarray(arm.limits).T
print(
    "within the limits:", bool(np.all((fits.params >= low - 1e-6) & (fits.params <= high + 1e-6)))
)
reach = np.linalg.norm(places - np.array([0.0, 0.0, 0.2]), axis=1)  # from the shoulder
far, near = ~reached & (reach > 0.63), ~reached & (reach <= 0.63)
print(f"not reached: {far.sum()} beyond the 0.63 m of the whole arm,")
print(
    f"{near.sum()} nearer, up to {reach[near].max(initial=0.0):.2f} m: there a limit is in the way"
)

# %%
some = np.flatnonzero(reached)[:6]
poses = forward_kinematics(fits.params[some], arm)
dots = places[some][:, None]
plot_poses(poses, arm, points=dots, frames=range(6), views=["oblique"], up="z", title="Six of them")

# %% [markdown]
# A path of the hand is a batch, too: a circle over the table, two seconds long, played here.

# %%
turn = np.linspace(0, 2 * np.pi, 50, dtype=np.float32)[:, None]
circle = np.float32([0.38, 0.0, 0.15]) + 0.15 * np.hstack([np.cos(turn), np.sin(turn), 0 * turn])
behind = circle + np.float32([0.0, 0.0, 0.08])
path_of_arm = inverse_kinematics({"hand": circle, "palm": behind}, arm, rest=ready)
print(f"off by {1000 * path_of_arm.residuals.max():.2f} mm at most")
play_poses(forward_kinematics(path_of_arm.params, arm), arm, 0.04, points=circle[:, None], up="z")

# %% [markdown]
# ## The gradient of a pose by its target
#
# Derivatives go through the solution by the implicit function theorem: how much the elbow bends
# when the target moves. Here beside finite differences.


# %%
def elbow(place):
    targets = {"hand": place, "palm": place + jnp.array([0.0, 0.0, 0.08])}
    return inverse_kinematics(targets, arm, rest=ready).params[arm.dof_index("elbow")]


slope = jax.grad(elbow)(place)
steps = 2e-3 * jnp.eye(3)
differences = [(elbow(place + step) - elbow(place - step)) / 4e-3 for step in steps]
print("rad per m along x, y, z:", slope)
print("finite differences:     ", jnp.stack(differences))

# %% [markdown]
# ## Back to the robot
#
# `params_to_qpos` gives MuJoCo's `qpos`, mimic joints included, for a simulator or a controller;
# and `save_urdf` writes any skeleton as a robot.

# %%
print("qpos", np.round(params_to_qpos(fit.params, robot), 3))
save_urdf(path.with_name("again.urdf"), arm)
print(load_urdf(path.with_name("again.urdf")).skeleton)

# %% [markdown]
# **What to take home.**
#
# - A robot is a skeleton: the same forward kinematics, fits, derivatives and pictures.
# - Look at `residuals` before you send a pose: a place out of reach is answered by the nearest
#   pose, and said so.
# - Batch the places; one compiled call solves them all.
#
# What is read of the files, and what is refused by name: [robots.md](../robots.md).
