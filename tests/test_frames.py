"""Frames and derivatives in NumPy, against JAX's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import Joint, Motion, build_skeleton, forward_kinematics, gaps, joint_jacobian
from kinpose.frames import frames_of, jacobian_of
from kinpose.kinematics import joint_transforms
from kinpose.skeletons import human_17, toy

LIFTS = (
    Motion("r", "z", "lift", multiplier=-0.5, bias=0.2),
    Motion("t", (1.0, 1.0, 0.0), "reach", multiplier=2.0),
    Motion("r", "x", "lift"),
)
CRANE = build_skeleton(
    [
        Joint("mast", None, (0.0, 1.0, 0.0), (Motion("r", "y", "turn"),)),
        Joint("boom", "mast", (2.0, 0.5, 0.0), LIFTS),
        Joint("hook", "boom", (0.0, -1.0, 0.3)),
        Joint("winch", "mast", (-1.0, 0.0, 0.0)),
    ]
)
SKELETONS = {"human_17": human_17(), "toy_10": toy(10), "crane": CRANE}


@pytest.fixture(params=SKELETONS)
def skeleton(request):
    return SKELETONS[request.param]


@pytest.fixture
def params(skeleton):
    shape = 5, skeleton.num_dofs
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_frames_are_those_of_joint_transforms(params, skeleton):
    for found, wanted in zip(
        frames_of(params, skeleton), joint_transforms(params, skeleton), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3)


def test_jacobians_are_those_of_joint_jacobian(params, skeleton):
    for found, wanted in zip(
        jacobian_of(params, skeleton)[:2], joint_jacobian(params, skeleton), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3)


def test_derivatives_by_lengths_are_those_of_forward_kinematics(params, skeleton):
    def place(logs):
        offsets = jnp.asarray(skeleton.offsets, jnp.float32) * jnp.exp(logs)[:, None]
        return forward_kinematics(params, dataclasses.replace(skeleton, offsets=offsets))

    wanted = jax.jacfwd(place)(jnp.zeros(skeleton.num_joints))
    np.testing.assert_allclose(jacobian_of(params, skeleton)[2], wanted, rtol=1e-5, atol=1e-3)


def test_a_bent_pose_has_the_same_derivatives_where_the_bones_are_traced(skeleton):
    def bent(offsets):
        return gaps.jacobian_when_bent(dataclasses.replace(skeleton, offsets=offsets))

    traced = jax.jit(bent)(jnp.asarray(skeleton.offsets, jnp.float32))
    np.testing.assert_allclose(gaps.jacobian_when_bent(skeleton), traced, atol=1e-5)
