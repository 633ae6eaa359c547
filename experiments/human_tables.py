"""Table 1 of the paper with our rows, for people and for programs."""

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np

from experiments.results import format_markdown
from kinpose.evaluation import mean_interval

PAPER_ACTIONS = (
    "Directions",
    "Discussion",
    "Eating",
    "Greeting",
    "Phoning",
    "Photo",
    "Posing",
    "Purchases",
    "Sitting",
    "SittingDown",
    "Smoking",
    "Waiting",
    "WalkDog",
    "Walking",
    "WalkPair",
)
"""Columns of Table 1, in its order and by its names."""

_ALIASES = {
    "TakingPhoto": "Photo",
    "WalkingDog": "WalkDog",
    "WalkingTogether": "WalkPair",
    "WalkTogether": "WalkPair",
}
"""Other names of the same actions, in the files of Human3.6M and elsewhere."""

_NO = None  # not published
# fmt: off
PUBLISHED_MM = {
    "LinKDE [13]": (132.71, 183.55, 132.37, 164.39, 162.12, 205.94, 150.61, 171.31,
                    151.57, 243.03, 162.14, 170.69, 177.13, 96.60, 127.88, 162.14),
    "Li et al. [17]": (_NO, 148.79, 104.01, 127.17, _NO, 189.08, _NO, _NO,
                       _NO, _NO, _NO, _NO, 146.59, 77.60, _NO, _NO),
    "Li et al. [18]": (_NO, 136.88, 96.94, 124.74, _NO, 168.68, _NO, _NO,
                       _NO, _NO, _NO, _NO, 132.17, 69.97, _NO, _NO),
    "Tekin et al. [30]": (_NO, 129.06, 91.43, 121.68, _NO, 162.17, _NO, _NO,
                          _NO, _NO, _NO, _NO, 130.53, 65.75, _NO, _NO),
    "Tekin et al. [31]": (132.71, 158.52, 87.95, 126.83, 118.37, 185.02, 114.69, 107.61,
                          136.15, 205.65, 118.21, 146.66, 128.11, 65.86, 77.21, 125.28),
    "Zhou et al. [40]": (87.36, 109.31, 87.05, 103.16, 116.18, 143.32, 106.88, 99.78,
                         124.52, 199.23, 107.42, 118.09, 114.23, 79.39, 97.70, 113.01),
    "paper, direct joint": (106.38, 104.68, 104.28, 107.80, 115.44, 114.05, 103.80, 109.03,
                            125.87, 149.15, 112.64, 105.37, 113.69, 98.19, 110.17, 112.03),
    "paper, model fit": (109.75, 110.47, 113.98, 112.17, 123.66, 122.82, 121.27, 117.98,
                         137.29, 157.44, 136.85, 110.57, 128.16, 102.25, 114.61, 121.28),
    "paper, kinematic joint": (91.83, 102.41, 96.95, 98.75, 113.35, 125.22, 90.04, 93.84,
                               132.16, 158.97, 106.91, 94.41, 126.04, 79.02, 98.96, 107.26),
}
# fmt: on
"""Table 1 of Zhou et al., "Deep Kinematic Pose Regression" (2016), on Human3.6M, in mm: the
`PAPER_ACTIONS`, then the average. Numbers in brackets are its references; rows [13] to [40] are
copied there from those papers, as printed: the averages of [31] and [40] are not those of their
columns. "Zhou et al. [40]" tests with video, and several rows train a model per action.
"""

_MORE = {
    "mean over frames (mm)": lambda s: s["over_frames"]["mpjpe_mm"],
    "PA-MPJPE (mm)": lambda s: s["over_actions"]["pa_mpjpe_mm"],
    "PCK at 150 mm (%)": lambda s: s["over_actions"]["pck_percent"],
    "AUC (%)": lambda s: s["over_actions"]["auc_percent"],
    "MPJPE with the true scale (mm)": lambda s: s.get("true_scale", {}).get("score_mm"),
    "bone length error (mm)": lambda s: s["bone_length_error_mm"],
    "bone length spread (mm)": lambda s: s["bone_length_spread_mm"],
    "left against right (mm)": lambda s: s["asymmetry_mm"],
}


def published_rows(dataset: str) -> dict[str, tuple]:
    """The published rows, where all the test frames that they are about are in the data set."""
    name, _, config = dataset.partition("/")
    is_whole = config.startswith("paper") and "test" not in config
    return PUBLISHED_MM if name == "human36m" and is_whole else {}


def order_rows(scores: Sequence[Mapping], methods: Sequence[str]) -> list[Mapping]:
    """Rows in the order of methods, others behind them, then of seeds."""
    order = {name: i for i, name in enumerate(dict.fromkeys(methods))}
    return sorted(
        scores, key=lambda s: (order.get(s["method"], len(order)), s["method"], s["seed"])
    )


def format_table(
    scores: Sequence[Mapping], published: Mapping[str, tuple], title: str = "MPJPE (mm)"
) -> str:
    """Table 1 in Markdown, what else there is to say of our rows, and who is better than whom.

    Args:
      scores: a row per method and seed: of `kinpose.evaluation.evaluate`, with `method`.
      published: of `published_rows`, shown above ours.
      title: what the protocol's score is.

    Returns:
      The text; means over seeds, +- half their range where there are several. Columns are in
      the paper's order, those of other actions in the alphabet's.
    """
    actions = _actions(scores, published)
    first = [[title, *actions, "average"], *([k, *v] for k, v in published.items())]
    columns = {k: number for k, number in _MORE.items() if any(map(number, scores))}
    more = [["", *columns]]
    for method in dict.fromkeys(s["method"] for s in scores):
        rows = [s for s in scores if s["method"] == method]
        by_action = [_by_paper_names(s["score_by_action_mm"]) for s in rows]
        name = method.replace("_", " ")
        cells = [[values.get(action) for values in by_action] for action in actions]
        first.append([name, *cells, [s["score_mm"] for s in rows]])
        more.append([name, *([number(s) for s in rows] for number in columns.values())])
    tables = [first, more, _intervals(scores)]
    return "\n\n".join(_markdown(table) for table in tables if len(table) > 1)


def _intervals(scores: Sequence[Mapping]) -> list[list[str]]:
    """Means over subjects, actions and seeds, and their differences from direct joint's.

    Learnt with absolute differences, a method is compared with direct joint learnt so. Seeds say
    nothing new about what is hard in an action, so a value is their mean.
    """
    cells: dict[str, dict[tuple, float]] = {}
    for s in scores:
        mine = cells.setdefault(s["method"], {})
        for subject, by_action in s.get("score_by_subject_mm", {}).items():
            mine.update({(s["seed"], subject, name): x for name, x in by_action.items()})
    table = [["mean over subjects, actions and seeds", "mm", "against direct joint (mm)", "values"]]
    for method, mine in cells.items():
        against = "direct_joint_l1" if method.endswith("_l1") else "direct_joint"
        shared = sorted(mine.keys() & cells.get(against, {}).keys()) if method != against else []
        apart = _over_seeds({cell: mine[cell] - cells[against][cell] for cell in shared})
        name, values = method.replace("_", " "), _over_seeds(mine)
        table.append([name, _mean(values), _mean(apart, "+"), str(len(values))])
    return table


def _over_seeds(cells: Mapping[tuple, float]) -> list[float]:
    """The mean over seeds of each subject and action."""
    by_rest: dict[tuple, list[float]] = {}
    for (_, *rest), value in cells.items():
        by_rest.setdefault(tuple(rest), []).append(value)
    return [float(np.mean(values)) for values in by_rest.values()]


def _mean(values: Sequence[float], sign: str = "") -> str:
    """A mean with its interval, where there are enough values for one."""
    if len(values) < 2:
        return ""
    ends = (format(end, sign + ".1f") for end in mean_interval(values))
    return f"{np.mean(values):{sign}.1f} [{', '.join(ends)}]"


def format_csv(scores: Sequence[Mapping], published: Mapping[str, tuple]) -> str:
    """Both tables, a row per method and seed, numbers in full."""
    actions = _actions(scores, published)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", "seed", *actions, "average", *_MORE])
    for name, values in published.items():
        writer.writerow([name, "", *values])
    for s in scores:
        by_action = _by_paper_names(s["score_by_action_mm"])
        numbers = [number(s) for number in _MORE.values()]
        cells = [*(by_action.get(action) for action in actions), s["score_mm"], *numbers]
        writer.writerow([s["method"], s.get("seed", ""), *cells])
    return file.getvalue()


def _actions(scores, published) -> tuple[str, ...]:
    """Columns; those of Table 1 beside its rows, whichever the data have."""
    found = {name for s in scores for name in _by_paper_names(s["score_by_action_mm"])}
    order = {name: i for i, name in enumerate(PAPER_ACTIONS)}
    others = sorted(found - set(PAPER_ACTIONS))
    return (*(a for a in order if published or a in found), *others)


def _by_paper_names(by_action: Mapping[str, float]) -> dict[str, float]:
    return {_ALIASES.get(name, name): value for name, value in by_action.items()}


def _markdown(rows: Sequence[Sequence]) -> str:
    return format_markdown([[_cell(x) for x in row] for row in rows])


def _cell(value) -> str:
    if isinstance(value, str):
        return value
    values = [x for x in np.ravel(np.array(value, object)) if x is not None]
    if not values:
        return ""
    spread = f" ± {np.ptp(values) / 2:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"
