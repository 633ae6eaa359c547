"""Laws of the study of kinematic joint: each variant differs by what its name says, and no more."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.toy import load_toy
from experiments.toy_methods import HALF_IMAGE, make_method
from experiments.why_methods import DAMPING, TOY, UNITS, make_variant
from kinpose import joint_jacobian
from kinpose.methods import Targets
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def train():
    return load_toy(10, num_train=400, num_test=0)[0]


@pytest.fixture(scope="module")
def targets(train):
    return Targets(jnp.asarray(train.joints[:5]), jnp.asarray(train.params[:5]))


def outputs_near_truth(method, seed=0):
    return 0.05 * jax.random.normal(jax.random.key(seed), (5, method.num_outputs))


def test_preconditioning_keeps_the_loss_and_turns_its_gradient_into_a_newton_step(train, targets):
    plain, ours = (make_variant(x, train) for x in ("kinematic_joint", "preconditioned"))
    outputs = outputs_near_truth(plain)
    np.testing.assert_allclose(ours.loss(outputs, targets), plain.loss(outputs, targets), rtol=1e-6)
    # In the gradient's own metric, J'J and damping, a step has the length that the gradient gives.
    step, gradient = (
        jax.grad(lambda x, m=method: m.loss(x, targets).sum())(outputs) for method in (ours, plain)
    )
    positions, jacobian = joint_jacobian(plain.predict(outputs).params, TOY.skeleton)
    jacobian = np.asarray(jacobian, np.float64).reshape(5, -1, 10) * UNITS / HALF_IMAGE
    wrong = np.asarray(positions - targets.joints, np.float64).reshape(5, -1) / HALF_IMAGE
    for j, r, s, g in zip(jacobian, wrong, step, gradient, strict=True):
        square = j.T @ j
        square += DAMPING * np.trace(square) / 10 * np.eye(10)
        np.testing.assert_allclose(square @ s, j.T @ r, atol=2e-4)
        factor = np.dot(j.T @ r, g) / np.dot(g, g)
        np.testing.assert_allclose(j.T @ r, factor * g, atol=2e-4)  # the loss is a mean of squares


def test_whitened_outputs_move_joints_alike(train):
    method = make_variant("whitened", train)
    moved = jax.vmap(jax.jacfwd(lambda x: method.predict(x[None]).params[0]))(jnp.zeros((1, 10)))[0]
    _, jacobian = joint_jacobian(jnp.asarray(train.params), TOY.skeleton)
    jacobian = np.asarray(jacobian, np.float64).reshape(-1, 10) @ np.asarray(moved) / HALF_IMAGE
    np.testing.assert_allclose(jacobian.T @ jacobian / len(train.params), np.eye(10), atol=0.02)


@pytest.mark.parametrize("name", ["read_off", "read_off_half"])
def test_true_joints_give_true_angles(name, train, targets):
    method = make_variant(name, train)
    direct = make_method("direct_joint", TOY, train)
    mean = direct.predict(jnp.zeros((1, direct.num_outputs))).joints
    outputs = ((targets.joints - mean) / HALF_IMAGE).reshape(5, -1)
    np.testing.assert_allclose(method.predict(outputs).params, targets.params, atol=2e-3)
    np.testing.assert_allclose(method.loss(outputs, targets), 0.0, atol=1e-6)


def test_joints_beside_count_in_the_loss_alone(train, targets):
    method = make_variant("beside", train)
    outputs = outputs_near_truth(method)
    other = outputs.at[:, :18].add(1.0)
    np.testing.assert_array_equal(method.predict(other).joints, method.predict(outputs).joints)
    assert (method.loss(other, targets) > method.loss(outputs, targets)).all()


@pytest.mark.slow
def test_the_study_leaves_tables_and_a_picture(tmp_path):
    flags = ("--num_train=128", "--epochs=1", "--end_epochs=1", "--runs=direct_joint")
    command = [sys.executable, "-m", "experiments.why", f"--workdir={tmp_path}", *flags]
    options = {"cwd": ROOT, "capture_output": True, "text": True, "check": False}
    options["env"] = {k: x for k, x in os.environ.items() if k != "XLA_FLAGS"}  # it runs for long
    for _ in range(2):  # the second finds all of it
        run = subprocess.run(command, **options)
        assert run.returncode == 0, run.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["scores"]
    assert len(row["ends"]) == 6
    assert (tmp_path / "why.md").read_text().strip() in run.stdout
    assert (tmp_path / "why.png").read_bytes()[:4] == b"\x89PNG"
