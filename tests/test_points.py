"""Laws of reading points from files."""

import numpy as np
import pytest

from kinpose.io.points import load_points

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
        ({"joints": np.zeros((4, 5, 2))}, r"\(4, 5, 2\)"),
        ({"joints": POINTS + 1j}, "real numbers.*complex"),
        ({"joints": POINTS.astype(str)}, "real numbers"),
        ({"joints": POINTS, "names": ["a"]}, "5 points have 1 names"),
        ({"joints": POINTS, "fps": 0}, "fps must be.*0"),
        ({"joints": POINTS, "fps": [1, 2]}, "fps must be"),
        ({"a": POINTS, "b": POINTS}, r"\['a', 'b'\]"),
        ({"a": np.zeros(2)}, r"are \[\]"),
    ],
)
def test_arrays_that_are_not_points_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_points(tmp_path / "x.npz")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"x\.npy: not a readable"):
        load_points(tmp_path / "x.npy")
