"""Laws of files of recordings: each tells the same points, in and out, to others as to us."""

import json
import warnings

import c3d
import ezc3d
import numpy as np
import pytest
import xarray

from kinpose import Joint, Motion, build_skeleton
from kinpose.io import load_recording, save_recording
from kinpose.io.column_maps import load_columns
from kinpose.io.opensim import save_motion
from kinpose.io.points import Points
from kinpose.layouts import find_layout

NAMES = ("nose", "left_hip", "right knee")
RNG = np.random.default_rng(0)
XYZ = RNG.normal(0, 300, (5, 3, 3)).round(4)
XYZ[2, 1] = np.nan
SURE = np.where(np.isnan(XYZ[..., 0]), 0, RNG.uniform(0.1, 1, (5, 3)).round(4))
RATE = 50.0


def write(tmp_path, content, name="x.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cell(value):
    return "" if np.isnan(value) else f"{value:.4f}"


def table(titles, *columns, mark=","):
    """A table of cells from titles and arrays of T rows."""
    rows = np.concatenate([np.reshape(x, (len(x), -1)) for x in columns], axis=1)
    return "\n".join([titles, *(mark.join(map(cell, row)) for row in rows)]) + "\n"


def titles(spell, mark=",", axes="xyz"):
    return mark.join(spell(name, axis) for name in NAMES for axis in axes)


def trc(mark="\t", names="{}\t\t\t", blank="\n", units="mm", count=5, rate="50", end="\n"):
    head = [
        "PathFileType\t4\t(X/Y/Z)\tx.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate",
        f"{rate}\t{rate}\t{count}\t3\t{units}\t{rate}",
        "Frame#\tTime\t" + "".join(map(names.format, NAMES)).rstrip("\t"),
        "\t\tX1\tY1\tZ1\tX2\tY2\tZ2\tX3\tY3\tZ3",
    ]
    rows = [
        mark.join(
            [str(t + 1), f"{t / RATE:.3f}", *(cell(x) or "nan" * (mark != "\t") for x in row)]
        )
        for t, row in enumerate(XYZ.reshape(5, -1))
    ]
    return "\n".join(head) + "\n" + blank + "\n".join(rows) + end


TRC = {
    "as it is": trc(),
    "CRLF": trc().replace("\n", "\r\n"),
    "no empty line": trc(blank=""),
    "two empty lines": trc(blank="\n\t\t\t\n"),
    "no final newline": trc(end=""),
    "empty lines at the end": trc(end="\n\n\t\t\n"),
    "tabs at the end": trc().replace("\n", "\t\t\n"),
    "one tab between names": trc(names="{}\t"),
    "spaces": trc(mark="   "),
    "decimal commas": trc().replace(".", ","),
    "UTF-16": trc().encode("utf-16"),
    "mark of UTF-8": b"\xef\xbb\xbf" + trc().encode(),
    "words for nothing": trc().replace("\t\t\t\t", "\tNaN\tnull\t-\t"),
    "no rate": trc(rate=""),
    "spaces before numbers": trc().replace("\t-", "\t  -"),
}


@pytest.mark.parametrize("content", TRC.values(), ids=TRC.keys())
def test_the_spelling_of_a_trc_file_does_not_matter(tmp_path, content):
    points = load_recording(write(tmp_path, content, "x.trc"))
    np.testing.assert_array_equal(points.positions, XYZ)
    assert points.names == NAMES
    assert points.frame_time_s == pytest.approx(1 / RATE)
    assert (points.unit_mm, points.up) == (1.0, None)


def test_markers_that_end_a_line_and_are_missing_may_be_left_out(tmp_path):
    xyz = XYZ.copy()
    xyz[2], xyz[2, 0] = np.nan, XYZ[2, 0]
    lines = trc().split("\n")
    lines[8] = "\t".join(lines[8].split("\t")[:5])
    np.testing.assert_array_equal(load_recording(write(tmp_path, "\n".join(lines))).positions, xyz)


def test_units_and_equal_names_of_a_trc_file(tmp_path):
    content = trc(units="m").replace("left_hip", "nose").replace("right knee", "")
    points = load_recording(write(tmp_path, content))
    assert points.unit_mm == 1000
    assert points.names == ("nose", "nose_2", "marker_3")


def test_counts_of_a_trc_file_that_are_wrong_are_said(tmp_path):
    with pytest.warns(UserWarning, match="header says 9 frames, but 5 follow"):
        points = load_recording(write(tmp_path, trc(count=9)))
    np.testing.assert_array_equal(points.positions, XYZ)
    with pytest.warns(UserWarning, match="cut short"):
        points = load_recording(write(tmp_path, trc(count=4)[:-20]))
    np.testing.assert_array_equal(points.positions, XYZ[:4])


QUALISYS = (
    "NO_OF_FRAMES\t5\nNO_OF_CAMERAS\t8\nNO_OF_MARKERS\t3\nFREQUENCY\t50\nNO_OF_ANALOG\t0\n"
    "DESCRIPTION\t--\nTIME_STAMP\t2024-04-15, 10:39:38\nDATA_INCLUDED\t3D\n"
    "EVENT\tstart\t1\t0.01\nMARKER_NAMES\tnose\tleft_hip\tright knee\n"
)
TIMED = np.stack([np.arange(5) + 1, np.arange(5) / RATE], axis=1)
TSV = {
    "numbers only": QUALISYS + table("TRAJECTORY_TYPES\tMeasured\tMixed\tMeasured", XYZ, mark="\t"),
    "frame and time": QUALISYS + table("Frame\tTime\tnose X\tnose Y", TIMED, XYZ, mark="\t"),
    "no line of titles": QUALISYS.rstrip() + "\t" + table("", XYZ, mark="\t"),
    "a tab at each end": QUALISYS + table("", XYZ, mark="\t").replace("\n", "\t\r\n"),
}


@pytest.mark.parametrize("content", TSV.values(), ids=TSV.keys())
def test_the_spelling_of_a_qualisys_file_does_not_matter(tmp_path, content):
    points = load_recording(write(tmp_path, content, "x.tsv"))
    np.testing.assert_array_equal(points.positions, XYZ)
    assert points.names == NAMES
    assert points.frame_time_s == pytest.approx(1 / RATE)
    assert points.unit_mm == 1.0


FRAMES = np.arange(5)[:, None]
TIME = FRAMES / RATE
SURE_XYZ = np.concatenate([XYZ, SURE[..., None]], axis=-1)
WIDE = {
    "FreeMoCap": table(titles("{}_{}".format), XYZ),
    "by capitals": table(titles(lambda n, a: f"{n}{a.upper()}"), XYZ),
    "by spaces": table(titles(lambda n, a: f"{n} {a.upper()}", ";"), XYZ, mark=";"),
    "by points": table(titles("{}.{}".format, "\t"), XYZ, mark="\t"),
    "axis first": table(titles(lambda n, a: f"{a}_{n}"), XYZ),
    "in brackets": table(titles(lambda n, a: f"{n} ({a})"), XYZ),
    "DeepLabCut": "scorer"
    + ",DLC" * 9
    + "\nbodyparts"
    + "".join(f",{n}" * 3 for n in NAMES)
    + "\n"
    + table("coords" + ",x,y,z" * 3, FRAMES, XYZ),
    "names above the first axis": "".join(f"{n},,," for n in NAMES)
    + "\n"
    + table("x,y,z" + ",X,Y,Z" * 2, XYZ),
    "quoted": table(titles('"{}_{}"'.format), XYZ),
    "columns in any order": table(titles("{}_{}".format, axes="zxy"), XYZ[..., [2, 0, 1]]),
    "decimal commas": table(titles("{}_{}".format, ";"), XYZ, mark=";").replace(".", ","),
}
TIMES = {
    "time": table("time," + titles("{}_{}".format), TIME, XYZ),
    "seconds in brackets": table(
        "Frame,Time (Seconds)," + titles("{}_{}".format), FRAMES, TIME, XYZ
    ),
    "milliseconds": table("time_ms," + titles("{}_{}".format), 1000 * TIME, XYZ),
    "at the end": table(titles("{}_{}".format) + ",fnum,timestamp", XYZ, FRAMES, TIME),
}


@pytest.mark.parametrize("content", [*WIDE.values(), *TIMES.values()], ids=[*WIDE, *TIMES])
def test_titles_of_a_wide_table_tell_its_points(tmp_path, content):
    points = load_recording(write(tmp_path, content, "x.csv"))
    np.testing.assert_array_equal(points.positions, XYZ)
    assert points.names == NAMES
    assert points.confidence is None
    expected = pytest.approx(1 / RATE) if content in TIMES.values() else None
    assert points.frame_time_s == expected


def test_anipose_tells_scores_and_its_other_columns_are_no_points(tmp_path):
    parts = ("x", "y", "z", "error", "ncams", "score")
    rest = [f"M_{i}{j}" for i in range(3) for j in range(3)] + [f"center_{i}" for i in range(3)]
    head = ",".join([f"{n}_{part}" for n in NAMES for part in parts] + rest + ["fnum"])
    blank = np.where(np.isnan(XYZ[..., 0]), np.nan, 2.0)[..., None]
    score = np.where(np.isnan(XYZ[..., 0]), np.nan, SURE)[..., None]
    rows = np.concatenate([XYZ, blank, blank, score], axis=-1)
    content = table(head, rows, np.ones((5, 12)), FRAMES)
    points = load_recording(write(tmp_path, content, "x.csv"))
    np.testing.assert_array_equal(points.positions, XYZ)
    np.testing.assert_array_equal(points.confidence, SURE)
    assert points.names == NAMES


def test_names_of_individuals_stand_before_those_of_their_points(tmp_path):
    """As of DeepLabCut with several animals."""
    head = "scorer" + ",DLC" * 12 + "\nindividuals" + ",a" * 6 + ",b" * 6
    head += "\nbodyparts" + (",nose" * 3 + ",tail" * 3) * 2 + "\ncoords" + ",x,y,z" * 4
    content = table(head, FRAMES, np.concatenate([XYZ[:, :2], XYZ[:, :2]], axis=1))
    points = load_recording(write(tmp_path, content, "x.csv"))
    assert points.names == ("a_nose", "a_tail", "b_nose", "b_tail")
    mine = load_recording(tmp_path / "x.csv", individual="b")
    assert mine.names == ("nose", "tail")
    np.testing.assert_array_equal(mine.positions, points.positions[:, 2:])
    with pytest.raises(ValueError, match=r"x\.csv.*no point is of the individual 'c'.*a_nose"):
        load_recording(tmp_path / "x.csv", individual="c")


def test_tables_of_vicon_and_optitrack_have_names_and_units_above_the_axes(tmp_path):
    vicon = "Trajectories\n50\n,," + "".join(f"Ann:{n},,," for n in NAMES) + "\n"
    vicon += (
        "Frame,Sub Frame"
        + ",X,Y,Z" * 3
        + "\n"
        + table(",," + "mm," * 8 + "mm", TIMED * [1, 0], XYZ)
    )
    points = load_recording(write(tmp_path, vicon, "x.csv"))
    np.testing.assert_array_equal(points.positions, XYZ)
    assert points.names == tuple(f"Ann:{n}" for n in NAMES)
    assert points.unit_mm == 1.0
    turns = np.ones((5, 3, 4))
    both = np.concatenate([turns, XYZ, np.ones((5, 3, 1))], axis=-1)
    kinds = ",Rotation" * 4 + ",Position" * 3 + ",Mean Marker Error"
    motive = (
        "Format Version,1.23,Take Name,walk,Capture Frame Rate,50.000,Length Units,Meters\n\n"
        + ",Type"
        + ",Bone" * 24
        + "\n,Name"
        + "".join(f",{n}" * 8 for n in NAMES)
        + "\n"
        + ",ID"
        + "".join(f",{i}" * 8 for i in range(3))
        + "\n,"
        + kinds * 3
        + "\n"
        + table("Frame,Time (Seconds)" + ",X,Y,Z,W,X,Y,Z," * 3, FRAMES, TIME, both)
    )
    points = load_recording(write(tmp_path, motive, "x.csv"))
    np.testing.assert_array_equal(points.positions, XYZ)
    assert (points.names, points.unit_mm) == (NAMES, 1000.0)
    assert points.frame_time_s == pytest.approx(1 / RATE)


def long(head, row, skip=()):
    lines = [row(t, n) for t in range(5) for n in range(3) if (t, n) not in skip]
    return "\n".join([head, *lines]) + "\n"


def xyz_text(t, n):
    return ",".join(map(cell, XYZ[t, n]))


LONG = {
    "frames": long("frame,keypoint,x,y,z", lambda t, n: f"{t + 7},{NAMES[n]},{xyz_text(t, n)}"),
    "missing lines": long(
        "marker,X,Y,Z,Frame", lambda t, n: f"{NAMES[n]},{xyz_text(t, n)},{t}", skip={(2, 1)}
    ),
    "without frames": long("joint,x,y,z", lambda t, n: f"{NAMES[n]},{xyz_text(t, n)}"),
    "FreeMoCap": long(
        "frame,timestamp,timestamp_by_camera,model,keypoint,x,y,z,reprojection_error",
        lambda t, n: (
            f"{t},{t / RATE},\"{{'a': 1, 'b': 2}}\",mediapipe_body,{NAMES[n]},{xyz_text(t, n)},"
        ),
    ),
}


@pytest.mark.parametrize("content", LONG.values(), ids=LONG.keys())
def test_titles_of_a_long_table_tell_its_points(tmp_path, content):
    points = load_recording(write(tmp_path, content, "x.csv"))
    np.testing.assert_array_equal(points.positions, XYZ)
    assert points.names == NAMES


def test_points_of_one_name_in_two_models_are_two(tmp_path):
    content = "frame,time,model,keypoint,x,y,z\n"
    content += "".join(
        f"{t},{t / 4},{m},wrist,{t},{i},0\n" for t in range(3) for i, m in enumerate("ab")
    )
    points = load_recording(write(tmp_path, content))
    assert points.names == ("a_wrist", "b_wrist")
    assert points.frame_time_s == 0.25
    np.testing.assert_array_equal(points.positions[:, 1], [[0, 1, 0], [1, 1, 0], [2, 1, 0]])


def test_individuals_of_a_long_table_are_named_where_there_are_several(tmp_path):
    def lines(*whose):
        rows = [f"{t},{who},wrist,{t},{i},0\n" for t in range(3) for i, who in enumerate(whose)]
        return write(tmp_path, "frame,individual,keypoint,x,y,z\n" + "".join(rows))

    assert load_recording(lines("ann")).names == ("wrist",)
    assert load_recording(lines("ann", "bo")).names == ("ann_wrist", "bo_wrist")


def test_lines_of_several_individuals_are_no_frames_of_one(tmp_path):
    def lines(*whose):
        rows = [f"{who},{t},{t},1,2,3,4,5\n" for who in whose for t in range(3)]
        return write(tmp_path, "track,frame,a_x,a_y,a_z,b_x,b_y,b_z\n" + "".join(rows))

    assert load_recording(lines("0")).positions.shape == (3, 2, 3)
    with pytest.raises(ValueError, match=r"lines are of 2 individuals by 'track' \(0, 1\)"):
        load_recording(lines("0", "1"))


def test_frames_without_any_point_are_missing_and_not_left_out(tmp_path):
    content = "frame,time,joint,x,y,z\n0,0,a,1,2,3\n1,0.1,a,1,2,4\n4,0.4,a,1,2,5\n5,0.5,a,1,2,6\n"
    with pytest.warns(UserWarning, match="2 frames are not in the file, in 1 gaps"):
        points = load_recording(write(tmp_path, content))
    np.testing.assert_array_equal(points.positions[:, 0, 2], [3, 4, np.nan, np.nan, 5, 6])
    assert points.frame_time_s == pytest.approx(0.1)


def test_a_map_of_columns_tells_what_titles_do_not(tmp_path):
    wide = table(",".join(f"c{i}" for i in range(13)), TIME, SURE_XYZ)
    columns = {
        "points": {name: [f"c{4 * n + i}" for i in range(1, 5)] for n, name in enumerate(NAMES)},
        "time": "c0",
        "unit": "m",
    }
    path = write(tmp_path, json.dumps(columns), "map.json")
    points = load_recording(write(tmp_path, wide, "x.csv"), columns=load_columns(path))
    np.testing.assert_array_equal(points.positions, XYZ)
    np.testing.assert_array_equal(points.confidence, SURE)
    assert (points.names, points.unit_mm) == (NAMES, 1000.0)
    columns = {"point": "what", "x": "a", "y": "b", "z": "c", "frame": "when", "fps": 25}
    content = LONG["frames"].replace("frame,keypoint,x,y,z", "when,what,a,b,c")
    points = load_recording(write(tmp_path, content), columns=columns)
    np.testing.assert_array_equal(points.positions, XYZ)
    assert points.frame_time_s == 1 / 25
    by_number = {"points": {"p": [1, 2, 3]}}
    content = "\n".join(f"{t} {t + 1} {t + 2} {t + 3}" for t in range(4))
    points = load_recording(write(tmp_path, content), columns=by_number)
    np.testing.assert_array_equal(points.positions[1, 0], [2, 3, 4])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"points": {"a": ["u", "v", "w"]}}, "no column 'u'; its titles are .'frame', 'keypoint'"),
        ({"points": {"a": ["x"]}}, "'points' maps a name to a list"),
        ({"pointz": {}}, r"has keys of .*pointz"),
        ({"point": "keypoint", "x": "x"}, "names 'point', 'x', 'y' and 'z'"),
        ({"points": {"a": [2, 3, 99]}}, "has 5 columns, but column 99 is named"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(tmp_path, columns, message):
    content = LONG["frames"]
    if columns == {"points": {"a": [2, 3, 99]}}:
        content = "a,b,c,d,e\n1,2,3,4,5\n"
    with pytest.raises(ValueError, match=message):
        load_recording(write(tmp_path, content), columns=columns)


@pytest.mark.parametrize(
    "content", ["[1]", "{", '{"points": 3}', '{"fps": 0}', '{"unit": "ell"}', '{"unit": {}}']
)
def test_a_broken_file_of_columns_is_refused_by_name(tmp_path, content):
    with pytest.raises(ValueError, match=r"map\.json"):
        load_columns(write(tmp_path, content, "map.json"))


def people(t, *others):
    rows = np.concatenate([np.nan_to_num(XYZ[t]), SURE[t][:, None]], axis=1)
    mine = {"person_id": [-1], "pose_keypoints_2d": [], "pose_keypoints_3d": rows.ravel().tolist()}
    return {"version": 1.3, "people": [*others, mine]}


def openpose(tmp_path, *others, frames=range(5)):
    folder = tmp_path / "json"
    folder.mkdir()
    for t in frames:
        path = folder / f"clip_{t + 8}_keypoints.json"  # 10 comes after 9
        path.write_text(json.dumps(people(t, *others) if t != 3 else {"people": []}))
    return folder


def test_a_folder_of_openpose_is_a_recording(tmp_path):
    points = load_recording(openpose(tmp_path))
    expected = XYZ.copy()
    expected[3] = np.nan
    np.testing.assert_array_equal(points.positions, expected)
    np.testing.assert_array_equal(points.confidence[:3], SURE[:3])
    assert (points.names, points.frame_time_s) == ((), None)


def test_of_several_people_the_surest_is_followed(tmp_path):
    far = {"pose_keypoints_3d": [9e3, 9e3, 9e3, 0.05] * 3}
    folder = openpose(tmp_path, far)
    with pytest.warns(UserWarning, match=r"4 of 5 frames have several people, up to 2.*individual"):
        points = load_recording(folder)
    np.testing.assert_array_equal(points.positions[:3], XYZ[:3])
    np.testing.assert_array_equal(load_recording(folder, individual="1").positions[:3], XYZ[:3])
    other = load_recording(folder, individual="2")
    np.testing.assert_array_equal(other.positions[[0, 1, 2, 4]], 9e3)
    for number in (0, 3):
        with pytest.raises(
            ValueError, match=rf"json: individual must be of 1 to 2, but is {number}"
        ):
            load_recording(folder, individual=str(number))


def test_who_is_not_seen_for_a_while_is_not_taken_for_another(tmp_path):
    """Two walk side by side; in some frames one of them is not found, and their order changes."""
    folder = tmp_path / "two"
    folder.mkdir()
    for t in range(6):
        both = [[t + 0.1 * k, 4 * who, 0, 0.9 - 0.1 * who] for who in (0, 1) for k in range(3)]
        people = [both[:3], both[3:]][:: 1 if t % 2 else -1]
        people = [rows for rows in people if (t, rows[0][1]) not in ((2, 0), (3, 4))]
        texts = [{"pose_keypoints_3d": np.ravel(rows).tolist()} for rows in people]
        (folder / f"{t}.json").write_text(json.dumps({"people": texts}))
    for who, hidden in ((0, 2), (1, 3)):
        found = load_recording(folder, individual=str(who + 1)).positions[:, 0]
        expected = np.array([[t, 4 * who, 0] for t in range(6)], float)
        expected[hidden] = np.nan
        np.testing.assert_allclose(found, expected)


def test_the_number_of_points_of_a_detector_tells_their_names(tmp_path):
    person = {"pose_keypoints_2d": [1, 2, 0.5] * 25}
    points = load_recording(write(tmp_path, json.dumps({"people": [person]}), "x.json"))
    assert points.names[8] == "MidHip"


def test_points_of_pictures_have_two_coordinates(tmp_path):
    person = {"pose_keypoints_2d": [1, 2, 0.5, 0, 0, 0]}
    points = load_recording(write(tmp_path, json.dumps({"people": [person]}), "x.json"))
    np.testing.assert_array_equal(points.positions, [[[1, 2], [np.nan, np.nan]]])
    np.testing.assert_array_equal(points.confidence, [[0.5, 0]])


def dataset(individuals=("id_0",), dims=("time", "space", "keypoints", "individuals"), **attrs):
    """As movement 0.15 makes them."""
    many = len(individuals)
    return xarray.Dataset(
        {
            "position": (dims, np.stack([XYZ.swapaxes(1, 2)] * many, axis=-1)),
            "confidence": ((dims[0], *dims[2:]), np.stack([SURE] * many, axis=-1)),
        },
        {
            "time": np.arange(5) / RATE if attrs else np.arange(5),
            "space": list("xyz"),
            dims[2]: list(NAMES),
            dims[3]: list(individuals),
        },
        {"source_software": "SLEAP", "ds_type": "poses"} | attrs,
    )


@pytest.mark.parametrize("plural", ["s", ""])
def test_a_data_set_of_movement_is_a_recording(plural):
    dims = ("time", "space", f"keypoint{plural}", f"individual{plural}")
    points = load_recording(dataset(dims=dims, fps=RATE, time_unit="seconds"))
    np.testing.assert_array_equal(points.positions, XYZ)
    np.testing.assert_array_equal(points.confidence, SURE)
    assert points.names == NAMES
    assert points.frame_time_s == pytest.approx(1 / RATE)
    assert load_recording(dataset()).frame_time_s is None


def test_a_data_set_of_several_or_of_no_positions_asks():
    with pytest.raises(ValueError, match=r"individual must be one of \['a', 'b'\]"):
        load_recording(dataset(("a", "b")))
    with pytest.raises(ValueError, match=r"must have a variable 'position'.*\['x'\]"):
        load_recording(xarray.Dataset({"x": 3}))


def ezc3d_file(path, labels=NAMES, unit="mm", up="+Z", angles=(), positions=XYZ):
    made = ezc3d.c3d()
    made["parameters"]["POINT"]["RATE"]["value"] = [RATE]
    made["parameters"]["POINT"]["LABELS"]["value"] = list(labels)
    made["parameters"]["POINT"]["UNITS"]["value"] = [unit]
    made.add_parameter("POINT", "Y_SCREEN", [up])
    if angles:
        made.add_parameter("POINT", "ANGLES", list(angles))
    rows = np.ones((4, *positions.shape[1::-1]))
    rows[:3] = positions.T
    made["data"]["points"] = rows
    made.add_parameter("ANALOG", "LABELS", ["force"])
    made["parameters"]["ANALOG"]["RATE"]["value"] = [4 * RATE]
    made["data"]["analogs"] = RNG.normal(size=(1, 1, 4 * len(positions)))
    made.write(str(path))
    return path


def test_a_c3d_file_of_ezc3d_is_read_with_its_unit_axis_and_rate(tmp_path):
    points = load_recording(ezc3d_file(tmp_path / "x.c3d"))
    np.testing.assert_allclose(points.positions, XYZ, rtol=1e-6)
    assert points.names == NAMES
    assert points.frame_time_s == pytest.approx(1 / RATE)
    assert (points.unit_mm, points.up) == (1.0, "z")
    renamed = (tmp_path / "x.c3d").rename(tmp_path / "x.dat")
    assert load_recording(renamed).names == NAMES
    points = load_recording(ezc3d_file(tmp_path / "x.c3d", unit="m", up="-Y"))
    assert (points.unit_mm, points.up) == (1000.0, "-y")


def test_what_is_no_position_in_a_c3d_file_is_no_point(tmp_path):
    path = ezc3d_file(tmp_path / "x.c3d", angles=["left_hip"])
    assert load_recording(path).names == ("nose", "right knee")


def test_more_points_than_one_parameter_names(tmp_path):
    labels = [f"m{n}" for n in range(300)]
    positions = RNG.normal(size=(2, 300, 3)).astype(np.float32)
    points = load_recording(ezc3d_file(tmp_path / "x.c3d", labels, positions=positions))
    assert points.names == tuple(labels)
    save_recording(tmp_path / "y.c3d", points)
    again = ezc3d.c3d(str(tmp_path / "y.c3d"))
    np.testing.assert_allclose(again["data"]["points"][:3].T, positions.swapaxes(0, 0), rtol=1e-6)
    assert load_recording(tmp_path / "y.c3d").names == tuple(labels)


def by_processor(content: bytes, kind: int, *, integers: bool) -> bytes:
    """A file of ours as another processor would have written it."""
    blocks, words = bytearray(content), {84: "<", 85: "<", 86: ">"}[kind]
    scale = 0.05
    first = int(np.frombuffer(content[16:18], "<u2")[0] - 1) * 512

    def floats(data, order="<f4"):
        values = np.frombuffer(data, "<f4")
        if kind == 85:
            swapped = (values * np.float32(4)).view("<u2").reshape(-1, 2)[:, ::-1]
            return np.ascontiguousarray(swapped).tobytes()
        return values.astype(f"{words}f4").tobytes()

    header = np.frombuffer(content[2:20], "<u2").astype(f"{words}u2").tobytes()
    blocks[2:20] = header
    factor = np.array([scale if integers else -1.0], "<f4").tobytes()
    blocks[12:16], blocks[20:24] = floats(factor), floats(content[20:24])
    blocks[512 + 3] = kind
    at = 512 + 4
    while blocks[at]:
        length, number = blocks[at], blocks[at + 1]
        at += 2 + length
        step = int(np.frombuffer(content[at : at + 2], "<i2")[0])
        blocks[at : at + 2] = np.array([step], f"{words}i2").tobytes()
        if number < 128:
            size, ndim = (
                np.int8(content[at + 2] - 256 if content[at + 2] > 127 else content[at + 2]),
                content[at + 3],
            )
            start, end = at + 4 + ndim, at + step - 1
            if size == 2:
                blocks[start:end] = (
                    np.frombuffer(content[start:end], "<i2").astype(f"{words}i2").tobytes()
                )
            if size == 4 and content[start:end] == np.array([-1.0], "<f4").tobytes():
                blocks[start:end] = floats(factor)  # POINT:SCALE
            elif size == 4:
                blocks[start:end] = floats(content[start:end])
        at += step
    cells = np.frombuffer(content[first:], "<f4").reshape(-1, 4)
    if integers:
        cells = np.concatenate([cells[:, :3] / scale, cells[:, 3:]], axis=1)
        return bytes(blocks[:first]) + cells.round().astype(f"{words}i2").tobytes()
    return bytes(blocks[:first]) + floats(cells.tobytes())


def frames_of_c3d(path):
    """By the package c3d; NaN where it says that a point was not seen."""
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has no analog data
        reader = c3d.Reader(file)
        frames = np.stack([points for _, points, _ in reader.read_frames()])
        assert [label.strip() for label in reader.point_labels] == list(NAMES)
    return np.where(frames[..., 3:4] < 0, np.nan, frames[..., :3])


@pytest.mark.parametrize("kind", [84, 85, 86])
@pytest.mark.parametrize("integers", [False, True])
def test_c3d_files_of_all_processors_are_read(tmp_path, kind, integers):
    save_recording(tmp_path / "x.c3d", Points(XYZ, NAMES, 1 / RATE, None, 1.0, "z"))
    content = by_processor((tmp_path / "x.c3d").read_bytes(), kind, integers=integers)
    points = load_recording(write(tmp_path, content, "y.c3d"))
    np.testing.assert_allclose(points.positions, XYZ, atol=0.026 if integers else 1e-4)
    assert points.names == NAMES
    assert points.frame_time_s == pytest.approx(1 / RATE)
    seen = np.isfinite(XYZ[..., 0])
    if kind != 85:  # the package reads the zeros of a VAX as -1.7e38
        np.testing.assert_allclose(frames_of_c3d(tmp_path / "y.c3d")[seen], XYZ[seen], atol=0.026)


def test_a_c3d_file_that_is_cut_short_gives_whole_frames(tmp_path):
    content = ezc3d_file(tmp_path / "x.c3d", positions=np.ones((40, 3, 3))).read_bytes()
    start = 512 * (int.from_bytes(content[16:18], "little") - 1)
    with pytest.warns(UserWarning, match="header says 40 frames, but 10 follow"):
        points = load_recording(write(tmp_path, content[: start + 10 * 4 * 16 + 30], "y.c3d"))
    assert points.positions.shape == (10, 3, 3)


POINTS = Points(XYZ, NAMES, 1 / RATE, None, 1.0, "z")


def test_others_read_our_c3d(tmp_path):
    save_recording(tmp_path / "x.c3d", POINTS._replace(start_s=2.5))
    theirs = ezc3d.c3d(str(tmp_path / "x.c3d"))
    first = theirs["header"]["points"]["first_frame"]  # it counts from 0
    assert first / RATE == 2.5
    np.testing.assert_allclose(theirs["data"]["points"][:3].T, XYZ, rtol=1e-6)
    assert theirs["parameters"]["POINT"]["LABELS"]["value"] == list(NAMES)
    assert theirs["parameters"]["POINT"]["UNITS"]["value"] == ["mm"]
    assert theirs["parameters"]["POINT"]["Y_SCREEN"]["value"] == ["+Z"]
    assert theirs["parameters"]["POINT"]["RATE"]["value"] == [RATE]
    seen = np.isfinite(XYZ[..., 0])
    np.testing.assert_allclose(frames_of_c3d(tmp_path / "x.c3d")[seen], XYZ[seen], rtol=1e-6)


@pytest.mark.parametrize("suffix", ["trc", "c3d", "csv", "npz"])
@pytest.mark.parametrize("sure", [None, SURE])
def test_what_is_written_is_read(tmp_path, suffix, sure):
    path = tmp_path / f"x.{suffix}"
    save_recording(path, POINTS._replace(confidence=sure))
    points = load_recording(path)
    np.testing.assert_allclose(points.positions, XYZ, atol=5e-5)
    assert points.names == NAMES
    assert points.frame_time_s == pytest.approx(1 / RATE)
    assert points.unit_mm == (None if suffix == "csv" else 1.0)
    assert points.up == ("z" if suffix in ("c3d", "npz") else None)
    if suffix in ("csv", "npz"):
        np.testing.assert_allclose(points.confidence, sure) if sure is not None else None
    assert [x.name for x in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "points", "message"),
    [
        ("x.xyz", POINTS, r"written to \.trc, \.c3d, \.csv, \.npz files"),
        ("x.trc", POINTS._replace(frame_time_s=None), "frame_time_s of the points must be known"),
        ("x.c3d", POINTS._replace(frame_time_s=None), "frame_time_s of the points must be known"),
        ("x.trc", POINTS._replace(unit_mm=56.4), "no unit of 56.4 mm"),
        ("x.c3d", POINTS._replace(unit_mm=56.4), "unit of 56.4 mm has no name"),
        ("x.trc", POINTS._replace(names=("a\tb", "c", "d")), "without tabs"),
        ("x.c3d", POINTS._replace(names=("a" * 200, "c", "d")), "names of 127 bytes"),
        ("x.trc", POINTS._replace(positions=XYZ[..., :2]), r"3 coordinates.*\(5, 3, 2\)"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_and_leaves_nothing(tmp_path, name, points, message):
    with pytest.raises(ValueError, match=message):
        save_recording(tmp_path / name, points)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "", "is empty"),
        ("x.csv", "\x1d,,", "is empty"),
        ("x.csv", "a,b\n", "no line of numbers"),
        ("x.csv", "a,b,c\n1,2,3\n", "name no points with x, y and z .they are: a, b, c"),
        ("x.csv", "a_x,a_y,a_z\n1,2,3\n1,2,oops\n", r"line 3: expected a number, but found 'oops'"),
        ("x.csv", "a_x,a_y,a_z\n1,2,3\n1,2,3,4\n1,2,3\n", r"line 3: expected 3 cells, but found 4"),
        ("x.csv", "a_x,a_y,a_z\n,,\n", "name no points|no point is finite|no line of numbers"),
        ("x.csv", "joint,x,y,z,frame\na,1,2,3,0\na,1,2,3,0\n", "frame 0 has 'a' more than once"),
        ("x.csv", b"\x00\x01\x02\x03", "bytes that are none"),
        ("x.trc", "PathFileType\t4\n", "TRC file"),
        ("x.trc", trc().replace("Frame#", "Rate#"), "line 4: expected Frame#"),
        ("x.trc", trc().replace("nose", "nose\t\t\t\t\t\tx"), "line 4|line 7"),
        ("x.trc", trc().partition("X1")[0], "TRC file|no frames"),
        ("x.trc", trc().replace("0.020", "0.0b0"), "line 8: expected a number, but found '0.0b0'"),
        ("x.tsv", QUALISYS, "has no frames"),
        ("x.tsv", "NO_OF_FRAMES\t1\nMARKER_NAMES\ta\n\t\t\t4.25\n", ": has no frames"),
        ("x.tsv", QUALISYS.rstrip() + "\tm" * 90000 + "\n1\t2" * 9, "far fewer|no frames"),
        ("x.tsv", QUALISYS.replace("3D", "6D") + "1\t2\t3\n", "DATA_INCLUDED must be 3D"),
        ("x.json", "{", "not a file of OpenPose"),
        ("x.json", '{"people": []}', "no people"),
        ("x.json", '{"people": [3]}', "not a file of OpenPose"),
        ("x.json", '{"people": [{"pose_keypoints_2d": [1, 2]}]}', "not a file of OpenPose"),
        ("x.c3d", b"\x02\x50", "not a C3D file"),
        ("x.c3d", b"\x02\x50" + bytes(2000), "processor must be 84, 85 or 86"),
        ("x.dat", b"PK\x03\x04", "must end in .bvh, .npy, .npz"),
        ("README", "# A title\n\nSome text, and more, and more.\n", "Points are read from"),
    ],
)
def test_another_or_a_broken_file_is_refused_by_name(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=rf"{name}.*({message})"):
        load_recording(write(tmp_path, content, name))


def test_an_empty_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"has .json files, but this one has none"):
        load_recording(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.c3d"):
        load_recording(tmp_path / "none.c3d")


def wholes(tmp_path):
    """Whole files of each kind, to be damaged."""
    save_recording(tmp_path / "x.c3d", POINTS)
    return {
        "x.trc": trc().encode(),
        "x.tsv": TSV["frame and time"].encode(),
        "wide.csv": WIDE["DeepLabCut"].encode(),
        "titles.csv": TIMES["time"].encode(),
        "long.csv": LONG["FreeMoCap"].encode(),
        "x.json": json.dumps(people(0)).encode(),
        "x.c3d": (tmp_path / "x.c3d").read_bytes(),
    }


def damage(whole: bytes, rng) -> bytes:
    """Bytes changed, taken out, put in or repeated."""
    content = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(content)))
        kind = rng.integers(4)
        if kind == 0:
            content[at] = rng.integers(256)
        elif kind == 1:
            content[at] = rng.choice(list(b'\t,;.-0123456789eE\n" xyzXYZ[]{}'))
        elif kind == 2:
            del content[at : at + int(rng.integers(1, 30))]
        else:
            content[at:at] = content[at : at + int(rng.integers(1, 200))]
        content = content or bytearray(b" ")
    return bytes(content)


@pytest.mark.parametrize(
    "name", ["x.trc", "x.tsv", "wide.csv", "titles.csv", "long.csv", "x.json", "x.c3d"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_damaged_file_is_read_or_named(tmp_path, name):
    whole, rng = wholes(tmp_path)[name], np.random.default_rng(0)
    path, reads = tmp_path / name, 0
    for _ in range(400):
        path.write_bytes(damage(whole, rng))
        try:
            points = load_recording(path)
        except ValueError as error:
            if str(path) not in str(error):
                raise
            continue
        reads += 1
        assert points.positions.ndim == 3
        assert points.positions.size < 1e6
    assert reads > 10


def test_names_of_a_detector_in_any_file_find_its_layout(tmp_path):
    names = [
        f"{side}_{part}"
        for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ]
    points = Points(np.ones((2, 17, 3)), ("nose", *names), 0.1)
    for suffix in ("trc", "c3d", "csv"):
        save_recording(tmp_path / f"x.{suffix}", points)
        assert find_layout(load_recording(tmp_path / f"x.{suffix}").names) == "coco_17"


SKELETON = build_skeleton(
    [
        Joint("root", None, (0, 0, 0), [Motion("t", "x", "slide"), Motion("r", "z", "turn")]),
        Joint("tip", "root", (0, 1, 0)),
    ]
)
MOTION = np.array([[100.0, 0.5], [200.0, -1.0], [300.0, 0.0]])


@pytest.mark.parametrize("suffix", [".mot", ".sto"])
def test_a_motion_has_the_header_of_opensim_angles_in_degrees_and_lengths_scaled(tmp_path, suffix):
    path = tmp_path / f"walk{suffix}"
    save_motion(path, SKELETON, MOTION, 0.02, scale=0.001, start_s=2.5)
    lines = path.read_text().splitlines()
    assert lines[:7] == [
        *("walk", "version=1", "nRows=3", "nColumns=3", "inDegrees=yes", "endheader"),
        "time\tslide\tturn",
    ]
    rows = np.array([line.split("\t") for line in lines[7:]], float)
    expected = np.stack([[2.5, 2.52, 2.54], MOTION[:, 0] / 1000, np.degrees(MOTION[:, 1])], axis=1)
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_opensim_reads_our_files(tmp_path):
    opensim = pytest.importorskip("opensim", reason="OpenSim is not installed")
    save_motion(tmp_path / "x.mot", SKELETON, MOTION, 0.02)
    table = opensim.TimeSeriesTable(str(tmp_path / "x.mot"))
    assert table.getColumnLabels() == ("slide", "turn")
    assert opensim.Storage(str(tmp_path / "x.mot")).getSize() == 3
    save_recording(tmp_path / "x.trc", POINTS)
    assert opensim.MarkerData(str(tmp_path / "x.trc")).getNumFrames() == 5
    assert opensim.TimeSeriesTableVec3(str(tmp_path / "x.trc")).getColumnLabels() == NAMES


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x.csv", {}, r"a \.mot or \.sto file"),
        ("x.mot", {"params": MOTION[:, :1]}, r"shape \(T, 2\), but got \(3, 1\)"),
        ("x.mot", {"params": MOTION * np.nan}, "must be finite"),
        ("x.mot", {"frame_time_s": 0}, "frame_time_s must be positive"),
        ("x.mot", {"scale": -1}, "scale must be positive"),
    ],
)
def test_a_motion_that_opensim_would_not_read_is_refused(tmp_path, name, change, message):
    arguments = {"params": MOTION, "frame_time_s": 0.02} | change
    with pytest.raises(ValueError, match=message):
        save_motion(tmp_path / name, SKELETON, **arguments)
    assert not list(tmp_path.iterdir())


def test_names_with_marks_and_units_in_brackets_are_kept_apart(tmp_path):
    names = ("Knee (left)", "Knee (right)", "M1*", "hip'", "left (hand)")
    save_recording(tmp_path / "x.csv", Points(RNG.normal(size=(5, 5, 3)), names, 0.01))
    assert load_recording(tmp_path / "x.csv").names == names
    titles = ",".join(f"{name}_{axis} (mm)" for name in names for axis in "xyz")
    found = load_recording(write(tmp_path, table(titles, XYZ[:, :1].repeat(5, 1)), "y.csv"))
    assert (found.names, found.unit_mm) == (names, 1.0)


def test_columns_that_are_of_no_point_are_said(tmp_path):
    content = table("a_x,a_y,a_z,b_x,b_y,a_x", RNG.normal(size=(5, 6)))
    with pytest.warns(UserWarning, match="3 columns .* of no point.*: b x, b y, a x"):
        assert load_recording(write(tmp_path, content, "x.csv")).names == ("a",)


@pytest.mark.parametrize("suffix", ["csv", "trc", "npz"])
def test_points_far_from_the_origin_keep_their_digits(tmp_path, suffix):
    far = XYZ + np.array([5_411_932.0, 100.0, 448_262.0])
    save_recording(tmp_path / f"x.{suffix}", POINTS._replace(positions=far, unit_mm=1000.0))
    np.testing.assert_allclose(load_recording(tmp_path / f"x.{suffix}").positions, far, atol=1e-5)


def test_a_c3d_file_with_too_few_digits_is_said(tmp_path):
    far = POINTS._replace(positions=XYZ + 5e6, unit_mm=1000.0)
    with pytest.warns(UserWarning, match="rounded to 500 mm"):
        save_recording(tmp_path / "x.c3d", far)


@pytest.mark.parametrize("suffix", ["npz", "NPZ"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_an_archive_of_as_many_frames_as_points_comes_back_as_it_was(tmp_path, suffix, ndim):
    """Even where points lie nearer to each other than a frame to the next."""
    steps = 3000.0 * np.arange(10)[:, None, None]
    points = Points(5 * RNG.normal(size=(10, 10, ndim)) + steps, tuple("abcdefghij"), 0.04)
    save_recording(tmp_path / f"x.{suffix}", points)
    found = load_recording(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(found.positions, points.positions)
    assert [x.name for x in tmp_path.iterdir()] == [f"x.{suffix}"]
