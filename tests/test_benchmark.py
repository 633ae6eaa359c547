"""The benchmark runs end to end on a tiny batch; its judge is tried on known answers."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments import benchmark_fit, benchmark_toynet

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(*arguments):
    command = [sys.executable, "-m", "experiments.benchmark", "--batch=3", "--rounds=1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_fit_suite_prints_a_table_and_writes_json(tmp_path):
    chosen = ("--contenders=kinpose,scipy", "--workloads=reachable", "--sample=2")
    result = run(*chosen, f"--output={tmp_path / 'fit.json'}")
    assert result.returncode == 0, result.stderr
    assert "ms per item" in result.stdout
    report = json.loads((tmp_path / "fit.json").read_text())
    rows = report["suites"]["fit"]
    assert [(row["contender"], row["items"]) for row in rows] == [("kinpose", 3), ("scipy", 2)]
    assert all(row["ms per item"] > 0 and row["peak MB"] >= 0 for row in rows)
    assert rows[0]["ratio"] == 1
    assert rows[0]["under 1 mm"] == 1
    assert report["machine"]["cores"] >= 1


@pytest.mark.parametrize("kind", ["suite", "workload", "contender"])
def test_an_unknown_name_is_refused(kind):
    result = run(f"--{kind}=nobody" if kind == "suite" else f"--{kind}s=nobody")
    assert result.returncode != 0
    assert f"there is no {kind} ['nobody']; choose from ['" in result.stderr


def test_the_judge_counts_what_was_found():
    truth, shifted = np.zeros((4, 27)), np.zeros((4, 27))
    shifted[:, 0] = [0, 0.05e-3, 0.5e-3, 0.5]  # m
    points = np.asarray(benchmark_fit.POSITIONS(truth.astype(np.float32), benchmark_fit.HUMAN))
    scores = benchmark_fit.judge_fits(points, {"sample": truth[:2], "shifted": shifted})
    assert scores["sample"] == {"under 0.1 mm": 1.0, "under 1 mm": 1.0, "as the best": 1.0}
    assert scores["shifted"] == {"under 0.1 mm": 0.5, "under 1 mm": 0.75, "as the best": 0.75}


def test_the_toynet_suite_compares_training_steps(tmp_path):
    chosen = ("--suite=toynet", "--contenders=kinpose,plain", f"--output={tmp_path / 'net.json'}")
    result = run(*chosen)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "net.json").read_text())["suites"]["toynet"]
    assert [row["as the first"] for row in rows] == [True, True]


def test_a_network_that_computes_something_else_is_called_wrong():
    right = np.ones((3, 18))
    scores = benchmark_toynet.judge({}, {"kinpose": right, "other": right + 0.1})
    assert [row["as the first"] for row in scores.values()] == [True, False]
