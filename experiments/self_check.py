"""Whether a machine computes what it should: the device beside double precision on the CPU.

  python -m experiments.self_check --report=check.json

Prints versions and devices, refuses versions that are too old, and compares kinematics, their
gradient and Jacobian, a fit and a training step. For machines without pytest; the exit status is
1 where something is wrong.
"""

import functools
import json
import pathlib
import re
from importlib import metadata

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from experiments.program import run_program
from kinpose import fit_params, forward_kinematics, joint_jacobian
from kinpose.mesh import make_mesh
from kinpose.methods import Targets, direct_joint
from kinpose.skeletons import human_17
from kinpose.train import init_state, make_train_step

_NUM_POSES = flags.DEFINE_integer("num_poses", 4096, "Poses that are compared.", 1)
_REPORT = flags.DEFINE_string("report", None, "JSON file to write.")

_LEAST = {
    **{"jax": (0, 10), "flax": (0, 12), "optax": (0, 2, 8), "orbax-checkpoint": (0, 12)},
    **{"absl-py": (2,), "numpy": (2,)},
}
"""Versions, as setup.cfg asks for them."""

_TOLERANCES = {
    "forward kinematics": 1e-5,
    "gradient": 1e-4,
    "Jacobian": 1e-5,
    "poses fitted from nothing and not found to 0.1 mm": 0.01,
    "loss of a training step": 1e-3,
}
"""Of the largest number; but the fit's is a part of the poses."""


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    machine = check_versions() | {"devices": [str(device) for device in jax.devices()]}
    print(", ".join(f"{key} {value}" for key, value in machine.items()), flush=True)
    rows = {}
    for name, compare in CHECKS.items():
        rows[name] = float(compare(_NUM_POSES.value))
        state = "right" if rows[name] <= _TOLERANCES[name] else "WRONG"
        print(f"{name}: {rows[name]:.2g}, at most {_TOLERANCES[name]:g}: {state}", flush=True)
    wrong = [name for name, value in rows.items() if not value <= _TOLERANCES[name]]
    if _REPORT.value:
        report = {"machine": machine, "differences": rows, "wrong": wrong}
        pathlib.Path(_REPORT.value).write_text(json.dumps(report, indent=1) + "\n")
    if wrong:
        raise ValueError(f"this machine is wrong about {', '.join(wrong)}.")


def check_versions() -> dict[str, str]:
    """Versions of what is needed.

    Raises:
      ValueError: naming a package that is too old.
    """
    found = {name: metadata.version(name) for name in (*_LEAST, "jaxlib")}
    for name, least in _LEAST.items():
        if tuple(map(int, re.findall(r"\d+", found[name])[:3])) < least:
            words = ".".join(map(str, least))
            raise ValueError(f"{name} must be {words} or later, but is {found[name]}.")
    return found


def compare_kinematics(function, num: int) -> float:
    """Largest difference of a function of poses (B, D) from itself in double precision."""
    params = poses(num)
    found = np.asarray(jax.jit(function)(jnp.asarray(params, jnp.float32)))
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        wanted = np.asarray(jax.jit(function)(jnp.asarray(params)))
    return np.abs(found - wanted).max() / np.abs(wanted).max()


def compare_fit(num: int) -> float:
    """The part of poses whose joints a fit does not come near."""
    skeleton = human_17()
    joints = jax.jit(functools.partial(forward_kinematics, skeleton=skeleton))(
        jnp.asarray(poses(num), jnp.float32)
    )
    params = fit_params(joints, skeleton).params
    again = jax.jit(functools.partial(forward_kinematics, skeleton=skeleton))(params)
    misses = np.linalg.norm(np.asarray(again) - np.asarray(joints), axis=-1).max(axis=-1)
    return np.mean(misses > 0.1)


def compare_training(num: int) -> float:
    """Relative difference of the losses of two steps from those on the CPU."""
    del num
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 16, 16, 3)).astype(np.uint8)
    joints = rng.normal(size=(64, 17, 3)).astype(np.float32)
    targets = Targets(joints, np.zeros((64, 24), np.float32), np.ones(64, np.float32))
    method, optimiser = direct_joint(joints.mean(axis=0), 1.0), optax.adam(1e-3)
    losses = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        mesh = make_mesh([device])
        state = init_state(jax.random.key(0), _Net(method.num_outputs), optimiser, images[:1], mesh)
        step = make_train_step(_Net(method.num_outputs), method, optimiser, mesh)
        for _ in range(2):
            state, metrics = step(state, images, targets, jax.random.key(1))
        losses.append(float(metrics["loss"]))
    return abs(losses[0] - losses[1]) / losses[1]


def poses(num: int) -> np.ndarray:
    """(num, 27) angles normal with half a radian, within a metre."""
    params = 0.5 * np.random.default_rng(0).normal(size=(num, 27))
    params[:, :3] *= 1000
    return params


class _Net(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images.astype(jnp.float32).reshape(len(images), -1) / 255
        return nn.Dense(self.num_outputs)(nn.relu(nn.Dense(64)(x)))


def _squares(params):
    return 0.5 * jnp.sum(forward_kinematics(params, human_17()) ** 2) * 1e-6


CHECKS = {
    "forward kinematics": functools.partial(
        compare_kinematics, lambda params: forward_kinematics(params, human_17())
    ),
    "gradient": functools.partial(compare_kinematics, jax.grad(_squares)),
    "Jacobian": functools.partial(
        compare_kinematics, jax.vmap(lambda params: joint_jacobian(params, human_17())[1])
    ),
    "poses fitted from nothing and not found to 0.1 mm": compare_fit,
    "loss of a training step": compare_training,
}


if __name__ == "__main__":
    run_program(main)
