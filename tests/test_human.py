"""Laws of the human experiment, its evaluation and prediction, run as programs on a stand-in."""

import csv
import json
import os
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.human_figures import choose_cases, draw_figure7
from experiments.human_methods import METHODS, make_method
from experiments.human_sets import (
    People,
    camera_skeleton,
    circular_mean,
    make_source,
    nearest_params,
    plain_skeleton,
    pose_joints,
)
from experiments.human_tables import (
    PAPER_ACTIONS,
    PUBLISHED_MM,
    format_csv,
    format_table,
    order_rows,
    published_rows,
)
from kinpose import forward_kinematics
from kinpose.io.bvh import load_bvh
from kinpose.methods import Targets
from kinpose.skeletons import human_17
from tests.conftest import QUICK, ROOT
from tests.human_stand_in import SIZE, open_samples

DATASET = "human36m/paper_stand_in"
FEW = (f"--dataset={DATASET}", "--epochs=2", "--batch_size=8")
TWO_DEVICES = "--xla_force_host_platform_device_count=2"
# float32 rounding of joints of some 1000 mm, through a fit or a network or not.
TOLERANCE_MM = 0.01


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Of the programs: one device."""
    jax.devices()  # this process keeps its own settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", QUICK)
        yield


def stand_in(split):
    return open_samples(DATASET, split, data_dir="")


def command(program, *flags):
    return [sys.executable, "-m", "tests.human_stand_in", program, *map(str, flags)]


def run(program, *flags):
    return subprocess.run(
        command(program, *flags),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def run_each(program, lines):
    """Several command lines: of each the exit code and what it said."""
    done = subprocess.run(
        command(program),
        cwd=ROOT,
        input="\n".join(" ".join(map(str, flags)) for flags in lines),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=True,
    )
    *said, rest = re.split(r"^exit (\d+)$", done.stdout, flags=re.MULTILINE)
    assert rest.strip() == ""
    assert len(said) == 2 * len(lines)
    return list(zip(map(int, said[1::2]), said[::2], strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir with results, and what the program said."""
    workdir = tmp_path_factory.mktemp("human") / "w"
    done = run("human", *FEW, f"--workdir={workdir}", "--methods=direct_joint,kinematic_joint_6d")
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_a_run_leaves_all_that_it_promises(finished):
    workdir, done = finished
    results = json.loads((workdir / "results.json").read_text())
    methods = [row["method"] for row in results["scores"]]
    assert methods == ["direct_joint", "kinematic_joint_6d", "model_fit", "true_joints_fit"]
    assert results["flags"]["epochs"] == 2
    assert results["protocol"]["alignment"] == "root"
    table = (workdir / "table1.md").read_text()
    assert table.strip() in done.stdout
    assert "paper, kinematic joint" in table
    for name in ("figure7.png", "table2.png"):
        with Image.open(workdir / name) as picture:
            assert picture.size[0] > 300
    lines = (workdir / "direct_joint_0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert {"loss", "test_loss", "mpjpe_mm", "images_per_s"} <= json.loads(lines[-1]).keys()
    rows = {row["method"]: row for row in results["scores"]}
    for name in ("kinematic_joint_6d", "model_fit", "true_joints_fit"):
        assert rows[name]["asymmetry_mm"] < TOLERANCE_MM
        assert rows[name]["true_scale"]["bone_length_error_mm"] < TOLERANCE_MM
    assert "true_scale" not in rows["direct_joint"]
    assert rows["true_joints_fit"]["true_scale"]["score_mm"] < 0.1
    assert 1 < rows["true_joints_fit"]["score_mm"] < 50  # scales are within 5 %


def test_saved_predictions_are_evaluated_to_the_same_scores(finished, tmp_path):
    workdir, _ = finished
    files = [workdir / f"{name}_0" / "predictions.npz" for name in ("direct_joint", "model_fit")]
    out, others = tmp_path / "scores.json", tmp_path / "others_7.npz"
    others.write_bytes(files[0].read_bytes())
    done = run(
        "evaluate",
        f"--predictions={files[0]},{files[1]},{others}",
        f"--dataset={DATASET}",
        f"--output={out}",
    )
    assert done.returncode == 0, done.stderr
    assert "Zhou et al. [40]" in done.stdout
    *rows, foreign = json.loads(out.read_text())["scores"]
    assert foreign["method"] == "others_7"  # a file's number is no seed
    for row, path in zip(rows, files, strict=True):
        saved = json.loads((path.parent / "scores.json").read_text())
        assert row["score_by_action_mm"] == saved["score_by_action_mm"]
        assert (row["method"], row["seed"]) == (saved["method"], saved["seed"])
    assert "against direct joint" in done.stdout


def test_runs_of_one_name_are_rows_of_their_own(finished, tmp_path):
    whole = finished[0] / "direct_joint_0" / "predictions.npz"
    for name in ("first", "second"):
        (tmp_path / name / "direct_joint_0").mkdir(parents=True)
        (tmp_path / name / "direct_joint_0" / "predictions.npz").write_bytes(whole.read_bytes())
    paths = [
        str(tmp_path / name / "direct_joint_0" / "predictions.npz") for name in ("first", "second")
    ]
    done = run("evaluate", f"--predictions={','.join(paths)}", f"--dataset={DATASET}")
    assert "| first direct joint " in done.stdout
    assert "| second direct joint " in done.stdout
    done = run("evaluate", f"--predictions={paths[0]},{paths[0]}", f"--dataset={DATASET}")
    assert "error: predictions of different runs must differ in name" in done.stderr


def test_published_rows_stand_above_those_of_all_test_frames():
    names = [f"human36m/{x}" for x in ("paper_224", "paper_test64_224", "every64_64", "every5_128")]
    assert [bool(published_rows(x)) for x in (*names, "rendered_people/paper_64")] == [
        *(True, False, False, False, False)
    ]


def test_predictions_of_other_frames_are_refused_by_name(finished, tmp_path):
    with np.load(finished[0] / "direct_joint_0" / "predictions.npz") as file:
        keys, joints = file["keys"], file["joints"]
    np.savez(tmp_path / "p.npz", keys=keys[1:], joints=joints[1:])
    done = run("evaluate", f"--predictions={tmp_path / 'p.npz'}", f"--dataset={DATASET}")
    assert done.returncode != 0
    assert (
        f"error: predictions must have each of the 11 test samples once, but 1 missing ({keys[0]})"
        in done.stderr
    )


@pytest.mark.slow
def test_what_is_finished_is_not_trained_again_and_what_is_not_scored_is_scored(finished):
    workdir, _ = finished
    scores = workdir / "direct_joint_0" / "scores.json"
    before = json.loads(scores.read_text())
    scores.unlink()
    done = run("human", *FEW, f"--workdir={workdir}", "--methods=direct_joint")
    assert done.returncode == 0, done.stderr
    assert "direct_joint_0: " not in done.stderr
    assert json.loads(scores.read_text()) == before


WRONG_FLAGS = {
    "--methods=direct": "must be some of direct_joint",
    "--depth=19": "must be one of 18, 34, 50",
    "--drop_epoch=1": "drop_epoch is for the optimiser caffe_sgd",
    "--init_from=/nowhere.pth": "must be a file that is there",
    "--init_from=setup.cfg": "error: pretrained weights must be one of ['.pth'",
    "--distributed=here": "must be auto or ADDRESS:PORT,PROCESSES,INDEX",
    "--batch_size=500": "error: batch_size must be at most 32",
}


def test_a_wrong_flag_is_refused_before_anything_is_written(tmp_path):
    workdir = tmp_path / "new"
    lines = [(*FEW, f"--workdir={workdir}", flag) for flag in WRONG_FLAGS]
    for message, (code, said) in zip(WRONG_FLAGS.values(), run_each("human", lines), strict=True):
        assert code != 0, said
        assert message in said
    assert not workdir.exists()


def test_other_settings_and_data_are_refused_and_named(finished, tmp_path):
    workdir = f"--workdir={finished[0]}"
    ((code, said),) = run_each("human", [(*FEW, workdir, "--depth=18")])
    assert code != 0
    assert "depth: 50 there, 18 here" in said
    done = subprocess.run(
        [sys.executable, "-m", "experiments.human", *FEW, f"--data_dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert f"{DATASET} is no built data set" in done.stderr


@pytest.mark.slow
def test_two_processes_find_what_one_finds(finished, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    workdir = tmp_path / "w"
    flags = (*FEW, f"--workdir={workdir}", "--methods=direct_joint,kinematic_joint_6d")
    both = [
        subprocess.Popen(
            command("human", *flags, f"--distributed=127.0.0.1:{port},2,{i}"),
            cwd=ROOT,
            env=os.environ | {"XLA_FLAGS": TWO_DEVICES},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert ["| average" in text for text in said] == [True, False]
    for name in ("direct_joint_0", "kinematic_joint_6d_0"):
        alone, together = (
            np.load(place / name / "predictions.npz") for place in (finished[0], workdir)
        )
        np.testing.assert_array_equal(alone["keys"], together["keys"])
        np.testing.assert_allclose(alone["joints"], together["joints"], atol=1.0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A directory with the stand-in's first test images, as files."""
    directory = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(stand_in("test").images(np.arange(3))):
        Image.fromarray(image).save(directory / f"{i}.png")
    return directory


@pytest.mark.parametrize("method", ["direct_joint", "kinematic_joint_6d"])
def test_a_network_predicts_from_files_what_it_predicted_in_the_test(
    method, finished, pictures, tmp_path
):
    out = tmp_path / "out"
    flags = (f"--run={finished[0] / method}_0", f"--input={pictures}", f"--output_dir={out}")
    done = run("predict", *flags)
    assert done.returncode == 0, done.stderr
    with np.load(out / "poses.npz") as found:
        assert list(found["keys"]) == ["0.png", "1.png", "2.png"]
        joints = found["joints"]
    with np.load(finished[0] / f"{method}_0" / "predictions.npz") as file:
        saved = file["joints"][:3]
    np.testing.assert_allclose(joints, saved - saved[:, :1], atol=0.5)
    for i in range(3):
        with Image.open(out / f"{i}_pose.png") as picture:
            assert picture.size[0] > 300
    assert (out / "angles.csv").exists() == (method != "direct_joint")


def test_a_video_becomes_a_bvh_file(finished, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = SIZE
        for image in stand_in("test").images(np.arange(4)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "boxes.csv").write_text("image,left,top,right,bottom\n1,2,2,12,14\n")
    done = run(
        "predict",
        f"--run={finished[0] / 'kinematic_joint_6d_0'}",
        f"--input={tmp_path / 'v.mp4'}",
        f"--output_dir={tmp_path / 'out'}",
        f"--boxes={tmp_path / 'boxes.csv'}",
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out" / "poses.npz") as file:
        joints = file["joints"] * np.float32([1, -1, -1])  # y up
    skeleton, params, frame_time_s = load_bvh(tmp_path / "out" / "poses.bvh")
    assert frame_time_s == pytest.approx(0.04)
    order = [skeleton.keypoint_names.index(name) for name in human_17().keypoint_names]
    found = jax.vmap(forward_kinematics, in_axes=(0, None))(np.float32(params), skeleton)
    np.testing.assert_allclose(found[:, order], joints, atol=TOLERANCE_MM)
    assert (tmp_path / "out" / "poses.png").exists()


def test_a_wrong_input_of_predict_is_named(finished, pictures, tmp_path):
    wrong = {
        "run must be the directory of a network": {"run": "."},
        "input must be there": {"input": "/nowhere"},
        "setup.cfg cannot be read as a picture": {"input": "setup.cfg"},
        "exists; give another --output_dir": {"output_dir": pictures},
    }
    right = {"run": finished[0] / "direct_joint_0", "input": pictures, "output_dir": tmp_path / "x"}
    lines = [[f"--{k}={v}" for k, v in (right | change).items()] for change in wrong.values()]
    for message, (code, said) in zip(wrong, run_each("predict", lines), strict=True):
        assert code != 0
        assert message in said
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(3)
    mean = rng.uniform(0.1, 0.3, 24).astype(np.float32)
    skeleton = camera_skeleton(human_17())
    joints = pose_joints(mean[None], np.ones(1), skeleton)[0] / np.float32(1900)
    return People(skeleton, joints, mean, 1900.0, 64)


def test_a_camera_sees_a_person_at_rest_upright_and_from_the_front(people):
    rest = pose_joints(np.zeros((1, 24)), np.ones(1), people.skeleton)[0]
    names = people.skeleton.keypoint_names
    head, foot, nose, left = (
        rest[names.index(n)] for n in ("head", "left_ankle", "nose", "left_hip")
    )
    assert head[1] < -500 < 500 < foot[1]  # y points down
    assert nose[2] < -50  # towards the camera
    assert left[0] > 100  # on the right of the picture
    same = pose_joints(np.ones((1, 24)), np.ones(1), people.skeleton)
    plain = pose_joints(np.ones((1, 24)), np.ones(1), plain_skeleton(people.skeleton))
    np.testing.assert_allclose(plain, same * np.float32([1, -1, -1]), atol=TOLERANCE_MM)


def test_targets_are_offsets_in_crops_whose_scale_brings_the_skeleton_there(people):
    samples = stand_in("train")
    rng = np.random.default_rng(0)
    params = rng.uniform(-0.4, 0.6, (16, 24)).astype(np.float32)  # the stand-in's own
    index = np.array([3, 1])
    images, targets = make_source(samples, params, true_scale=True).load(index)
    np.testing.assert_array_equal(images, samples.images(index))
    skeleton = camera_skeleton(human_17())
    joints = pose_joints(targets.params, targets.scale, skeleton)
    np.testing.assert_allclose(joints, targets.joints, atol=1e-5)
    assert np.abs(targets.joints).max() < 1
    _, tested = make_source(samples, params, true_scale=False).load(index)
    np.testing.assert_allclose(tested.scale, SIZE and 32.0 / (4000.0 * SIZE), rtol=1e-6)


def test_the_nearest_angles_are_the_same_pose_and_no_farther(people):
    rng = np.random.default_rng(0)
    params = rng.uniform(-7, 7, (200, 24)).astype(np.float32)
    near = nearest_params(params, people.mean_params, people.skeleton)
    before, after = (pose_joints(p, np.ones(200), people.skeleton) for p in (params, near))
    np.testing.assert_allclose(before, after, atol=0.1)
    distance, least = (np.linalg.norm(p - people.mean_params, axis=1) for p in (params, near))
    assert (least <= distance + 1e-5).all()
    again = nearest_params(near, people.mean_params, people.skeleton)
    np.testing.assert_allclose(again, near, atol=1e-5)


def test_a_circular_mean_is_no_mean_of_numbers():
    angles = np.radians([[170.0, 10], [-170, 20], [180, 30]])
    mean = np.degrees(circular_mean(angles))
    np.testing.assert_allclose(np.abs(mean), [180, 20], atol=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n.startswith("fitted_joint") else ())
        for n in METHODS
    ],
)
def test_every_method_begins_at_the_mean_pose_and_can_learn(name, people):
    method, scale = make_method(name, people), np.full(2, 1 / 1900, np.float32)
    start = jax.jit(method.predict)(np.zeros((2, method.num_outputs), np.float32), scale)
    np.testing.assert_allclose(start.joints, np.stack([people.mean_joints] * 2), atol=2e-3)
    targets = Targets(0.9 * start.joints, 0.9 * np.stack([people.mean_params] * 2), scale)
    outputs = 0.01 * jax.random.normal(jax.random.key(0), (2, method.num_outputs))
    gradient = jax.jit(jax.grad(lambda outputs: method.loss(outputs, targets).sum()))(outputs)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_the_papers_own_averages_are_those_of_their_columns():
    for name, (*columns, average) in PUBLISHED_MM.items():
        assert len(columns) == len(PAPER_ACTIONS) == 15
        if name.startswith("paper"):  # rounding, of each to a hundredth
            assert np.mean(columns) == pytest.approx(average, abs=0.01), name


def scores(method, seed, value):
    by_action = {"TakingPhoto": value, "Walking": value + 2}
    numbers = dict.fromkeys(("mpjpe_mm", "pa_mpjpe_mm", "pck_percent", "auc_percent"), value)
    bones = dict.fromkeys(("bone_length_error_mm", "bone_length_spread_mm", "asymmetry_mm"), 0.0)
    return {
        "method": method,
        "seed": seed,
        "score_mm": value + 1,
        "score_by_action_mm": by_action,
        "score_by_subject_mm": {"S9": by_action},
        "over_actions": numbers,
        "over_frames": numbers,
    } | bones


def test_rows_of_methods_that_are_gone_come_last():
    rows = [{"method": m, "seed": s} for m, s in (("gone", 0), ("b", 1), ("b", 0), ("a", 0))]
    found = [(row["method"], row["seed"]) for row in order_rows(rows, ("a", "b", "c"))]
    assert found == [("a", 0), ("b", 0), ("b", 1), ("gone", 0)]


def test_tables_have_the_papers_columns_means_and_spreads():
    rows = [scores("direct_joint", 0, 100.0), scores("direct_joint", 1, 104.0)]
    lines = format_table(rows, PUBLISHED_MM).split("\n\n")[0].splitlines()
    header = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert header == ["MPJPE (mm)", *PAPER_ACTIONS, "average"]
    last = dict(zip(header, (c.strip() for c in lines[-1].strip("|").split("|")), strict=True))
    assert (last["Photo"], last["Walking"], last["average"]) == (
        "102.0 ± 2.0",
        "104.0 ± 2.0",
        "103.0 ± 2.0",
    )
    assert last["Posing"] == ""
    table = list(csv.DictReader(format_csv(rows, PUBLISHED_MM).splitlines()))
    assert [row["seed"] for row in table[-2:]] == ["0", "1"]
    assert table[-1]["WalkPair"] == ""
    assert float(table[-1]["average"]) == 105
    assert float(table[8]["average"]) == 107.26


def test_methods_are_compared_with_direct_joint_of_the_same_loss():
    rows = [scores("direct_joint", seed, 100.0 + seed) for seed in (0, 1)]
    rows += [scores("fitted_joint", seed, 97.0 + seed) for seed in (0, 1)]
    rows += [scores("direct_joint_l1", 0, 90.0), scores("fitted_joint_l1", 0, 91.0)]
    lines = format_table(rows, {}).split("\n\n")[2].splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert found == [
        ["direct joint", "101.5 [100.5, 102.5]", "", "2"],
        ["fitted joint", "98.5 [97.5, 99.5]", "-3.0 [-3.0, -3.0]", "2"],
        ["direct joint l1", "91.0 [90.0, 92.0]", "", "2"],
        ["fitted joint l1", "92.0 [91.0, 93.0]", "+1.0 [+1.0, +1.0]", "2"],
    ]


def test_more_seeds_of_the_same_actions_narrow_no_interval():
    def interval(num_seeds):
        rows = [scores("direct_joint", seed, 100.0) for seed in range(num_seeds)]
        return format_table(rows, {}).split("\n\n")[2]

    assert interval(1) == interval(20)


def test_cases_are_chosen_by_what_goes_wrong():
    skeleton = human_17()
    rng = np.random.default_rng(0)
    true = rng.normal(scale=300, size=(9, 17, 3))
    true[:, 0] = 0
    direct = true + rng.normal(size=true.shape)
    names = skeleton.keypoint_names
    legs = [names.index(f"{s}_{j}") for s in ("left", "right") for j in ("knee", "ankle")]
    direct[2, legs] = true[2, [*legs[2:], *legs[:2]]]
    direct[5] = 2.5 * true[5]
    direct[7] += np.float32([0, 0, 5000]) * (np.arange(17) > 0)[:, None]
    cases = dict(choose_cases(true, direct, skeleton))
    assert cases["swapped legs"] == 2
    assert cases["odd bones"] in (5, 7)
    assert cases["high error"] in (5, 7)
    assert len(set(cases.values())) == 4
    assert "swapped legs" not in dict(choose_cases(true, true + 0.1, skeleton))


def test_figure_7_shows_each_loss_once():
    rows = [{"epoch": e, "loss": 1 / e, "test_loss": 2 / e} for e in (1, 2, 3)]
    figure = draw_figure7(
        None, {("direct_parameter", 0): rows, ("direct_joint", 0): rows, ("direct_joint", 1): rows}
    )
    left, right = figure.axes
    assert [len(ax.lines) for ax in (left, right)] == [2, 4]
    assert len(right.get_legend().get_texts()) == 2
    np.testing.assert_array_equal(left.lines[1].get_ydata(), [2, 1, 2 / 3])
    assert len(draw_figure7(None, {("direct_joint", 0): rows}).axes) == 1  # none of no curves
