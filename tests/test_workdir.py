"""Laws of workdirs: one recipe each, and metrics that a resumed run continues."""

import json

import pytest

from kinpose.workdir import MetricsWriter, claim_workdir, read_metrics

SETTINGS = {"epochs": 50, "rate": 1e-3, "bone_length": None, "methods": ("a", "b")}


def test_a_new_directory_is_made_and_found_again(tmp_path):
    path = claim_workdir(tmp_path / "a" / "b", SETTINGS)
    assert json.loads((path / "flags.json").read_text()) == SETTINGS | {"methods": ["a", "b"]}
    assert claim_workdir(path, SETTINGS) == path


def test_every_difference_is_named_and_nothing_changes(tmp_path):
    path = claim_workdir(tmp_path, SETTINGS)
    before = (path / "flags.json").read_bytes()
    other = {"epochs": 51, "rate": 1e-3, "methods": ["a", "b"], "more": 1}
    with pytest.raises(ValueError, match="other settings") as error:
        claim_workdir(tmp_path, other)
    for part in (
        "bone_length: None there, not set here",
        "epochs: 50 there, 51 here",
        "more: not set there, 1 here",
        "another workdir",
    ):
        assert part in str(error.value)
    assert "rate" not in str(error.value)
    assert "methods" not in str(error.value)
    assert (path / "flags.json").read_bytes() == before


def test_directories_of_something_else_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"has files and no flags\.json"):
        claim_workdir(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="is a file"):
        claim_workdir(tmp_path / "notes.txt", SETTINGS)
    (tmp_path / "flags.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        claim_workdir(tmp_path, SETTINGS)


def test_a_resumed_run_drops_what_it_writes_again(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"loss": float(step)})
    with MetricsWriter(tmp_path, first_step=2) as writer:
        writer.write(3, {"loss": 9.0})
    assert [row["loss"] for row in read_metrics(tmp_path)] == [1.0, 2.0, 9.0]


def test_a_line_cut_short_is_left_out(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": 1.0})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}]
    with MetricsWriter(tmp_path, first_step=2) as writer:
        writer.write(3, {"loss": 3.0})
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 3]


def test_numbers_that_json_lacks_are_null(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": float("nan"), "rate": float("inf")})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": None, "rate": None}]


def test_tensorboard_has_the_scalars(tmp_path):
    pytest.importorskip("tensorboardX")
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": 0.25})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()
