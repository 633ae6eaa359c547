"""The examples of the pages run."""

import doctest
import pathlib

import jax
import pytest

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    "page", [pytest.param("robots.md", marks=pytest.mark.slow), "retargeting.md", "training.md"]
)
def test_examples_run(page, monkeypatch, tmp_path):
    pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    for name in ("data", "docs"):
        (tmp_path / name).symlink_to(DOCS.parent / name)
    with jax.numpy_dtype_promotion("standard"):  # as readers have it
        results = doctest.testfile(str(DOCS / page), module_relative=False)
    assert results.attempted > 0
    assert results.failed == 0
