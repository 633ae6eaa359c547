"""What users wrap around kinematics and fits: export, shards, checkpointing, scans, vmap."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_kinematics import FLOAT32, close, random_params

from kinpose import (
    Joint,
    build_skeleton,
    fit_params,
    fit_sequence,
    forward_kinematics,
    inverse_kinematics,
)
from kinpose.skeletons import human_17
from tests.conftest import QUICK, ROOT

HUMAN = human_17()
ARM = build_skeleton(
    [
        Joint("shoulder", None, (0, 0, 0), "tx ty tz rx ry rz"),
        Joint("elbow", "shoulder", (1, 0, 0), "ry"),
        Joint("hand", "elbow", (0.8, 0, 0), "rz"),
        Joint("thumb", "hand", (0.1, 0.1, 0)),
        Joint("finger", "hand", (0.1, -0.1, 0)),
    ]
)
PARAMS = {
    skeleton: (0.3 * random_params(skeleton, 16)).astype(np.float32) for skeleton in (HUMAN, ARM)
}
JOINTS = np.asarray(forward_kinematics(PARAMS[ARM], ARM))


def positions(params):
    return forward_kinematics(params, HUMAN)


def gradient(params):
    return jax.grad(lambda p: jnp.sum(jnp.square(forward_kinematics(p, HUMAN))))(params)


def fitted(joints):
    return fit_params(joints, ARM).params


def fitted_from_zeros(joints):
    return fit_params(joints, ARM, init=jnp.zeros(ARM.num_dofs)).params


def followed_from_zeros(joints):
    """Each frame a recording of its own."""
    follow = functools.partial(fit_sequence, skeleton=ARM, init=jnp.zeros(ARM.num_dofs))
    return jax.vmap(lambda joints: follow(joints).params)(joints[:, None])


def reached(joints):
    targets = {"elbow": joints[:, 1], "hand": joints[:, 2]}
    params = inverse_kinematics(targets, ARM, rest=np.zeros(ARM.num_dofs)).params
    return forward_kinematics(params, ARM)[:, 1:3]


CASES = {
    "forward_kinematics": (positions, PARAMS[HUMAN]),
    "gradient": (gradient, PARAMS[HUMAN]),
    "fit_params": (fitted, JOINTS),
    "fit_params from one start": (fitted_from_zeros, JOINTS),
    "fit_sequence from one start": (followed_from_zeros, JOINTS),
    "inverse_kinematics": (reached, JOINTS),
}


@pytest.mark.parametrize(
    "name",
    [
        "forward_kinematics",
        "fit_params",
        pytest.param("gradient", marks=pytest.mark.slow),
        pytest.param("inverse_kinematics", marks=pytest.mark.slow),
    ],
)
def test_exports_with_a_batch_left_open(name):
    pytest.importorskip("flatbuffers", reason="export needs flatbuffers: kinpose[export]")
    function, given = CASES[name]
    (size,) = jax.export.symbolic_shape("b")
    open_batch = jax.ShapeDtypeStruct((size, *given.shape[1:]), given.dtype)
    exported = jax.export.export(jax.jit(function), platforms=("cpu", "cuda", "tpu"))(open_batch)
    read = jax.export.deserialize(exported.serialize())
    for count in (1, 5):
        close(read.call(given[:count]), function(given[:count]), 1e-4)


@pytest.mark.slow
def test_shards_whose_differences_are_checked():
    """In a process of its own, with eight devices."""
    flags = f"--xla_force_host_platform_device_count=8 {QUICK}"
    subprocess.run(
        [sys.executable, "-m", "tests.shards"],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": "tests"},
        check=True,
    )


def test_checkpointed_layers_have_the_same_gradient():
    def loss(params, kinematics):
        return jnp.sum(jnp.sin(kinematics(params)))

    slopes = [
        jax.jit(jax.grad(loss), static_argnums=1)(PARAMS[HUMAN], kinematics)
        for kinematics in (positions, jax.checkpoint(positions))
    ]
    close(*slopes, FLOAT32)


def test_scans_over_frames_and_over_skeletons():
    _, one_by_one = jax.lax.scan(lambda _, p: (None, positions(p)), None, PARAMS[HUMAN])
    close(one_by_one, positions(PARAMS[HUMAN]), FLOAT32)
    sizes = np.linspace(0.5, 2.0, len(PARAMS[ARM])).astype(np.float32)
    bones = sizes[:, None, None] * ARM.offsets.astype(np.float32)
    many = dataclasses.replace(ARM, offsets=bones)
    joints = forward_kinematics(PARAMS[ARM], many)

    def fit(joints, bones, init):
        return fit_params(joints, dataclasses.replace(ARM, offsets=bones), init=init).residuals

    assert jnp.max(jax.jit(jax.vmap(fit))(joints, bones, PARAMS[ARM] + 0.1)) < 1e-3
