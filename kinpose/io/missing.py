"""Marks of missing points: what programs write where they saw nothing.

Shapes: T frames, N points.
"""

import math

import numpy as np

_HUGE = 1e12
"""No coordinate is so large in any unit, but marks such as 1e30 are."""

_COMMON = (-1.0, *(s * (10.0**n - 1) for n in (3, 4, 5, 6) for s in (1, -1)))
"""-1 and +-999, 9999, 99999, 999999 in all three coordinates: marks wherever they are."""

_NEAR, _FAR = 0.1, 0.3
"""Of the body's size (`_body_size`): a point that comes to the origin from nearer passes through;
one that comes to a place it shares with others from farther away was put there."""


def mark_missing(positions: np.ndarray, missing: str = "auto") -> tuple[np.ndarray, dict]:
    """Puts NaN where a point is missing.

    What "auto" takes as missing, besides NaN and numbers beyond 1e12: exact zeros, but not the
    one point that is zero in every frame amid the others, which is the root of root-relative
    data; -1, 999, -999, 9999, ... in all three coordinates; and any place that two points or
    more, or one in three equal coordinates, leave and reach by a jump. A point that stands
    still is not missing.

    Args:
      positions: (T, N, 3) points in any unit.
      missing: "auto"; "none", only what is not finite; or a list such as "zeros,-1,9999" of
        numbers that mark a point as missing where all three coordinates have that value.

    Returns:
      A copy in float64, NaN in all coordinates of a missing point; and the record: for each
      mark found ("nan", "zeros", "9999", ...; "repeated" for places of unequal coordinates)
      the number of points it marks and their share, {"zeros": {"count": 3, "share": 0.01}}.

    Raises:
      ValueError: for positions of another shape, or a `missing` that is not as above.
    """
    positions = np.array(positions, np.float64)
    if positions.ndim != 3 or positions.shape[-1] != 3:
        raise ValueError(f"positions must have shape (T, N, 3), but got {positions.shape}.")
    marks = _marks(missing)
    lost = ~np.isfinite(positions).all(axis=-1)
    found = {"nan": lost}
    positions[lost] = np.nan
    equal = (positions == positions[..., :1]).all(axis=-1)
    if marks is not None:
        for name, value in marks.items():
            close = np.isclose(positions[..., 0], value, rtol=1e-6, atol=0)
            found[name] = equal & close
    else:
        found |= _find_marks(positions, equal)
    record = {}
    for name, where in found.items():
        where &= ~lost | (name == "nan")
        lost = lost | where
        if where.any():
            record[name] = {"count": int(where.sum()), "share": float(where.mean())}
    return np.where(lost[..., None], np.nan, positions), record


def _marks(missing: str) -> dict[str, float] | None:
    """The values that are marks, by name; None for "auto"."""
    if missing == "auto":
        return None
    words = [word.strip() for word in missing.split(",")]
    marks = {}
    for word in words:
        if word in ("nan", "none"):
            continue
        try:
            value = 0.0 if word == "zeros" else float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(
                "missing must be 'auto', 'none', or a list of 'nan', 'zeros' and numbers such as "
                f"'zeros,-1', but got {missing!r}."
            )
        marks["zeros" if value == 0 else f"{value:.12g}"] = value
    return marks


def _find_marks(positions: np.ndarray, equal: np.ndarray) -> dict[str, np.ndarray]:
    """Where which mark is, (T, N) each."""
    huge = (np.abs(positions) > _HUGE).any(axis=-1)
    zero = (positions == 0).all(axis=-1)
    common = equal & np.isin(positions[..., 0], _COMMON)
    absent = np.isnan(positions).any(axis=-1)
    nearer, farther = _jumps(positions)
    plain = np.where((huge | equal)[..., None], np.nan, positions)
    far = np.where(np.isnan(farther), np.nan, farther > _FAR * _body_size(plain))
    repeated = _repeated(positions, ~(huge | zero | common | absent), equal, far)
    plain[repeated] = np.nan
    size = _body_size(plain)
    # A point may pass through the origin, and the root may stay there.
    zeros = zero & ~(nearer <= _NEAR * size) & ~_root(zero, absent, plain, size)
    found = {"huge": huge, "zeros": zeros, "repeated": repeated & ~equal}
    marked = equal & (common | repeated)
    for value in np.unique(positions[..., 0][marked]):
        found[f"{value:.12g}"] = marked & (positions[..., 0] == value)
    return found


def _body_size(plain: np.ndarray) -> float:
    """Median distance of a point from the middle of all points of its frame."""
    seen = plain[np.isfinite(plain).all(axis=-1).any(axis=1)]
    if not len(seen):
        return math.nan
    middle = np.nanmedian(seen, axis=1, keepdims=True)
    return float(np.nanmedian(np.linalg.norm(seen - middle, axis=-1)))


def _jumps(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances (T, N) of a point from where it was before and where it was after.

    The lesser and the greater of the two; NaN where it was at one place only.
    """
    jumps = np.full((2, *positions.shape[:2]), np.nan)
    for n in range(positions.shape[1]):
        frames = np.flatnonzero(np.isfinite(positions[:, n]).all(axis=-1))
        track = positions[frames, n]
        moved = (np.diff(track, axis=0) != 0).any(axis=-1)
        if not moved.any():
            continue
        run = np.concatenate([[0], np.cumsum(moved)])  # frames at the same place
        places = track[np.flatnonzero(np.concatenate([[True], moved]))]
        steps = np.linalg.norm(np.diff(places, axis=0), axis=-1)
        before, after = np.insert(steps, 0, steps[0])[run], np.append(steps, steps[-1])[run]
        jumps[:, frames, n] = np.minimum(before, after), np.maximum(before, after)
    return jumps[0], jumps[1]


def _root(zero: np.ndarray, absent: np.ndarray, plain: np.ndarray, size: float) -> np.ndarray:
    """(T, N) where the root of root-relative data is: a point at the origin in every frame.

    Of several it is the first point, if that is one of them. The origin of the world is no root:
    it does not lie within the body in every frame. The first point, the root of most data sets,
    may be farther from the middle: of half a body it is at the edge.
    """
    root = np.zeros_like(zero)
    seen = np.isfinite(plain).all(axis=-1)
    used = seen.any(axis=1)
    always = np.flatnonzero((zero | absent)[used].all(axis=0) & zero[used].any(axis=0))
    if used.any() and (len(always) == 1 or 0 in always[:1]):
        middles = np.nanmedian(plain[used], axis=1)
        near = np.linalg.norm(middles, axis=-1) < (1.5 if always[0] else 3.0) * size
        root[:, always[0]] = zero[:, always[0]] & used & (near.mean() > 0.9)
    return root


def _repeated(positions, rest, equal, far) -> np.ndarray:
    """(T, N) where points were put to a place that is not theirs, among `rest`.

    `far` is 1 where they came by a jump, 0 where not, NaN where they never came.
    """
    where = np.zeros_like(rest)
    if not rest.any():
        return where
    frames, points = np.nonzero(rest)
    # Points that coincide in all frames, as joints at the ends of a bone of no length, are one.
    tracks = np.nan_to_num(positions).swapaxes(0, 1).reshape(rest.shape[1], -1)
    _, twin = np.unique(tracks, axis=0, return_inverse=True)
    key = positions[rest] @ (1.0, math.pi, math.e)  # equal places have equal keys
    _, place, count = np.unique(key, return_inverse=True, return_counts=True)

    def distinct(labels):
        """Of each place, the number of different labels."""
        pairs = np.unique(np.stack([place, labels]), axis=1)
        return np.bincount(pairs[0], minlength=len(count))

    owners, times = distinct(twin.ravel()[points]), distinct(frames)
    equal = np.bincount(place, equal[rest]) == count
    put = np.bincount(place, far[rest] == 1) > np.bincount(place, far[rest] == 0)
    several = (owners > 1) & ((count > 2) | (times == 1))
    never = equal & (distinct(points) > 1)
    where[rest] = ((count > 1) & ((put & (several | equal)) | never))[place]
    return where
