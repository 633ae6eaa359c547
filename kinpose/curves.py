"""Curves of angles over time, left and right in one panel; see `kinpose.plot`.

Shapes: T frames, D angles.
"""

import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinpose.drawing import COLORS, new_figure, save_figure
from kinpose.extras import needs

with needs("plot"):
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_STYLES = ("-", "--", ":", "-.")
_COLUMNS = 3
_PANEL_IN = (3.4, 1.7)
_SIDE = re.compile(r"(^|[_\W])(left|right)([_\W]|$)", re.IGNORECASE)


class Curves(NamedTuple):
    """Angles of one run.

    Attributes:
      time_s: (T,) seconds.
      names: D names of angles.
      degrees: (T, D); NaN where nothing is known.
      spread: (T, D) degrees, how far noise turns each angle, drawn as a band; None for none.
      label: of the run, for the legend.
    """

    time_s: np.ndarray
    names: tuple[str, ...]
    degrees: np.ndarray
    spread: np.ndarray | None = None
    label: str = ""


def plot_angles(
    runs: Curves | Sequence[Curves], *, path: str | os.PathLike | None = None, title: str = ""
) -> Figure:
    """Angles over time: a panel for each, in which left is blue and right is orange.

    Several runs differ in the style of their lines. Angles of which nothing is known are left out.

    Args:
      runs: one run or up to four.
      path: the picture to write (.png, .pdf, ...), whole or not at all; None for none.
      title: above the panels.

    Returns:
      The figure.

    Raises:
      ValueError: for no run or more than four, arrays of other shapes, and where nothing is known.
    """
    runs = [runs] if isinstance(runs, Curves) else list(runs)
    if not 0 < len(runs) <= len(_STYLES):
        raise ValueError(f"runs must be 1 to {len(_STYLES)}, but are {len(runs)}.")
    for run in runs:
        _check(run)
    panels = _panels(runs)
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    above, below = (0.45 if title else 0.15), 0.65
    width, height = columns * _PANEL_IN[0], rows * _PANEL_IN[1] + above + below
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    figure.subplots_adjust(
        0.6 / width, below / height, 1 - 0.1 / width, 1 - (above + 0.2) / height, 0.25, 0.45
    )
    for ax, (name, members) in zip(axes.flat, panels.items(), strict=False):
        _draw(ax, name, members, runs)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for column in range(columns):
        lowest = axes[(len(panels) - 1 - column) // columns, column]
        lowest.set_xlabel("s", fontsize=9)
        lowest.tick_params(labelbottom=True)
    for row in axes[:, 0]:
        row.set_ylabel("degrees", fontsize=9)
    figure.text(0.5, 1 - 0.1 / height, title, ha="center", va="top", fontsize=12)
    _draw_legend(figure, panels, runs)
    save_figure(figure, path)
    return figure


def _check(run: Curves) -> None:
    shape = (len(run.time_s), len(run.names))
    shapes = [np.shape(x) for x in (run.degrees, run.spread) if x is not None]
    if any(x != shape for x in shapes) or not all(shape):
        raise ValueError(f"angles must have shape (T, D), here {shape}, but have {shapes}.")


def _panels(runs: Sequence[Curves]) -> dict[str, list[tuple[str, str]]]:
    """Of each panel, names of angles and their sides."""
    known = [run.names[i] for run in runs for i in np.flatnonzero(_any_known(run))]
    if not known:
        raise ValueError("angles must be known in some frame, but all are NaN.")
    panels: dict[str, list[tuple[str, str]]] = {}
    for name in dict.fromkeys(name for run in runs for name in run.names if name in known):
        panels.setdefault(without_side(name), []).append((name, side_of(name)))
    return panels


def _any_known(run: Curves) -> np.ndarray:
    return np.isfinite(run.degrees).any(axis=0)


def side_of(name: str) -> str:
    """The side that an angle's name says: "left", "right" or "" (neither)."""
    match = _SIDE.search(name)
    return match.group(2).lower() if match else ""


def without_side(name: str) -> str:
    """An angle's name without its side."""
    return _SIDE.sub(lambda m: m.group(1) if m.group(3) else "", name, count=1).strip("_ ")


def _draw(ax, name: str, members, runs: Sequence[Curves]) -> None:
    ax.set_title(name.replace("_", " "), fontsize=10, pad=3)
    ax.tick_params(labelsize=8)
    ax.grid(color="#e9ecef", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    shown = []
    for run, style in zip(runs, _STYLES, strict=False):
        for angle, side in members:
            if angle not in run.names:
                continue
            column = run.names.index(angle)
            values = np.asarray(run.degrees[:, column], np.float64)
            ax.plot(run.time_s, values, style, color=COLORS[side], linewidth=1.2)
            shown.append(values[np.isfinite(values)])
            if run.spread is not None:
                spread = np.asarray(run.spread[:, column], np.float64)
                band = (values - spread, values + spread)
                ax.fill_between(run.time_s, *band, color=COLORS[side], alpha=0.18, linewidth=0)
    shown = np.concatenate(shown) if shown else np.zeros(0)
    low, high = (shown.min(), shown.max()) if len(shown) else (-1.0, 1.0)
    margin = max(0.15 * (high - low), 2.0)  # a band may leave the panel, a curve may not
    ax.set_ylim(low - margin, high + margin)


def _draw_legend(figure: Figure, panels, runs: Sequence[Curves]) -> None:
    sides = {side for members in panels.values() for _, side in members}
    handles = [
        Line2D([], [], color=COLORS[side], label=side or "trunk")
        for side in ("left", "right", "")
        if side in sides
    ]
    if len(runs) > 1:
        handles += [
            Line2D([], [], color="#212529", linestyle=style, label=run.label)
            for run, style in zip(runs, _STYLES, strict=False)
        ]
    figure.legend(handles=handles, loc="lower center", ncol=len(handles), frameon=False, fontsize=9)
