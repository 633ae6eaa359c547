"""Laws of the experiment that turns a recording into joint angles, run as a user runs it."""

import csv
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from kinpose import forward_kinematics
from kinpose.apps._reading import Settings
from kinpose.io.bvh import load_bvh
from kinpose.io.points import load_points
from kinpose.skeletons import human_17
from tests.conftest import ROOT

WALK = "data/motions/walk.bvh"
FILES = ["angles.csv", "angles.mot", "angles.png", "fit.bvh", "poses.png", "report.json"]


def model_fit(*args, module=("kinpose", "fit")):
    command = [sys.executable, "-m", *module, *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Results of a run on the bundled recording."""
    output_dir = tmp_path_factory.mktemp("fit") / "walk"
    run = model_fit(f"--input={WALK}", f"--output_dir={output_dir}", "--animation=gif")
    assert run.returncode == 0, run.stderr
    return output_dir, run


def test_a_run_leaves_its_files_and_nothing_else(walk):
    output_dir, run = walk
    assert sorted(path.name for path in output_dir.iterdir()) == sorted([*FILES, "poses.gif"])
    assert [path.name for path in output_dir.parent.iterdir()] == ["walk"]
    assert "layout humanoid3d, y up, 30 frames/s, 1 unit = 10 mm" in run.stdout


def test_angles_are_those_of_the_bvh(walk):
    output_dir, _ = walk
    with open(output_dir / "angles.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    rows = np.array([[float(cell or "nan") for cell in row] for row in rows])
    assert len(header) == 28
    np.testing.assert_allclose(np.diff(rows[:, 0]), 1 / 30, atol=2e-6)
    recording = load_bvh(output_dir / "fit.bvh")
    assert len(rows) == len(recording.params) == 39
    knee = recording.skeleton.dof_names.index("right_knee_Xrotation")
    column = header.index("right_knee_flexion_deg")
    np.testing.assert_allclose(rows[:, column], np.degrees(recording.params[:, knee]), atol=1e-3)


def test_the_report_says_how_far_the_model_is_from_the_points(walk):
    output_dir, run = walk
    report = json.loads((output_dir / "report.json").read_text(encoding="utf-8"))
    points, fitted = load_points(ROOT / WALK), load_points(output_dir / "fit.bvh")
    for keypoint, joint in (("left_knee", "LeftLeg"), ("right_wrist", "RightHand")):
        apart = (
            points.positions[:, points.names.index(joint)]
            - fitted.positions[:, fitted.names.index(keypoint)]
        )
        expected = 10 * np.linalg.norm(apart, axis=-1).mean()
        assert report["residual"][keypoint]["mean_mm"] == pytest.approx(expected, abs=0.02)
    assert report["residual"]["all"]["mean_mm"] < 10
    assert f"{report['scale']:.4f}" in run.stdout
    assert "nose (base of the skull)" in run.stdout
    assert report["outside_range"] == {}


def test_the_report_has_every_flag_and_what_guesses_rest_on(walk):
    output_dir, run = walk
    report = json.loads((output_dir / "report.json").read_text(encoding="utf-8"))
    assert set(report["flags"]) == {
        *Settings._fields,
        "input",
        "output_dir",
        "overwrite",
        "animation",
    }
    assert (report["flags"]["input"], report["flags"]["animation"]) == (WALK, "gif")
    assert report["up_reason"] in run.stdout
    assert report["unit_reason"] in run.stdout
    assert report["warnings"] == []
    assert report["status"]["solved"] == report["frames"]


def test_walking_bends_the_knees_forward_in_turn(walk):
    output_dir, _ = walk
    with open(output_dir / "angles.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    left, right = (
        np.array([float(row[f"{side}_knee_flexion_deg"]) for row in rows])
        for side in ("left", "right")
    )
    assert min(left.min(), right.min()) > -5
    assert min(left.max(), right.max()) > 40
    assert np.corrcoef(left, right)[0, 1] < 0


def test_pictures_open(walk):
    output_dir, _ = walk
    for name in ("poses.png", "poses.gif", "angles.png"):
        with Image.open(output_dir / name) as image:
            assert min(image.size) > 100


def test_a_finished_run_is_not_overwritten_unless_told_so(walk):
    output_dir, _ = walk
    before = {path.name: path.read_bytes() for path in output_dir.iterdir()}
    run = model_fit(f"--input={WALK}", f"--output_dir={output_dir}")
    assert run.returncode == 1
    assert f"error: {output_dir} exists; give --overwrite" in run.stderr
    assert {path.name: path.read_bytes() for path in output_dir.iterdir()} == before


def test_overwriting_never_loses_a_file_of_somebody_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    run = model_fit(f"--input={WALK}", f"--output_dir={tmp_path}", "--overwrite")
    assert run.returncode == 1
    assert "also holds ['thesis.tex']" in run.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.slow
def test_keypoints_in_metres_with_z_up_give_the_same_angles(walk, tmp_path):
    """Angles do not depend on the unit or on which axis is up."""
    params = 0.3 * np.random.default_rng(0).normal(size=(12, 27)).cumsum(axis=0) / 4
    params[:, [9, 13, 22, 26]] = 0.5 + 0.2 * np.sin(np.arange(12))[:, None]
    joints = jax.vmap(forward_kinematics, in_axes=(0, None))(params.astype(np.float32), human_17())
    x, y, z = np.moveaxis(np.asarray(joints) / 1000, -1, 0)
    np.save(tmp_path / "points.npy", np.stack([x, -z, y], axis=-1))
    run = model_fit(
        f"--input={tmp_path / 'points.npy'}",
        "--layout=human36m_17",
        "--fps=25",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert run.returncode == 0, run.stderr
    assert "z up, 25 frames/s, 1 unit = 1000 mm" in run.stdout
    with open(tmp_path / "out" / "angles.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for d, dof in enumerate(human_17().dof_names):
        if "knee" in dof or "elbow" in dof or dof == "pelvis_yaw":
            found = [float(row[f"{dof}_deg"]) for row in rows]
            np.testing.assert_allclose(found, np.degrees(params[:, d]), atol=0.3)


@pytest.mark.slow
def test_another_skeleton_is_fitted_by_the_names_it_shares(tmp_path):
    """A skeleton fitted to its own recording misses nothing."""
    run = model_fit(
        "--input=data/motions/kick.bvh",
        f"--skeleton={WALK}",
        "--unit=cm",
        "--lengths=none",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["residual"]["all"]["worst_mm"] < 1.0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--input=missing.bvh"], "missing.bvh"),
        (["--input=README.md"], "README.md: "),
        (["--input=README.md"], "Points are read from"),
        ([f"--input={WALK}", "--layout=coco"], "--layout must be auto"),
        ([f"--input={WALK}", "--layout=coco_17"], "which are not among"),
        ([f"--input={WALK}", "--unit=furlong"], "--unit must be auto"),
        ([f"--input={WALK}", "--ignore=tail"], "--ignore=tail is none of"),
        ([f"--input={WALK}", f"--skeleton={WALK}"], "give --unit"),
        ([f"--input={WALK}", "--fps=0"], "--fps must be positive"),
    ],
)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(tmp_path, args, message):
    run = model_fit(*args, f"--output_dir={tmp_path / 'out'}")
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("error: ")
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_cmu_recording_is_fitted(cmu_dir, tmp_path):
    for path in sorted(cmu_dir.glob("*.bvh")):
        run = model_fit(f"--input={path}", f"--output_dir={tmp_path / path.stem}")
        assert run.returncode == 0, run.stderr
        report = json.loads((tmp_path / path.stem / "report.json").read_text(encoding="utf-8"))
        assert report["outside_range"] == {}, path.name
        assert report["residual"]["all"]["mean_mm" if report["unit_mm"] else "mean"] < 15, path.name
