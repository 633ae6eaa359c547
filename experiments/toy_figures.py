"""Pictures of the toy experiment: its images, the paper's Fig. 5, predictions beside the truth.

Pictures in image coordinates are in pixels, y down. Methods keep colour and marker from
picture to picture; the colours are Okabe and Ito's, distinct for every kind of colour vision.

Shapes: N samples, K keypoints.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from data.toy import ToySet
from experiments.toy_scores import PAPER
from kinpose import Skeleton
from kinpose.drawing import draw_pose, new_figure, save_figure
from kinpose.skeletons import toy

_STYLES = {
    "direct_joint": ("#d55e00", "s"),
    "kinematic_joint": ("#0072b2", "o"),
    "direct_parameter": ("#009e73", "^"),
    "fitted_joint": ("#cc79a7", "D"),
    "model_fit": ("#e69f00", "v"),
}
_OTHER_STYLES = (("#56b4e9", "P"), ("#000000", "X"), ("#8c6bb1", "<"), ("#7f7f7f", ">"))

_PANELS = {"joint_error_px": "mean joint error (px)", "angle_error_deg": "mean angle error (deg)"}
_GREY = "#495057"
_OPEN = {"linestyle": "", "fillstyle": "none", "markersize": 10, "markeredgewidth": 1.5}
_HALO = [withStroke(linewidth=3, foreground="white")]
_PANEL_IN = 1.4


def draw_samples(path, sets: Mapping[int, ToySet]) -> Figure:
    """A sheet as the paper's Fig. 4: a row per object, its parameters and some of its images.

    The parameters are shown on a sample with large angles and joints far from each other.

    Args:
      path: the picture to write (.png, .pdf, ...), whole or not at all; None for none.
      sets: samples, at least one each, by number of parameters.

    Returns:
      The figure.
    """
    figure = new_figure(6 * _PANEL_IN, 2 * _PANEL_IN * len(sets))
    grid = figure.add_gridspec(2 * len(sets), 6, **_margins(figure, top=0.1, bottom=0.1))
    for row, (num_params, samples) in enumerate(sorted(sets.items())):
        ax = _bare(figure.add_subplot(grid[2 * row : 2 * row + 2, :2]))
        ax.set_ylabel(f"{num_params} parameters", fontsize=12)
        skeleton, clear = toy(num_params), _clearest(samples)
        _draw_parameters(ax, samples.joints[clear], samples.params[clear], skeleton)
        for i, image in enumerate(samples.images[:8]):
            _draw_image(figure.add_subplot(grid[2 * row + i // 4, 2 + i % 4]), image)
    save_figure(figure, path)
    return figure


def draw_figure5(path, scores: Sequence[Mapping]) -> Figure:
    """The paper's Fig. 5: errors of joints and angles against the number of parameters.

    A line per method through the means over seeds, with bars from the least to the greatest;
    methods stand a little beside each other, and each line is thinner than those drawn before,
    so that none hides another. Open markers are the figures in the paper's text.

    Args:
      path: the picture to write (.png, .pdf, ...), whole or not at all; None for none.
      scores: a row per method, number of parameters and seed, with the keys "method",
        "num_params", "joint_error_px" and "angle_error_deg".

    Returns:
      The figure.
    """
    figure = new_figure(10.0, 4.6)
    styles = _styles(row["method"] for row in scores)
    counts = sorted({row["num_params"] for row in scores})
    widths = line_widths(len(styles))
    for ax, (key, title) in zip(figure.subplots(1, 2), _PANELS.items(), strict=True):
        for i, method in enumerate(styles):
            values = _by_count((row for row in scores if row["method"] == method), key)
            paper = {n: PAPER[method, n][key] for n in counts if key in PAPER.get((method, n), {})}
            aside = 0.16 * (i - (len(styles) - 1) / 2)
            _draw_errors(ax, values, paper, aside, *styles[method], widths[i])
        ax.set(xticks=counts, xlim=(counts[0] - 0.9, counts[-1] + 0.9))
        ax.set_ylim(0, 1.05 * ax.get_ylim()[1])
        ax.set_title(title, fontsize=12, loc="left")
        ax.set_xlabel("number of parameters", fontsize=12)
        ax.tick_params(labelsize=11)
        ax.grid(axis="y", color="#e9ecef")
        ax.spines[["top", "right"]].set_visible(False)
    _add_legend(figure, styles, widths, {n for _, n in PAPER} & set(counts))
    save_figure(figure, path)
    return figure


def draw_predictions(
    path,
    images: np.ndarray,
    joints: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    skeleton: Skeleton,
) -> Figure:
    """A row per sample: its image, its joints, and each method's joints over the faint image.

    Below a prediction stands its mean joint error.

    Args:
      path: the picture to write (.png, .pdf, ...), whole or not at all; None for none.
      images: (N, 128, 128).
      joints: (N, K, 2) true joints (px).
      predictions: (N, K, 2) joints (px) by method.
      skeleton: says which keypoints a bone joins.

    Returns:
      The figure.

    Raises:
      ValueError: for joints of a wrong shape.
    """
    columns = {"truth": joints, **{name: predictions[name] for name in _styles(predictions)}}
    height = (_PANEL_IN + 0.3) * len(images) + 0.4
    figure = new_figure((_PANEL_IN + 0.1) * (1 + len(columns)), height)
    margins = _margins(figure, top=0.5, bottom=0.3, between=0.3 / _PANEL_IN)
    panels = figure.subplots(len(images), 1 + len(columns), squeeze=False, gridspec_kw=margins)
    for row, (image, axes) in enumerate(zip(images, panels, strict=True)):
        for ax in axes:
            _draw_image(ax, image)
        for ax, (name, found) in zip(axes[1:], columns.items(), strict=True):
            ax.images[0].set_alpha(0.2)
            _draw_joints(ax, found[row], skeleton)
            if name != "truth":
                error = np.linalg.norm(found[row] - joints[row], axis=-1).mean()
                ax.set_xlabel(f"{error:.1f} px", fontsize=11, labelpad=2)
        if row == 0:
            for ax, name in zip(axes, ("image", *columns), strict=True):
                ax.set_title(textwrap.fill(_label(name), 12), fontsize=12)
    save_figure(figure, path)
    return figure


def line_widths(num: int) -> list[float]:
    """Of lines that may run along each other, in the order in which they are drawn."""
    return np.linspace(4.0, 1.2, num).tolist()


def _label(method: str) -> str:
    return method.replace("_", " ")


def _styles(methods) -> dict[str, tuple[str, str]]:
    """Colour and marker by method: the known ones in their order, then the others."""
    methods = list(dict.fromkeys(methods))
    others = [method for method in methods if method not in _STYLES]
    styles = {method: style for method, style in _STYLES.items() if method in methods}
    for i, method in enumerate(others):
        styles[method] = _OTHER_STYLES[i % len(_OTHER_STYLES)]
    return styles


def _by_count(rows, key: str) -> dict[int, list[float]]:
    values: dict[int, list[float]] = {}
    for row in sorted(rows, key=lambda row: row["num_params"]):
        values.setdefault(row["num_params"], []).append(row[key])
    return values


def _draw_errors(ax, values, paper, aside: float, color: str, marker: str, width: float):
    """A method's line and the paper's figures for it, both by number of parameters."""
    mean, least, most = np.array([(np.mean(v), min(v), max(v)) for v in values.values()]).T
    style = {"color": color, "marker": marker}
    places = [count + aside for count in values]
    bars = {"capsize": 3, "elinewidth": 1.5}
    ax.errorbar(places, mean, (mean - least, most - mean), linewidth=width, **bars, **style)
    ax.plot([count + aside for count in paper], list(paper.values()), **style, **_OPEN)


def _add_legend(figure: Figure, styles, widths, has_paper):
    lines = [
        Line2D([], [], color=color, marker=marker, linewidth=width, label=_label(method))
        for (method, (color, marker)), width in zip(styles.items(), widths, strict=True)
    ]
    if has_paper:
        lines.append(Line2D([], [], color=_GREY, marker="o", label="paper", **_OPEN))
    columns = min(len(lines), 4)
    rows = -(-len(lines) // columns)
    figure.legend(handles=lines, loc="lower center", ncols=columns, frameon=False, fontsize=11)
    figure.tight_layout(rect=(0, 0.06 * rows + 0.02, 1, 1), w_pad=3)


def _margins(figure: Figure, top: float, bottom: float, between: float = 0.08) -> dict:
    """Of a grid of panels: `top` and `bottom` in inches, `between` rows in panels."""
    width, height = figure.get_size_inches()
    edges = {"left": 0.3 / width, "right": 1 - 0.1 / width}
    edges |= {"bottom": bottom / height, "top": 1 - top / height}
    return edges | {"wspace": 0.08, "hspace": between}


def _bare(ax):
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color("#adb5bd")
    return ax


def _draw_image(ax, image):
    _bare(ax).imshow(image, cmap="gray_r", vmin=0, vmax=1)


def _draw_joints(ax, joints, skeleton: Skeleton, size: float = 3.5):
    """Leaves the limits of the axes as they are."""
    limits = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}
    draw_pose(ax, joints, skeleton, linewidth=2.0)
    ax.plot(*joints.T, "o", color="white", markeredgecolor=_GREY, markersize=size)
    ax.set(**limits)


def _clearest(samples: ToySet) -> int:
    """The sample whose least angle and whose closest joints make the largest product."""
    distances = np.linalg.norm(samples.joints[:, :, None] - samples.joints[:, None], axis=-1)
    distances[:, *np.diag_indices(distances.shape[1])] = np.inf
    angles = np.abs(samples.params[:, 2:])
    return (angles.min(axis=1) * distances.min(axis=(1, 2))).argmax()


def _draw_parameters(ax, joints, params, skeleton: Skeleton):
    """Joints, and each angle as an arc from where it is measured; L1 is left_1."""
    value = dict(zip(skeleton.dof_names, params, strict=True))
    parents, turn = dict(skeleton.bones), value.pop("orientation", None)
    length = np.linalg.norm(joints[1] - joints[0])
    angles = []
    if turn is not None:
        angles.append(("φ", joints[0], _draw_angle(ax, joints[0], 0.0, turn, 0.8 * length)))
        ax.text(0.03, 0.03, "φ: orientation", transform=ax.transAxes)
    for sign in (-1, 1):
        arc = _draw_angle(ax, joints[0], turn or 0.0, sign * value["theta"], 0.45 * length)
        angles.append(("θ", joints[0], arc))
    for name in list(value)[3:]:
        hinge = skeleton.keypoint_names.index(name)
        x, y = joints[hinge] - joints[parents[hinge]]
        arc = _draw_angle(ax, joints[hinge], np.arctan2(x, -y), value[name], 0.55 * length)
        angles.append((name[0].upper() + name[-1], joints[hinge], arc))
    bones = [np.linspace(joints[child], joints[parent], 20) for child, parent in skeleton.bones]
    around = np.pi * np.array([0, 0.5, -0.5, 0.25, -0.25, 0.75, -0.75, 1])  # from below
    below = joints[0] + 0.42 * length * np.stack([np.sin(around), np.cos(around)], axis=-1)
    places = {("x, y", 0): below}
    for i, (label, center, arc) in enumerate(angles, 1):
        aside = arc[[10, 5, 15, 10, 5, 15, 10, 0, 19]] - center
        places[label, i] = center + np.repeat([1.35, 1.6, 1.9], 3)[:, None] * aside
    _draw_labels(ax, places, [*bones, *(arc for _, _, arc in angles)], 0.3 * length)
    _draw_joints(ax, joints, skeleton, 5)
    (x, y), half = (joints.min(0) + joints.max(0)) / 2, 0.72 * np.ptp(joints, axis=0).max()
    ax.set(xlim=(x - half, x + half), ylim=(y + half, y - half))


def _draw_angle(ax, center, start: float, amount: float, radius: float) -> np.ndarray:
    """A dotted line to `start` (rad from the vertical, clockwise), from there an arc (20, 2)."""
    angles = start + amount * np.linspace(0, 1, 20)
    arc = center + radius * np.stack([np.sin(angles), -np.cos(angles)], axis=-1)
    ax.plot(*np.stack([center, arc[0]]).T, ":", color=_GREY, linewidth=1)
    ax.plot(*arc.T, color=_GREY, linewidth=1)
    return arc


def _draw_labels(ax, places, lines, enough: float):
    """Each label at the first of its places that is `enough` away from lines and other labels."""
    taken = np.concatenate(lines)
    for (label, _), own in places.items():
        away = np.linalg.norm(own[:, None] - taken, axis=-1).min(axis=1)
        place = own[away.clip(max=enough).argmax()]  # or the one that is furthest away
        taken = np.concatenate([taken, place[None]])
        ax.text(*place, label, ha="center", va="center", path_effects=_HALO, zorder=3)
