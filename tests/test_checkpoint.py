"""Laws of checkpoints: what is read is what was written, or the one before."""

import pathlib
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from kinpose.checkpoint import Checkpoints
from kinpose.mesh import make_mesh
from tests.conftest import ROOT


class State(NamedTuple):
    step: jax.Array
    weights: dict[str, Any]
    opt_state: Any


def make_state(seed=0, size=40):
    keys = jax.random.split(jax.random.key(seed))
    weights = {
        "a/b": jax.random.normal(keys[0], (size, 3)),
        "half": jax.random.normal(keys[1], (5,), jnp.bfloat16),
    }
    return State(jnp.int32(seed), weights, optax.adam(1e-3).init(weights))


def assert_same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def save_all(directory, steps, **options):
    with Checkpoints(directory, **options) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step))


def restore(directory, like=None):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.restore(make_state() if like is None else like)


def test_what_is_read_is_what_was_written(tmp_path):
    save_all(tmp_path, [7])
    step, state = restore(tmp_path)
    assert step == 7
    assert_same(state, make_state(7))


def test_an_empty_directory_has_none(tmp_path):
    assert restore(tmp_path / "new") is None


def test_the_newest_are_kept(tmp_path):
    save_all(tmp_path, [1, 2, 3, 4], keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]


def test_a_state_may_be_donated_once_saving_has_begun(tmp_path):
    state, destroy = make_state(1, 100_000), jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        destroy(state.weights["a/b"]).block_until_ready()
    assert_same(restore(tmp_path, make_state(1, 100_000))[1], make_state(1, 100_000))


def data_files(directory):
    return sorted(path for path in pathlib.Path(directory).rglob("*") if path.is_file())


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


# Orbax leaves the reads of other leaves running when one fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", [flip, empty, pathlib.Path.unlink])
def test_a_damaged_file_never_gives_a_wrong_state(damage, tmp_path):
    save_all(tmp_path / "whole", [1, 2])
    passed_over = 0
    for i, file in enumerate(data_files(tmp_path / "whole" / "2")):
        copy = tmp_path / str(i)
        shutil.copytree(tmp_path / "whole", copy)
        damage(copy / file.relative_to(tmp_path / "whole"))
        step, state = restore(copy)
        assert_same(state, make_state(step))
        passed_over += step == 1
    assert passed_over > 0


def test_an_empty_step_is_passed_over_and_replaced(tmp_path):
    save_all(tmp_path, [1])
    (tmp_path / "3").mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(make_state())[0] == 1
        checkpoints.save(2, make_state(2))
        checkpoints.save(3, make_state(3))
    assert restore(tmp_path)[0] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s._replace(step=jnp.float32(0)), r"step is int32\[\] there, float32\[\] here"),
        (lambda s: make_state(0, 41), r"weights.a/b is float32\[40, 3\] there"),
        (lambda s: s._replace(weights={}), r"weights.a/b is float32\[40, 3\] there, missing here"),
        (
            lambda s: s._replace(weights=s.weights | {"c": jnp.zeros(1)}),
            r"weights.c is missing there, float32\[1\] here",
        ),
    ],
)
def test_a_state_of_another_form_is_refused_by_its_first_leaf(change, message, tmp_path):
    save_all(tmp_path, [1])
    with pytest.raises(ValueError, match=message):
        restore(tmp_path, change(make_state()))


@pytest.mark.parametrize("spec", [PartitionSpec(), PartitionSpec("batch")])
def test_a_state_goes_to_the_devices_that_are_asked_for(spec, tmp_path):
    state = {"w": jnp.arange(8.0)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    sharding = NamedSharding(make_mesh(), spec)
    _, found = restore(tmp_path, {"w": jax.device_put(jnp.zeros(8), sharding)})
    assert found["w"].sharding == sharding
    assert_same(found, state)


def test_an_error_in_the_block_loses_no_checkpoint(tmp_path):
    def save_and_fail():
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(5, make_state(5))
            raise RuntimeError("after saving")

    with pytest.raises(RuntimeError, match="after saving"):
        save_and_fail()
    assert restore(tmp_path)[0] == 5


def test_a_killed_process_leaves_the_newest_or_the_one_before(tmp_path):
    code = (
        "import sys; from kinpose.checkpoint import Checkpoints\n"
        "from tests.test_checkpoint import make_state\n"
        "checkpoints = Checkpoints(sys.argv[1])\n"
        "for step in range(1, 1000):\n"
        "    checkpoints.save(step, make_state(step))\n"
        "    print(step, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        begun = next(int(line) for line in process.stdout if int(line) >= 6)
        process.kill()
        begun = max([begun, *(int(line) for line in process.stdout)])
    step, state = restore(tmp_path)
    assert step >= begun - 1
    assert_same(state, make_state(step))


def test_a_part_of_a_state_can_be_read_alone(tmp_path):
    save_all(tmp_path, [3])
    with Checkpoints(tmp_path) as checkpoints:
        step, found = checkpoints.restore({"weights": make_state().weights}, part=True)
        with pytest.raises(ValueError, match="biases is missing there"):
            checkpoints.restore({"biases": jnp.zeros(1)}, part=True)
    assert step == 3
    assert_same(found["weights"], make_state(3).weights)
