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
# # Joint angles from MediaPipe's points
#
# **What it shows.** Landmarks of a person, as MediaPipe's pose landmarker gives them for a video,
# become joint angles over time: which way is up, how long the bones are, the angles, and how far
# each may be trusted.
#
# **Cost.** About 20 s on 2 CPU cores, nearly all of it compilation.
#
# **Needs.** `pip install 'kinpose[tool]'`. MediaPipe itself is not needed here.

# %%
import pathlib
import tempfile

import numpy as np

from kinpose import forward_kinematics
from kinpose.apps import Settings, fit_recording, read_input, understand
from kinpose.frames import frames_of
from kinpose.io import save_recording
from kinpose.io.bvh import load_bvh
from kinpose.io.points import Points
from kinpose.layouts import LAYOUTS
from kinpose.plot import Curves, play_poses, plot_angles, plot_poses

# %% [markdown]
# ## Your own video
#
# With a video and a landmarker's `.task` file it is two commands (`pip install 'kinpose[video]'`
# brings MediaPipe):
#
# ```sh
# kinpose video clip.mp4 points.npz --model=pose_landmarker_heavy.task
# kinpose fit points.npz --output_dir=runs/clip
# ```
#
# and with MediaPipe in your own program it is one array, 33 rows of x, y, z and visibility for
# each frame (`rows` below, of shape (T, 33, 4)):
#
# ```python
# rows.append([(p.x, p.y, p.z, p.visibility) for p in result.pose_world_landmarks[0]])
# ...
# np.savez("points.npz", joints=np.array(rows), fps=30, unit_mm=1000, up="-y")
# ```
#
# 33 points are known to be MediaPipe's, so their names need not be said. Take the *world*
# landmarks, which are metres; the others are shares of the picture's width and height, and no
# skeleton fits those.
#
# ## A recording that stands in for it
#
# So that the result can be compared with the truth, the landmarks here come from a recorded walk
# whose angles are known. The 33 points are put where MediaPipe has them, in its axes (y down), in
# metres about the middle of the hips, with noise, and with an arm that is hidden for a while.

# %%
walk = load_bvh("../../data/motions/walk.bvh")  # this notebook lies in docs/tutorials
walk

# %%
NAMES = LAYOUTS["mediapipe_33"].order
FACE = {"nose": (0, -2, 11), "eye": (3, 2, 7), "ear": (7.5, 0, 0), "mouth": (2.5, -5, 9)}
PARTS = {"shoulder": "Arm", "elbow": "ForeArm", "hip": "UpLeg", "knee": "Leg", "ankle": "Foot"}
PARTS |= dict.fromkeys(("wrist", "pinky", "index", "thumb"), "Hand")
PARTS |= {"heel": "Foot", "foot_index": "Toe"}


def mediapipe_points(recording):
    """(T, 33, 3) cm. Fingers are at the wrist and heels at the ankle, which no angle asks for."""
    rotations, places = frames_of(recording.params, recording.skeleton)
    joint = recording.skeleton.names.index
    turn = rotations[:, joint("Neck")]
    ears = 0.5 * (places[:, joint("Neck")] + places[:, joint("Head")])  # the middle of them
    points = []
    for name in NAMES:
        side, _, part = name.partition("_")
        if part in PARTS:
            points.append(places[:, joint(side.capitalize() + PARTS[part])])
        else:  # the recording has x forward and z to the right
            left, up, forward = FACE[part.split("_")[0] or side]
            left *= -1 if side == "right" else 1
            points.append(ears + turn @ np.array([forward, up, -left], float))
    return np.stack(points, axis=1)


rng = np.random.default_rng(0)
clean = mediapipe_points(walk)
hips = clean[:, [NAMES.index("left_hip"), NAMES.index("right_hip")]].mean(axis=1)
metres = (clean - hips[:, None]) / 100 @ np.diag([1.0, -1.0, -1.0])
noisy = metres + rng.normal(scale=0.008, size=metres.shape)

visibility = np.full(noisy.shape[:2], 0.95)
hidden = [NAMES.index(name) for name in ("left_elbow", "left_wrist")]
noisy[10:18, hidden] += rng.normal(scale=0.15, size=(8, 2, 3))  # a guess of the detector's
visibility[10:18, hidden] = 0.05

points = Points(noisy, NAMES, walk.frame_time_s, visibility, unit_mm=1000.0, up="-y")
points

# %% [markdown]
# ## From the file to the angles
#
# The same that `kinpose fit points.npz` does, in three lines: read, understand, fit. What was
# found of the recording is said with the reason.

# %%
path = pathlib.Path(tempfile.mkdtemp()) / "points.npz"
save_recording(path, points)

settings = Settings()
recording = understand(read_input(str(path), settings), settings)
print("layout:", recording.layout)
print("up:    ", recording.up.axis, "-", recording.up.reason)
print("unit:  ", recording.unit.name, "-", recording.unit.reason)
print(f"noise:  {1000 * recording.noise:.1f} mm in each coordinate")
for sentence in recording.warnings:
    print("warning:", sentence)

# %%
fitted = fit_recording(recording, settings)
fitted.skeleton

# %% [markdown]
# The bones are those of this person: one length for left and right, found from all frames
# together. The fit itself:

# %%
fitted.fit

# %% [markdown]
# The points with little visibility had little weight. Here the model stands over the points:

# %%
poses = forward_kinematics(fitted.fit.params, fitted.skeleton)
times = {"frame_time_s": walk.frame_time_s}
plot_poses(poses, fitted.skeleton, points=recording.joints, title="A walk", **times)

# %% [markdown]
# Or in motion; drag to turn it:

# %%
play_poses(poses, fitted.skeleton, walk.frame_time_s, points=recording.joints, title="A walk")

# %% [markdown]
# ## How right are they?
#
# The recording's own knees and elbows are hinges, whose angles we know. The band is as wide as the
# noise of the points turns an angle: noise divided by `observability`, which tells for every dof
# of every frame how firmly the points hold it.

# %%
turns = {
    "left_knee_flexion": ("LeftLeg_Zrotation", -1),  # about the axis to the right
    "right_knee_flexion": ("RightLeg_Zrotation", -1),
    "left_elbow_flexion": ("LeftForeArm_Zrotation", 1),
    "right_elbow_flexion": ("RightForeArm_Zrotation", 1),
}
dofs = [fitted.skeleton.dof_index(dof) for dof in turns]
truth = [sign * walk.params[:, walk.skeleton.dof_index(name)] for name, sign in turns.values()]
truth = np.degrees(np.stack(truth, axis=1))
found = np.degrees(fitted.params[:, dofs])
spread = np.degrees(recording.noise / np.asarray(fitted.fit.observability[:, dofs]))
found[~fitted.known[:, dofs]] = np.nan  # what the points do not tell
seconds = np.arange(len(found)) * walk.frame_time_s

plot_angles(
    [
        Curves(seconds, tuple(turns), found, spread, label="found"),
        Curves(seconds, tuple(turns), truth, label="true"),
    ]
)

# %%
error = np.abs(found - truth)
for name, column in zip(turns, error.T, strict=True):
    mean, most = np.nanmean(column), np.nanmax(column)
    print(f"{name:20} off by {mean:4.1f} degrees in the mean, {most:4.1f} at most")

# %% [markdown]
# **What to take home.**
#
# - `kinpose fit` asks for nothing that the recording tells: layout, unit, axis up, noise and bone
#   lengths are found, and what was found is said.
# - Visibility is weight. A hidden wrist does not spoil the frame; the angles it leaves open are
#   held by their neighbours in time, and `fit.observability` tells which.
# - One camera tells depth badly. What MediaPipe has wrong by a decimetre no skeleton makes right;
#   here the noise was 8 mm. Read the band before the angle.
#
# The files that `kinpose fit` leaves behind (a table of angles, BVH, OpenSim's motion, a report)
# are in [files.md](../files.md), what it does about troubles in [troubles.md](../troubles.md).
