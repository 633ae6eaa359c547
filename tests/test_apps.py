"""Laws of the tool: its verbs, run as a user runs them, in this process where that is enough."""

import contextlib
import csv
import fractions
import pathlib
import struct
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from kinpose.apps import Settings, compare, read_input, understand, video
from kinpose.apps.main import VERBS
from kinpose.io import load_recording, save_recording
from kinpose.io.bvh import load_bvh
from kinpose.io.points import Points, load_points
from kinpose.layouts import LAYOUTS
from kinpose.recordings import UP
from tests.conftest import ROOT

WALK = ROOT / "data" / "motions" / "walk.bvh"


def kinpose(*args, cwd=ROOT):
    command = [sys.executable, "-m", "kinpose", *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)


def test_help_names_every_verb_and_costs_no_import():
    run = kinpose("--help")
    assert run.returncode == 0
    for name in VERBS:
        assert f"kinpose {name} " in run.stdout
    run = kinpose("fly")
    assert run.returncode == 1
    assert "fly is no verb" in run.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fit", ["Joint angles out of a recording", "--layout"]),
        ("video", ["Points of a person in a video", "--model"]),
        ("convert", ["from one file format to another", "--from_unit"]),
        ("compare", ["The angles of several fits", "--output_dir"]),
    ],
)
def test_help_of_a_verb_tells_its_flags(name, words):
    run = kinpose(name, "--help")
    assert all(word in run.stdout for word in words), run.stdout


def test_the_experiment_is_the_same_verb():
    command = [sys.executable, "-m", "experiments.model_fit", "--input=none.bvh"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "error: " in run.stderr
    assert "none.bvh" in run.stderr


def test_a_recording_is_converted_with_its_names_unit_and_axes(tmp_path):
    points = load_points(WALK)
    run = kinpose(
        *("convert", WALK, tmp_path / "walk.c3d", "--from_unit=cm", "--from_up=y"),
        *("--unit=mm", "--up=z"),
    )
    assert run.returncode == 0, run.stderr
    assert f"{len(points.positions)} frames of 18 points" in run.stdout
    found = load_recording(tmp_path / "walk.c3d")
    assert (found.names, found.unit_mm, found.up) == (points.names, 1.0, "z")
    assert found.frame_time_s == pytest.approx(points.frame_time_s, rel=1e-6)
    x, y, z = np.moveaxis(10 * points.positions, -1, 0)
    np.testing.assert_allclose(found.positions, np.stack([x, -z, y], axis=-1), atol=1e-3)
    again = kinpose("convert", tmp_path / "walk.c3d", tmp_path / "walk.c3d")
    assert again.returncode == 1
    assert "walk.c3d exists; give --overwrite" in again.stderr


def test_channels_of_a_bvh_become_coordinates_of_opensim(tmp_path):
    """Positions as channels have them, whatever the joint's OFFSET, which they replace."""
    moved = pathlib.Path(WALK).read_text().replace("OFFSET 0 0 0", "OFFSET 0 50 0", 1)
    moved = moved.replace("LeftLeg", "Left Leg")
    (tmp_path / "x.bvh").write_text(moved)
    run = kinpose("convert", tmp_path / "x.bvh", tmp_path / "walk.mot", "--from_unit=cm")
    assert run.returncode == 0, run.stderr
    recording = load_bvh(WALK)
    lines = (tmp_path / "walk.mot").read_text().splitlines()
    start = lines.index("endheader") + 1
    table = np.genfromtxt(lines[start:], names=True, deletechars="")
    column = recording.skeleton.dof_names.index("LeftLeg_Zrotation")
    degrees = np.degrees(recording.params[:, column])
    np.testing.assert_allclose(table["Left_Leg_Zrotation"], degrees, atol=1e-5)
    column = recording.skeleton.dof_names.index("Hips_Yposition")
    np.testing.assert_allclose(
        table["Hips_Yposition"], recording.params[:, column] / 100, atol=1e-6
    )


def test_a_retargeted_recording_is_a_bvh_file(tmp_path):
    run = kinpose("retarget", WALK, "human_17", tmp_path / "x.glb")
    assert run.returncode == 1
    assert "x.glb must end in .bvh" in run.stderr
    assert not list(tmp_path.iterdir())


def test_a_bvh_becomes_a_file_for_viewers_in_metres(tmp_path):
    pygltflib = pytest.importorskip("pygltflib", reason="reading glTF needs pygltflib")
    run = kinpose("convert", WALK, tmp_path / "walk.glb", "--from_unit=cm")
    assert run.returncode == 0, run.stderr
    document = pygltflib.GLTF2().load(str(tmp_path / "walk.glb"))
    nodes = {node.name: node for node in document.nodes}
    skeleton = load_bvh(WALK).skeleton
    offset = skeleton.offsets[skeleton.names.index("LeftLeg")] / 100
    np.testing.assert_allclose(nodes["LeftLeg"].translation, offset, atol=1e-6)
    assert len(document.animations) == 1


def test_points_become_a_file_for_viewers_with_the_bones_of_their_layout(tmp_path):
    pygltflib = pytest.importorskip("pygltflib", reason="reading glTF needs pygltflib")
    run = kinpose("convert", recording_file(tmp_path, None, None), tmp_path / "x.glb")
    assert run.returncode == 0, run.stderr
    assert "39 frames of 18 points and 15 bones" in run.stdout
    assert "up: head above feet along z" in run.stdout
    document = pygltflib.GLTF2().load(str(tmp_path / "x.glb"))
    nodes = {node.name: node for node in document.nodes}
    knee = load_points(WALK).names.index("LeftLeg")
    first = 0.01 * load_points(WALK).positions[0, knee] @ UP["z"] @ UP["z"].T
    for name in ("LeftLeg", "left_knee-left_ankle"):
        np.testing.assert_allclose(nodes[name].translation, first, atol=1e-5)


def test_points_of_no_known_layout_become_a_file_without_bones(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a_x,a_y,a_z\n1,2,3\n")
    told = ("--from_unit=mm", "--fps=30")
    run = kinpose("convert", path, tmp_path / "x.glb", *told)
    assert "does not say its axis up; give --from_up" in run.stderr
    run = kinpose("convert", path, tmp_path / "x.glb", *told, "--from_up=y")
    assert "1 frames of 1 points and 0 bones" in run.stdout


def test_points_that_are_all_missing_become_no_file(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a_x,a_y,a_z\n0,0,0\n0,0,0\n")
    told = ("--from_unit=mm", "--from_up=y", "--fps=30", "--missing=0")
    run = kinpose("convert", path, tmp_path / "x.glb", *told)
    assert run.returncode == 1
    assert "all 1 points and 0 bones are missing in all 2 frames" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "x.glb").exists()


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        ("x.mot", ["--up=z", "--unit=mm"], "--unit and --up cannot be done"),
        ("x.mot", ["--from_up=z"], "--from_up must be y"),
        ("x.glb", ["--missing=zeros"], "--missing cannot be done"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(tmp_path, target, given, message):
    run = kinpose("convert", WALK, tmp_path / target, "--from_unit=cm", *given)
    assert run.returncode == 1
    assert message in run.stderr
    assert not list(tmp_path.iterdir())


def test_a_rate_is_written_and_a_unit_that_nobody_says_is_said(tmp_path):
    run = kinpose("convert", WALK, tmp_path / "x.mot", "--from_unit=cm", "--fps=100")
    assert run.returncode == 0
    lines = (tmp_path / "x.mot").read_text().splitlines()
    assert float(lines[-1].split()[0]) == pytest.approx((len(load_bvh(WALK).params) - 1) / 100)
    save_recording(tmp_path / "x.csv", load_points(WALK))
    run = kinpose("convert", tmp_path / "x.csv", tmp_path / "x.trc", "--fps=100")
    assert "does not say its unit: mm is written; --from_unit says better" in run.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none.c3d", "x.trc"], "none.c3d"),
        ([WALK, "x.glb"], "does not say its unit; give --from_unit"),
        ([WALK, "x.xyz"], "points are written to .trc"),
        ([WALK, "x.trc", "--unit=mm"], "does not say its unit; give --from_unit"),
        ([WALK, "x.trc", "--up=z"], "does not say which axis is up; give --from_up"),
        (["README.md", "x.mot"], "x.mot holds angles, which a .bvh file has"),
    ],
)
def test_what_cannot_be_converted_ends_in_one_line(tmp_path, args, message):
    args = [tmp_path / x if str(x).startswith("x.") else x for x in args]
    run = kinpose("convert", *args)
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


def recording_file(tmp_path, unit_mm, up, scale=1.0):
    """A walk in a C3D file that says what it has, which may be wrong."""
    points = load_points(WALK)
    turned = 10 * scale * points.positions @ UP["z" if up is None else up]
    save_recording(
        tmp_path / "x.c3d", Points(turned, points.names, points.frame_time_s, None, unit_mm, up)
    )
    return str(tmp_path / "x.c3d")


def test_what_a_file_says_of_unit_and_axis_is_taken(tmp_path):
    settings = Settings()
    recording = understand(read_input(recording_file(tmp_path, 1.0, "z"), settings), settings)
    assert (recording.up.axis, recording.up.reason) == ("z", "as the file says")
    assert (recording.unit.mm, recording.unit.reason) == (1.0, "as the file says")
    assert recording.fps == pytest.approx(30, rel=1e-5)
    assert recording.warnings == []


def test_a_unit_that_makes_no_person_is_not_taken_and_said(tmp_path):
    path = recording_file(tmp_path, 1.0, "z", scale=0.001)  # metres, called mm
    settings = Settings()
    recording = understand(read_input(path, settings), settings)
    assert recording.unit.mm == 1000.0
    (said,) = recording.warnings
    assert "the file says that 1 unit is 1 mm, but in m the person is" in said


def test_an_axis_that_the_body_contradicts_is_doubted(tmp_path):
    path, settings = recording_file(tmp_path, 1.0, "z"), Settings()
    source = read_input(path, settings)
    source = source._replace(points=source.points._replace(up="-z"))
    recording = understand(source, settings)
    assert recording.up.axis == "-z"
    assert "the file says that -z is up, but head above feet along z" in recording.warnings[0]


@pytest.mark.parametrize("mark", [":", "_"])
def test_of_several_individuals_the_first_is_fitted_said_and_another_may_be_taken(tmp_path, mark):
    points = load_points(WALK)
    other = points.positions[::-1] + np.array([0.0, 0.0, 100.0])
    both = Points(
        np.concatenate([10 * points.positions, 10 * other], axis=1),
        tuple(f"{who}{mark}{name}" for who in ("Bert", "Al") for name in points.names),
        points.frame_time_s,
    )
    path = str(tmp_path / "two.csv")
    save_recording(path, both)
    first = understand(read_input(path, Settings()), Settings())
    assert "points of 2 individuals: Bert is taken; --individual takes Al." in first.warnings
    second = Settings(individual="Al")
    found = understand(read_input(path, second), second)
    assert not any("individuals" in said for said in found.warnings)
    assert first.layout == found.layout
    depths = [(x.joints[..., 2] + x.center[2])[x.seen] for x in (first, found)]
    assert np.mean(depths[1]) - np.mean(depths[0]) == pytest.approx(1000.0, abs=1e-3)


def test_points_of_one_picture_are_refused_with_the_cure(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a_x,a_y,b_x,b_y\n1,2,3,4\n")
    with pytest.raises(ValueError, match=r"x\.csv.*have 2: those of one picture.*triangulate"):
        read_input(str(path), Settings())


def run_files(tmp_path):
    """angles.csv of two runs: b has half the frames, 2 degrees more, and no right knee."""
    for name, step, more in (("a", 1, 0.0), ("b", 2, 2.0)):
        (tmp_path / name).mkdir()
        with open(tmp_path / name / "angles.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["time_s", "pelvis_tx", "left_knee_flexion_deg", "right_knee_flexion_deg"]
            )
            for t in range(0, 101, step):
                right = "" if name == "b" else f"{20 - t / 5}"
                writer.writerow([t / 100, 7, f"{t / 10 + more}", right])
    return [str(tmp_path / name) for name in "ab"]


def test_runs_are_compared_where_both_are_known(tmp_path):
    a, b = map(compare.read_angles, run_files(tmp_path))
    (row,) = compare.compare(a, b)
    assert (row["run"], row["angle"], row["frames"]) == ("b - a", "left_knee_flexion", 101)
    np.testing.assert_allclose([row["rms_deg"], row["mean_deg"]], 2.0, rtol=1e-9)
    assert row["rms_without_mean_deg"] < 1e-9
    (row,) = compare.ranges_of(a)
    assert row["angle"] == "knee_flexion"
    np.testing.assert_allclose([row["range_left_deg"], row["range_right_deg"]], [9.0, 18.0])
    assert compare.ranges_of(b) == []


def test_runs_that_begin_at_different_times_are_said(tmp_path):
    first, second = run_files(tmp_path)
    path = tmp_path / "b" / "angles.csv"
    head, *rows = path.read_text().splitlines()
    moved = (row.split(",", 1) for row in rows)
    path.write_text("\n".join([head, *(f"{float(t) + 0.2},{rest}" for t, rest in moved)]))
    run = kinpose("compare", first, second)
    assert "by these: a at 0 s, b at 0.2 s" in run.stdout
    assert "left_knee_flexion  0.0" in run.stdout
    run = kinpose("compare", first, second, "--from_start")
    assert "by these" not in run.stdout
    assert "left_knee_flexion  2.0   2.0" in run.stdout


@pytest.mark.parametrize("turns", [-1, 2])
def test_curves_whole_turns_apart_are_the_same_motion(tmp_path, turns):
    a, b = map(compare.read_angles, run_files(tmp_path))
    moved = compare.without_turns(a, b._replace(degrees=b.degrees + 360 * turns))
    np.testing.assert_allclose(moved.degrees, b.degrees, atol=1e-9)  # NaN where b has none
    assert compare.without_turns(a, b).degrees.tobytes() == b.degrees.tobytes()


def test_compared_runs_leave_a_table_and_a_picture(tmp_path):
    run = kinpose("compare", *run_files(tmp_path), f"--output_dir={tmp_path / 'out'}")
    assert run.returncode == 0, run.stderr
    assert sorted(x.name for x in (tmp_path / "out").iterdir()) == ["compare.csv", "curves.png"]
    assert "left_knee_flexion  2.0   2.0" in run.stdout
    run = kinpose("compare", tmp_path, tmp_path)
    assert run.returncode == 1
    assert "angles.csv" in run.stderr


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    paths = run_files(tmp_path)
    for path in map(pathlib.Path, paths):
        (path / "walk").mkdir()
        (path / "angles.csv").rename(path / "walk" / "angles.csv")
    run = kinpose("compare", *(f"{path}/walk" for path in paths))
    assert f"{paths[1]}/walk - {paths[0]}/walk  left_knee_flexion  2.0" in run.stdout


@pytest.mark.parametrize("text", ["", "time_s\n1\n", "a_deg\n1\n", "time_s,a_deg\n1,x\n"])
def test_a_file_that_is_no_fit_is_named(tmp_path, text):
    (tmp_path / "angles.csv").write_text(text)
    with pytest.raises(ValueError, match=r"angles\.csv: (not the angles|has no angles)"):
        compare.read_angles(str(tmp_path))


def write_video(path, times_ms=(0, 40, 80), turned=False):
    """Frames of 64 x 48, ever lighter, whose upper half is red; turned as phones say it."""
    av = pytest.importorskip("av", reason="reading videos needs kinpose[video]")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 48
        millisecond = fractions.Fraction(1, 1000)
        stream.time_base = stream.codec_context.time_base = millisecond
        for t, time_ms in enumerate(times_ms):
            picture = np.full((48, 64, 3), 2 * t, np.uint8)
            picture[:24, :, 0] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time_ms, millisecond
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if turned:  # the matrix of the track's header: a quarter turn clockwise
        data = bytearray(path.read_bytes())
        start = data.find(b"tkhd") + 44
        data[start : start + 36] = struct.pack(
            ">9i", 0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000
        )
        path.write_bytes(data)


def test_frames_of_a_video_come_with_their_times_number_and_rate(tmp_path):
    write_video(tmp_path / "x.mp4")
    with video._frames(str(tmp_path / "x.mp4")) as (frames, num, fps):
        times, pictures = zip(*frames, strict=True)
    assert (num, fps) == (3, 25.0)
    np.testing.assert_allclose(times, [0, 0.04, 0.08])
    assert pictures[0].shape == (48, 64, 3)
    assert pictures[0][:20, :, 0].mean() > 200
    (tmp_path / "torn.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"torn\.mp4 cannot be read as a video"):  # noqa: SIM117
        with video._frames(str(tmp_path / "torn.mp4")):
            pass


def test_a_video_that_lies_on_its_side_is_turned(tmp_path):
    write_video(tmp_path / "x.mp4", turned=True)
    with video._frames(str(tmp_path / "x.mp4")) as (frames, _, _):
        picture = next(frames)[1]
    assert picture.shape == (64, 48, 3)
    assert picture[:, 28:, 0].mean() > 200  # what was above is on the right
    assert picture[:, :20, 0].mean() < 50


def test_points_of_a_video_are_a_recording(tmp_path, monkeypatch, capsys):
    """But for the detector, which is not here."""
    write_video(tmp_path / "x.mp4", (0, 40, 80, 120, 240))  # two frames are left out
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(0.1, 1, (7, 33, 4))
    landmarks[[1, 4, 5]] = np.nan

    @contextlib.contextmanager
    def landmarker(model):
        yield lambda frame, time_ms: landmarks[round(time_ms / 40)]

    monkeypatch.setattr(video, "_landmarker", landmarker)
    values = flags.FlagValues()
    flags.DEFINE_string("model", str(tmp_path / "x.mp4"), "", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "", flag_values=values)
    values.mark_as_parsed()
    monkeypatch.setattr(video.flags, "FLAGS", values)
    video.main(["", str(tmp_path / "x.mp4"), str(tmp_path / "points.npz")])
    assert "2 frames are not in the file, in 1 gaps" in capsys.readouterr().out
    points = load_recording(tmp_path / "points.npz")
    np.testing.assert_allclose(points.positions, landmarks[..., :3])
    np.testing.assert_allclose(points.confidence, np.nan_to_num(landmarks[..., 3]))
    assert points.names == LAYOUTS["mediapipe_33"].order
    assert points.frame_time_s == pytest.approx(0.04)
    assert (points.unit_mm, points.up) == (1000.0, "-y")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none.mp4", "x.npz", "--model=none.task"], "none.mp4 is no file"),
        (["none.mp4", "x.npz"], "model"),
        (["README.md", "x.xyz", "--model=none.task"], "points are written to .trc"),
    ],
)
def test_a_video_that_is_none_ends_in_one_line(tmp_path, args, message):
    args = [tmp_path / x if str(x).startswith("x.") else x for x in args]
    run = kinpose("video", *args)
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())
