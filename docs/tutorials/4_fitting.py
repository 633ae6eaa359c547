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
# # Fitting: limits, missing points, outliers, observability, gradients
#
# **What it shows.** Angles from points, and what a fit says of itself: whether it was solved, how
# far each point is off, which angles the points do not determine; what limits, weights and a
# robust loss are for; and a derivative through the whole fit.
#
# **Cost.** About 30 s on 2 CPU cores, nearly all of it compilation.
#
# **Needs.** `pip install 'kinpose[plot]'`.

# %%
import jax
import jax.numpy as jnp
import numpy as np

from kinpose import fit_params, forward_kinematics, limit_skeleton, pose, scale_skeleton
from kinpose.fitting import STATUS
from kinpose.plot import plot_poses
from kinpose.skeletons import HUMAN_LIMITS, human_17

plain = human_17()  # 17 keypoints, 27 dofs, mm
human = limit_skeleton(plain, HUMAN_LIMITS)  # the same within people's ranges
NAMES = human.keypoint_names

# %% [markdown]
# ## A fit, and what it says
#
# Two hundred poses within the limits, their points with 10 mm of noise. Nothing else is given: no
# start, no direction in which the person faces.

# %%
rng = np.random.default_rng(0)
low, high = np.clip(np.asarray(human.limits).T, -np.pi, np.pi)
true = (rng.uniform(0.2, 0.8, (200, 27)) * (high - low) + low).astype(np.float32)
true[:, :3] = rng.uniform(-1000, 1000, (200, 3))  # where they stand
joints = np.asarray(forward_kinematics(true, human))
points = (joints + rng.normal(scale=10.0, size=joints.shape)).astype(np.float32)

fit = fit_params(points, human)
fit

# %% [markdown]
# `params` are the angles, `residuals` the distances that are left. Half of the noise's square is
# gone: 27 numbers cannot follow 51.

# %%
off = np.linalg.norm(np.asarray(forward_kinematics(fit.params, human)) - joints, axis=-1)
noise = np.linalg.norm(points - joints, axis=-1)
print(f"points off by {noise.mean():.1f} mm in the mean, the model by {off.mean():.1f} mm")

# %% [markdown]
# ## What the points do not tell
#
# `observability` is, for each dof, the distance by which the points must move per radian at least,
# whatever the other dofs do to hide it. So noise of s in the points makes an error of about s /
# observability in the angle. One person with a bent and a straight arm:

# %%
standing = pose(human, left_elbow_flexion=1.3, right_elbow_flexion=0.0)
one = fit_params(forward_kinematics(standing, human), human)
for name in ("left_shoulder_rotation", "right_shoulder_rotation", "left_hip_flexion"):
    hold = float(one.observability[human.dof_index(name)])
    error = np.degrees(10.0 / hold) if hold > 1e-3 else np.inf
    print(f"{name:24} {hold:7.1f} mm/rad: 10 mm of noise are {error:.0f} degrees")

# %% [markdown]
# The twist of a straight arm moves no point. That is no fault of the fit: no method can tell, and
# this one says so. Over the two hundred poses, the prediction beside what happened:

# %%
limbs = ("knee_flexion", "elbow_flexion", "hip_flexion", "hip_rotation")
angles = [human.dof_index(f"{side}_{limb}") for side in ("left", "right") for limb in limbs]
wrong = np.abs((np.asarray(fit.params) - true + np.pi) % (2 * np.pi) - np.pi)[:, angles]
expected = 10.0 / np.asarray(fit.observability)[:, angles]
for lowest, highest in ((0.0, 0.03), (0.03, 0.06), (0.06, 0.2)):
    here = (expected >= lowest) & (expected < highest)
    measured, said = np.degrees(np.sqrt(np.mean([wrong[here] ** 2, expected[here] ** 2], axis=1)))
    print(f"{here.sum():4} angles: {said:4.1f} degrees expected, {measured:4.1f} measured (rms)")

# %% [markdown]
# ## Missing points
#
# NaN is a missing point. Weights, where a detector gives them, go into `weights`.

# %%
some = points.copy()
some[:, [NAMES.index("left_knee"), NAMES.index("right_elbow")]] = np.nan
without = fit_params(some, human)
knee = [human.dof_index("left_knee_flexion")]
for title, found in (("all points", fit), ("two missing", without)):
    wrong_knee = np.degrees(np.abs(np.asarray(found.params)[:, knee] - true[:, knee]))
    hold = np.median(np.asarray(found.observability)[:, knee])
    print(f"{title:12} knee off by {np.median(wrong_knee):.1f} degrees; {hold:.0f} mm/rad")

# %% [markdown]
# The knee's angle is known without the knee: hip and ankle and the lengths of the bones tell it,
# less firmly, and `observability` counts that.
#
# ## Limits
#
# A straight knee that noise bends a little the wrong way, or a leg seen by two points: without
# limits there are poses that no person takes. `status` says whether a limit held something back.

# %%
wrong_way = pose(plain, left_knee_flexion=-0.5, right_knee_flexion=0.6)
target = forward_kinematics(wrong_way, plain)
for title, skeleton in (("free", plain), ("within limits", human)):
    found = fit_params(target, skeleton)
    angle = np.degrees(found.params[skeleton.dof_index("left_knee_flexion")])
    off, status = found.residuals.max(), STATUS[int(found.status)]
    print(f"{title:14} left knee {angle:6.1f} degrees, {status}, {off:4.1f} mm off at most")

# %% [markdown]
# ## Points far off
#
# Some left wrists are a metre away. Least squares drags the arm along, and the shoulder too. With
# `robust=`, the distance at which a point begins to lose its weight, it counts for nothing, and
# `trust` says which points those were.

# %%
bad, wrist = points.copy(), NAMES.index("left_wrist")
lost = rng.random(200) < 0.1
bad[lost, wrist] += 1000.0 * rng.choice([-1, 1], (lost.sum(), 3)) / np.sqrt(3)

squares = fit_params(bad, human)
robust = fit_params(bad, human, robust=100.0)
others = np.arange(17) != wrist
for title, found in (("least squares", squares), ("robust", robust)):
    where = np.asarray(forward_kinematics(found.params, human))
    off = np.linalg.norm(where - joints, axis=-1)[lost][:, others]
    print(f"{title:14} the other 16 joints off by {off.mean():5.1f} mm, {off.max():6.1f} at most")
trusted = np.asarray(robust.trust)[:, wrist] > 0.5
for title, where in (("far off", lost), ("others", ~lost)):
    print(f"wrists {title:8}: {trusted[where].sum()} of {where.sum()} are trusted")

# %%
person = np.array(forward_kinematics(standing, human))
person[wrist] += (500.0, 300.0, 300.0)
both = [fit_params(person, human, robust=distance).params for distance in (None, 100.0)]
poses = forward_kinematics(jnp.stack(both), human)
plot_poses(poses, human, points=[person, person], title="least squares (0) and robust (1)")

# %% [markdown]
# ## A derivative through the fit
#
# The solution is differentiable by points, weights and bone lengths, by the implicit function
# theorem: the steps of the solver are not unrolled. How does the knee's angle change with the
# ankle's place, and how with the size of the person?

# %%
squat = pose(human, left_knee_flexion=1.0, left_hip_flexion=0.7, right_knee_flexion=0.3)
squat = forward_kinematics(squat, human)


@jax.jit
def knee_of(points, size):
    return fit_params(points, scale_skeleton(human, size)).params[
        human.dof_index("left_knee_flexion")
    ]


by_points, by_size = jax.jit(jax.grad(knee_of, argnums=(0, 1)))(squat, 1.0)
step = jnp.zeros((17, 3)).at[NAMES.index("left_ankle"), 1].set(1.0)  # 1 mm up
difference = (knee_of(squat + step, 1.0) - knee_of(squat - step, 1.0)) / 2
by_height = by_points[NAMES.index("left_ankle"), 1]
print(f"by the ankle's height: {by_height:.6f} rad/mm; by differences {difference:.6f}")
print(f"by the size:           {by_size:.3f} rad per 100 %")

# %% [markdown]
# So a fit can be a layer: a network gives points, the fit gives angles, and the loss sits behind
# it (`kinpose.methods.fitted_joint`).
#
# **What to take home.**
#
# - Ask `status`, `residuals` and `observability` before you believe an angle.
# - NaN for missing points, `weights` for confidence, `robust` for points that are wrong; limits
#   for poses that people take.
# - Recordings are fitted by `fit_sequence`, which is continuous in time, and with bones of their
#   own by `calibrate_skeleton`; `kinpose fit` does all of it.
#
# How it works, and how it compares: [fitting.md](../fitting.md).
