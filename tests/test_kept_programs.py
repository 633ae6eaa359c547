"""Laws of traced programs that are kept: the next process reads them, and never a wrong one."""

import dataclasses
import gc
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kinpose.fitting  # noqa: F401  its module, which a function hides
from kinpose import forward_kinematics
from kinpose._kernels import kept_programs as module
from kinpose._kernels.kept_programs import by_platform, kept
from kinpose.skeletons import toy

fit = sys.modules["kinpose.fitting.fit"]
pytest.importorskip("flatbuffers", reason="programs are kept with kinpose[export]")


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_folder", lambda: tmp_path / "programs")
    return tmp_path / "programs"


def fitted(skeleton, stop=60, size=3):
    """As another process finds it: nothing of what was traced before is known to this `jit`."""
    whole = kept(fit._fit_batch.__wrapped__)
    run = jax.jit(whole, static_argnames=("method", "max_iterations"))
    params = np.full((size, skeleton.num_dofs), 0.3, np.float32)
    points = np.asarray(forward_kinematics(params, skeleton))
    rows = points, np.ones(points.shape[:2], np.float32), None
    args = rows, np.float32(0), skeleton, np.float32(3e-6)
    return run(*args, method="least_squares", max_iterations=stop)


def refuse(*_):
    raise AssertionError("traced")


def test_the_next_process_traces_nothing(folder, monkeypatch):
    first = fitted(toy(6))
    (file,) = folder.iterdir()
    monkeypatch.setattr(fit, "_fit_block", refuse)
    again = fitted(toy(6))
    assert type(again) is type(first)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    longer = dataclasses.replace(toy(6), offsets=1.5 * toy(6).offsets)
    assert fitted(longer).residuals.max() < 0.01  # numbers are not a part of the program
    assert list(folder.iterdir()) == [file]


def test_what_is_different_is_not_taken_for_the_same(folder, monkeypatch):
    fitted(toy(6))
    monkeypatch.setattr(fit, "_fit_block", refuse)
    for others in ((toy(8),), (toy(6), 61), (toy(6), 60, 4)):
        with pytest.raises(AssertionError, match="traced"):
            fitted(*others)
    with jax.enable_x64(True), pytest.raises(AssertionError, match="traced"):
        fitted(toy(6))
    monkeypatch.setattr(module, "_source", lambda: "another version")
    with pytest.raises(AssertionError, match="traced"):
        fitted(toy(6))


@pytest.mark.parametrize("damage", [lambda x: b"", lambda x: x[:-9], lambda x: b"no program"])
def test_what_a_crash_damaged_is_made_anew(folder, damage, monkeypatch):
    first = fitted(toy(6))
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    np.testing.assert_array_equal(fitted(toy(6)).params, first.params)
    assert len(file.read_bytes()) > 0.9 * len(whole)
    monkeypatch.setattr(fit, "_fit_block", refuse)
    np.testing.assert_array_equal(fitted(toy(6)).params, first.params)


def test_a_folder_that_cannot_be_made_does_no_harm(folder):
    folder.write_text("a file")
    assert fitted(toy(6)).residuals.max() < 0.01


def test_what_cannot_be_written_leaves_nothing_behind(folder):
    fitted(toy(6))
    (file,) = folder.iterdir()
    file.unlink()
    file.mkdir()  # in whose place no file can be put
    assert fitted(toy(6)).residuals.max() < 0.01
    assert list(folder.iterdir()) == [file]


def test_who_may_read_files_of_this_process_may_read_programs(folder):
    fitted(toy(6))
    (program,) = folder.iterdir()
    (folder / "other").write_bytes(b"")
    assert program.stat().st_mode == (folder / "other").stat().st_mode


def test_a_switch_that_comes_too_late_names_no_program(folder, monkeypatch):
    fitted(toy(6))
    monkeypatch.setenv("KINPOSE_KERNELS", "off")  # which this process has not heeded
    monkeypatch.setattr(fit, "_fit_block", refuse)
    fitted(toy(6))
    monkeypatch.setattr(module, "KERNELS", False)
    with pytest.raises(AssertionError, match="traced"):
        fitted(toy(6))


def test_no_program_is_kept_for_the_devices_of_a_mesh(folder):
    with jax.set_mesh(jax.make_mesh((2,), ("poses",))):
        assert fitted(toy(6)).residuals.max() < 0.01
    assert not folder.exists()
    assert fitted(toy(6)).residuals.max() < 0.01


def test_where_nothing_is_kept_it_is_the_function(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_folder", lambda: None)
    assert fitted(toy(6)).residuals.max() < 0.01
    assert not list(tmp_path.iterdir())


def test_programs_are_kept_where_jax_keeps_its_own(monkeypatch, tmp_path):
    monkeypatch.undo()
    assert module._folder() is None  # tests compile most things once
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        assert module._folder() == tmp_path / "kinpose"
        jax.config.update("jax_compilation_cache_dir", "gs://bucket/programs")
        assert module._folder() is None
    finally:
        jax.config.update("jax_enable_compilation_cache", False)
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_number_without_a_type_of_its_own_stays_so():
    @jax.jit
    @kept
    def scaled(x, by):
        return x * by

    for _ in range(2):
        jax.clear_caches()
        assert scaled(jnp.zeros(3, jnp.bfloat16), 2.0).dtype == jnp.bfloat16


def test_only_the_branch_of_a_cpu_is_traced():
    branches = {"cpu": lambda x: x + 1, "default": refuse}

    def function(x):
        assert not gc.isenabled()
        return by_platform(x, **branches)

    assert jax.jit(kept(function))(jnp.zeros(3)).sum() == 3
    assert gc.isenabled()
    with pytest.raises(AssertionError, match="traced"):
        jax.jit(lambda x: by_platform(x, **branches))(jnp.zeros(3))
