"""What notebooks show of skeletons, fits and recordings: a small table and a small picture.

The lowest floor: nothing of the library is imported, so that what is shown may ask for it. Text
and trunk have the page's own colour, on light pages and on dark ones. What is not known here and
now, inside `jit` or on other machines, is left out.

Shapes: J joints, K keypoints, S segments, T frames.
"""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

COLORS = {"right": "#e8590c", "left": "#1971c2", "": "#495057", "points": "#b4bac0"}
"""Colours by side ("" is the trunk), distinct for every kind of colour vision."""

_HEIGHT, _MOST_WIDTH = 150, 220
"""Of a panel of a picture, in pixels."""

MOST_ROWS, _MOST_NAMES, _MOST_LINES, _MOST_VALUES = 40, 24, 1000, 200_000
"""Rows of a table, names in a cell, lines in a picture, and numbers that a quantile is of."""

_ACROSS = {"x": "yz", "y": "xz", "z": "yx"}
"""For each axis up, those that point right in the views: a person's front, and the right side."""


def sides_of(names: Sequence[str]) -> tuple[str, ...]:
    """For each name "left", "right" or "" (neither); see `kinpose.plot.keypoint_sides`."""
    names = [name.lower() for name in names]
    known = set(names)

    def is_on(side: str, name: str) -> bool:
        mine, other = side[0], "r" if side == "left" else "l"
        starts = name[:1] == mine and other + name[1:] in known
        ends = name[-1:] == mine and name[:-1] + other in known
        return side in name or starts or ends

    return tuple(next((s for s in ("left", "right") if is_on(s, n)), "") for n in names)


def skeleton_html(skeleton: Any, dofs: Sequence[Sequence[str]]) -> str:
    """A `Skeleton` in its rest pose, and a row for each of its first dofs."""
    rows = [
        ("joints", f"{skeleton.num_joints:,}"),
        ("keypoints", f"{skeleton.num_keypoints:,}: {_some(skeleton.keypoint_names)}"),
        ("dofs", f"{skeleton.num_dofs:,}"),
    ]
    places, picture = _rest_places(skeleton), ""
    if places is not None:
        ends = [(j, p) for j, p in enumerate(skeleton.parents) if p >= 0]
        sides = sides_of(skeleton.names)
        lines = [(sides[j], places[p], places[j]) for j, p in ends]
        picture = _picture(lines, places[:0], skeleton.ndim)
    else:
        rows.append(("offsets", _described(skeleton.offsets)))
    left = skeleton.num_dofs - len(dofs)
    more = [*dofs, (f"... and {left:,} more", "", "", "", "")] if left else dofs
    header = ("dof", "joint", "moves", "limits", "unit")
    folded = _folded("dofs", header, more) if dofs else ""
    return _shown(f"Skeleton {skeleton.names[0]}, {skeleton.ndim}D", rows, picture, folded)


def fit_html(fit: Any, statuses: Sequence[str]) -> str:
    """A `Fit`: how far off, what was reached, what is open; a histogram of the residuals."""
    values = [numbers(x) for x in fit]
    if any(x is None for x in values) or not _belong_together(*fit):
        return _shown("Fit", [(n, _described(x)) for n, x in fit._asdict().items()])
    residuals, iterations, status = values[1].ravel(), values[2].ravel(), values[5].ravel()
    seen = residuals[np.isfinite(residuals)]
    counts = np.bincount(status, minlength=len(statuses))
    reached = [f"{n:,} {name}" for n, name in zip(counts, statuses, strict=True) if n]
    some = seen[:: -(-len(seen) // _MOST_VALUES) or 1]
    rows = [("poses", f"{status.size:,} of {fit.params.shape[-1]} dofs")]
    if len(seen):
        middle, high = np.quantile(some, [0.5, 0.95])
        most = f"{middle:.3g} median, {high:.3g} at 95 %, {seen.max():.3g} at most"
        rows.append(("residuals", f"{most}, in the skeleton's unit"))
    missing = residuals.size - len(seen)
    rows += [("missing points", f"{missing:,} of {residuals.size:,}")] if missing else []
    if status.size:
        rows.append(("status", ", ".join(reached)))
        rows.append(("steps", f"{np.median(iterations):g} median, {iterations.max()} at most"))
        doubted = np.mean(values[6].ravel()[np.isfinite(residuals)] < 0.5) if len(seen) else 0
        rows += [("points trusted less than half", f"{doubted:.2%}")] if doubted else []
        holds = values[4].reshape(-1, values[4].shape[-1])
        holds = np.median(holds[:: -(-len(holds) // 1000)], axis=0)
        least = [f"dof {d}: {holds[d]:.3g}" for d in np.argsort(holds, kind="stable")[:4]]
        rows.append(("least observable", f"{', '.join(least)} (distance per unit, median)"))
    return _shown("Fit", rows, _histogram(some))


def _belong_together(params, residuals, iterations, converged, holds, status, trust) -> bool:
    """Whether shapes are those of a fit, which those of what is made of its leaves need not be."""
    batch = params.shape[:-1]
    return (
        bool(params.shape)
        and holds.shape == params.shape
        and trust.shape == residuals.shape
        and {residuals.shape[:-1], iterations.shape, converged.shape, status.shape} == {batch}
    )


def points_html(
    points: Any,
    lines: Iterable[tuple[str, np.ndarray, np.ndarray]] = (),
    up: str | None = None,
) -> str:
    """Points over time and their middle frame.

    Args:
      points: `kinpose.io.points.Points`.
      lines: of the picture: the side and two ends (3,) of each.
      up: the axis up of the picture, where it is known.
    """
    positions = points.positions
    count, seen = len(positions), np.isfinite(positions).all(axis=-1)
    rows = [
        ("frames", _frames(count, points.frame_time_s)),
        ("points", f"{positions.shape[1]:,}: {_some(points.names) or 'without names'}"),
        ("unit", f"{points.unit_mm:g} mm" if points.unit_mm else "not said"),
        ("axis up", points.up or (f"not said; {up} by the body" if up else "not said")),
        ("missing", "none" if seen.all() else f"{1 - seen.mean():.2%}"),
    ]
    if points.confidence is not None:
        rows.append(("confidence", f"{np.median(points.confidence[seen]):.2f} median"))
    middle = count // 2
    dots, ndim = positions[middle][seen[middle]], positions.shape[-1]
    dots = np.pad(dots, ((0, 0), (0, 3 - ndim)))
    title = f"points of frame {middle}"
    return _shown("Points", rows, _picture(list(lines), dots, ndim, points.up or up, title))


def recording_html(recording: Any, places: np.ndarray) -> str:
    """A skeleton and how it moved; `places` (J, 3) are its joints, (0, 3) without a frame."""
    skeleton, params, frame_time_s = recording
    rows = [
        ("frames", _frames(len(params), frame_time_s)),
        ("joints", f"{skeleton.num_joints:,}: {_some(skeleton.names)}"),
        ("dofs", f"{skeleton.num_dofs:,}"),
    ]
    sides = sides_of(skeleton.names)
    ends = [(j, p) for j, p in enumerate(skeleton.parents) if p >= 0 and len(places)]
    lines = [(sides[j], places[p], places[j]) for j, p in ends]
    title = f"frame {len(params) // 2}"
    return _shown("Recording", rows, _picture(lines, places[:0], 3, title=title))


def numbers(leaf: Any) -> np.ndarray | None:
    """A leaf as NumPy's, or None where its numbers are not known here and now."""
    if isinstance(leaf, jax.core.Tracer) or not hasattr(leaf, "__array__"):
        return None
    if not getattr(leaf, "is_fully_addressable", True):
        return None
    array = np.asarray(leaf)
    return array if array.dtype.kind in "biuf" or array.dtype == jax.numpy.bfloat16 else None


def _described(leaf: Any) -> str:
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    return type(leaf).__name__ if shape is None else f"{dtype}{list(shape)}"


def _frames(count: int, frame_time_s: float | None) -> str:
    if not frame_time_s:
        return f"{count:,}, rate not said"
    return f"{count:,} at {1 / frame_time_s:.4g} per second, {count * frame_time_s:.4g} s"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")


def _rest_places(skeleton: Any) -> np.ndarray | None:
    """(J, 3) the joints where all parameters are zero; None for what is traced or a batch."""
    offsets = numbers(skeleton.offsets)
    if offsets is None or offsets.ndim != 2 or not np.isfinite(offsets).all():
        return None
    offsets = np.pad(offsets.astype(float), ((0, 0), (0, 3 - offsets.shape[1])))
    frames, places = [], []
    for offset, parent, motions in zip(offsets, skeleton.parents, skeleton.motions, strict=True):
        frame = frames[parent] if parent >= 0 else np.eye(3)
        place = frame @ offset + (places[parent] if parent >= 0 else 0.0)
        for motion in motions:
            if motion.bias and motion.kind == "t":
                place = place + motion.bias * (frame @ motion.axis)
            elif motion.bias:
                frame = frame @ _turn(np.array(motion.axis), motion.bias)
        frames.append(frame)
        places.append(place)
    return np.array(places)


def _turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' rotation matrix."""
    cross = np.cross(np.eye(3), axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _picture(lines, dots: np.ndarray, ndim: int, up: str | None = None, title: str = "") -> str:
    """Two views side by side, or one in 2D; "" for too much, or nothing."""
    ends = np.array([(a, b) for _, a, b in lines], float).reshape(-1, 2, 3)
    whole = np.isfinite(ends).all(axis=(1, 2))
    sides = [side for (side, _, _), kept in zip(lines, whole, strict=True) if kept]
    ends, dots = ends[whole], np.asarray(dots, float)
    extent = (
        np.ptp(np.concatenate([ends.reshape(-1, 3), dots]), axis=0) if len(ends) + len(dots) else 0
    )
    if not np.any(extent) or len(ends) + len(dots) > _MOST_LINES:
        return ""
    if ndim == 2:
        views = [("x", "-y")]
    else:
        up = up or ("z" if extent[2] > extent[1] else "y")
        views = [(across, up) for across in _ACROSS[up[-1]]]
    return "".join(_panel(ends, sides, dots, *view, title or "rest pose") for view in views)


def _panel(ends, sides, dots, across: str, up: str, title: str) -> str:
    """One view in parallel projection."""
    axis, sign = "xyz".index(up[-1]), -1.0 if up[0] == "-" else 1.0

    def seen(points):
        return np.stack([points[..., "xyz".index(across)], -sign * points[..., axis]], axis=-1)

    ends, dots = seen(ends), seen(dots)
    everything = np.concatenate([ends.reshape(-1, 2), dots])
    low, size = everything.min(axis=0), np.ptp(everything, axis=0)
    scale = min((_MOST_WIDTH - 16) / max(size[0], 1e-30), (_HEIGHT - 16) / max(size[1], 1e-30))
    width = max(round(scale * size[0]) + 16, 60)
    shift = np.array([(width - scale * size[0]) / 2, 8 + (_HEIGHT - 16 - scale * size[1]) / 2])
    ends, dots = (np.round(scale * (x - low) + shift, 1) for x in (ends, dots))
    shapes = []
    for side in ("", "left", "right"):
        path = "".join(
            f"M{a[0]:g} {a[1]:g}L{b[0]:g} {b[1]:g}"
            for (a, b), own in zip(ends, sides, strict=True)
            if own == side
        )
        color = COLORS[side] if side else "currentColor"
        shapes += [f'<path d="{path}" stroke="{color}"/>'] if path else []
    marks = "".join(f"M{x:g} {y:g}h0" for x, y in dots)
    shapes += [f'<path d="{marks}" stroke="{COLORS["points"]}" stroke-width="4"/>'] if marks else []
    label = f"{across} right, {up} up" if up != "-y" or across != "x" else "x right, y down"
    return (
        f'<svg width="{width}" height="{_HEIGHT + 14}" viewBox="0 0 {width} {_HEIGHT + 14}" '
        f'fill="none" stroke-width="2" stroke-linecap="round" role="img" '
        f'aria-label="{html.escape(title)}, {label}">{"".join(shapes)}<text x="{width / 2:g}" '
        f'y="{_HEIGHT + 10}" text-anchor="middle" font-size="9" fill="currentColor" '
        f'opacity="0.7">{label}</text></svg>'
    )


def _histogram(values: np.ndarray, bins: int = 30) -> str:
    """How often residuals are how large, up to nearly all of them."""
    if len(values) < 2 or not values.max() > 0:
        return ""
    top = float(np.quantile(values, 0.99)) or float(values.max())
    counts, _ = np.histogram(np.minimum(values, top), bins, (0.0, top))
    heights = np.round((_HEIGHT - 40) * counts / counts.max(), 1)
    bars = "".join(
        f"M{6 * i + 1} {_HEIGHT - 20}v{-height:g}h5v{height:g}z" for i, height in enumerate(heights)
    )
    width, text = 6 * bins, 'font-size="9" fill="currentColor" opacity="0.7"'
    return (
        f'<svg width="{width}" height="{_HEIGHT}" viewBox="0 0 {width} {_HEIGHT}" role="img" '
        f'aria-label="histogram of the residuals"><path d="{bars}" fill="{COLORS["left"]}"/>'
        f'<text x="0" y="{_HEIGHT - 8}" {text}>0</text><text x="{width / 2:g}" y="{_HEIGHT - 8}" '
        f'text-anchor="middle" {text}>residual</text><text x="{width}" y="{_HEIGHT - 8}" '
        f'text-anchor="end" {text}>{top:.3g} and more</text></svg>'
    )


def _folded(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(_row(row, "td") for row in rows)
    return (
        f"<details><summary>{html.escape(title)}</summary><table>{_row(header, 'th')}{cells}"
        "</table></details>"
    )


def _row(cells: Sequence[str], tag: str) -> str:
    style = ' style="text-align:left"'
    return f"<tr>{''.join(f'<{tag}{style}>{html.escape(c)}</{tag}>' for c in cells)}</tr>"


def _shown(title: str, rows: Sequence[tuple[str, str]], picture: str = "", more: str = "") -> str:
    style = 'style="text-align:left;vertical-align:top'
    table = "".join(
        f'<tr><th {style}">{html.escape(name)}</th><td {style};max-width:36em">'
        f"{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start"><div>'
        f"<strong>{html.escape(title)}</strong><table>{table}</table>{more}</div>"
        f"<div>{picture}</div></div>"
    )
