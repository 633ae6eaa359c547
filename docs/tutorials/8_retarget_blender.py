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
# # Retarget a recording and take it to Blender
#
# **What it shows.** A recorded walk carried over to a body of other proportions, with the same
# angles and with feet that stand; what goes wrong without; and the file that Blender opens.
#
# **Cost.** About 3 s on 2 CPU cores: this is NumPy, nothing is compiled.
#
# **Needs.** `pip install 'kinpose[plot]'`.

# %%
import pathlib
import tempfile

import numpy as np

from kinpose.footing import foot_contacts
from kinpose.frames import frames_of
from kinpose.io.bvh import load_bvh, save_bvh
from kinpose.io.gltf import save_glb
from kinpose.people import match_people
from kinpose.plot import play_poses, plot_poses
from kinpose.retargeting import retarget
from kinpose.skeletons import HUMAN36M_LENGTHS_MM, human_17

source, params, frame_time_s = recording = load_bvh("../../data/motions/walk.bvh")
recording

# %% [markdown]
# ## Somebody else
#
# The target is any skeleton whose root turns and slides. Here it is the built-in human with short
# legs and long arms, in millimetres and with axes of its own, while the recording is in
# centimetres and faces another way. Neither matters.

# %%
lengths = dict(HUMAN36M_LENGTHS_MM)
for bone, factor in {
    "hip-knee": 0.7,
    "knee-ankle": 0.7,
    "shoulder-elbow": 1.3,
    "elbow-wrist": 1.3,
}.items():
    lengths[bone] *= factor
target = human_17(lengths)
target

# %% [markdown]
# Which joint turns like which? `match_people` reads it from the names of known rigs and from the
# tree; a dictionary of your own does as well.

# %%
names, legs = match_people(source, target)
for joint in ("pelvis", "left_hip", "left_knee", "left_shoulder", "skull"):
    print(f"{joint:14} turns like {names.get(joint, '-')}")

# %% [markdown]
# ## Feet that stand
#
# `foot_contacts` finds in which frames a foot of the source stands; given these, `retarget` keeps
# that foot where it is. Without them, the angles alone decide, and feet slide.

# %%
ankles = [names[leg.ankle] for leg in legs]
stands = foot_contacts(params, source, ankles, frame_time_s)
for name, when in stands.items():
    print(f"{name:10}", "".join("#" if stand else "." for stand in when))

by_angles = retarget(params, source, target, names, legs=legs)
found = retarget(params, source, target, names, legs=legs, contacts=stands)

# %%


def slides(motion):
    """How far, level, the standing ankles of the target move from one frame to the next, mm."""
    _, places = frames_of(motion, target)
    steps = []
    for leg, name in zip(legs, ankles, strict=True):
        moved = np.diff(places[:, target.names.index(leg.ankle)][:, [0, 2]], axis=0)
        steps.append(np.linalg.norm(moved, axis=1)[stands[name][1:] & stands[name][:-1]])
    return np.concatenate(steps)


for title, motion in (("by angles alone", by_angles), ("with contacts", found)):
    moves = slides(motion)
    print(f"{title:16} feet slide {moves.mean():5.2f} mm per frame, {moves.max():5.2f} at most")

knee = target.dof_index("left_knee_flexion")
own = -params[:, source.dof_index("LeftLeg_Zrotation")]
print(f"left knee off by {np.degrees(np.abs(found[:, knee] - own)).max():.4f} degrees at most")

# %%
keypoints = list(target.keypoints)
poses = frames_of(found, target)[1][:, keypoints]
plot_poses(poses, target, frame_time_s=frame_time_s, title="The walk of another body")

# %%
play_poses(poses, target, frame_time_s, title="The walk of another body")

# %% [markdown]
# Fitting the other body to the recording's *points* would bend its knees and elbows otherwise:
# that is another question, and `kinpose fit` answers it.
#
# ## To Blender
#
# A `.glb` file holds the skeleton as an animated tree of nodes in metres, y up, with a bone's
# shape for each, so that something is seen at once. A BVH file is an armature without shapes.

# %%
place = pathlib.Path(tempfile.mkdtemp())
save_glb(place / "walk.glb", target, found, frame_time_s, scale=0.001)  # mm to m
save_bvh(place / "walk.bvh", target, found, frame_time_s)
for path in sorted(place.iterdir()):
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# In Blender: *File > Import > glTF 2.0 (.glb/.gltf)*, take `walk.glb`, press space. Or from its
# Python console, or as a script for `blender --background --python`:
#
# ```python
# import bpy
#
# bpy.ops.import_scene.gltf(filepath="walk.glb")
# bpy.context.scene.render.fps = 30
# bpy.context.scene.frame_end = 39
# ```
#
# *File > Import > Motion Capture (.bvh)* takes the other one: scale 0.001, forward Z, up Y.
#
# From file to file there is no Python to write:
#
# ```sh
# kinpose retarget walk.bvh character.bvh walk_of_character.bvh
# kinpose convert walk_of_character.bvh walk.glb --from_unit=cm
# ```
#
# **What to take home.**
#
# - What turned, turns alike; the target's bones stay as they are.
# - Contacts are found in the source and kept in the target: with them standing feet stand.
# - Units, axes and the names of rigs are looked after; what is not known is a dictionary.
