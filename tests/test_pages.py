"""The examples of the pages run."""

import doctest
import pathlib

import pytest

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    "page", [pytest.param("robots.md", marks=pytest.mark.slow), "retargeting.md"]
)
def test_examples_run(page, monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.chdir(DOCS.parent)
    results = doctest.testfile(str(DOCS / page), module_relative=False)
    assert results.attempted > 0
    assert results.failed == 0
