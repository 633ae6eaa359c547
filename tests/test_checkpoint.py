"""Laws of checkpoints: what is read is what was written, and nothing is lost."""

import errno
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
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
    checkpoints = Checkpoints(directory, **options)
    for step in steps:
        checkpoints.save(step, make_state(step))


def restore(directory, like=None):
    return Checkpoints(directory).restore(make_state() if like is None else like)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_of_random_numbers_come_back_as_such(tmp_path, impl):
    state = {"key": jax.random.key(3, impl=impl), "many": jax.random.split(jax.random.key(4), 5)}
    Checkpoints(tmp_path).save(1, state)
    like = jax.tree.map(lambda key: jax.random.fold_in(key, 7), state["key"])
    _, found = Checkpoints(tmp_path).restore({"key": like, "many": state["many"][::-1]})
    for key in state:
        assert found[key].dtype == state[key].dtype
        draw = jax.random.key_data(found[key]), jax.random.key_data(state[key])
        np.testing.assert_array_equal(*draw)


def contents(directory):
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def files_of(step):
    """Those of which a step consists, the large ones first."""
    found = [path for path in step.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: (-path.stat().st_size, path))


def test_what_is_read_is_what_was_written(tmp_path):
    save_all(tmp_path, [7])
    step, state = restore(tmp_path)
    assert step == 7
    assert_same(state, make_state(7))


def test_a_step_is_one_that_orbax_reads(tmp_path):
    save_all(tmp_path, [7])
    found = ocp.StandardCheckpointer().restore(tmp_path / "7" / "leaves")
    wanted = make_state(7)
    np.testing.assert_array_equal(found["weights.a/b"], wanted.weights["a/b"])
    assert found["weights.half"].dtype == jnp.bfloat16
    assert len(found) == len(jax.tree.leaves(wanted))


def test_empty_arrays_and_odd_names_are_kept(tmp_path):
    state = {"none": jnp.zeros((0, 3)), "../up": jnp.ones(2), "": {"ä.b": jnp.zeros(1, bool)}}
    Checkpoints(tmp_path).save(0, state)
    assert_same(restore(tmp_path, state)[1], state)
    with pytest.raises(ValueError, match="none is missing there"):
        restore(tmp_path, state | {"none": jnp.zeros(1)})
    with pytest.raises(ValueError, match=r"up is float32\[2\] there, float32\[0\] here"):
        restore(tmp_path, state | {"../up": jnp.zeros(0)})


def test_an_empty_directory_has_none(tmp_path):
    assert restore(tmp_path / "new") is None


def test_the_newest_are_kept(tmp_path):
    save_all(tmp_path, [1, 2, 3, 4], keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"3", "4"}


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def cut(path, place):
    path.write_bytes(path.read_bytes()[: place % path.stat().st_size])


def lengthen(path, place):
    path.write_bytes(path.read_bytes() + bytes(place % 9 + 1))


def remove(path, place):
    path.unlink()


def write_a_directory(path, place):
    path.unlink()
    path.mkdir()


def damage_one(damage, step, place):
    """Not so that the step has no checksums, or what is listed is not what is read."""
    files = files_of(step)
    path = files[place % len(files)]
    if path.name == "checksums.json" and damage in (remove, write_a_directory):
        path = files[0]
    damage(path, place)


def take_for_another(step, place):
    shutil.rmtree(step)
    shutil.copytree(step.with_name("1"), step)


def change_what_is_listed(step, place):
    path = step / "checksums.json"
    known = json.loads(path.read_text())
    known["files"].pop(sorted(known["files"])[place % len(known["files"])])
    path.write_text(json.dumps(known, indent=1))


DAMAGES = {
    **{f.__name__: functools.partial(damage_one, f) for f in (flip, cut, lengthen)},
    **{f.__name__: functools.partial(damage_one, f) for f in (remove, write_a_directory)},
    **{f.__name__: f for f in (take_for_another, change_what_is_listed)},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_step_is_passed_over_and_kept_aside(damage, tmp_path):
    save_all(tmp_path / "whole", [1, 2])
    for place in range(11):
        copy = tmp_path / f"{place}"
        shutil.copytree(tmp_path / "whole", copy)
        damage(copy / "2", place)
        before = contents(copy)
        checkpoints = Checkpoints(copy)
        step, state = checkpoints.restore(make_state())
        assert step == 1
        assert_same(state, make_state(1))
        assert contents(copy) == before
    checkpoints.save(2, make_state(2))
    assert_same(restore(copy)[1], make_state(2))
    assert contents(copy / "2.damaged") == {
        name[2:]: content for name, content in before.items() if name.startswith("2/")
    }


def test_what_is_damaged_twice_is_kept_twice(tmp_path):
    save_all(tmp_path, [1])
    for _ in range(2):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.restore(make_state())
        checkpoints.save(2, make_state(2))
        flip(files_of(tmp_path / "2")[0], 50)
    checkpoints.restore(make_state())
    checkpoints.save(3, make_state(3))
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2.damaged", "2.damaged.1", "3"}


def test_a_step_that_has_lost_its_checksums_is_kept_aside(tmp_path):
    save_all(tmp_path, [1, 2])
    (tmp_path / "2" / "checksums.json").unlink()
    assert restore(tmp_path)[0] == 1
    save_all(tmp_path, [2])
    assert restore(tmp_path)[0] == 2
    assert (tmp_path / "2.damaged" / "leaves").is_dir()


def test_where_all_are_damaged_nothing_begins_anew(tmp_path):
    save_all(tmp_path, [1, 2])
    for step in (1, 2):
        files_of(tmp_path / f"{step}")[0].write_bytes(b"")
    with pytest.raises(ValueError, match="all checkpoints are damaged, of steps 2, 1"):
        restore(tmp_path)


@pytest.mark.parametrize("name", ["2", "2/checksums.json", "2/leaves/_METADATA"])
def test_what_cannot_be_read_now_is_an_error_and_nothing_is_touched(name, tmp_path):
    save_all(tmp_path, [1, 2])
    path = tmp_path / name
    path.rename(tmp_path / "aside")
    path.symlink_to(path)  # even root cannot read it
    with pytest.raises(OSError, match=rf"Too many levels .*/{name}"):
        restore(tmp_path)
    assert path.is_symlink()
    path.unlink()
    (tmp_path / "aside").rename(path)
    assert restore(tmp_path)[0] == 2


def test_what_orbax_cannot_read_of_a_whole_step_is_no_damage(tmp_path, monkeypatch):
    save_all(tmp_path, [1, 2])
    before = contents(tmp_path)

    def fail(*args):
        raise ValueError("INTERNAL: ... Failed to open [os_error_code='24']")

    with monkeypatch.context() as patch:
        patch.setattr(ocp.Checkpointer, "restore", fail)
        with pytest.raises(OSError, match="Too many open files") as error:
            restore(tmp_path)
    assert error.value.errno == errno.EMFILE
    assert error.value.filename == str(tmp_path / "2")
    assert contents(tmp_path) == before


def test_a_step_that_a_run_deletes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    save_all(tmp_path, [1, 2])

    def delete(self, path):
        shutil.rmtree(tmp_path / "2", ignore_errors=True)
        return read(self, path)

    read = ocp.Checkpointer.restore
    monkeypatch.setattr(ocp.Checkpointer, "restore", delete)
    assert restore(tmp_path)[0] == 1


@pytest.mark.parametrize("name", ["999", "999.tmp", "default", "3.orbax-checkpoint-tmp"])
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
    for step in (4, 5):
        with pytest.raises(ValueError, match=f"has a checkpoint of step 5, so step {step} cannot"):
            save_all(tmp_path, [step])
    assert contents(tmp_path) == before


def fail_to_sync(patch):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "fsync", full)


def fail_in_orbax(patch):
    def full(*args, **kwargs):
        raise ValueError("OUT_OF_RANGE: ... : No space left on device [os_error_code='28']")

    patch.setattr(ocp.Checkpointer, "save", full)


@pytest.mark.parametrize("fail", [fail_to_sync, fail_in_orbax])
def test_a_failed_save_names_directory_and_step_and_loses_nothing(fail, tmp_path, monkeypatch):
    save_all(tmp_path, [1])
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(OSError, match="step 2 cannot be saved: No space left") as error:
            save_all(tmp_path, [2])
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path))
    assert contents(tmp_path) == before
    save_all(tmp_path, [2])
    assert restore(tmp_path)[0] == 2


def test_a_full_disk_is_found_before_orbax_prints_of_it(tmp_path, capfd):
    save_all(tmp_path, [1])
    before, limits = contents(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="step 2 cannot be saved: File too large"):
            save_all(tmp_path, [2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == before
    assert capfd.readouterr() == ("", "")


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
    assert {path.name for path in tmp_path.iterdir()} == {f"{step}", f"{step + 1}"}


def test_a_part_of_a_state_can_be_read_alone(tmp_path):
    save_all(tmp_path, [3])
    step, found = Checkpoints(tmp_path).restore({"weights": make_state().weights}, part=True)
    with pytest.raises(ValueError, match="biases is missing there"):
        Checkpoints(tmp_path).restore({"biases": jnp.zeros(1)}, part=True)
    assert step == 3
    assert_same(found["weights"], make_state(3).weights)
