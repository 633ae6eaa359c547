"""Laws of checkpoints: what is read is what was written, and nothing is lost."""

import errno
import os
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import load_file

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
    checkpoints = Checkpoints(directory, **options)
    for step in steps:
        checkpoints.save(step, make_state(step))


def restore(directory, like=None):
    return Checkpoints(directory).restore(make_state() if like is None else like)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_what_is_read_is_what_was_written(tmp_path):
    save_all(tmp_path, [7])
    step, state = restore(tmp_path)
    assert step == 7
    assert_same(state, make_state(7))


def test_the_file_is_one_that_safetensors_reads(tmp_path):
    save_all(tmp_path, [7])
    found = load_file(tmp_path / "7.safetensors")
    wanted = make_state(7)
    np.testing.assert_array_equal(found["weights.a/b"], wanted.weights["a/b"])
    assert found["weights.half"].dtype == jnp.bfloat16
    assert len(found) == len(jax.tree.leaves(wanted))


def test_an_empty_directory_has_none(tmp_path):
    assert restore(tmp_path / "new") is None


def test_the_newest_are_kept(tmp_path):
    save_all(tmp_path, [1, 2, 3, 4], keep=2)
    assert contents(tmp_path).keys() == {"3.safetensors", "4.safetensors"}


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def cut(path, place):
    path.write_bytes(path.read_bytes()[: place % path.stat().st_size])


def lengthen(path, place):
    path.write_bytes(path.read_bytes() + bytes(place % 9 + 1))


def take_for_another(path, place):
    path.write_bytes(path.with_name("1.safetensors").read_bytes())


@pytest.mark.parametrize("damage", [flip, cut, lengthen, take_for_another])
def test_a_damaged_file_is_passed_over_and_kept_aside(damage, tmp_path):
    save_all(tmp_path, [1, 2])
    path = tmp_path / "2.safetensors"
    whole, size = path.read_bytes(), path.stat().st_size
    for place in [*range(0, 40), *np.random.default_rng(0).integers(0, size, 40)]:
        path.write_bytes(whole)
        damage(path, int(place))
        before = contents(tmp_path)
        step, state = restore(tmp_path)
        assert step == 1
        assert_same(state, make_state(1))
        assert contents(tmp_path) == before
    for _ in range(2):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.restore(make_state())
        checkpoints.save(2, make_state(2))
        assert_same(restore(tmp_path)[1], make_state(2))
        damage(path, 50)
    name = "2.safetensors.damaged"
    assert contents(tmp_path)[name] == before["2.safetensors"]
    assert restore(tmp_path)[0] == 1


def test_where_all_are_damaged_nothing_begins_anew(tmp_path):
    save_all(tmp_path, [1, 2])
    for step in (1, 2):
        (tmp_path / f"{step}.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="all checkpoints are damaged, of steps 2, 1"):
        restore(tmp_path)


def test_what_cannot_be_read_now_is_an_error_and_nothing_is_touched(tmp_path):
    save_all(tmp_path, [1])
    path = tmp_path / "2.safetensors"
    path.symlink_to(path)  # even root cannot read it
    with pytest.raises(OSError, match=r"2\.safetensors"):
        restore(tmp_path)
    assert path.is_symlink()


@pytest.mark.parametrize("name", ["999", "999.safetensors", "default", "3.orbax-checkpoint-tmp"])
def test_stray_directories_hide_nothing(name, tmp_path):
    save_all(tmp_path, [1])
    (tmp_path / name / "default").mkdir(parents=True)
    assert restore(tmp_path)[0] == 1
    save_all(tmp_path, [2])
    assert restore(tmp_path)[0] == 2


def test_checkpoints_of_another_form_do_not_begin_a_training_anew(tmp_path):
    (tmp_path / "20" / "state").mkdir(parents=True)
    with pytest.raises(ValueError, match="has 20, which is no checkpoint of this version"):
        restore(tmp_path)


def test_a_later_step_is_never_lost_to_an_earlier_one(tmp_path):
    save_all(tmp_path, [5])
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="has a checkpoint of step 5, so step 4 cannot"):
        save_all(tmp_path, [4])
    assert contents(tmp_path) == before


def test_a_failed_save_names_directory_and_step_and_loses_nothing(tmp_path, monkeypatch):
    save_all(tmp_path, [1])
    before = contents(tmp_path)

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="step 2 cannot be saved: No space left") as error:
            save_all(tmp_path, [2])
    assert error.value.filename == str(tmp_path)
    assert contents(tmp_path) == before
    save_all(tmp_path, [2])
    assert restore(tmp_path)[0] == 2


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
    Checkpoints(tmp_path).save(1, state)
    sharding = NamedSharding(make_mesh(), spec)
    _, found = restore(tmp_path, {"w": jax.device_put(jnp.zeros(8), sharding)})
    assert found["w"].sharding == sharding
    assert_same(found, state)


def test_a_killed_process_leaves_the_newest(tmp_path):
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
        saved = next(int(line) for line in process.stdout if int(line) >= 6)
        process.kill()
        saved = max([saved, *(int(line) for line in process.stdout)])
    step, state = restore(tmp_path)
    assert step >= saved
    assert_same(state, make_state(step))
    save_all(tmp_path, [step + 1])
    assert all(name.endswith(".safetensors") for name in contents(tmp_path))
    assert not any(name.startswith(".") for name in contents(tmp_path))


def test_a_part_of_a_state_can_be_read_alone(tmp_path):
    save_all(tmp_path, [3])
    step, found = Checkpoints(tmp_path).restore({"weights": make_state().weights}, part=True)
    with pytest.raises(ValueError, match="biases is missing there"):
        Checkpoints(tmp_path).restore({"biases": jnp.zeros(1)}, part=True)
    assert step == 3
    assert_same(found["weights"], make_state(3).weights)
