"""What a run of the toy experiment is judged by.

Angle error, the same for every method: the absolute difference from the true angle, the
short way around the circle, mean over angles and samples. A method that knows no skeleton has
its angles read off its joints ("directly computed from the triangle", Sec. 4.1).
"""

import jax
import numpy as np
from scipy import stats

from data.toy import ToySet, read_params
from experiments.results import format_markdown
from kinpose import Skeleton, fit_params, forward_kinematics
from kinpose.methods import Prediction
from kinpose.metrics import angle_error, bone_lengths, mpjpe

# From the text of Sec. 4.1; Fig. 5 is a plot without numbers.
PAPER = {
    ("direct_joint", 3): {"joint_error_px": 5.1, "bone_length_std_px": 5.3},
    ("kinematic_joint", 3): {"joint_error_px": 4.9},
    ("direct_parameter", 3): {"joint_error_px": 4.8},
}
"""The figures that the paper gives, by method and number of parameters."""


def score(prediction: Prediction, truth: ToySet, skeleton: Skeleton) -> dict[str, float]:
    """Scores of predictions for a whole set.

    Args:
      prediction: (N, K, 2) joints (px), and (N, D) parameters where the method has them.
      truth: the set.
      skeleton: of the object.

    Returns:
      Errors of joints and angles; spread and worst error of the bones' lengths.
    """
    params = prediction.params
    if params is None:
        params = jax.vmap(read_params, in_axes=(0, None))(prediction.joints, skeleton)
    angles = np.array(skeleton.is_angle)
    error = float(np.asarray(mpjpe(prediction.joints, truth.joints)).mean(dtype=np.float64))
    wrong = np.asarray(angle_error(np.asarray(params)[:, angles], truth.params[:, angles]))
    length = float(np.linalg.norm(skeleton.offsets, axis=-1).max())
    lengths = np.asarray(bone_lengths(prediction.joints, skeleton), np.float64)
    return {
        "joint_error_px": error,
        "joint_error_percent": 100 * error / length,
        "angle_error_deg": float(np.degrees(wrong.mean(dtype=np.float64))),
        "bone_length_std_px": float(lengths.std()),
        "bone_length_worst_px": float(np.abs(lengths - length).max()),
    }


def model_fit(prediction: Prediction, skeleton: Skeleton) -> Prediction:
    """The paper's ModelFit: the skeleton fitted to predicted joints, each sample by itself."""
    start = jax.vmap(read_params, in_axes=(0, None))(prediction.joints, skeleton)
    params = fit_params(prediction.joints, skeleton, init=start).params
    joints = jax.vmap(forward_kinematics, in_axes=(0, None))(params, skeleton)
    return Prediction(np.asarray(joints), np.asarray(params))


def summarise(scores: list[dict], key: str) -> dict[tuple[str, int], tuple[float, float, int]]:
    """Mean, spread (half the range over seeds) and number of seeds, by method and parameters."""
    groups: dict[tuple[str, int], list[float]] = {}
    for row in scores:
        groups.setdefault((row["method"], row["num_params"]), []).append(row[key])
    return {
        group: (float(np.mean(values)), float(np.ptp(values)) / 2, len(values))
        for group, values in groups.items()
    }


def format_table(scores: list[dict]) -> str:
    """The scores for a person, a Markdown table per quantity, the paper's figures beside.

    Args:
      scores: a row per method, number of parameters and seed.

    Returns:
      The text; means over seeds, +- half their range where there are several.
    """
    titles = {
        "joint_error_px": "joint error (px)",
        "joint_error_percent": "joint error (% of a bone)",
        "angle_error_deg": "angle error (deg)",
        "bone_length_std_px": "spread of bone lengths (px)",
    }
    tables = [_format_one(scores, key, title) for key, title in titles.items()]
    paired = {"joint_error_px": "joint error (px)", "angle_error_deg": "angle error (deg)"}
    tables += [_format_paired(scores, key, title) for key, title in paired.items()]
    return "\n\n".join(filter(None, tables))


def _format_paired(scores: list[dict], key: str, title: str) -> str:
    """Differences from direct joint's of the same seeds, with Student's interval of 95 %."""
    values = {(s["method"], s["num_params"], s["seed"]): s[key] for s in scores}
    apart: dict[str, dict[int, list[float]]] = {}
    for (method, count, seed), value in values.items():
        other = values.get(("direct_joint", count, seed))
        if method != "direct_joint" and other is not None:
            apart.setdefault(method, {}).setdefault(count, []).append(value - other)
    counts = sorted({n for row in apart.values() for n, pairs in row.items() if len(pairs) > 1})
    rows = [[f"{title}, against direct joint", *(f"{count} parameters" for count in counts)]]
    for method, row in apart.items():
        rows.append([method.replace("_", " "), *(_format_pairs(row.get(n, [])) for n in counts)])
    return format_markdown(rows) if counts else ""


def _format_pairs(apart: list[float]) -> str:
    if len(apart) < 2:
        return ""
    low, high = stats.ttest_1samp(apart, 0.0).confidence_interval()
    return f"{np.mean(apart):+.2f} [{low:+.2f}, {high:+.2f}]"


def _format_one(scores: list[dict], key: str, title: str) -> str:
    cells = summarise(scores, key)
    methods = list(dict.fromkeys(method for method, _ in cells))
    counts = sorted({count for _, count in cells})
    paper = {method: row[key] for (method, _), row in PAPER.items() if key in row}
    rows = [[title, *(f"{count} parameters" for count in counts), "paper, 3 parameters"]]
    for method in methods:
        cell = [_format_cell(cells.get((method, count))) for count in counts]
        rows.append([method.replace("_", " "), *cell, str(paper.get(method, ""))])
    return format_markdown(rows)


def _format_cell(cell: tuple[float, float, int] | None) -> str:
    if cell is None:
        return ""
    mean, spread, count = cell
    return f"{mean:.2f}" + (f" ± {spread:.2f}" if count > 1 else "")
