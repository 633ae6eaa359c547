"""Laws of reading points from files."""

import re

import jax
import numpy as np
import pytest

from kinpose import forward_kinematics
from kinpose.io.bvh import load_bvh
from kinpose.io.points import load_points
from tests.conftest import ROOT

POINTS = np.arange(60.0).reshape(4, 5, 3)
BVH = """HIERARCHY
ROOT a
{
 OFFSET 0 0 0
 CHANNELS 3 Xposition Yposition Zposition
 End Site
 {
  OFFSET 0 2 0
 }
}
MOTION
Frames: 2
Frame Time: 0.5
1 2 3
4 5 6
"""


def test_an_array_is_read_as_it_is(tmp_path):
    np.save(tmp_path / "x.npy", POINTS)
    points = load_points(tmp_path / "x.npy")
    np.testing.assert_array_equal(points.positions, POINTS)
    assert points.names == ()
    assert points.frame_time_s is None


def test_names_and_rate_come_with_an_archive(tmp_path):
    np.savez(tmp_path / "x.npz", joints=POINTS, names=list("abcde"), fps=50)
    points = load_points(tmp_path / "x.npz")
    assert points.names == tuple("abcde")
    assert points.frame_time_s == pytest.approx(0.02)


def test_the_only_array_of_three_dimensions_is_the_points(tmp_path):
    np.savez(tmp_path / "x.npz", anything=POINTS, other=np.zeros(3))
    np.testing.assert_array_equal(load_points(tmp_path / "x.npz").positions, POINTS)


def test_what_is_not_finite_is_missing(tmp_path):
    np.save(tmp_path / "x.npy", np.where(POINTS == 7, np.inf, POINTS))
    assert np.isnan(load_points(tmp_path / "x.npy").positions).sum() == 1


def test_joints_of_a_bvh_are_points(tmp_path):
    (tmp_path / "x.bvh").write_text(BVH)
    points = load_points(tmp_path / "x.bvh")
    assert points.names == ("a", "a_end")
    assert points.frame_time_s == 0.5
    np.testing.assert_allclose(points.positions[1], [[4, 5, 6], [4, 7, 6]])


def test_a_bvh_far_from_the_origin_keeps_its_digits(tmp_path):
    far = BVH.replace("1 2 3", "5400001.25 2 -3000000.125").replace("4 5 6", "5400001.26 2 3")
    (tmp_path / "x.bvh").write_text(far)
    positions = load_points(tmp_path / "x.bvh").positions
    assert positions.dtype == np.float64
    np.testing.assert_allclose(positions[0, 1], [5400001.25, 4, -3000000.125], rtol=1e-15)
    np.testing.assert_allclose(positions[1, 0, 0] - positions[0, 0, 0], 0.01, rtol=1e-6)


def test_joints_of_a_bvh_are_those_of_forward_kinematics(x64):
    path = ROOT / "data" / "motions" / "kick.bvh"
    skeleton, params, _ = load_bvh(path)
    place = jax.jit(jax.vmap(forward_kinematics, in_axes=(0, None)))
    np.testing.assert_allclose(load_points(path).positions, place(params, skeleton), atol=1e-9)


ORDER = tuple("abcde")
SURE = np.random.default_rng(0).uniform(0.1, 1, (4, 5))
FOUR = np.concatenate([POINTS, SURE[..., None]], axis=-1)


@pytest.mark.parametrize(
    ("array", "sure"),
    [
        (POINTS, False),
        (FOUR, True),
        (POINTS[:, None], False),
        (FOUR[:, None], True),
        (POINTS[None], False),
        (POINTS.reshape(4, 15), False),
        (FOUR.reshape(4, 20), True),
        (POINTS.swapaxes(0, 1), False),
        (FOUR.swapaxes(0, 1), True),
        (POINTS.astype(np.float32), False),
        (POINTS.astype(int), False),
        (np.asfortranarray(POINTS), False),
    ],
)
def test_other_shapes_are_read_where_the_names_decide(tmp_path, array, sure):
    np.save(tmp_path / "x.npy", array)
    points = load_points(tmp_path / "x.npy", ORDER)
    np.testing.assert_array_equal(points.positions, POINTS)
    assert points.names == ()
    assert (points.confidence is not None) == sure
    if sure:
        np.testing.assert_array_equal(points.confidence, SURE)


@pytest.mark.parametrize("array", [FOUR, FOUR[:, None], POINTS[:, None]])
def test_shapes_that_need_no_names_are_read_without(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    np.testing.assert_array_equal(load_points(tmp_path / "x.npy").positions, POINTS)


@pytest.mark.parametrize(
    "shape", [(4, 15), (4, 5), (4, 2, 5, 3), (4, 5, 6, 3), (60,), (), (4, 5, 2), (4, 5, 5)]
)
@pytest.mark.parametrize("order", [(), tuple("abcdefg")])
def test_shapes_that_nothing_decides_are_refused_with_the_shape(tmp_path, shape, order):
    np.save(tmp_path / "x.npy", np.ones(shape))
    with pytest.raises(ValueError, match=r"x\.npy: .*" + re.escape(str(shape))):
        load_points(tmp_path / "x.npy", order)


def test_of_as_many_frames_as_points_time_is_where_points_move_less(tmp_path):
    rng = np.random.default_rng(0)
    walk = rng.normal(0, 500, (1, 5, 3)) + 10 * np.arange(5.0)[:, None, None]
    for array in (walk, walk.swapaxes(0, 1)):
        np.save(tmp_path / "x.npy", array)
        np.testing.assert_array_equal(load_points(tmp_path / "x.npy", ORDER).positions, walk)
    np.save(tmp_path / "x.npy", rng.normal(0, 500, (5, 5, 3)))
    with pytest.raises(ValueError, match=r"\(5, 5, 3\) can be read as \(T, N, 3\) and as"):
        load_points(tmp_path / "x.npy", ORDER)


@pytest.mark.parametrize("confidence", [SURE, SURE[..., None], SURE.astype(np.float32)])
def test_confidence_comes_with_an_archive(tmp_path, confidence):
    np.savez(tmp_path / "x.npz", joints=POINTS, confidence=confidence)
    points = load_points(tmp_path / "x.npz")
    np.testing.assert_allclose(points.confidence, SURE, rtol=1e-6)


def test_whether_a_point_is_seen_is_a_confidence(tmp_path):
    np.savez(tmp_path / "x.npz", joints=POINTS, confidence=SURE > 0.5)
    np.testing.assert_array_equal(load_points(tmp_path / "x.npz").confidence, SURE > 0.5)


def test_confidences_in_percent_are_divided_by_the_greatest(tmp_path):
    np.savez(tmp_path / "x.npz", joints=POINTS, confidence=100 * SURE)
    confidence = load_points(tmp_path / "x.npz").confidence
    np.testing.assert_allclose(confidence, SURE / SURE.max())


def test_points_of_no_confidence_are_missing_and_missing_points_have_none(tmp_path):
    array = FOUR.copy()
    array[0, 0, 3] = 0
    array[1, 1] = np.nan
    array[2, 2] = -1  # all four, a mark
    array[3, 3] = 9999
    np.save(tmp_path / "x.npy", array)
    points = load_points(tmp_path / "x.npy")
    lost = np.zeros((4, 5), bool)
    lost[range(4), range(4)] = True
    np.testing.assert_array_equal(np.isnan(points.positions).any(axis=-1), lost)
    np.testing.assert_array_equal(points.confidence == 0, lost)
    np.testing.assert_array_equal(points.confidence[~lost], SURE[~lost])


@pytest.mark.parametrize(
    ("value", "message"), [(-0.5, "point 2 in frame 1 is -0.5"), (np.nan, "nan"), (np.inf, "inf")]
)
def test_confidences_that_are_none_are_refused(tmp_path, value, message):
    array = FOUR.copy()
    array[1, 2, 3] = value
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=rf"x\.npy: confidences must be finite.*{message}"):
        load_points(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"", r"x\.txt.*\.bvh, \.npy or \.npz"),
        ("x.npy", b"", r"x\.npy: not a readable"),
        ("x.npy", b"\x93NUMPY junk", r"x\.npy: not a readable"),
        ("x.npz", b"PK\x03\x04 junk", r"x\.npz: not a readable"),
        ("x.npz", b"hello", r"x\.npz: not a readable"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_points(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"joints": np.zeros((4, 5))}, r"\(T, N, 3\).*\(4, 5\)"),
        ({"joints": np.zeros((0, 5, 3))}, r"T > 0.*\(0, 5, 3\)"),
        ({"joints": np.zeros((0, 15)), "names": list("abcde")}, "T > 0"),
        ({"joints": np.zeros((1, 3, 3, 0))}, r"must have shape .*\(1, 3, 3, 0\)"),
        ({"joints": np.zeros((4, 5, 2))}, r"\(4, 5, 2\)"),
        ({"joints": POINTS + 1j}, "real numbers.*complex"),
        ({"joints": POINTS.astype(str)}, "real numbers"),
        ({"joints": POINTS, "names": ["a"]}, "5 points have 1 names"),
        ({"joints": POINTS, "names": "abc"}, "5 points have 1 names"),
        ({"joints": POINTS, "names": ["a", "b", "c", "d", "a"]}, "names must differ.*'a'"),
        ({"joints": np.full((4, 5, 3), np.nan)}, "no point is finite"),
        ({"joints": np.zeros((4, 5, 3), bool)}, "real numbers.*bool"),
        ({"joints": np.zeros((4, 5, 3), "M8[s]")}, "real numbers.*datetime"),
        ({"joints": np.zeros((4, 0, 3))}, r"N > 0.*\(4, 0, 3\)"),
        ({"joints": POINTS, "confidence": np.ones((5, 4))}, r"confidence.*\(4, 5\).*\(5, 4\)"),
        ({"joints": POINTS, "confidence": np.ones((4, 5), str)}, "confidence must be real"),
        ({"joints": POINTS, "confidence": np.zeros((4, 5))}, "confidence of every point is 0"),
        ({"joints": FOUR, "confidence": SURE}, "a fourth column too"),
        ({"joints": POINTS, "fps": "30"}, "fps must be.*30"),
        ({"joints": POINTS, "fps": 0}, "fps must be.*0"),
        ({"joints": POINTS, "fps": [1, 2]}, "fps must be"),
        ({"a": POINTS, "b": POINTS}, r"\['a', 'b'\]"),
        ({"a": np.zeros(2)}, r"are \[\]"),
        ({"poses": np.zeros((2, 156)), "trans": np.zeros((2, 3))}, "parameters of .* SMPL, and no"),
        ({"joints": POINTS, "unit_mm": -1.0}, "unit_mm must be positive, but is -1"),
        ({"joints": POINTS, "unit_mm": "mm"}, "unit_mm must be one number, but is mm"),
        ({"joints": POINTS, "up": "w"}, "up must be of .*, but is w"),
    ],
)
def test_arrays_that_are_not_points_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_points(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_any_damaged_file_is_read_or_named(tmp_path, suffix):
    path, rng = tmp_path / f"x.{suffix}", np.random.default_rng(0)
    if suffix == "npy":
        np.save(path, POINTS)
    else:
        np.savez_compressed(path, joints=POINTS, names=list("abcde"), fps=30)
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(len(whole) // 2, 2 * len(whole))])
        try:
            load_points(path)
        except ValueError as error:
            if str(path) not in str(error):
                raise


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"x\.npy: not a readable"):
        load_points(tmp_path / "x.npy")
