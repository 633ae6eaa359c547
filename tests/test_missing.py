"""Laws of missing points: what marks them, and what only looks as if."""

import numpy as np
import pytest

from kinpose.io.points import mark_missing

FRAMES, POINTS = 40, 9


def body(seed=0, speed=20.0):
    """(T, N, 3) points about a wandering middle, mm: the first is the middle itself."""
    rng = np.random.default_rng(seed)
    path = np.array([800.0, 900, 3000]) + np.cumsum(rng.normal(0, speed, (FRAMES, 1, 3)), axis=0)
    shape = np.concatenate([np.zeros((1, 3)), rng.uniform(-500, 500, (POINTS - 1, 3))])
    return path + shape + rng.normal(0, 2, (FRAMES, POINTS, 3)) * (shape != 0)


def some(share=0.1, seed=1):
    return np.random.default_rng(seed).random((FRAMES, POINTS)) < share


def found(positions, missing="auto"):
    return np.isnan(mark_missing(positions, missing)[0]).any(axis=-1)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.6])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0.0, "zeros"),
        (-1.0, "-1"),
        (9999.0, "9999"),
        (-999.0, "-999"),
        (1e4, "10000"),
        (1234.5, "1234.5"),
        (1e30, "huge"),
        (np.nan, "nan"),
        (np.inf, "nan"),
        ((-70.0, 15.0, 400.0), "repeated"),
    ],
)
def test_marks_are_missing_and_counted(value, name, share):
    lost, positions = some(share), body()
    positions[lost] = value
    marked, record = mark_missing(positions)
    np.testing.assert_array_equal(marked, np.where(lost[..., None], np.nan, body()))
    assert record == {name: {"count": lost.sum(), "share": pytest.approx(lost.mean())}}


@pytest.mark.parametrize("scale", [0.001, 0.1, 1.0])
def test_marks_do_not_depend_on_the_unit(scale):
    positions = scale * body()
    for value, share in ((0.0, 0.1), (-1.0, 0.1), (777.0, 0.05)):
        lost = some(share)
        np.testing.assert_array_equal(found(np.where(lost[..., None], value, positions)), lost)


def test_limbs_never_seen_and_empty_frames_are_missing():
    for value in (0.0, -1.0, 9999.0, 55.5):
        positions, lost = body(), np.zeros((FRAMES, POINTS), bool)
        lost[:, 5:8], lost[10:20] = True, True
        positions[lost] = value
        np.testing.assert_array_equal(found(positions), lost)


def test_marks_of_several_kinds_are_told_apart():
    positions = body()
    positions[some(0.1, 2)] = 0
    positions[some(0.1, 3)] = -1
    positions[3, 4, 1] = np.nan
    _, record = mark_missing(positions)
    assert set(record) == {"nan", "zeros", "-1"}
    assert record["nan"]["count"] == 1


def test_zeros_that_were_moved_with_the_root_are_missing():
    positions, lost = body(), some(0.2)
    lost[:, 0] = False
    lost &= lost.sum(axis=1, keepdims=True) > 1  # one alone looks like any outlier
    positions[lost] = 0
    marked = found(positions - positions[:, :1])
    assert not (marked & ~lost).any()
    assert marked[lost].mean() > 0.9  # those missing in neighbouring frames may hide each other


@pytest.mark.parametrize("root", [0, 3])
def test_the_root_of_root_relative_data_stays(root):
    positions = body() - body()[:, root : root + 1]
    assert not found(positions).any()
    lost = some()
    lost[:, root] = False
    positions[lost] = 0
    np.testing.assert_array_equal(found(positions), lost)


def test_a_point_never_seen_is_no_root():
    positions = body()
    positions[:, 4] = 0
    assert found(positions)[:, 4].all()


def still(frames=30):
    return np.repeat(body()[:1], frames, axis=0)


@pytest.mark.parametrize(
    "positions",
    [
        body(),
        still(),
        body()[:1],
        np.concatenate([still(), still() + 500]),  # a cut between two poses
        body()[:, [0, 0, 0, *range(POINTS)]],  # joints at one place
        np.round(body()),
        np.round(body(), -1),  # centimetres
        body() - body()[:1, :1],  # starts at the origin
        np.where(np.arange(POINTS)[:, None] == 2, 5.0, body()),  # stands still at (5, 5, 5)
    ],
)
def test_what_is_there_is_not_missing(positions):
    if (positions[0, 0] == 0).all():
        positions = positions + 0.5 * (positions[1, 0] - positions[0, 0])
    marked, record = mark_missing(positions)
    np.testing.assert_array_equal(marked, positions)
    assert record == {}


def test_a_point_that_passes_slowly_through_the_origin_is_there():
    positions = body(speed=2.0)
    assert not found(positions - positions[20, 4]).any()


def test_missing_by_name_is_what_is_named_and_no_more():
    positions = body()
    positions[0, 1], positions[1, 2], positions[2, 3], positions[3] = 0, -1, 9999, np.nan
    positions[4, 4, 0] = 0
    expected = {"none": [], "nan": [], "zeros": [(0, 1)], "-1": [(1, 2)]}
    expected["zeros, -1,9999"] = [(0, 1), (1, 2), (2, 3)]
    for missing, places in expected.items():
        lost = np.zeros((FRAMES, POINTS), bool)
        lost[3] = True
        for place in places:
            lost[place] = True
        np.testing.assert_array_equal(found(positions, missing), lost)


def test_a_named_value_is_found_in_single_precision_too():
    positions = body()
    positions[2, 3] = np.float32(-999.99)
    assert found(positions, "-999.99")[2, 3]


def test_the_input_is_left_as_it_is():
    positions = body()
    positions[2, 3] = 0
    mark_missing(positions)
    assert (positions[2, 3] == 0).all()


@pytest.mark.parametrize("missing", ["", "zero", "inf", "auto,-1", "-1;0"])
def test_a_list_that_is_none_is_refused(missing):
    with pytest.raises(ValueError, match="missing must be 'auto'"):
        mark_missing(body(), missing)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(T, N, 3\), but got \(40, 9, 2\)"):
        mark_missing(body()[..., :2])
