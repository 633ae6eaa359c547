"""Laws of workdirs: one recipe each, and metrics that a resumed run continues."""

import json
import subprocess
import sys

import pytest

from kinpose.workdir import MetricsWriter, claim_workdir, read_metrics
from tests.conftest import ROOT

SETTINGS = {"epochs": 50, "rate": 1e-3, "bone_length": None, "methods": ("a", "b")}


def claim(path, settings):
    with claim_workdir(path, settings) as workdir:
        return workdir


def test_a_new_directory_is_made_and_found_again(tmp_path):
    with claim_workdir(tmp_path / "a" / "b", SETTINGS) as path:
        assert json.loads((path / "flags.json").read_text()) == SETTINGS | {"methods": ["a", "b"]}
    with claim_workdir(path, SETTINGS) as again:
        assert again == path


def test_every_difference_is_named_and_nothing_changes(tmp_path):
    path = claim(tmp_path, SETTINGS)
    before = (path / "flags.json").read_bytes()
    other = {"epochs": 51, "rate": 1e-3, "methods": ["a", "b"], "more": 1}
    with pytest.raises(ValueError, match="other settings") as error:
        claim(tmp_path, other)
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
        claim(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="is a file"):
        claim(tmp_path / "notes.txt", SETTINGS)
    (tmp_path / "flags.json").write_text("{")
    with pytest.raises(ValueError, match=r"flags\.json is not a whole JSON file"):
        claim(tmp_path, SETTINGS)


def test_a_second_process_is_refused_by_the_name_of_the_first(tmp_path):
    code = (
        "import sys; from kinpose.workdir import claim_workdir\n"
        "with claim_workdir(sys.argv[1], {}):\n"
        "    print('claimed', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as first:
        assert first.stdout.readline() == "claimed\n"
        with pytest.raises(ValueError, match=f"is in use by process {first.pid} on .*; wait"):
            claim(tmp_path, {})
        first.kill()
    assert claim(tmp_path, {}) == tmp_path


def test_what_a_kill_leaves_in_a_new_directory_does_no_harm(tmp_path):
    for name in (".lock", f".{'0' * 32}.json"):
        (tmp_path / name).write_text("")
    assert claim(tmp_path, {}) == tmp_path


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a": ' * 100_000, b"0" * 9999]
)
def test_damaged_settings_are_refused_by_name(damage, tmp_path):
    (tmp_path / "flags.json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"flags\.json .* Give another workdir"):
        claim(tmp_path, {})


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"3", b'{"loss": 1}', b'{"step": 1.5}', b'{"step": 2, "loss": "a"}', b"\xff{}"],
)
def test_a_damaged_line_is_left_out_with_a_warning(line, tmp_path, caplog):
    good = b'{"step": 1, "loss": 0.5}\n'
    (tmp_path / "metrics.jsonl").write_bytes(good + line + b"\n" + good)
    assert read_metrics(tmp_path) == 2 * [{"step": 1, "loss": 0.5}]
    assert "metrics.jsonl: line 2 is damaged" in caplog.text


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
