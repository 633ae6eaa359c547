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
# # Kinematics inside your own network and loss
#
# **What it shows.** A network of your own, on data of your own, whose outputs are joint angles and
# whose loss sits on the joints that they make: trained in one call; in bfloat16; what is said when
# model and method do not suit each other; and the same method inside a loop of your own, with an
# `nnx` model and a term of your own in the loss.
#
# **Cost.** About 1 minute on 2 CPU cores.
#
# **Needs.** `pip install 'kinpose[plot,train]'`.

# %%
import pathlib
import tempfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from kinpose import forward_kinematics, limit_skeleton
from kinpose.io.bvh import load_bvh
from kinpose.losses import limit_loss
from kinpose.methods import Targets, direct_joint, kinematic_joint
from kinpose.metrics import bone_lengths, mpjpe
from kinpose.people import match_people
from kinpose.plot import plot_poses
from kinpose.retargeting import retarget
from kinpose.skeleton import remove_dofs
from kinpose.skeletons import HUMAN_LIMITS, human_17
from kinpose.train import array_source, train_network
from kinpose.workdir import read_metrics

# %% tags=["parameters"]
EPOCHS = 12

# %% [markdown]
# ## Your own data
#
# The task: 3D poses from the 17 keypoints of one picture. The data are thirteen recorded motions,
# carried over to the built-in human, each frame seen from eight sides by a camera 3 m away. Two of
# the recordings are kept for the test.

# %%
human = human_17()
PLACE = ("pelvis_tx", "pelvis_ty", "pelvis_tz")
skeleton = remove_dofs(
    limit_skeleton(human, HUMAN_LIMITS), PLACE
)  # poses about the pelvis, 24 angles


def angles_of(path):
    source, params, _ = load_bvh(path)
    names, legs = match_people(source, human)
    return retarget(params, source, human, names, legs=legs)[:, 3:]


def samples_of(paths, rng, sides=8):
    params = np.concatenate([angles_of(path) for path in paths])
    params = np.repeat(params, sides, axis=0).astype(np.float32)
    params[:, skeleton.dof_index("pelvis_yaw")] += rng.uniform(-np.pi, np.pi, len(params))
    joints = np.asarray(forward_kinematics(params, skeleton))
    pictures = joints[..., :2] / (3000.0 - joints[..., 2:])
    return pictures, joints, params


motions = sorted(pathlib.Path("../../data/motions").glob("*.bvh"))
held_out = [path for path in motions if path.stem in ("dance_b", "walk")]
rng = np.random.default_rng(0)
train_set = samples_of([path for path in motions if path not in held_out], rng)
test_set = samples_of(held_out, rng)
print("training:", *(x.shape for x in train_set), "test:", len(test_set[0]))

# %% [markdown]
# ## Your own network
#
# Any Flax module that takes a batch and gives `method.num_outputs` numbers. It takes `train`,
# which is true in training steps, for dropout and batch norm; this one has neither.


# %%
class Lifter(nn.Module):
    num_outputs: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, pictures, *, train=False):
        x = pictures.reshape(len(pictures), -1).astype(self.dtype)
        x = nn.relu(nn.Dense(256, dtype=self.dtype)(x))
        for _ in range(2):
            x = x + nn.relu(nn.Dense(256, dtype=self.dtype)(x))
        return nn.Dense(self.num_outputs, dtype=jnp.float32)(x)


# %% [markdown]
# ## A method says what outputs mean
#
# A `Method` is three things: how many outputs, what pose they are, what they cost.
# `kinematic_joint` reads them as angles and puts the loss on the joints (Eq. 3 of the paper). A
# person may face any way, so angles must not jump somewhere on the circle: `rotation_6d` gives six
# numbers for a joint that turns freely. `direct_joint` gives coordinates, and nothing keeps its
# bones.

# %%
mean = jnp.zeros(skeleton.num_dofs)  # of zero outputs: standing upright
kinematic = kinematic_joint(skeleton, mean, jnp.ones(24), 500.0, angles="rotation_6d")
direct = direct_joint(np.mean(train_set[1], axis=0), 500.0)
print("kinematic:", kinematic.num_outputs, "outputs; direct:", direct.num_outputs)


# %% [markdown]
# ## Training, in one call
#
# `train_network` runs on all devices there are, writes checkpoints and a line of metrics per
# epoch, and the same call goes on after an interruption ([tutorial 6](6_many_devices.py)).


# %%
def score(found):
    lengths = np.asarray(bone_lengths(found.joints, skeleton))
    error = np.mean(mpjpe(found.joints, test_set[1]))
    return {"mpjpe_mm": error, "bones_mm": np.mean(np.std(lengths, axis=0))}


sets = [array_source(*samples) for samples in (train_set, test_set)]
place = pathlib.Path(tempfile.mkdtemp())
trained = {}
for name, method in {"kinematic": kinematic, "direct": direct}.items():
    trained[name] = train_network(
        place / name,
        Lifter(method.num_outputs),
        method,
        *sets,
        epochs=EPOCHS,
        batch_size=128,
        score=score,
    )
    last = read_metrics(place / name)[-1]
    print(
        f"{name:10} joints off by {last['mpjpe_mm']:5.1f} mm, bones vary by {last['bones_mm']:4.1f}"
    )

# %%
found, losses = trained["kinematic"].evaluate(sets[1])
order = np.argsort(losses)[[0, len(losses) // 2, -1]]  # the best, a usual one, the worst
plot_poses(
    found.joints[order],
    skeleton,
    points=test_set[1][order],
    frames=range(3),
    title="Truth (dots) and kinematic joint: best, usual, worst",
)

# %% [markdown]
# ## What the gates say
#
# Before anything is compiled, model, method and samples are asked whether they suit each other.


# %%
class Frozen(nn.Module):
    @nn.compact
    def __call__(self, pictures):  # without `train`
        return nn.Dense(kinematic.num_outputs)(pictures.reshape(len(pictures), -1))


for model in (Frozen(), Lifter(num_outputs=24)):
    try:
        train_network(place / "refused", model, kinematic, *sets, epochs=1, batch_size=128)
    except ValueError as error:
        print(error, end="\n\n")
print("written:", (place / "refused").exists())

# %% [markdown]
# ## bfloat16
#
# Half the memory and, on accelerators, much of the speed: layers take `dtype`. Weights stay
# float32, and so does the last layer, as always in mixed precision: its outputs are angles, and
# half a metre in bfloat16 is known to 2 mm. (A CPU is no faster for it.)

# %%
half = train_network(
    place / "half",
    Lifter(kinematic.num_outputs, jnp.bfloat16),
    kinematic,
    *sets,
    epochs=EPOCHS,
    batch_size=128,
    score=score,
)
outputs = Lifter(kinematic.num_outputs, jnp.bfloat16).apply(half.variables, test_set[0][:1])
prediction = kinematic.predict(outputs)
print("outputs", outputs.dtype, "joints", prediction.joints.dtype)
print(f"bfloat16: joints off by {read_metrics(place / 'half')[-1]['mpjpe_mm']:.1f} mm")

# %% [markdown]
# ## Your own loop: nnx, and a term of your own
#
# A method is pure functions, so any framework will do. Here an `nnx` model, optax, and beside the
# method's loss one that angles outside of people's ranges cost.


# %%
class NnxLifter(nnx.Module):
    def __init__(self, num_outputs, *, rngs):
        self.first = nnx.Linear(34, 256, rngs=rngs)
        self.second = nnx.Linear(256, 256, rngs=rngs)
        self.last = nnx.Linear(256, num_outputs, rngs=rngs)

    def __call__(self, pictures):
        x = nnx.relu(self.first(pictures.reshape(len(pictures), -1)))
        return self.last(x + nnx.relu(self.second(x)))


model = NnxLifter(kinematic.num_outputs, rngs=nnx.Rngs(0))
optimiser = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)


@nnx.jit
def step(model, optimiser, pictures, targets):
    def loss_of(model):
        outputs = model(pictures)
        params = kinematic.predict(outputs).params
        outside = jax.vmap(limit_loss, in_axes=(0, None))(params, skeleton)
        return jnp.mean(kinematic.loss(outputs, targets) + 10.0 * outside)

    loss, gradient = nnx.value_and_grad(loss_of)(model)
    optimiser.update(model, gradient)
    return loss


pictures, joints, params = train_set
for _ in range(80 * EPOCHS):  # as many steps as above
    rows = rng.integers(0, len(pictures), 128)
    loss = step(model, optimiser, pictures[rows], Targets(joints[rows], params[rows]))

prediction = kinematic.predict(model(test_set[0]))
low, high = np.asarray(skeleton.limits).T
for name, angles in (("without the term", found.params), ("with it", prediction.params)):
    outside = np.maximum(low - angles, angles - high) > np.radians(1)
    print(f"{name:16} {np.mean(outside):6.2%} of the angles are outside by more than a degree")
print(f"joints off by {np.mean(mpjpe(prediction.joints, test_set[1])):.1f} mm")

# %% [markdown]
# **What to take home.**
#
# - A `Method` is a value: `num_outputs`, `predict`, `loss`. What trains it does not ask which one
#   it is.
# - Kinematic outputs have bones that do not vary, whatever the network does; coordinates may be
#   nearer. Which is better is a matter of your data: measure it, as above.
# - The network may be bfloat16; its last layer and kinematics stay float32.
# - What does not suit is refused in a sentence, before the compiler starts.
