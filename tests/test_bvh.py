"""Laws of BVH files; parity with bvhio and pybvh, and with positions of the CMU clips."""

import codecs
import itertools
import random
import re
import warnings

import jax
import numpy as np
import pybvh
import pytest

import kinpose
from kinpose import Joint, Motion, build_skeleton
from kinpose.io.bvh import hold_positions, load_bvh, save_bvh
from kinpose.io.bvh_writer import _as_text
from kinpose.skeletons import human_17, toy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports PyGLM under its old name
    import bvhio

pytestmark = pytest.mark.filterwarnings("error")

EXACT = 1e-12  # float64 from the same text
WRITTEN = 1e-4  # length unit: files have six decimals, errors add up along limbs of 1000
SINGLE = 2e-5  # relative: bvhio computes in float32

SMALL = """HIERARCHY
ROOT Hips
{
\tOFFSET 0 0 0
\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
\tJOINT Leg
\t{
\t\tOFFSET 0 -2 0
\t\tCHANNELS 3 Zrotation Xrotation Yrotation
\t\tEnd Site
\t\t{
\t\t\tOFFSET 0 -1 0
\t\t}
\t}
}
MOTION
Frames: 2
Frame Time: 0.05
1 2 3 0 0 0 90 0 0
1 2 3 90 0 0 0 0 0
"""
SMALL_NAMES = ("Hips", "Leg", "Leg_end")
SMALL_POSITIONS = [[(1, 2, 3), (1, 0, 3), (2, 0, 3)], [(1, 2, 3), (3, 2, 3), (4, 2, 3)]]

BRANCH = """HIERARCHY
ROOT root
{
  OFFSET 0 0 0
  CHANNELS 1 Zrotation
  JOINT arm
  {
    OFFSET 5 6 7
    CHANNELS %d %s
    End Site
    {
      OFFSET 1 2 3
    }
  }
}
MOTION
Frames: 1
Frame Time: 0.05
90 %s
"""


def write(tmp_path, text, name="small.bvh"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def positions(skeleton, params, names=None):
    """(T, J, 3) of the named joints, helper joints included."""
    _, places = jax.vmap(kinpose.joint_transforms, in_axes=(0, None))(params, skeleton)
    indices = [skeleton.names.index(name) for name in names or skeleton.names]
    return np.asarray(places)[:, indices]


SPELLINGS = {
    "as it is": SMALL,
    "CRLF": SMALL.replace("\n", "\r\n"),
    "CR": SMALL.replace("\n", "\r"),
    "spaces": SMALL.replace(" ", " \t  ").replace("\t", "   "),
    "upper case": SMALL.upper().replace("HIPS", "Hips").replace("LEG", "Leg"),
    "lower case": SMALL.lower().replace("hips", "Hips").replace("leg", "Leg"),
    "brace beside the name": re.sub(r"\n\s*{", " {", SMALL),
    "brace touches the name": re.sub(r"\n\s*{", "{", SMALL),
    "End Site on one line": re.sub(r"(?s)End Site.*?}", "End Site { OFFSET 0 -1 0 }", SMALL),
    "no final newline": SMALL.rstrip(),
    "blank lines": SMALL.replace("\n", "\n \n\t\n"),
    "trailing whitespace": SMALL.replace("\n", " \t\n"),
    "byte order mark": codecs.BOM_UTF8 + SMALL.encode(),
    "other numbers": SMALL.replace("90 0", "+9.e1 -.0e-3").replace("-2", "-0.2E+1"),
    "zero End Site": SMALL.replace("\t\tEnd", "\t\tEnd Site { OFFSET 0 -0.0 0 }\n\t\tEnd"),
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_spelling_does_not_matter(tmp_path, x64, text):
    skeleton, params, frame_time_s = load_bvh(write(tmp_path, text))
    assert skeleton.names == skeleton.keypoint_names == SMALL_NAMES
    assert params.dtype == np.float64
    assert frame_time_s == 0.05
    np.testing.assert_allclose(positions(skeleton, params), SMALL_POSITIONS, atol=EXACT)


@pytest.mark.parametrize(
    ("channels", "values", "arm", "tip"),
    [
        ("", "", (5, 6, 7), (1, 2, 3)),
        ("Yrotation", "90", (5, 6, 7), (3, 2, -1)),
        ("Yrotation Xrotation", "90 90", (5, 6, 7), (2, -3, -1)),
        ("Zrotation Xrotation Yrotation", "90 90 90", (5, 6, 7), (-1, 3, 2)),
        ("Zrotation Yrotation Xrotation", "90 90 90", (5, 6, 7), (3, 2, -1)),
        ("Xrotation Yrotation Zrotation", "90 90 90", (5, 6, 7), (3, -2, 1)),
        ("Xrotation Zrotation Yrotation", "90 90 90", (5, 6, 7), (-2, 1, 3)),
        ("Yrotation Xrotation Zrotation", "90 90 90", (5, 6, 7), (1, -3, 2)),
        ("Yrotation Zrotation Xrotation", "90 90 90", (5, 6, 7), (2, 1, -3)),
        ("Yposition", "1", (5, 1, 7), (1, 2, 3)),
        ("Zposition Xposition", "1 2", (2, 6, 1), (1, 2, 3)),
        ("Zrotation Xposition", "90 1", (1, 6, 7), (-2, 1, 3)),
        (
            "Xposition Yposition Zposition Zrotation Xrotation Yrotation",
            "1 2 3 90 90 90",
            (1, 2, 3),
            (-1, 3, 2),
        ),
        (
            "Zrotation Zposition Xrotation Yposition Yrotation Xposition",
            "90 3 90 2 90 1",
            (1, 2, 3),
            (-1, 3, 2),
        ),
    ],
)
def test_positions_replace_the_offset_and_rotations_follow(
    tmp_path, x64, channels, values, arm, tip
):
    text = BRANCH % (len(channels.split()), channels, values)
    skeleton, params, _ = load_bvh(write(tmp_path, text))
    local = np.array([arm, np.add(arm, tip)])
    turned = np.stack([-local[:, 1], local[:, 0], local[:, 2]], axis=1)  # by the root
    found = positions(skeleton, params, ("arm", "arm_end"))[0]
    np.testing.assert_allclose(found, turned, atol=EXACT)


def test_a_joint_without_a_list_of_channels_does_not_move(tmp_path):
    skeleton = load_bvh(write(tmp_path, (BRANCH % (0, "", "")).replace("CHANNELS 0", ""))).skeleton
    assert skeleton.motions[1] == ()


def test_dofs_are_named_after_channels_with_positions_first(tmp_path):
    text = BRANCH % (3, "yrotation Zposition XROTATION", "1 2 3")
    skeleton, params, _ = load_bvh(write(tmp_path, text))
    names = ("root_Zrotation", "arm_Zposition", "arm_Yrotation", "arm_Xrotation")
    assert skeleton.dof_names == names
    np.testing.assert_allclose(params, [[np.pi / 2, 2 - 7, *np.radians([1, 3])]])


def test_dofs_are_zero_in_the_rest_pose(tmp_path, x64):
    text = SMALL.replace("OFFSET 0 0 0", "OFFSET 10 20 30")
    skeleton, params, _ = load_bvh(write(tmp_path, text))
    rest = positions(skeleton, np.zeros_like(params))[0]
    np.testing.assert_allclose(rest, [(10, 20, 30), (10, 18, 30), (10, 17, 30)], atol=EXACT)
    np.testing.assert_allclose(positions(skeleton, params), SMALL_POSITIONS, atol=EXACT)


def test_scale_multiplies_every_length(tmp_path, x64):
    path = write(tmp_path, SMALL.replace("OFFSET 0 0 0", "OFFSET 10 20 30"))
    skeleton, params, _ = load_bvh(path, scale=0.01)
    scaled = 0.01 * np.array(SMALL_POSITIONS)
    np.testing.assert_allclose(positions(skeleton, params), scaled, atol=EXACT)


def test_names_may_have_spaces_and_become_unique(tmp_path):
    end = "End Site { OFFSET 1 0 0 }"
    joints = ["My  Leg", "Leg", "Leg", "Leg_2", "ROOT", "mixamorig:Leg", "脚"]
    blocks = [f"JOINT {name}\n{{ OFFSET 1 0 0\n{end} {end} }}" for name in joints]
    text = "\n".join(["HIERARCHY", "ROOT Leg { OFFSET 0 0 0", *blocks, "}", "MOTION"])
    skeleton = load_bvh(write(tmp_path, text + "\nFrames: 0\nFrame Time: 1")).skeleton
    joints = ["My Leg", "Leg_2", "Leg_3", "Leg_2_2", "ROOT", "mixamorig:Leg", "脚"]
    ends = [(name, f"{name}_end", f"{name}_end_2") for name in joints]
    assert skeleton.names == ("Leg", *itertools.chain(*ends))


def test_a_file_may_have_no_frames(tmp_path):
    text = SMALL[: SMALL.index("1 2 3")].replace("Frames: 2", "Frames: 0")
    assert load_bvh(write(tmp_path, text)).params.shape == (0, 9)


def test_depth_is_not_limited(tmp_path):
    depth = 5000
    joints = "".join(f"JOINT j{i} {{ OFFSET 1 0 0\n" for i in range(depth))
    text = f"HIERARCHY ROOT r {{ OFFSET 0 0 0 CHANNELS 1 Xposition\n{joints}{'}' * (depth + 1)}\n"
    path = write(tmp_path, f"{text}MOTION\nFrames: 1\nFrame Time: 1\n5\n")
    assert load_bvh(path).skeleton.parents == tuple(range(-1, depth))


MALFORMED = {
    "empty": (SMALL, "", 1, "expected HIERARCHY, but found the end"),
    "blank": (SMALL, " \n\n", 1, "expected HIERARCHY, but found the end"),
    "no hierarchy": ("HIERARCHY\n", "", 1, "expected HIERARCHY, but found 'ROOT'"),
    "binary": (SMALL, b"HIERARCHY\nROOT \xff\xfe{", 2, r"expected UTF-8 text, but found b'\\xff'"),
    "UTF-16": (SMALL, SMALL.encode("utf-16"), 1, "expected UTF-8.*; save .* as UTF-8"),
    "NUL": ("HIER", "\0", 1, "expected UTF-8 text, but found bytes that are 0; save .* as UTF-8"),
    "UTF-16 without mark": (
        SMALL,
        SMALL.encode("utf-16-le"),
        1,
        "expected UTF-8.*; save .* as UTF-8",
    ),
    "no root": ("ROOT", "JOINT", 2, "expected ROOT, but found 'JOINT'"),
    "no name": ("ROOT Hips", "ROOT", 2, "expected the name of a joint"),
    "no brace": ("Hips\n{", "Hips\n", 4, "expected {, but found 'OFFSET'"),
    "end in a name": ("Hips", "Hi}ps", 2, "expected {, but found '}'"),
    "no offset": ("\tOFFSET 0 0 0\n", "", 4, "expected OFFSET, but found 'CHANNELS'"),
    "second offset": ("\tJOINT", "\tOFFSET 0 0 0\n\tJOINT", 6, "JOINT or END or }, but found 'OFF"),
    "short offset": ("0 -2 0", "0 -2", 9, "expected a number, but found 'CHANNELS'"),
    "long offset": ("0 -2 0", "0 -2 0 0", 8, "expected CHANNELS or .*found '0'"),
    "NaN offset": ("0 -2 0", "0 nan 0", 8, "expected a number, but found 'nan'"),
    "unknown channel": ("6 Xpos", "6 Wpos", 5, "6 different channels.*found 'Wposition'"),
    "same channel twice": ("Yrotation\n\t\t", "Zrotation\n\t\t", 9, "3 different.*'Zrotation'"),
    "too few channels": ("CHANNELS 3", "CHANNELS 4", 10, "4 different channels.*found 'End'"),
    "too many channels": ("CHANNELS 3", "CHANNELS 2", 9, "JOINT or END or }.*'Yrotation'"),
    "endless channels": ("CHANNELS 3", "CHANNELS 9e29", 10, "different channels.*found 'End'"),
    "half a channel": ("CHANNELS 3", "CHANNELS 2.5", 9, "number of channels, but found 2.5"),
    "minus one channel": ("CHANNELS 3", "CHANNELS -1", 9, "number of channels, but found -1"),
    "no channel count": ("CHANNELS 3", "CHANNELS", 9, "number of channels, but found 'Zrot"),
    "late channels": ("\t}\n}", "\t}\nCHANNELS 0\n}", 15, "JOINT or END or }.*'CHANNELS'"),
    "second channels": ("\t\tEnd", "CHANNELS 1 Xposition\nEnd", 10, "found 'CHANNELS'"),
    "channels of an end": ("-1 0\n", "-1 0\nCHANNELS 0\n", 13, "expected }, but found 'CHANN"),
    "joint below an end": ("-1 0\n", "-1 0\nJOINT a\n", 13, "expected }, but found 'JOINT'"),
    "not an End Site": ("End Site", "End Effector", 10, "expected SITE, but found 'Eff"),
    "too few braces": ("\t}\n}", "\t}", 15, "expected .*}, but found 'MOTION'"),
    "too many braces": ("\t}\n}", "\t}\n}}", 15, "expected MOTION, but found '}'"),
    "second root": ("MOTION", "ROOT b\nMOTION", 16, "expected MOTION, but found 'ROOT'"),
    "no motion": (SMALL[SMALL.index("MOTION") :], "", 15, "expected MOTION.* the end of the file"),
    "ends in a joint": (SMALL[SMALL.index("CHANNELS 3") :], "", 8, "but found the end of the file"),
    "ends in the header": (SMALL[SMALL.index("Frame T") :], "", 17, "FRAME, but found the end"),
    "no frame count": ("Frames: 2", "Frames:", 18, "expected a number of frames, but"),
    "half a frame": ("Frames: 2", "Frames: 1.5", 17, "number of frames, but found 1.5"),
    "minus one frame": ("Frames: 2", "Frames: -1", 17, "number of frames, but found -1"),
    "more said": ("Frames: 2", "Frames: 4", 20, "expected 4 frames, but found 2; .*Frames: 2"),
    "none said": ("Frames: 2", "Frames: 0", 19, "expected 0 frames, but found 2"),
    "only a cut frame": (SMALL[SMALL.index("1 2 3") :], "1 2", 19, "found 0 and a line cut short"),
    "many said": ("Frames: 2", "Frames: 9e29", 20, "frames, but found 2"),
    "no frame time": ("0.05", "\n", 20, "expected the end|positive|frame time"),
    "zero frame time": ("0.05", "0", 18, "expected a positive frame time in seconds"),
    "negative frame time": ("0.05", "-0.05", 18, "expected a positive frame time in seconds"),
    "NaN frame time": ("0.05", "NaN", 18, "expected a frame time in seconds, but found 'NaN'"),
    "text after the time": ("0.05", "0.05 s", 18, "expected the end of the line, but found 's'"),
    "short frame": ("0 0 0 90", "0 0 90", 19, "expected 9 values, one per channel, but found 8"),
    "long frame": ("3 90 0", "3 90 0 0", 20, "expected 9 values, one per channel, but found 10"),
    "torn frame": ("3 90 0", "3 90\n0", 20, "expected 9 values, one per channel, but found 4"),
    "words after the frames": ("90 0 0\n", "90 0 0\n\nEND\n", 21, "expected 9 values.*found 1"),
    "NaN": ("3 90", "3 nan", 20, "expected a number, but found 'nan'; fill the gap"),
    "infinity": ("3 90", "3 -inf", 20, "expected a number, but found '-inf'"),
    "overflow": ("3 90", "3 1e999", 20, "expected a number, but found '1e999'"),
    "huge": ("3 90", "3 1e31", 20, "expected a number, but found '1e31'"),
    "word": ("3 90", "3 ninety", 20, "expected a number, but found 'ninety'"),
    "decimal comma": ("3 90", "3 90,0", 20, "expected a number, but found '90,0'; .*points"),
    "underscore": ("3 90", "3 9_0", 20, "expected a number, but found '9_0'"),
    "hexadecimal": ("3 90", "3 0x5a", 20, "expected a number, but found '0x5a'"),
    "other digits": ("3 90", "3 ９０", 20, "expected a number, but found '９０'"),
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_named_with_line_and_expectation(tmp_path, case):
    old, new, line, message = case
    text = new if isinstance(new, bytes) else SMALL.replace(old, new, 1)
    assert text != SMALL
    with pytest.raises(ValueError, match=rf"small\.bvh, line {line}: .*{message}"):
        load_bvh(write(tmp_path, text))


@pytest.mark.parametrize(
    ("old", "new", "message", "count"),
    [
        ("Frames: 2", "Frames: 3", "says 3 frames, but 2 follow", 2),
        ("Frames: 2", "Frames: 1", "says 1 frames, but 2 follow", 2),
        ("90 0 0 0 0 0\n", "90 0 0", "says 2 frames, but 1 and a line cut short follow", 1),
        ("90 0 0 0 0 0\n", "90 0 0 0 0 -", "says 2 frames, but 1 and a line cut short follow", 1),
        ("90 0 0 0 0 0\n", "90 0 0 0 0 0\n1", "says 2 frames, but 2 and a line cut short", 2),
    ],
)
def test_one_frame_more_or_less_than_said_is_a_warning(tmp_path, old, new, message, count):
    path = write(tmp_path, SMALL.replace(old, new))
    with pytest.warns(UserWarning, match=rf"small\.bvh: the header {message}.*the {count} that"):
        params = load_bvh(path).params
    expected = load_bvh(write(tmp_path, SMALL)).params[:count]
    np.testing.assert_array_equal(params, expected)


def test_nan_that_moves_nothing_is_zero(tmp_path):
    leaf = re.sub(r"(?s)\t\tEnd Site.*?}\n", "", SMALL)
    params = load_bvh(write(tmp_path, leaf.replace("90 0 0\n", "90 NaN -1.#IND\n"))).params
    assert params[0, -2:].tolist() == [0, 0]
    with pytest.raises(ValueError, match="line 16: expected a number, but found 'nan'; fill"):
        load_bvh(write(tmp_path, leaf.replace("3 90", "3 nan")))


SLIDING = """HIERARCHY
ROOT Reference { OFFSET 0 0 0 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
JOINT Hips { OFFSET 0 1 0 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
JOINT Leg { OFFSET 0 0 0 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
End Site { OFFSET 0 -3 0 } }
JOINT Spine { OFFSET 0 5 0 CHANNELS 3 Zrotation Xrotation Yrotation } } }
MOTION
Frames: 3
Frame Time: 1
"""


def sliding_recording(tmp_path, reference="0 0 0"):
    rows = [
        f"{reference} 0 0 0 {k} 90 0 0 0 0 0.1 -{length} 0 {10 * k} 0 0 0 0 0"
        for k, length in enumerate((4, 4, 4.5))
    ]
    return load_bvh(write(tmp_path, SLIDING + "\n".join(rows)))


def test_held_positions_leave_the_root_its_own_and_the_bones_those_recorded(tmp_path):
    skeleton, params, _ = sliding_recording(tmp_path, "7 8 9")
    held = hold_positions(skeleton, params)
    slides = [name for name in held.dof_names if "position" in name]
    assert slides == ["Hips_Xposition", "Hips_Yposition", "Hips_Zposition"]
    assert held.num_dofs == skeleton.num_dofs - 6
    expected = {"Reference": (7, 8, 9), "Hips": (0, 1, 0), "Leg": (0.1, -4, 0), "Spine": (0, 5, 0)}
    for name, offset in expected.items():
        np.testing.assert_allclose(held.offsets[held.names.index(name)], offset, atol=EXACT)


def test_held_positions_keep_the_poses_of_constant_bones(tmp_path, x64):
    skeleton, params, _ = sliding_recording(tmp_path)
    held = hold_positions(skeleton, params)
    kept = [skeleton.dof_names.index(name) for name in held.dof_names]
    expected = positions(skeleton, params)[:2]
    np.testing.assert_allclose(positions(held, params[:2, kept]), expected, atol=EXACT)


def test_without_a_recording_held_bones_are_the_offsets(tmp_path):
    skeleton = sliding_recording(tmp_path).skeleton
    held = hold_positions(skeleton)
    np.testing.assert_array_equal(held.offsets, skeleton.offsets)
    assert held.dof_names[0] == "Reference_Xposition"


def test_a_skeleton_that_only_its_root_moves_is_held_as_it_is(tmp_path):
    skeleton, params, _ = load_bvh(write(tmp_path, SMALL))
    held = hold_positions(skeleton, params)
    assert held.dof_names == skeleton.dof_names
    np.testing.assert_array_equal(held.offsets, skeleton.offsets)


def test_a_missing_file_is_reported_as_usual(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_bvh(tmp_path / "missing.bvh")


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scale_must_be_positive(tmp_path, scale):
    with pytest.raises(ValueError, match="scale must be positive"):
        load_bvh(write(tmp_path, SMALL), scale=scale)


def mutate(rng, text):
    """Deletes, doubles, swaps or inserts a byte, a word or a line."""
    pattern = rng.choice([rb"(?s).", rb"\S+", rb"\S+", rb"[^\n]*\n"])
    spans = [match.span() for match in re.finditer(pattern, text)] or [(0, 0)]
    (a, b), (c, d) = sorted(rng.choices(spans, k=2))
    inserted = rng.choice(
        [b"", b"\0", b"\xff", b"{", b"}", b"1e9", b"nan", b"-", b"_", b" ", b"\n"]
    )
    return rng.choice(
        [
            text[:a] + text[b:],
            text[:b] + text[a:],
            text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:] if b <= c else text,
            text[:a] + inserted + text[a:],
            text[:a],
        ]
    )


def test_any_damaged_file_loads_or_is_named(tmp_path):
    rng, outcomes = random.Random(0), {"loaded": 0, "rejected": 0, "warned": 0}
    named = re.compile(r"small\.bvh, line \d+: expected .+, but found .+")
    for _ in range(3000):
        text = SMALL.encode()
        for _ in range(rng.choice([1, 1, 2, 5])):
            text = mutate(rng, text)
        try:
            skeleton, params, frame_time_s = load_bvh(write(tmp_path, text))
        except UserWarning as warning:
            outcomes["warned"] += bool(re.search(r"small\.bvh: .*that are there", str(warning)))
        except ValueError as error:
            outcomes["rejected"] += bool(named.search(str(error)))
        else:
            assert params.shape[1] == skeleton.num_dofs
            assert np.isfinite(params).all()
            assert np.isfinite(skeleton.offsets).all()
            assert frame_time_s > 0
            outcomes["loaded"] += 1
    assert sum(outcomes.values()) == 3000
    assert min(outcomes["loaded"], outcomes["rejected"]) > 150
    assert outcomes["warned"] > 0


# --- Parity with two other readers, and with a data set ---


def synthetic(rng, root_channels, num_joints, channel_sets):
    """A random tree as text, each joint with one of the given sets of channels, two frames."""
    parents = [rng.integers(j) for j in range(1, num_joints)]
    channels = [root_channels, *rng.choice(channel_sets, num_joints - 1)]

    def block(j, word):
        offset = " ".join(f"{x:.4f}" for x in rng.uniform(-9, 9, 3))
        lines = [f"{word} j{j}", "{", f"OFFSET {offset}"]
        lines.append(f"CHANNELS {len(channels[j].split())} {channels[j]}")
        children = [child for child, parent in enumerate(parents, 1) if parent == j]
        lines += [line for child in children for line in block(child, "JOINT")]
        return [*lines, *([] if children else ["End Site", "{", "OFFSET 1 2 3", "}"]), "}"]

    num_channels = sum(len(names.split()) for names in channels)
    frames = [" ".join(f"{x:.4f}" for x in rng.uniform(-200, 200, num_channels)) for _ in "12"]
    header = ["MOTION", "Frames: 2", "Frame Time: 0.0333333"]
    return "\n".join(["HIERARCHY", *block(0, "ROOT"), *header, *frames, ""])


ORDERS = [" ".join(f"{a}rotation" for a in order) for order in itertools.permutations("XYZ")]
PLACE = "Xposition Yposition Zposition"


def bvhio_positions(path, frames):
    """Names, and positions (T, J, 3) of the joints that bvhio knows: no End Sites."""
    root, found = bvhio.readAsHierarchy(str(path)), []
    for frame in frames:
        root.loadPose(int(frame))
        joints = [joint for joint, _, _ in root.layout()]
        found.append([tuple(joint.PositionWorld) for joint in joints])
    return [joint.Name for joint in joints], np.array(found)


def pybvh_positions(path):
    """Names as ours and positions (T, J, 3), End Sites included."""
    recording = pybvh.read_bvh_file(path, world_up="+y")
    names = [f"{n.parent.name}_end" if n.is_end_site() else n.name for n in recording.nodes]
    return names, recording.node_positions()


def agree(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("seed", range(4))
def test_bvhio_reads_the_same_positions(tmp_path, x64, seed):
    rng = np.random.default_rng(seed)
    sets = [*ORDERS, *(f"{PLACE} {order}" for order in ORDERS), f"{ORDERS[seed]} {PLACE}", PLACE]
    root = [f"{ORDERS[seed]} {PLACE}", f"{PLACE} {ORDERS[seed]}"][seed % 2]
    path = write(tmp_path, synthetic(rng, root, 12, sets))
    skeleton, params, _ = load_bvh(path)
    names, expected = bvhio_positions(path, range(2))
    agree(positions(skeleton, params, names), expected, SINGLE)


@pytest.mark.parametrize("seed", range(4))
def test_pybvh_reads_the_same_positions(tmp_path, x64, seed):
    rng = np.random.default_rng(seed)
    root = [f"{ORDERS[seed]} {PLACE}", f"{PLACE} {ORDERS[seed]}"][seed % 2]
    path = write(tmp_path, synthetic(rng, root, 12, ORDERS))
    skeleton, params, _ = load_bvh(path)
    names, expected = pybvh_positions(path)
    agree(positions(skeleton, params, names), expected, EXACT)


def matches_clip(path):
    skeleton, params, _ = load_bvh(path)
    with np.load(path.with_suffix(".ref.npz")) as reference:
        found = positions(skeleton, params[reference["frames"]], reference["joints"].tolist())
        np.testing.assert_allclose(found, reference["positions_cm"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("clip", ["02_01", "05_06_cgspeed", "131_04", "eval8_test_jumping_1"])
def test_cmu_clips_have_the_published_positions(cmu_dir, x64, clip):
    matches_clip(cmu_dir / f"{clip}.bvh")


@pytest.mark.slow
def test_all_cmu_clips_have_the_published_positions(cmu_dir, x64):
    clips = sorted(cmu_dir.glob("*.bvh"))
    assert len(clips) == 45
    for clip in clips:
        matches_clip(clip)


# --- Writing ---


def odd_skeleton():
    """What BVH has no word for: free axes, shared dofs, four rotations, late translations."""
    twice = [Motion("r", "x", "four_rx"), Motion("r", "y"), Motion("r", "x", "four_rx")]
    joints = [
        Joint("root", None, (1, 2, 3), [Motion("t", (1, 1, 0), "slide"), Motion("r", "y", "turn")]),
        Joint("ball", "root", (0, 100, 0), [Motion("r", (1, 2, 3), "a", -2.0, 0.3)]),
        Joint("four", "ball", (0, 50, 5), [*twice, Motion("r", "z")]),
        Joint("late", "four", (5, 0, 0), [Motion("r", "y", "a"), Motion("t", "x", "slide")]),
        Joint("side", "root", (-9, 0, 0), [Motion("r", "z", "side_rz")] * 2),
        Joint("two", "late", (3, 4, 0), [Motion("r", (0, 0, -1), "a", 0.5), Motion("r", "x", "b")]),
        Joint("fixed", "side", (1, 0, 0), [Motion("t", "z", "b", 0.0, 7.0)]),
        Joint("fixed_end", "fixed", (0, 1, 0)),
        Joint("two_end", "two", (0, 0, 0)),
        Joint("loose", "side", (0, 0, 2)),
    ]
    return build_skeleton(joints, keypoints=["loose", "root"])


TURN = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
TILT = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
TILT = TILT * np.sign(np.linalg.det(TILT))

OBJECTS = {
    "human": human_17(),
    "odd": odd_skeleton(),
    "z up": kinpose.rotate_skeleton(human_17(), TURN),
    "tilted": kinpose.rotate_skeleton(human_17(), TILT),
}
every_object = pytest.mark.parametrize("skeleton", OBJECTS.values(), ids=OBJECTS)


def random_motion(skeleton, num_frames=5, seed=0):
    return np.random.default_rng(seed).normal(0, 2, (num_frames, skeleton.num_dofs))


def saved(tmp_path, skeleton, params, **kwargs):
    path = tmp_path / "saved.bvh"
    save_bvh(path, skeleton, params, 1 / 30, **kwargs)
    return path


@every_object
def test_saving_keeps_names_and_positions(tmp_path, x64, skeleton):
    params = random_motion(skeleton)
    again, values, frame_time_s = load_bvh(saved(tmp_path, skeleton, params))
    assert sorted(again.names) == sorted(skeleton.names)
    assert frame_time_s == 1 / 30
    expected = positions(skeleton, params)
    found = positions(again, values, skeleton.names)
    np.testing.assert_allclose(found, expected, rtol=0, atol=WRITTEN)


@every_object
def test_bvhio_reads_saved_files(tmp_path, x64, skeleton):
    params = random_motion(skeleton)
    names, found = bvhio_positions(saved(tmp_path, skeleton, params), range(len(params)))
    agree(found, positions(skeleton, params, names), SINGLE)


@pytest.mark.parametrize("name", ["human", "z up", "tilted"])
def test_pybvh_reads_saved_files(tmp_path, x64, name):
    params = random_motion(OBJECTS[name])
    names, found = pybvh_positions(saved(tmp_path, OBJECTS[name], params))
    kept = [k for k, joint in enumerate(names) if joint in OBJECTS[name].names]
    expected = positions(OBJECTS[name], params, [names[k] for k in kept])
    np.testing.assert_allclose(found[:, kept], expected, rtol=0, atol=WRITTEN)


@pytest.mark.parametrize("seed", range(2))
def test_saving_a_loaded_file_keeps_every_channel(tmp_path, seed):
    rng = np.random.default_rng(seed)
    sets = [*ORDERS, *(f"{PLACE} {order}" for order in ORDERS)]
    path = write(tmp_path, synthetic(rng, f"{PLACE} {ORDERS[seed]}", 12, sets))
    skeleton, params, _ = load_bvh(path)
    again = load_bvh(saved(tmp_path, skeleton, params))
    assert again.skeleton.names == skeleton.names
    assert again.skeleton.motions == skeleton.motions
    np.testing.assert_allclose(again.skeleton.offsets, skeleton.offsets, atol=EXACT)
    np.testing.assert_allclose(again.params, params, atol=1.1e-6)


def test_scales_of_loading_and_saving_cancel(tmp_path, x64):
    skeleton = OBJECTS["odd"]
    params = random_motion(skeleton)
    again, values, _ = load_bvh(saved(tmp_path, skeleton, params, scale=100), scale=0.01)
    found = positions(again, values, skeleton.names)
    np.testing.assert_allclose(found, positions(skeleton, params), rtol=0, atol=WRITTEN)


def written_rotations(tmp_path, motions, angles):
    """Order and values (T, 3), rad, of the channels of a joint whose one dof is `angle`."""
    skeleton = build_skeleton([Joint("root"), Joint("joint", "root", (1, 0, 0), motions)])
    loaded = load_bvh(saved(tmp_path, skeleton, angles[:, None]))
    return "".join(name[6] for name in loaded.skeleton.dof_names[6:]), loaded.params[:, 6:]


def test_own_rotations_are_written_as_they_are(tmp_path):
    angles = np.array([0.0, 1.0, 10.0])
    down = (6e-17, -1.0, 0.0)  # what remains of an axis after a quarter turn
    motions = [Motion("r", down, "angle"), Motion("r", "z", "angle", 2.0, 0.5)]
    order, turned = written_rotations(tmp_path, motions, angles)
    assert order == "YZX"
    expected = np.stack([-angles, 2 * angles + 0.5, 0 * angles], axis=1)
    np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_euler_angles_are_continuous_over_full_turns(tmp_path):
    angles = np.linspace(0, 6 * np.pi, 361)
    order, turned = written_rotations(tmp_path, [Motion("r", (0.1, 0.2, 1), "angle")], angles)
    assert order == "ZXY"
    assert np.abs(np.diff(turned, axis=0)).max() < 0.1
    np.testing.assert_allclose(turned[-1], [6 * np.pi, 0, 0], atol=1e-6)


def test_euler_angles_pass_ninety_degrees(tmp_path):
    angles = np.radians(np.arange(0, 361, 15))
    aside, nod = Motion("r", "z", "angle", 0.0, 0.5), Motion("r", "x", "angle")
    order, turned = written_rotations(tmp_path, [aside, nod, nod], angles)
    assert order == "ZXY"
    expected = np.stack([0 * angles + 0.5, 2 * angles, 0 * angles], axis=1)
    np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_depth_is_not_limited_in_saving(tmp_path):
    joints = [Joint(f"j{i}", f"j{i - 1}" if i else None, (1, 0, 0)) for i in range(1500)]
    skeleton = build_skeleton(joints)
    again = load_bvh(saved(tmp_path, skeleton, np.zeros((1, 0)))).skeleton
    assert again.names == skeleton.names


def test_a_recording_may_have_no_frames(tmp_path):
    skeleton = OBJECTS["odd"]
    path = saved(tmp_path, skeleton, np.zeros((0, skeleton.num_dofs)))
    assert len(load_bvh(path).params) == 0


ARM = build_skeleton([Joint("arm", None, (0, 0, 0), "rz")])


@pytest.mark.parametrize(
    ("skeleton", "params", "frame_time_s", "scale", "message"),
    [
        (toy(3), np.zeros((2, 3)), 0.1, 1.0, "3D"),
        (ARM, np.zeros(1), 0.1, 1.0, r"params must have shape \(T, 1\).*got \(1,\)"),
        (ARM, np.zeros((2, 3)), 0.1, 1.0, r"got \(2, 3\)"),
        (ARM, np.zeros((2, 1, 1)), 0.1, 1.0, r"got \(2, 1, 1\)"),
        (ARM, np.zeros(()), 0.1, 1.0, r"got \(\)"),
        (ARM, np.full((2, 1), np.nan), 0.1, 1.0, "params must be finite"),
        (ARM, np.full((2, 1), np.inf), 0.1, 1.0, "params must be finite"),
        (kinpose.scale_skeleton(ARM, np.nan), np.zeros((2, 1)), 0.1, 1.0, "offsets must be finite"),
        (ARM, np.zeros((2, 1)), 0.0, 1.0, "frame_time_s must be positive"),
        (ARM, np.zeros((2, 1)), np.nan, 1.0, "frame_time_s must be positive"),
        (ARM, np.zeros((2, 1)), 0.1, 0.0, "scale must be positive"),
        (build_skeleton([Joint("a{")]), np.zeros((2, 0)), 0.1, 1.0, "name 'a{'"),
        (build_skeleton([Joint("a\nb")]), np.zeros((2, 0)), 0.1, 1.0, "name"),
        (build_skeleton([Joint("")]), np.zeros((2, 0)), 0.1, 1.0, "name ''"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path, skeleton, params, frame_time_s, scale, message):
    with pytest.raises(ValueError, match=message):
        save_bvh(tmp_path / "out.bvh", skeleton, params, frame_time_s, scale=scale)
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = saved(tmp_path, ARM, np.zeros((2, 1)))
    old = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_bvh(path, ARM, np.ones((2, 1)), 0.1)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_recording_of_72000_frames_survives_saving_and_loading(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"j{i}" for i in range(31)]
    limbs = [Joint(names[i], names[i - 1], (0, 1, 0), "rz rx ry") for i in range(1, 31)]
    skeleton = build_skeleton([Joint(names[0], motions="tx ty tz rz rx ry"), *limbs])
    params = rng.normal(size=(72000, 96))
    loaded = load_bvh(saved(tmp_path, skeleton, params))
    np.testing.assert_allclose(loaded.params, params, rtol=0, atol=1.1e-6)


@pytest.mark.parametrize("largest", [1e9, 1e12])
def test_numbers_are_written_with_six_decimals_and_no_zeros_at_their_ends(largest):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(500, 7)) * 10 ** rng.uniform(-9, np.log10(largest) - 1, (500, 7))
    values[0] = [0.0, -0.0, 4e-7, -4e-7, 0.5, -1e6, 123.000001]
    rows = [[f"{x + 0.0:.6f}" for x in row] for row in np.round(values, 6).tolist()]
    wanted = [" ".join(x.rstrip("0").rstrip(".") for x in row) + "\n" for row in rows]
    assert _as_text(values).decode() == "".join(wanted)
