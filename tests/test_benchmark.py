"""The benchmark runs end to end on a tiny batch; its judge is tried on known answers."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from experiments import (
    benchmark,
    benchmark_fit,
    benchmark_fk,
    benchmark_fk_c,
    benchmark_page,
    benchmark_toynet,
    peers,
)
from experiments.benchmark_fk_poses import MEASURES, SKELETONS, Work, draw, draw_poses
from experiments.benchmark_report import format_table
from experiments.benchmark_suite import Contender, Plan

ROOT = pathlib.Path(__file__).resolve().parent.parent


SMALL = (
    "toy_10",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("human_17", "hand_31")),
)


def run(*arguments):
    command = [sys.executable, "-m", "experiments.benchmark", "--batch=3", "--rounds=1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "kind", ["suite", *(pytest.param(x, marks=pytest.mark.slow) for x in ("workload", "contender"))]
)
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


@pytest.mark.slow
def test_the_toynet_suite_compares_training_steps(tmp_path):
    chosen = ("--suite=toynet", "--contenders=kinpose,plain", f"--output={tmp_path / 'net.json'}")
    result = run(*chosen)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "net.json").read_text())["suites"]["toynet"]
    assert [row["right"] for row in rows] == [True, True]


def test_a_network_that_computes_something_else_is_called_wrong():
    right = np.ones((3, 18))
    scores = benchmark_toynet.judge({}, {"kinpose": right, "other": right + 0.1})
    assert [row["right"] for row in scores.values()] == [True, False]


def work_of(skeleton, measure, batch=19):
    return Work(SKELETONS[skeleton], measure, *draw_poses(batch, SKELETONS[skeleton]))


def verdict_on(name, work):
    result = benchmark_fk.FK.contenders[name].build(work)()
    return benchmark_fk.judge(work, {name: benchmark_fk.keep(result)})[name]


@pytest.mark.slow
def test_the_fk_suite_takes_several_batches(tmp_path):
    chosen = ("--suite=fk", "--contenders=kinpose", "--workloads=toy_10 value and gradient")
    result = run(*chosen, "--batch=1,5", f"--output={tmp_path / 'fk.json'}")
    assert result.returncode == 0, result.stderr
    assert "us per item" in result.stdout
    rows = json.loads((tmp_path / "fk.json").read_text())["suites"]["fk"]
    assert [(row["items"], row["ratio"], row["right"]) for row in rows] == [
        (1, 1, True),
        (5, 1, True),
    ]


@pytest.mark.parametrize(
    "batch", ["4,-1", *(pytest.param(x, marks=pytest.mark.slow) for x in ("0", "many"))]
)
def test_a_batch_is_a_positive_number(batch):
    result = run(f"--batch={batch}")
    assert result.returncode != 0
    assert "batch must be" in result.stderr


def test_workloads_too_large_are_left_out():
    assert len(draw(1)) == len(SKELETONS) * len(MEASURES)
    assert {"human_17 Jacobian", "chain_64 forward"} < set(draw(65536))
    assert not [name for name in draw(65536) if name.startswith("chain_512")]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("skeleton", SMALL)
@pytest.mark.parametrize(
    ("name", "package"),
    [("kinpose", "kinpose"), ("mujoco", "mujoco"), ("pinocchio", "pinocchio"), ("torch", "torch")],
)
def test_contenders_compute_the_same(name, package, skeleton, measure):
    pytest.importorskip(package, reason="in the extra bench")
    assert verdict_on(name, work_of(skeleton, measure))["right"]


@pytest.mark.parametrize("measure", MEASURES[:2])
@pytest.mark.parametrize("skeleton", SMALL)
def test_the_c_program_computes_the_same(skeleton, measure):
    if not shutil.which(benchmark_fk_c.COMPILER):
        pytest.skip("there is no C compiler")
    assert verdict_on("c", work_of(skeleton, measure))["right"]


@pytest.mark.parametrize("measure", MEASURES)
def test_kinematics_that_compute_something_else_are_called_wrong(measure):
    work = work_of("toy_10", measure)
    count, rows, value = benchmark_fk.keep(benchmark_fk.build_kinpose(work)())
    spoiled = rows.copy()
    spoiled.flat[-1] += 0.01 * np.abs(rows).max()
    broken = np.where(rows == rows.max(), np.nan, rows)
    answers = {"kinpose": rows, "other": spoiled, "broken": broken, "short": rows[..., :-1]}
    scores = benchmark_fk.judge(work, {k: (count, x, value) for k, x in answers.items()})
    assert [row["right"] for row in scores.values()] == [True, False, False, False]
    if value:
        scores = benchmark_fk.judge(work, {"other": (count, rows, 1.01 * value)})
        assert not scores["other"]["right"]


def test_a_contender_called_wrong_has_no_time_and_no_ratio():
    work = draw(3)["toy_10 forward"]
    kept = benchmark_fk.keep(benchmark_fk.build_kinpose(work)())
    wrong = (kept[0], 2 * kept[1], kept[2])
    answers = {
        name: [benchmark.Answer(0.5, result, 1.0), benchmark.Answer(seconds, result, 1.0)]
        for name, result, seconds in (("kinpose", kept, 3e-6), ("torch", wrong, 1e-6))
    }
    rows = benchmark.compare(Plan("fk", [3]), "toy_10 forward", 3, answers)
    assert [row["us per item"] for row in rows] == [pytest.approx(1.0), None]
    assert [row["ratio"] for row in rows] == [pytest.approx(1.0), None]
    last = format_table(rows).splitlines()[-1].split()
    assert last[2:7] == ["torch", "3", "3", "-", "-"]
    assert last[-1] == "WRONG"


def test_what_is_not_there_is_skipped_with_a_message(capsys):
    contenders = {
        "here": Contender(len),
        "peer": Contender(len, "no_such_package"),
        "part": Contender(len, "no_such_package.part"),
        "program": Contender(len, program="no-such-compiler"),
    }
    assert benchmark.installed(list(contenders), contenders) == ["here"]
    assert capsys.readouterr().out.splitlines() == [
        "peer is skipped: no_such_package is not installed (extra bench).",
        "part is skipped: no_such_package.part is not installed (extra bench).",
        "program is skipped: there is no program no-such-compiler.",
    ]


@pytest.mark.parametrize("skeleton", SMALL)
def test_a_motion_tree_reads_the_parameters_of_its_skeleton(skeleton):
    tree, params = peers.motion_tree(SKELETONS[skeleton]), work_of(skeleton, "forward").params
    np.testing.assert_allclose(
        tree.amounts(params), params @ tree.matrix.T + tree.biases, rtol=1e-6
    )


def test_what_the_page_measures_is_known_and_fits():
    for plan in (plan for table in benchmark_page.PAGE for plan in table.plans):
        suite = benchmark.SUITES[plan.suite]
        assert set(plan.contenders or ()) <= set(suite.contenders)
        for batch in plan.batch if plan.suite == "fk" else ():
            assert set(plan.workloads) <= set(suite.draw(batch))


def test_the_page_shows_times_with_ratios_and_nothing_for_what_is_wrong():
    def row(contender, batch, ms, first):
        names = ("workload", "contender", "batch", "ms per item", "ratio", "first call s", "found")
        ratio = ms and ms / batch
        return dict(zip(names, ("fit", contender, batch, ms, ratio, first, 0.5), strict=True))

    rows = [row("ours", 2, 2.0, 1.25), row("theirs", 2, 5.0, 0.1), row("wrong", 2, None, 0.1)]
    table = benchmark_page.Table("Fits", (), ("first call s",))
    assert benchmark_page.format_table(table, [*rows, row("ours", 4, 4.0, 3.0)]) == (
        "### Fits\n\n"
        "| ms per item | batch | ours | theirs  |\n"
        "| ---         | ---   | ---  | ---     |\n"
        "| fit         | 2     | 2    | 5 (2.5) |\n"
        "| fit         | 4     | 4    |         |\n\n"
        "| first call s | batch | ours | theirs |\n"
        "| ---          | ---   | ---  | ---    |\n"
        "| fit          | 2     | 1.25 | 0.1    |\n"
        "| fit          | 4     | 3    |        |"
    )
