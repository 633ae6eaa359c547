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
# # Many devices: a mesh, two processes, a TPU pod, resuming
#
# **What it shows.** The same program on one device, on several, and in two processes that share
# the work, with the same result; the command that starts it on a TPU pod; and a training that is
# killed and comes to the same bytes nevertheless. All on the CPU of one machine.
#
# **Cost.** About 1 minute on 2 CPU cores: five processes are started.
#
# **Needs.** `pip install 'kinpose[train]'`.

# %%
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"  # before JAX is imported
os.environ["JAX_PLATFORMS"] = "cpu"

# %%
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from kinpose import forward_kinematics
from kinpose.mesh import make_mesh, replicated, share_batch
from kinpose.skeletons import human_17
from kinpose.workdir import read_metrics

jax.devices()

# %% [markdown]
# ## A mesh
#
# All devices are one axis. A batch is split over it, everything else is whole on each of them;
# then any jitted function runs where its data are, and the compiler adds what must be exchanged.
# There is no second code path: one device is a mesh of one.

# %%
mesh = make_mesh()
human = human_17()
params = share_batch(np.random.default_rng(0).normal(0, 0.3, (4096, 27)).astype(np.float32), mesh)


@jax.jit
def mean_height(params):
    return jnp.mean(forward_kinematics(params, human)[:, human.keypoint_names.index("head"), 1])


slope = jax.jit(jax.grad(mean_height))(params)
print(
    "the batch, a quarter on each device:",
    [shard.data.shape for shard in params.addressable_shards],
)
print(
    "its gradient stays there:           ", [shard.data.shape for shard in slope.addressable_shards]
)
print("the mean is whole:                  ", mean_height(params).sharding == replicated(mesh))

# %% [markdown]
# ## A program for one process or many
#
# `train_network` uses all devices of all processes. A program that may be one of several begins
# with `join_processes`, and that is all that it knows of the others. (The network and the data are
# as small as they can be; [tutorial 3](3_own_network.py) has others.)

# %%
PROGRAM = '''
"""Trains: python train_mine.py DIRECTORY [auto | ADDRESS:PORT,PROCESSES,INDEX]"""
import sys
from kinpose.hosts import join_processes, leave_processes

join_processes(sys.argv[2] if len(sys.argv) > 2 else None)  # before anything asks for devices

import flax.linen as nn
import jax
import numpy as np
from kinpose import forward_kinematics
from kinpose.methods import kinematic_joint
from kinpose.skeletons import human_17
from kinpose.train import array_source, train_network


class Lifter(nn.Module):
    @nn.compact
    def __call__(self, pictures, *, train=False):
        x = nn.relu(nn.Dense(256)(pictures.reshape(len(pictures), -1)))
        return nn.Dense(27)(nn.Dropout(0.1, deterministic=not train)(x))


human = human_17()
params = np.random.default_rng(0).normal(0, 0.3, (4096, 27)).astype(np.float32)
joints = np.asarray(forward_kinematics(params, human))
samples = array_source(joints[..., :2] / 1000, joints)
method = kinematic_joint(human, np.zeros(27), np.ones(27), length_unit=1000.0)
print(jax.process_index(), "of", jax.process_count(), "has", jax.local_device_count(), "of",
      jax.device_count(), "devices", flush=True)
train_network(sys.argv[1], Lifter(), method, samples, epochs=30, batch_size=64, save_every=64)
leave_processes()
'''
place = pathlib.Path(tempfile.mkdtemp())
program = place / "train_mine.py"
program.write_text(PROGRAM)


def start(directory, *how, devices=4):
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, program, place / directory, *how]
    return subprocess.Popen(
        command,
        env=os.environ | flags,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def wait_for(*processes):
    for process in processes:
        said, _ = process.communicate(timeout=900)
        print(said.splitlines()[0], "- status", process.returncode)


def losses(directory):
    return np.array([row["loss"] for row in read_metrics(place / directory)])


wait_for(start("one"))
print("loss by epoch:", np.round(losses("one")[::6], 5))

# %% [markdown]
# ## Two processes
#
# Each has half of the devices, loads half of every batch, and sees the same state. They may as
# well be on two machines that share the directory.

# %%
with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"

wait_for(*(start("two", f"{address},2,{index}", devices=2) for index in (0, 1)))
apart = np.abs(losses("two") / losses("one") - 1).max()
print(f"losses differ by {apart:.1e} of their value at most")

# %% [markdown]
# Sums in another order round otherwise; nothing else differs.
#
# ## A TPU pod
#
# There the cluster tells each process who the others are, so that every worker gets the same
# command:
#
# ```sh
# gcloud compute tpus tpu-vm ssh $TPU --zone=$ZONE --worker=all \
#   --command="cd kinpose && .venv/bin/python train_mine.py /shared/run auto"
# ```
#
# Under Slurm it is `srun .venv/bin/python train_mine.py /shared/run auto`; and the experiments
# take it as a flag, `python -m experiments.human --distributed=auto ...`. If a process is lost,
# the others end within a minute with one line, and the same commands go on.
#
# ## Killed, and resumed
#
# A checkpoint is on the disk before the next step begins, and all that is random in a step depends
# on the seed and the step. So this process is killed in the middle, as a power cut would do it,
# and the same command comes to the very same numbers.

# %%
process = start("killed")
while len(read_metrics(place / "killed")) < 10:  # epochs
    time.sleep(0.05)
    assert process.poll() is None
process.send_signal(signal.SIGKILL)
wait_for(process)
print(
    "checkpoints:",
    sorted(
        int(path.name) for path in (place / "killed/checkpoints").iterdir() if path.name.isdigit()
    ),
)

wait_for(start("killed"))
print(
    "the losses of all epochs are the same, to the last bit:",
    np.array_equal(losses("killed"), losses("one")),
)

# %% [markdown]
# **What to take home.**
#
# - Batch sizes are global; more devices change the speed and not the training.
# - A program for many processes is one line longer than one for a laptop.
# - Run the same command again: that is all there is to resuming. SIGTERM and Ctrl-C save first;
#   `kill -9` loses the steps since the last checkpoint.
#
# What is promised and how it was tried: [reliability.md](../reliability.md).
