"""Laws of training: the same state on any devices, after any interruption."""

import os
import signal
import socket
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kinpose.checkpoint import Checkpoints
from kinpose.mesh import make_mesh, share_batch
from kinpose.methods import Method, Targets
from kinpose.optimisers import caffe_sgd
from kinpose.stopping import Stopped
from kinpose.train import (
    Source,
    batch_indices,
    epoch_means,
    evaluate,
    init_state,
    make_train_step,
    train,
)
from tests.conftest import ROOT
from tests.training import run

# Sums over the batch in another order; a ReLU that closes for one of them makes it 5e-5.
DEVICES_TOLERANCE = 2e-4


def start(out, devices, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training", str(out), str(devices), *map(str, options)],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output


def wait_for(process, line):
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"{line!r} never came")


def leaves(path):
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=DEVICES_TOLERANCE, atol=DEVICES_TOLERANCE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Final state of an uninterrupted run on one device."""
    directory = tmp_path_factory.mktemp("alone")
    finish(start(directory / "out.npz", 1, f"--workdir={directory}"))
    return leaves(directory / "out.npz")


@pytest.mark.slow
def test_eight_devices_find_what_one_finds(alone, tmp_path):
    finish(start(tmp_path / "out.npz", 8, f"--workdir={tmp_path}"))
    assert_close(leaves(tmp_path / "out.npz"), alone)


def test_two_processes_find_what_one_finds(alone, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ("--processes=2", f"--port={port}", f"--workdir={tmp_path}")
    both = [start(tmp_path / f"{i}.npz", 2, f"--index={i}", *options) for i in range(2)]
    for process in both:
        finish(process)
    assert_equal(leaves(tmp_path / "0.npz"), leaves(tmp_path / "1.npz"))
    assert_close(leaves(tmp_path / "0.npz"), alone)


@pytest.mark.slow
def test_a_terminated_run_goes_on_bit_for_bit(alone, tmp_path):
    command = (tmp_path / "out.npz", 1, f"--workdir={tmp_path}", "--slow_s=0.2")
    process = start(*command)
    wait_for(process, "step 3")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert "stopped by SIGTERM after step" in output
    process = start(*command)
    wait_for(process, "step 5")
    process.kill()
    process.communicate()
    finish(start(*command))
    assert_equal(leaves(tmp_path / "out.npz"), alone)


def test_a_signal_saves_the_newest_step(tmp_path):
    def interrupt(step, state):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped) as stop:
        run(workdir=tmp_path, save_every=100, on_step=interrupt)
    assert (stop.value.step, stop.value.signum) == (4, signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    _, losses = run(workdir=tmp_path, save_every=100)
    assert min(losses) == 5


def test_a_signal_after_the_last_step_is_not_lost(tmp_path):
    def interrupt(step, state):
        if step == 8:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="stopped by SIGINT after step 8"):
        run(8, workdir=tmp_path, on_step=interrupt)


def test_the_loss_of_every_step_of_an_epoch_counts_once_resumed_or_not(tmp_path):
    means = {}

    def note(step, state):
        means[step] = epoch_means(state)["loss"]

    def note_and_stop(step, state):
        note(step, state)
        if step in (3, 7):
            os.kill(os.getpid(), signal.SIGINT)

    run(12, workdir=tmp_path / "whole", on_step=note)
    _, losses = run(12, workdir=tmp_path / "each", save_every=1)  # so each one is seen
    for step, mean in means.items():
        first = (step - 1) // 5 * 5 + 1
        wanted = np.mean([losses[i] for i in range(first, step + 1)])
        np.testing.assert_allclose(mean, wanted, rtol=1e-6)
    whole, means = dict(means), {}
    for _ in range(2):
        with pytest.raises(Stopped):
            run(12, workdir=tmp_path / "parts", on_step=note_and_stop)
    run(12, workdir=tmp_path / "parts", on_step=note)
    assert means.items() <= whole.items()
    assert means[12] == whole[12]


def test_a_loss_that_is_not_finite_names_its_step_and_the_last_checkpoint(tmp_path):
    with pytest.raises(
        FloatingPointError, match=r"step 6 is not finite \(.*loss nan\); .* of step 4"
    ):
        run(8, workdir=tmp_path, poison=5)
    _, losses = run(8, workdir=tmp_path)
    assert min(losses) == 5


def test_a_gradient_that_is_not_finite_is_never_saved(tmp_path):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            return nn.Dense(1)(images)

    mesh, images, optimiser = make_mesh(), np.ones((2, 3), np.float32), optax.sgd(1.0)
    root = Method(1, None, lambda outputs, targets: jnp.sqrt(0 * outputs[:, 0]))
    state = init_state(jax.random.key(0), Net(), optimiser, images, mesh)
    steps = train(
        state,
        make_train_step(Net(), root, optimiser, mesh),
        lambda step: (images, Targets(images)),
        jax.random.key(1),
        mesh,
        num_steps=1,
        checkpoints=Checkpoints(tmp_path),
        save_every=1,
    )
    with pytest.raises(FloatingPointError, match=r"gradient_norm nan, loss 0.0\); no checkpoint"):
        next(steps)
    assert not any(tmp_path.iterdir())


def test_metrics_of_a_step_are_seen_in_order(tmp_path):
    _, losses = run(8, workdir=tmp_path, save_every=100)
    found = [loss for loss in losses.values() if loss is not None]
    assert len(found) >= 5
    assert np.isfinite(found).all()


def test_training_learns(tmp_path):
    _, losses = run(300, workdir=tmp_path, save_every=300)
    assert losses[300] < 0.1 * losses[4]


@pytest.mark.parametrize(("num", "batch_size"), [(40, 16), (40, 8), (5, 12)])
def test_every_sample_comes_once_an_epoch(num, batch_size):
    taken = np.concatenate([batch_indices(num, batch_size, step, 0) for step in range(15)])
    epochs = [taken[i : i + num] for i in range(0, len(taken) - num, num)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], batch_indices(num, num, 0, 1))


def test_caffe_sgd_is_caffes():
    weights = np.array([1.0, -2.0])
    expected, velocity = weights.copy(), np.zeros(2)
    rates = [0.1, 0.1, 0.01, 0.01]
    optimiser = caffe_sgd(lambda step: jnp.array(rates)[step], momentum=0.9, weight_decay=0.02)
    params, gradients = jnp.array(weights), np.random.default_rng(0).normal(size=(4, 2))
    state = optimiser.init(params)
    for rate, gradient in zip(rates, gradients, strict=True):
        moves, state = optimiser.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = params + moves
        velocity = 0.9 * velocity + rate * (gradient + 0.02 * expected)
        expected -= velocity
    np.testing.assert_allclose(params, expected, rtol=1e-5)


@pytest.mark.parametrize("num", [1, 7, 8, 9])
def test_evaluation_of_any_number_of_samples(num):
    mesh = make_mesh()
    step = jax.jit(lambda variables, images, targets: {"sum": variables * images + targets.joints})
    images = np.arange(num * 3, dtype=np.float32).reshape(num, 3)
    source = Source(num, lambda index: (images[index], Targets(images[index])))
    found = evaluate(step, jnp.float32(2), source, mesh, 4)
    np.testing.assert_array_equal(found["sum"], 3 * images)


def test_a_batch_is_split_over_the_mesh():
    mesh = make_mesh()
    batch = share_batch({"x": np.zeros((4, 3), np.float32)}, mesh)
    assert {shard.data.shape for shard in batch["x"].addressable_shards} == {(2, 3)}
