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
# # Your own skeleton: one joint by name, its picture, its gradient
#
# **What it shows.** A desk lamp as a tree of joints, drawn with its dofs; where its lamp head is,
# how that place depends on every angle and on every bone, and a pose found by descending that
# gradient.
#
# **Cost.** About 6 s on 2 CPU cores.
#
# **Needs.** `pip install 'kinpose[plot]'`.

# %%
import jax
import jax.numpy as jnp
import numpy as np

from kinpose import (
    Joint,
    Motion,
    build_skeleton,
    forward_kinematics,
    joint_jacobian,
    pose,
    pose_dict,
)
from kinpose.plot import plot_poses, plot_skeleton

# %% [markdown]
# ## A tree of joints
#
# A joint has a name, a parent, an offset (the bone from its parent in the rest pose) and motions:
# rotations (`"r"`) or translations (`"t"`) along an axis, in the order in which they are applied.
# A joint's own rotations move what hangs on it and not itself. A string such as `"ry"` is short
# for a motion with a default name.
#
# Each motion reads one *dof*, an entry of the flat vector `params`. Two motions may read the same
# one: this lamp has a parallel guide, so that its shade keeps its direction while the arms bend.
# The shade turns back by what both arms turn, and has an angle of its own besides.

# %%
lamp = build_skeleton(
    [
        Joint("foot", motions=[Motion("t", "x", "slide")]),
        Joint("column", "foot", (0, 6, 0), [Motion("r", "y", "turn")]),
        Joint("lower", "column", (0, 2, 0), [Motion("r", "z", "lower")]),
        Joint("upper", "lower", (0, 40, 0), [Motion("r", "z", "bend", multiplier=-1.0)]),
        Joint(
            "shade",
            "upper",
            (0, 36, 0),
            [
                Motion("r", "z", "lower", multiplier=-1.0),
                Motion("r", "z", "bend"),
                Motion("r", "z", "tilt"),
            ],
        ),
        Joint("bulb", "shade", (12, -4, 0)),
    ],
    limits={
        "slide": (-30.0, 30.0),
        "turn": (-np.pi, np.pi),
        "lower": (-1.0, 1.2),
        "bend": (0.0, 2.6),
        "tilt": (-1.0, 1.0),
    },
)
lamp

# %%
print(lamp.table())  # the same as text: angles in degrees, lengths in the skeleton's unit

# %% [markdown]
# ## Its picture
#
# Curved arrows turn as their dof grows, straight ones slide. In a notebook a figure shows itself;
# `path="lamp.pdf"` writes it, too.

# %%
reading = pose(lamp, lower=0.5, bend=1.6, tilt=-0.2)  # the others are zero
plot_skeleton(lamp, reading)

# %% [markdown]
# ## One joint by name
#
# `forward_kinematics` gives all keypoints in the order of `keypoint_names`. It is a pure function
# of the parameters and of the skeleton, for one pose (D,) or for a batch (..., D).

# %%
bulb = lamp.keypoint_names.index("bulb")
print("bulb at", forward_kinematics(reading, lamp)[bulb], "cm")

tilts = jnp.linspace(-1.0, 1.0, 5)
batch = jnp.tile(reading, (5, 1)).at[:, lamp.dof_index("tilt")].set(tilts)
print("height by tilt:", forward_kinematics(batch, lamp)[:, bulb, 1])

# %% [markdown]
# ## Its gradient
#
# Everything is differentiable: by the parameters, and by the bones, as a skeleton is a pytree
# whose leaves are its numbers. `pose_dict` gives the entries their names back.


# %%
def height(params, skeleton):
    return forward_kinematics(params, skeleton)[bulb, 1]


by_params, by_skeleton = jax.grad(height, argnums=(0, 1))(jnp.asarray(reading), lamp)
for name, slope in pose_dict(by_params, lamp).items():
    print(f"{name:6} {slope:8.2f} cm per {'rad' if name != 'slide' else 'cm'}")
for name, slope in zip(lamp.names, by_skeleton.offsets, strict=True):
    print(f"bone to {name:7}", np.round(slope, 2))

# %% [markdown]
# Read the table: `bend` lowers the bulb by 32 cm per radian, `tilt` raises it by its own short
# lever, and `turn` and `slide` leave its height alone. A longer bone to `upper` would raise it
# nearly by its whole length, one to `shade` by less, for that arm lies flatter; the bones' own
# axes have turned with the joints above them.
#
# All derivatives of all keypoints at once are `joint_jacobian`, in closed form:

# %%
places, jacobian = joint_jacobian(reading, lamp)
print("places", places.shape, "jacobian", jacobian.shape)
np.testing.assert_allclose(jacobian[bulb, 1], by_params, atol=1e-4)

# %% [markdown]
# ## Descending it
#
# The bulb shall come over a book. Plain gradient descent on the squared distance, written by hand;
# the whole loop is one compiled program.

# %%
book = jnp.array([25.0, 20.0, 18.0])


@jax.jit
def descend(params):
    def cost(params):
        return 0.5 * jnp.sum((forward_kinematics(params, lamp)[bulb] - book) ** 2)

    def step(params, _):
        value, slope = jax.value_and_grad(cost)(params)
        return params - 2e-4 * slope, (params, value)

    return jax.lax.scan(step, params, length=400)


found, (path, costs) = descend(jnp.asarray(reading))
print(
    f"distance {jnp.sqrt(2 * costs[0]):.1f} cm at first, {jnp.sqrt(2 * costs[-1]):.1e} cm at last"
)
plot_poses(
    forward_kinematics(path, lamp),
    lamp,
    points=jnp.tile(book, (len(path), 1, 1)),
    frames=[0, 5, 20, 60, 399],
    views=["front", "oblique"],
    title="The way to the book (dot)",
)

# %% [markdown]
# That is a lesson and not the way to do it: `kinpose.inverse_kinematics({"bulb": book}, lamp)`
# takes a dozen steps in place of four hundred, keeps the limits, and comes with derivatives
# ([tutorial 7](7_robots.py)).
#
# **What to take home.**
#
# - A skeleton is data: joints, offsets, motions; one dof may drive several motions.
# - `params` is one flat vector; `dof_names`, `pose` and `pose_dict` are its names.
# - Structure is static and compared by value, numbers are leaves: differentiate them, batch them,
#   and an equal skeleton built anew does not compile again.
