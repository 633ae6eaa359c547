"""Laws of frames in text files: none is lost, none slides, and their times are the file's."""

import json

import numpy as np
import pytest

from kinpose.apps._reading import Settings, read_input
from kinpose.apps._understand import understand
from kinpose.io import load_recording, save_recording
from kinpose.io.points import Points
from kinpose.skeletons import human_17
from tests.test_recording_files import QUALISYS, table, trc, write
from tests.troubles import place, walking

FRAMES = 12
STEPS = np.arange(FRAMES)[:, None]
PLACES = np.random.default_rng(0).normal(0, 1, (FRAMES, 2, 3)).round(4)
TITLES = "nose_x,nose_y,nose_z,hip_x,hip_y,hip_z"
LEFT = np.setdiff1d(np.arange(FRAMES), [4, 5, 9])
"""Of frames, those that a file has that leaves some out."""


def filled():
    """Places, with nothing where frames were left out."""
    places = np.full_like(PLACES, np.nan)
    places[LEFT] = PLACES[LEFT]
    return places


@pytest.mark.parametrize("suffix", [".csv", ".trc", ".c3d", ".npz"])
def test_frames_in_which_nothing_is_seen_come_back(tmp_path, suffix):
    places = PLACES.copy()
    places[[0, 3, FRAMES - 1]] = np.nan
    rate = None if suffix in (".csv", ".npz") else 0.01
    save_recording(tmp_path / f"x{suffix}", Points(places, ("nose", "hip"), rate, None, 1.0))
    found = load_recording(tmp_path / f"x{suffix}").positions
    np.testing.assert_allclose(found, places, atol=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".trc", ".c3d", ".npz"])
@pytest.mark.parametrize("start", [0.0, 2.5, 1400.0, -0.5, 1.7e9])
def test_the_time_of_the_first_frame_stays(tmp_path, suffix, start):
    points = Points(PLACES, ("nose", "hip"), 0.02, None, 1.0, start_s=start)
    save_recording(tmp_path / f"x{suffix}", points)
    found = load_recording(tmp_path / f"x{suffix}")
    held = suffix != ".c3d" or 0 <= start < 2**31 * 0.02  # by numbers of frames, from 1
    assert found.start_s == pytest.approx(start if held else 0.0, abs=1e-6)
    assert found.frame_time_s == pytest.approx(0.02)
    np.testing.assert_allclose(found.positions, PLACES, atol=1e-6)


def test_a_fit_counts_time_as_the_recording(tmp_path):
    joints = place(walking(np.random.default_rng(0)))
    points = Points(joints, human_17().keypoint_names, 0.02, None, 1.0, start_s=2.5)
    save_recording(tmp_path / "x.trc", points)
    settings = Settings()
    assert understand(read_input(str(tmp_path / "x.trc"), settings), settings).start_s == 2.5


def test_a_line_of_marks_is_no_frame_where_frames_are_numbered(tmp_path):
    content = table(f"frame,{TITLES}", STEPS, PLACES) + ",,,,,,\n" * 3
    found = load_recording(write(tmp_path, content, "x.csv"))
    np.testing.assert_array_equal(found.positions, PLACES)


@pytest.mark.parametrize(
    ("title", "column"),
    [("frame", STEPS + 7), ("frame", 5 * STEPS), ("time", STEPS / 50), ("t_ms", 20 * STEPS)],
)
def test_frames_that_a_table_leaves_out_have_no_points(tmp_path, title, column):
    content = table(f"{title},{TITLES}", column[LEFT], PLACES[LEFT])
    with pytest.warns(UserWarning, match="3 frames are not in the file, in 2 gaps"):
        found = load_recording(write(tmp_path, content, "x.csv"))
    np.testing.assert_array_equal(found.positions, filled())
    assert found.frame_time_s == (None if title == "frame" else pytest.approx(0.02))


def test_frames_that_a_trc_file_leaves_out_have_no_points(tmp_path):
    whole = load_recording(write(tmp_path, trc())).positions
    lines = trc(count=4).split("\n")
    del lines[8]
    with pytest.warns(UserWarning, match="1 frames are not in the file"):
        found = load_recording(write(tmp_path, "\n".join(lines)))
    whole[2] = np.nan
    np.testing.assert_array_equal(found.positions, whole)
    assert found.frame_time_s == pytest.approx(0.02)


@pytest.mark.parametrize("titles", ["Frame\tTime", ""])
def test_frames_that_a_file_of_qualisys_leaves_out_have_no_points(tmp_path, titles):
    whole = np.concatenate([PLACES, PLACES[:, :1]], axis=1)
    content = table(titles, STEPS[LEFT] + 7, STEPS[LEFT] / 50, whole[LEFT], mark="\t")
    content = QUALISYS + content.lstrip()
    with pytest.warns(UserWarning, match="3 frames are not in the file, in 2 gaps"):
        found = load_recording(write(tmp_path, content, "x.tsv"))
    np.testing.assert_array_equal(found.positions[:, :2], filled())
    assert found.frame_time_s == pytest.approx(0.02)


def test_a_rate_of_qualisys_that_its_times_contradict_is_said(tmp_path):
    content = QUALISYS + table("Time", STEPS / 25, PLACES, PLACES[:, :1], mark="\t")
    with pytest.warns(UserWarning, match="50 frames a second, but by their times there are 25"):
        found = load_recording(write(tmp_path, content, "x.tsv"))
    assert found.frame_time_s == pytest.approx(0.04)


def test_frames_that_a_folder_of_openpose_leaves_out_have_no_points(tmp_path):
    for t in LEFT:
        rows = [float(t), 2.0, 3.0, 1.0] * 25
        content = json.dumps({"people": [{"pose_keypoints_3d": rows}]})
        write(tmp_path, content, f"cam2_{t:012d}_keypoints.json")
    with pytest.warns(UserWarning, match="3 frames are not in the file"):
        found = load_recording(tmp_path)
    np.testing.assert_array_equal(np.isfinite(found.positions[:, 0, 0]), np.isin(STEPS[:, 0], LEFT))


@pytest.mark.parametrize(
    ("title", "per_s"),
    [
        ("time", 1),
        ("Time [ms]", 1e3),
        ("timestamp_us", 1e6),
        ("Time (us)", 1e6),
        ("time_ns", 1e9),
        ("Time (seconds)", 1),
    ],
)
def test_times_are_in_the_unit_that_their_title_says(tmp_path, title, per_s):
    content = table(f"{title},{TITLES}", STEPS * per_s / 50, PLACES)
    found = load_recording(write(tmp_path, content, "x.csv"))
    assert found.frame_time_s == pytest.approx(0.02)
    long = "".join(f"{t * per_s / 50:.4f},nose,1,2,{t}\n" for t in range(FRAMES))
    found = load_recording(write(tmp_path, f"{title},joint,x,y,z\n{long}", "long.csv"))
    assert found.frame_time_s == pytest.approx(0.02)


@pytest.mark.parametrize("unit", [("milliseconds", 1e3), ("microseconds", 1e6)])
def test_times_that_can_be_no_seconds_are_taken_for_what_they_can_be(tmp_path, unit):
    content = table(f"timestamp,{TITLES}", (STEPS + 5e7) * unit[1] / 50, PLACES)
    with pytest.warns(UserWarning, match=f"are taken for {unit[0]}"):
        found = load_recording(write(tmp_path, content, "x.csv"))
    assert found.frame_time_s == pytest.approx(0.02)
    for step in (1.0, 3600.0):
        content = table(f"time,{TITLES}", step * STEPS, PLACES)
        with pytest.warns(UserWarning, match=f"leave {step:g} s between frames"):
            load_recording(write(tmp_path, content, "x.csv"))


def test_times_of_few_digits_tell_the_rate(tmp_path):
    times = np.round(STEPS / 30, 2)
    found = load_recording(write(tmp_path, table(f"time,{TITLES}", times, PLACES), "x.csv"))
    assert found.frame_time_s == pytest.approx(1 / 30, rel=0.01)
    np.testing.assert_array_equal(found.positions, PLACES)


def test_times_that_go_back_are_said(tmp_path):
    times = np.concatenate([STEPS[:6], STEPS[:6]]) / 50
    with pytest.warns(UserWarning, match="times are uneven, -0.1 to 0.02 apart"):
        found = load_recording(write(tmp_path, table(f"time,{TITLES}", times, PLACES), "x.csv"))
    np.testing.assert_array_equal(found.positions, PLACES)


def test_a_rate_that_times_contradict_is_said(tmp_path):
    with pytest.warns(UserWarning, match="says 60 frames a second, but by their times there are 5"):
        assert load_recording(write(tmp_path, trc(rate="60"))).frame_time_s == pytest.approx(0.02)


def test_a_table_of_vicon_says_its_rate_above_all(tmp_path):
    head = "Trajectories\n200\n,,A:LASI,,,A:RASI,,\nFrame,Sub Frame,X,Y,Z,X,Y,Z\n"
    content = table(head + ",,mm,mm,mm,mm,mm,mm", STEPS + 1, 0 * STEPS, PLACES)
    found = load_recording(write(tmp_path, content, "x.csv"))
    assert found.frame_time_s == pytest.approx(1 / 200)
    np.testing.assert_array_equal(found.positions, PLACES)


@pytest.mark.parametrize("titles", ["Frame\tTime\tnose X\tnose Y", ""])
def test_a_marker_of_qualisys_that_is_never_seen_moves_no_other(tmp_path, titles):
    places = np.concatenate([PLACES[:, :1], np.full((FRAMES, 2, 3), np.nan)], axis=1)
    places[7, 2] = 1.0
    for last in (places, np.where(STEPS[..., None] == 7, np.nan, places)):
        content = QUALISYS + table(titles, STEPS + 1, STEPS / 50, last, mark="\t").lstrip()
        found = load_recording(write(tmp_path, content, "x.tsv")).positions
        np.testing.assert_array_equal(found, last)


def test_frames_of_qualisys_in_which_nothing_is_seen_are_frames(tmp_path):
    places = np.concatenate([PLACES, PLACES[:, :1]], axis=1)
    places[[0, 5]] = np.nan
    content = QUALISYS.rstrip() + table("", places, mark="\t")
    found = load_recording(write(tmp_path, content, "x.tsv")).positions
    np.testing.assert_array_equal(found, places)


def test_a_short_line_between_spaces_tells_no_marker(tmp_path):
    lines = trc(mark=" ").split("\n")
    lines[7] = " ".join(lines[7].split()[:5] + lines[7].split()[8:])  # the middle one is blank
    with pytest.warns(UserWarning, match="line 8: 1 lines have fewer numbers than 3 markers need"):
        found = load_recording(write(tmp_path, "\n".join(lines), "x.trc")).positions
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 3, 4]]).all()


def test_a_rate_that_nobody_says_is_said(tmp_path):
    recording = place(walking(np.random.default_rng(0), 30)).astype(np.float32)
    np.save(tmp_path / "x.npy", recording)
    settings = Settings(layout="human36m_17")
    said = {}
    for fps in (None, 0.01, 50.0):
        given = settings._replace(fps=fps)
        said[fps] = [
            x
            for x in understand(read_input(str(tmp_path / "x.npy"), given), given).warnings
            if "--fps" in x
        ]
    assert said[None] == ["the file says no rate; 30 frames/s are taken: --fps says better."]
    assert said[0.01] == ["0.01 frames/s are unlikely: --fps says better."]
    assert said[50.0] == []
    save_recording(tmp_path / "x.npz", Points(recording, human_17().keypoint_names, 0.02))
    given = settings._replace(fps=25.0)
    found = understand(read_input(str(tmp_path / "x.npz"), given), given)
    assert "25 frames/s are taken, as --fps says; the file says 50." in found.warnings
