"""Pictures of the human experiment: the paper's Figure 7 and Table 2.

Shapes: N samples.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.toy_figures import line_widths
from kinpose import Skeleton
from kinpose.drawing import draw_pose, new_figure, save_figure
from kinpose.metrics import bone_lengths

STYLES = {
    "direct_joint": "#d55e00",
    "kinematic_joint": "#0072b2",
    "direct_parameter": "#009e73",
    "fitted_joint": "#cc79a7",
    "model_fit": "#e69f00",
}
"""Colours by method, of either loss, Okabe and Ito's as in the toy's pictures; others are black."""

_EYE = np.radians(25.0)
"""The viewpoint of Table 2: the camera, moved to the picture's left about the person, and 10
degrees up, so that depth is seen."""
_ABOVE = np.radians(10.0)

_LOSSES = "loss on parameters (½ rad²)", "loss on joints (Eq. 3: ½ crop²; L1: crop)"
"""Of direct parameter, and of all others."""


def draw_figure7(path, metrics: Mapping[tuple[str, int], Sequence[Mapping]]) -> Figure:
    """The paper's Fig. 7: training and test loss over the epochs, direct parameter by itself.

    Variants of the methods are left out where there are others. The lines of each method are
    thinner than those drawn before, so that none hides another.

    Args:
      path: the picture to write, whole or not at all; None for none.
      metrics: rows with `epoch`, `loss` and `test_loss`, by method and seed.

    Returns:
      The figure.
    """
    named = {run: rows for run, rows in metrics.items() if run[0] in STYLES} or metrics
    methods = list(dict.fromkeys(method for method, _ in named))
    widths = dict(zip(methods, line_widths(len(methods)), strict=True))
    panels: dict[str, list] = {}
    for (method, _), rows in named.items():
        panels.setdefault(_LOSSES[method != "direct_parameter"], []).append((method, rows))
    figure = new_figure(5.5 * max(len(panels), 1), 5.0)
    axes = [figure.add_subplot(1, len(panels), i + 1) for i in range(len(panels))]
    shown = set()
    for ax, title in zip(axes, sorted(panels, key=_LOSSES.index), strict=True):
        for method, rows in panels[title]:
            for key, style in (("loss", "-"), ("test_loss", "--")):
                curve = [(r["epoch"], r[key]) for r in rows if r.get(key) is not None]
                label = f"{method.replace('_', ' ')}, {'training' if key == 'loss' else 'test'}"
                label = "_" if (method, key) in shown else label
                shown.add((method, key))
                color = STYLES.get(method.removesuffix("_l1"), "#000000")
                line = {"color": color, "linewidth": widths[method], "label": label}
                ax.plot(*np.array(curve).reshape(-1, 2).T, style, **line)
        ax.set_title(title, loc="left", fontsize=12)
        ax.set_xlabel("epoch", fontsize=12)
        ax.grid(color="#e9ecef")
        ax.spines[["top", "right"]].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_yscale("log")
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15), "ncols": 2}
        ax.legend(frameon=False, fontsize=9, **place)
    figure.tight_layout()
    save_figure(figure, path)
    return figure


def choose_cases(true: np.ndarray, direct: np.ndarray, skeleton: Skeleton) -> list[tuple[str, int]]:
    """The samples of Table 2, by rule: where direct joint fails as the paper says it does.

    Swapped legs: knees and ankles are nearer to the true ones of the other side; of these
    samples the one where exchanging them gains most. Odd bones: the largest mean difference
    of a sample's bones from the true lengths. High error: the largest MPJPE. Typical: the
    median MPJPE.

    Args:
      true: (N, 17, 3) true joints, root-relative (mm).
      direct: (N, 17, 3) those of direct joint.
      skeleton: says which joints a bone joins.

    Returns:
      What a sample is shown for, and its index; no sample twice, no legs where none are swapped.
    """
    names = skeleton.keypoint_names
    legs = [names.index(f"{s}_{j}") for s in ("left", "right") for j in ("knee", "ankle")]
    other = [*legs[2:], *legs[:2]]

    def distance(columns):
        return np.linalg.norm(direct[:, columns] - true[:, legs], axis=-1).mean(axis=1)

    gain = distance(legs) - distance(other)
    lengths = [np.asarray(bone_lengths(np.float32(x), skeleton)) for x in (direct, true)]
    odd = np.abs(lengths[0] - lengths[1]).mean(axis=1)
    error = np.linalg.norm(direct - true, axis=-1).mean(axis=1)
    orders = {
        "swapped legs": [i for i in np.argsort(-gain) if gain[i] > 0],
        "odd bones": np.argsort(-odd),
        "high error": np.argsort(-error),
        "typical": np.argsort(abs(error - np.median(error))),
    }
    chosen: dict[str, int] = {}
    for label, order in orders.items():
        index = next((int(i) for i in order if i not in chosen.values()), None)
        if index is not None:
            chosen[label] = index
    return list(chosen.items())


def draw_table2(path, samples, poses: Mapping[str, np.ndarray], skeleton: Skeleton) -> Figure:
    """The paper's Table 2: image, truth and predictions in 3D, all from one viewpoint.

    Args:
      path: the picture to write, whole or not at all; None for none.
      samples: the test set, of `data.pipeline`.
      poses: (N, 17, 3) predicted joints (mm) by method, `direct_joint` among them.
      skeleton: `human_17`, in any frame.

    Returns:
      The figure.
    """
    true = samples.joints - samples.joints[:, :1]
    poses = {name: x - x[:, :1] for name, x in poses.items()}
    cases = choose_cases(true, poses["direct_joint"], skeleton)
    columns = {"truth": true} | poses
    figure = new_figure(2.2 * (1 + len(columns)), 2.4 * len(cases) + 0.9)
    panels = figure.subplots(len(cases), 1 + len(columns), squeeze=False)
    view = _viewpoint()
    for axes, (label, index) in zip(panels, cases, strict=True):
        axes[0].imshow(samples.images(np.array([index]))[0])
        axes[0].set_ylabel(label, fontsize=11)
        reach = max(np.abs(x[index] @ view.T)[:, :2].max() for x in columns.values()) * 1.08
        for ax, (name, joints) in zip(axes[1:], columns.items(), strict=True):
            draw_pose(ax, joints[index], skeleton, view=view)
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
            if name != "truth":
                error = np.linalg.norm(joints[index] - true[index], axis=-1).mean()
                ax.set_xlabel(f"{error:.0f} mm", fontsize=11, labelpad=2)
        for ax in axes:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_color("#adb5bd")
    for ax, name in zip(panels[0], ("image", *columns), strict=True):
        ax.set_title(name.replace("_", " "), fontsize=12)
    rule = (
        "Chosen by rule from direct joint's test errors. Swapped legs: the largest gain by "
        "exchanging left and right knees and ankles; odd bones: the largest mean error of bone "
        "lengths; high error: the largest MPJPE; typical: the median. Right limbs orange, left "
        "blue; seen from 25 degrees beside and 10 above the camera."
    )
    width, height = figure.get_size_inches()
    figure.text(0.01, 0.08 / height, textwrap.fill(rule, int(11 * width)), fontsize=9, va="bottom")
    edges = {"left": 0.35 / width, "right": 0.99, "top": 1 - 0.3 / height, "bottom": 0.75 / height}
    figure.subplots_adjust(**edges, wspace=0.05, hspace=0.15)
    save_figure(figure, path)
    return figure


def _viewpoint() -> np.ndarray:
    """(3, 3) rows right, up, to the viewer, in the camera's frame (y down, z away)."""
    toward = [-np.sin(_EYE) * np.cos(_ABOVE), -np.sin(_ABOVE), -np.cos(_EYE) * np.cos(_ABOVE)]
    right = [np.cos(_EYE), 0.0, -np.sin(_EYE)]
    return np.array([right, np.cross(toward, right), toward])


def draw_pose_beside(path, image: np.ndarray, joints: np.ndarray, skeleton: Skeleton) -> Figure:
    """An image, and its pose as the camera sees it and from the picture's left.

    Args:
      path: the picture to write, whole or not at all; None for none.
      image: (H, W, 3) uint8.
      joints: (17, 3) root-relative, in the camera's frame.
      skeleton: says which joints a bone joins.

    Returns:
      The figure.
    """
    figure = new_figure(7.5, 2.8)
    first, *others = figure.subplots(1, 3)
    first.imshow(image)
    front = np.diag([1.0, -1.0, -1.0])
    side = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    reach = 1.05 * np.abs(joints).max()
    titles = "seen by the camera", "from the left"
    for ax, title, view in zip(others, titles, (front, side), strict=True):
        draw_pose(ax, joints, skeleton, view=view)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach))
        ax.set_title(title, fontsize=10)
    for ax in (first, *others):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color("#adb5bd")
    figure.tight_layout()
    save_figure(figure, path)
    return figure
