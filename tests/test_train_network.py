"""Laws of `train_network`: anybody's network in one call, and gates before anything is compiled."""

import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from kinpose import forward_kinematics
from kinpose.methods import direct_parameter, kinematic_joint
from kinpose.optimisers import one_cycle_adam
from kinpose.skeletons import toy
from kinpose.stopping import Stopped
from kinpose.train import Source, array_source, train_network
from kinpose.workdir import read_metrics

SKELETON, LENGTH = toy(3), 45.0
FEW = {"epochs": 3, "batch_size": 8}  # nine steps


class Net(nn.Module):
    num_outputs: int = 3

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(images))
        x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
        return nn.Dense(self.num_outputs)(x)


class NnxNet(nnx.Module):
    def __init__(self, *, rngs):
        self.first = nnx.Linear(6, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.last = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, images, *, train=False):
        x = self.norm(self.first(images), use_running_average=not train)
        return self.last(self.drop(nnx.relu(x), deterministic=not train))


class NeverTrains(Net):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.num_outputs)(images)


class AlwaysTrains(Net):
    @nn.compact
    def __call__(self, images, *, train=True):
        return nn.Dense(self.num_outputs)(images)


def make_samples(num, dtype=np.float32):
    params = np.random.default_rng(num).uniform(0.2, 0.8, (num, 3))
    joints = np.asarray(forward_kinematics(params.astype(np.float32), SKELETON))
    return array_source(joints.reshape(num, -1).astype(dtype) / dtype(LENGTH), joints, params)


@pytest.fixture(scope="module")
def sets():
    return make_samples(24), make_samples(5)


@pytest.fixture(scope="module")
def method():
    return kinematic_joint(SKELETON, np.full(3, 0.5, np.float32), np.ones(3, np.float32), LENGTH)


@pytest.fixture(autouse=True)
def promotion():
    """As users have it: optax's Adam mixes types."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def assert_equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_a_stopped_call_goes_on_bit_for_bit_and_another_recipe_does_not(sets, method, tmp_path):
    calls = []

    def count(found):
        calls.append(len(found.joints))
        return {"calls": 1.0}

    def stop(found):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"calls": 1.0}

    whole = train_network(tmp_path / "a", Net(), method, *sets, score=count, **FEW)
    assert calls == [5, 5, 5]
    rows = read_metrics(tmp_path / "a")
    assert [row["step"] for row in rows] == [3, 6, 9]
    assert {"epoch", "loss", "gradient_norm", "test_loss", "images_per_s"} <= rows[0].keys()
    with pytest.raises(Stopped, match="after step 4"):
        train_network(tmp_path / "b", Net(), method, *sets, score=stop, **FEW)
    parts = train_network(tmp_path / "b", Net(), method, *sets, score=count, **FEW)
    again = read_metrics(tmp_path / "b")
    assert_equal(whole.variables, parts.variables)
    same = [{k: x for k, x in row.items() if k != "images_per_s"} for row in (*rows, *again)]
    assert same[:3] == same[3:]
    found = train_network(tmp_path / "b", Net(), method, *sets, score=count, **FEW)
    assert_equal(whole.variables, found.variables)
    assert read_metrics(tmp_path / "b") == again
    with pytest.raises(ValueError, match="seed: 0 there, 1 here"):
        train_network(tmp_path / "b", Net(), method, *sets, seed=1, **FEW)


def test_what_is_trained_predicts_as_model_and_method_do(sets, method, tmp_path):
    sizes = []

    def optimiser(num_steps):
        sizes.append(num_steps)
        return one_cycle_adam(num_steps, peak=0.05)

    recipe = {"epochs": 15, "batch_size": 8, "optimiser": optimiser}
    trained = train_network(tmp_path, Net(), method, sets[0], **recipe)
    assert sizes == [45]
    rows = read_metrics(tmp_path)
    assert "test_loss" not in rows[0]
    assert rows[-1]["loss"] < 0.2 * rows[0]["loss"]
    found, losses = trained.evaluate(sets[1])
    images, targets = sets[1].load(np.arange(5))
    outputs = Net().apply(trained.variables, images)
    np.testing.assert_allclose(method.predict(outputs).joints, found.joints, atol=1e-3)
    np.testing.assert_allclose(method.loss(outputs, targets), losses, rtol=1e-3, atol=1e-5)


def test_a_network_of_nnx_is_trained_by_its_bridge(sets, method, tmp_path):
    net = nnx.bridge.ToLinen(NnxNet, metadata_fn=None)
    trained = train_network(tmp_path, net, method, *sets, optimiser=optax.adam(0.01), **FEW)
    assert trained.variables.keys() == {"params", "batch_stats"}
    assert np.abs(trained.variables["batch_stats"]["norm"]["mean"]).max() > 0
    again = train_network(tmp_path, net, method, *sets, optimiser=optax.adam(0.01), **FEW)
    assert_equal(trained.variables, again.variables)


def broken(change):
    """The samples of `make_samples(24)` with something else in them."""
    source = make_samples(24)

    def load(index):
        return change(*source.load(index))

    return Source(source.num, load)


WRONG = {
    "an nnx module": (
        lambda: {"model": NnxNet(rngs=nnx.Rngs(0))},
        "Linen module, but got NnxNet; flax.nnx.bridge.ToLinen",
    ),
    "no train": (
        lambda: {"model": NeverTrains()},
        r"model must take train=False, .* NeverTrains.__call__ takes self, images",
    ),
    "train by default": (lambda: {"model": AlwaysTrains()}, "model must take train=False"),
    "outputs": (
        lambda: {"model": Net(4)},
        r"must give 3 outputs, .*: \(2, 3\) for 2 images, but gives float32\[2, 4\]",
    ),
    "other images": (
        lambda: {"test_set": make_samples(5, np.float16)},
        r"those of train_set are float32\[2, 6\] and those of test_set float16",
    ),
    "images of another kind": (
        lambda: {"train_set": broken(lambda x, y: (x[:, None] > 0, y)), "test_set": None},
        r"model must give .* but gives float32\[2, 1, 3\]",
    ),
    "other joints": (
        lambda: {"train_set": broken(lambda x, y: (x, y._replace(joints=y.joints[:, :2])))},
        r"joints must be as the method predicts them, \(2, 3, 2\) .* are \(2, 2, 2\)",
    ),
    "no params": (
        lambda: {
            "method": direct_parameter(SKELETON, np.zeros(3), np.ones(3)),
            "train_set": broken(lambda x, y: (x, y._replace(params=None))),
        },
        "method cannot be applied to targets of .*params None",
    ),
    "no targets": (
        lambda: {"train_set": broken(lambda x, y: (x, y.joints))},
        "train_set.load must give images and Targets, but gave ndarray",
    ),
    "rows": (
        lambda: {"test_set": broken(lambda x, y: (x[0], y))},
        r"test_set.load must give a row per index, but gave .* float32\[6\]",
    ),
    "arrays": (
        lambda: {"train_set": (np.zeros((24, 6)), np.zeros((24, 3, 2)))},
        "train_set must be a Source, such as array_source makes of arrays, but got tuple",
    ),
    "nothing": (
        lambda: {"test_set": array_source(np.zeros((0, 6)), np.zeros((0, 3, 2)))},
        "test_set has no samples",
    ),
    "batch for devices": (
        lambda: {"batch_size": 7},
        "batch_size must be a multiple of 2, the number of devices, but got 7",
    ),
    "batch for samples": (lambda: {"batch_size": 80}, "batch_size must be at most 72"),
    "epochs": (lambda: {"epochs": 0}, "epochs must be a whole number of at least 1, but got 0"),
    "save_every": (lambda: {"save_every": 0}, "save_every must be a whole number of at least 1"),
    "joints to test with": (
        lambda: {"test_set": broken(lambda x, y: (x, y._replace(joints=y.joints[:, :2])))},
        r"joints must be as the method predicts them, \(2, 3, 2\) .* of test_set are \(2, 2, 2\)",
    ),
    "no params to test with": (
        lambda: {
            "method": direct_parameter(SKELETON, np.zeros(3), np.ones(3)),
            "test_set": broken(lambda x, y: (x, y._replace(params=None))),
        },
        "method cannot be applied to targets of test_set.*params None",
    ),
    "an address": (lambda: {"directory": "gs://bucket/run"}, "gs://bucket/run is an address"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_suit_is_named_before_anything_is_compiled(
    what, sets, method, tmp_path, caplog
):
    change, message = WRONG[what]
    right = {"model": Net(), "method": method, "train_set": sets[0], "test_set": sets[1]} | FEW
    given = {"directory": tmp_path / "new"} | right | change()
    with jax.log_compiles(), pytest.raises(ValueError, match=message):
        train_network(**given)
    assert not [record for record in caplog.records if "compil" in record.getMessage()]
    assert not (tmp_path / "new").exists()


def test_a_loss_for_the_whole_batch_is_refused(sets, method, tmp_path):
    mean = method._replace(loss=lambda *args: jnp.mean(method.loss(*args)))
    with pytest.raises(ValueError, match=r"one loss per image, but gives float32\[\]"):
        train_network(tmp_path / "new", Net(), mean, *sets, **FEW)


def test_what_training_begins_with_is_copied_and_what_the_optimiser_knows(sets, method, tmp_path):
    first = train_network(tmp_path / "a", Net(), method, sets[0], **FEW)
    before = jax.device_get(first.variables)
    half = jax.tree.map(lambda x: np.asarray(x, np.float16), before)
    keeps = optax.contrib.schedule_free_sgd(1e-12)  # which keeps a copy of the weights
    more = {"optimiser": keeps} | FEW
    for i, given in enumerate((first.variables, half)):
        found = train_network(
            tmp_path / f"b{i}", Net(), method, sets[0], init=lambda _, x=given: x, **more
        )
        params = jax.tree.leaves(found.variables["params"])
        for value, known in zip(params, jax.tree.leaves(before["params"]), strict=True):
            assert value.dtype == np.float32
            np.testing.assert_allclose(value, known, atol=2e-3)
    assert_equal(jax.device_get(first.variables), before)
    assert len(first.evaluate(sets[1])[1]) == 5
    others = Net(4).init(jax.random.key(0), np.zeros((1, 6)))
    with pytest.raises(ValueError, match=r"bias.* is \(4,\) there and \(3,\) in the model"):
        train_network(tmp_path / "c", Net(), method, sets[0], init=lambda _: others, **FEW)


def test_counts_of_numpy_and_optimisers_of_any_kind(sets, method, tmp_path):
    recipe = {"epochs": np.int64(1), "batch_size": np.int64(8), "seed": np.int64(2)}
    every = optax.MultiSteps(optax.adam(1e-3), 2)
    plateau = optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau())  # asks for the loss
    train_set = Source(np.int64(24), sets[0].load)
    noisy = optax.noisy_sgd(1e-3, key=jax.random.key(0))  # its state has a key
    for name, optimiser in (("every", every), ("plateau", plateau), ("noisy", noisy)):
        train_network(tmp_path / name, Net(), method, train_set, optimiser=optimiser, **recipe)
        assert [row["step"] for row in read_metrics(tmp_path / name)] == [3]


def test_signals_are_given_back_where_a_score_fails(sets, method, tmp_path):
    def fail(found):
        raise RuntimeError("no score")

    before = [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)]
    try:
        train_network(tmp_path, Net(), method, *sets, score=fail, **FEW)
    except RuntimeError as error:
        kept = error  # and its frames, as a notebook keeps them
        after = [signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM)]
    assert after == before
    assert str(kept) == "no score"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": 1.0, "loss": 123.0}, r"names other than step, .*, loss, .*, but gives 'loss'"),
        *(({name: 1.0}, f"but gives '{name}'") for name in ("step", "epoch", "test_loss")),
        ({"gradient_norm": 1.0}, "but gives 'gradient_norm'"),
        ({"images_per_s": 1.0}, "but gives 'images_per_s'"),
        (None, "numbers by name, but gives None"),
        (np.ones(2), r"numbers by name, but gives float64\[2\]"),
        ({"a": np.ones(2)}, r"one number by each name, but 'a' is float64\[2\]"),
        ({"a": None}, "one number by each name, but 'a' is None"),
    ],
)
def test_scores_that_a_line_cannot_have_are_refused(found, message, sets, method, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_network(tmp_path, Net(), method, *sets, score=lambda _: found, **FEW)
    assert read_metrics(tmp_path) == []


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match="rows are: images 4, joints 3, scale 4"):
        array_source(np.zeros((4, 6)), np.zeros((3, 3, 2)), scale=np.ones(4))


def test_a_training_in_double_precision_is_resumed(method, tmp_path, x64):
    """Of a loss in float64, though totals are float32."""
    source, seen = make_samples(24), []

    def load(index):
        seen.append(index)
        if len(seen) == 7:
            raise RuntimeError("power cut")
        return source.load(index)

    recipe = {"epochs": 3, "batch_size": 8, "save_every": 1}
    with pytest.raises(RuntimeError, match="power cut"):
        train_network(tmp_path / "cut", Net(), method, Source(source.num, load), **recipe)
    resumed = train_network(tmp_path / "cut", Net(), method, source, **recipe)
    whole = train_network(tmp_path / "whole", Net(), method, source, **recipe)
    assert_equal(resumed.variables, whole.variables)
