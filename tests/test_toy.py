"""Laws of the toy experiment, run as a program on a few images."""

import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data.toy import load_toy, toy_object
from experiments.toy_methods import METHODS, direction_units, make_method
from experiments.toy_scores import format_table, model_fit, score, summarise
from kinpose.methods import Prediction
from tests.conftest import QUICK, ROOT

FEW = ("--num_train=96", "--num_test=20", "--epochs=2", "--batch_size=32")


def command(workdir, *flags):
    return [sys.executable, "-m", "experiments.toy", f"--workdir={workdir}", *FEW, *flags]


def environment():
    """One device, and code that LLVM does not optimise: it runs for a second."""
    return os.environ | {"XLA_FLAGS": QUICK}


def run(workdir, *flags):
    return subprocess.run(
        command(workdir, *flags),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir with results, and what the program said."""
    workdir = tmp_path_factory.mktemp("toy")
    done = run(workdir, "--methods=direct_joint,kinematic_joint", "--num_params=3")
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_a_run_leaves_all_that_it_promises(finished):
    workdir, done = finished
    results = json.loads((workdir / "results.json").read_text())
    methods = [row["method"] for row in results["scores"]]
    assert methods == ["direct_joint", "kinematic_joint", "model_fit"]
    assert results["flags"]["num_train"] == 96
    assert (workdir / "results.md").read_text().strip() in done.stdout
    assert "paper, 3 parameters" in done.stdout
    for name in ("figure5.png", "samples.png", "predictions.png"):
        with Image.open(workdir / name) as picture:
            assert picture.size[0] > 300
    lines = (workdir / "3_direct_joint_0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6]
    assert {"loss", "images_per_s", "joint_error_px"} <= json.loads(lines[-1]).keys()


def test_scores_can_be_found_again_from_the_saved_predictions(finished):
    workdir, _ = finished
    _, test = load_toy(3, num_train=0, num_test=20)
    for directory in workdir.glob("3_*"):
        row = json.loads((directory / "scores.json").read_text())
        with np.load(directory / "predictions.npz") as saved:
            found = Prediction(saved["joints"], saved.get("params"))
        for name, value in score(found, test, toy_object(3).skeleton).items():
            assert row[name] == pytest.approx(value)


def test_what_is_finished_is_not_trained_again(finished):
    workdir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/scores.json")}
    done = run(workdir, "--methods=direct_joint", "--num_params=3")
    assert done.returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in workdir.glob("*/scores.json")}


@pytest.mark.slow
def test_what_is_trained_but_not_scored_is_scored_without_training(finished):
    workdir, _ = finished
    scores = [workdir / f"3_{name}_0" / "scores.json" for name in ("direct_joint", "model_fit")]
    before = [path.read_text() for path in scores]
    for path in scores:
        path.unlink()
    done = run(workdir, "--methods=direct_joint", "--num_params=3")
    assert done.returncode == 0, done.stderr
    assert "images, " not in done.stderr
    assert [path.read_text() for path in scores] == before


def test_other_settings_are_refused_and_named(finished):
    done = run(finished[0], "--learning_rate=0.5")
    assert done.returncode != 0
    assert "learning_rate: 0.001 there, 0.5 here" in done.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--methods=direct", "must be some of direct_joint"),
        pytest.param("--num_params=4", "must be some of 10, 3, 6, 8", marks=pytest.mark.slow),
        pytest.param("--seeds=a", "must be numbers from 0 on", marks=pytest.mark.slow),
        pytest.param("--epochs=0", "epochs", marks=pytest.mark.slow),
        ("--batch_size=500", "error: batch_size must be at most 192, all epochs' images"),
        pytest.param(
            "--bone_length=-1",
            "error: bone_length must be a positive number",
            marks=pytest.mark.slow,
        ),
        ("--bone_length=200", "error: bone_length must let the object fit the image"),
    ],
)
def test_a_wrong_flag_is_refused_before_anything_is_written(flag, message, tmp_path):
    done = run(tmp_path / "new", flag)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_terminated_run_goes_on_to_the_same_result(finished, tmp_path):
    flags = ("--methods=direct_joint", "--num_params=3")
    with subprocess.Popen(
        command(tmp_path / "w", *flags),
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # The first metrics come after the first of two epochs.
        metrics = tmp_path / "w" / "3_direct_joint_0" / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.read_text()):
            pass
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    if process.returncode:  # else it was done before the signal came
        assert process.returncode == 128 + signal.SIGTERM
        assert "the same run goes on" in said
    assert run(tmp_path / "w", *flags).returncode == 0
    first, second = (
        np.load(workdir / "3_direct_joint_0" / "predictions.npz")["joints"]
        for workdir in (finished[0], tmp_path / "w")
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_a_full_disk_ends_a_run_in_one_line_and_with_room_it_goes_on(finished, tmp_path):
    flags = ("--methods=direct_joint", "--num_params=3")
    limited = 'ulimit -f 10 && exec "$@"'  # blocks of 1024 bytes
    done = subprocess.run(
        ["bash", "-c", limited, "bash", *command(tmp_path / "w", *flags)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    directory = tmp_path / "w" / "3_direct_joint_0" / "checkpoints"
    said = [line for line in done.stderr.splitlines() if not line.startswith(("I", "W"))]
    reason = f"step 6 cannot be saved: {os.strerror(errno.EFBIG)}: '{directory}'"
    assert (done.returncode, said) == (1, [f"error: [Errno {errno.EFBIG}] {reason}"])
    assert list(directory.iterdir()) == []
    assert run(tmp_path / "w", *flags).returncode == 0
    first, second = (
        (workdir / "3_direct_joint_0" / "scores.json").read_bytes()
        for workdir in (finished[0], tmp_path / "w")
    )
    assert first == second


def test_perfect_predictions_have_no_error():
    toy = toy_object(8)
    test = load_toy(8, num_train=0, num_test=30)[1]
    for params in (None, test.params + 2 * np.pi * (np.arange(8) > 1).astype(np.float32)):
        found = score(Prediction(test.joints, params), test, toy.skeleton)
        assert all(abs(value) < 1e-3 for value in found.values()), found


def test_scores_are_those_of_a_known_error():
    toy = toy_object(3)
    test = load_toy(3, num_train=0, num_test=30)[1]
    joints, params = test.joints + np.float32([3, 4]), test.params + np.float32([0, 0, 0.1])
    found = score(Prediction(joints, params), test, toy.skeleton)
    assert found["joint_error_px"] == pytest.approx(5, rel=1e-4)
    assert found["joint_error_percent"] == pytest.approx(500 / 45, rel=1e-4)
    assert found["angle_error_deg"] == pytest.approx(np.degrees(0.1), rel=1e-4)
    root = test.joints[:, :1]
    longer = score(Prediction(root + 1.2 * (test.joints - root), None), test, toy.skeleton)
    assert longer["bone_length_worst_px"] == pytest.approx(9, rel=1e-3)
    assert longer["angle_error_deg"] < 1e-3


def test_model_fit_gives_joints_the_bones_that_they_lack():
    toy = toy_object(8)
    test = load_toy(8, num_train=0, num_test=30)[1]
    noise = np.random.default_rng(0).normal(size=test.joints.shape).astype(np.float32)
    before = Prediction(test.joints + noise)
    after = model_fit(before, toy.skeleton)
    scores = [score(found, test, toy.skeleton) for found in (before, after)]
    assert scores[1]["bone_length_worst_px"] < 1e-3
    assert scores[1]["joint_error_px"] < scores[0]["joint_error_px"]


@pytest.mark.parametrize(
    "num_params", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 8)), 10]
)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_for_every_object(name, num_params):
    train = load_toy(num_params, num_train=8, num_test=0)[0]
    method = make_method(name, toy_object(num_params), train)
    found = method.predict(np.zeros((2, method.num_outputs), np.float32))
    assert found.joints.shape == (2, *train.joints.shape[1:])
    assert found.params is None or found.params.shape == (2, num_params)


@pytest.mark.parametrize("num_params", [6, 8, 10])
def test_direction_units_turn_directions_of_bones_into_parameters(num_params):
    toy, train = toy_object(num_params), load_toy(num_params, num_train=20, num_test=0)[0]
    child, parent = np.array(toy.skeleton.bones).T
    bones = train.joints[:, child] - train.joints[:, parent]
    directions = np.arctan2(bones[..., 0], -bones[..., 1])
    outputs = np.concatenate([train.params[:, :2] / 128, directions], axis=1)
    turn = (outputs @ direction_units(toy.skeleton).T - train.params) / (2 * np.pi)
    np.testing.assert_allclose(turn, np.round(2 * turn) / 2, atol=1e-5)


def test_a_table_shows_means_spreads_and_the_papers_figures():
    rows = [
        {"method": "direct_joint", "num_params": n, "seed": seed}
        | dict.fromkeys(
            ("joint_error_px", "joint_error_percent", "angle_error_deg", "bone_length_std_px"),
            float(n + seed),
        )
        for n, seed in ((3, 0), (3, 2), (10, 0))
    ]
    assert summarise(rows, "joint_error_px") == {
        ("direct_joint", 3): (4.0, 1.0, 2),
        ("direct_joint", 10): (10.0, 0.0, 1),
    }
    first = format_table(rows).split("\n\n")[0].splitlines()[-1]
    assert [cell.strip() for cell in first.split("|")[1:-1]] == [
        "direct joint",
        "4.00 ± 1.00",
        "10.00",
        "5.1",
    ]
    assert "against" not in format_table(rows)  # nothing to compare with


def test_methods_are_paired_by_seed():
    rows = [
        {"method": method, "num_params": 3, "seed": seed}
        | dict.fromkeys(("joint_error_px", "angle_error_deg"), 10.0 * seed + more)
        | dict.fromkeys(("joint_error_percent", "bone_length_std_px"), 0.0)
        for method, shift in (("direct_joint", (0, 0, 0)), ("fitted_joint", (-1, -2, -3)))
        for seed, more in enumerate(shift)
    ]
    table = format_table(rows).split("\n\n")[4].splitlines()
    half = 4.302653 / np.sqrt(3)  # Student's t of two degrees of freedom, at 97.5 %
    assert [cell.strip() for cell in table[-1].split("|")[1:-1]] == [
        "fitted joint",
        f"-2.00 [{-2 - half:+.2f}, {-2 + half:+.2f}]",
    ]
