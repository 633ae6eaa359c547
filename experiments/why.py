"""Why plain kinematic joint is behind direct joint on the toy problem (docs/why.md).

  python -m experiments.why --workdir=runs/why

Trains the toy's network at 10 parameters with one thing changed at a time; then freezes the
features of direct joint and of kinematic joint and trains new ends on them, of one layer and of
three. Writes why.md, why.png and results.json. The same command goes on after an interruption.
"""

import functools
import pathlib
from collections.abc import Sequence
from importlib import util
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from absl import app, flags

from data.toy import ToySet, load_toy
from experiments.program import run_program
from experiments.results import format_markdown, read_scores, write_json, write_run, write_text
from experiments.toy_scores import score
from experiments.training import EPOCHS, SEEDS, must_be_some_of, run_all
from experiments.why_methods import TOY, conditioning, make_variant
from kinpose.models import ToyNet
from kinpose.optimisers import one_cycle_adam
from kinpose.train import TrainedNetwork, array_source, train_network
from kinpose.workdir import claim_workdir

_MORE = (512, 512)
"""Units of the layers between features and outputs of a deep end."""


class Run(NamedTuple):
    """What is trained.

    Attributes:
      method: of `experiments.why_methods.make_variant`.
      network: options of `ToyNet`.
      rate: the peak of the learning rate.
    """

    method: str
    network: dict = {}
    rate: float = 1e-3


_STILL = {"dropout": 0.0}
_DEEP = {"dropout": 0.0, "hidden": (1024, 1024, *_MORE)}

RUNS = {
    "direct_joint": Run("direct_joint"),
    "kinematic_joint": Run("kinematic_joint"),
    "kinematic_joint_preconditioned": Run("preconditioned"),
    "kinematic_joint_whitened": Run("whitened"),
    "angles_read_off_joints": Run("read_off"),
    "angles_read_off_half_before": Run("read_off_half"),
    "angles_with_joints_beside": Run("beside"),
    "fitted_joint": Run("fitted_joint"),
    "direct_joint_no_dropout": Run("direct_joint", _STILL),
    "kinematic_joint_no_dropout": Run("kinematic_joint", _STILL),
    "direct_joint_no_dropout_3e-3": Run("direct_joint", _STILL, 3e-3),
    "kinematic_joint_no_dropout_3e-3": Run("kinematic_joint", _STILL, 3e-3),
    "directions_no_dropout": Run("kinematic_joint_directions", _STILL),
    "direct_joint_no_dropout_deep": Run("direct_joint", _DEEP),
    "kinematic_joint_no_dropout_deep": Run("kinematic_joint", _DEEP),
    "directions_no_dropout_deep": Run("kinematic_joint_directions", _DEEP),
    "angles_with_joints_beside_no_dropout_deep": Run("beside", _DEEP),
    "fitted_joint_no_dropout": Run("fitted_joint", _STILL),
}
"""What is trained from nothing."""

_FROZEN = ("direct_joint", "kinematic_joint")
_ENDS = {
    "joints": "direct_joint",
    "angles": "kinematic_joint",
    "directions": "kinematic_joint_directions",
}

_WORKDIR = flags.DEFINE_string("workdir", "runs/why", "Where everything is written.")
_RUNS = flags.DEFINE_list("runs", list(RUNS), "What to train.")
_NUM_TRAIN = flags.DEFINE_integer("num_train", 16_000, "Training images.", 128)
_END_EPOCHS = flags.DEFINE_integer("end_epochs", 12, "Passes of an end over frozen features.", 1)

must_be_some_of(_RUNS, RUNS)


def main(argv):
    """Trains what is not yet trained, then shows all there is."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}.")
    sets = load_toy(10, num_train=_NUM_TRAIN.value)
    runs = {
        f"{name}_{seed}": functools.partial(run, name=name, seed=int(seed), sets=sets)
        for seed in SEEDS.value
        for name in _RUNS.value
    }
    recipe = {flag.name: flag.value for flag in (EPOCHS, _NUM_TRAIN, _END_EPOCHS)}
    with claim_workdir(_WORKDIR.value, recipe) as workdir:
        run_all(workdir, runs)
        order = list(RUNS)
        scores = sorted(read_scores(workdir), key=lambda s: (order.index(s["run"]), s["seed"]))
        write_json(workdir / "results.json", {"flags": recipe, "scores": scores})
        text = "\n\n".join(map(format_markdown, [*tables(scores), conditioning(sets[1])]))
        write_text(workdir / "why.md", text + "\n")
        if util.find_spec("matplotlib"):
            draw(workdir / "why.png", scores)
        print(text)


def run(directory: pathlib.Path, name: str, seed: int, sets: Sequence[ToySet]):
    """Trains one network and writes its scores, those of its features among them."""
    method_name, network, rate = RUNS[name]
    method, sources = make_variant(method_name, sets[0]), [_source(x, x.images) for x in sets]
    model = ToyNet(method.num_outputs, **network)
    trained = train_network(
        directory,
        model,
        method,
        *sources,
        epochs=EPOCHS.value,
        optimiser=functools.partial(one_cycle_adam, peak=rate),
        seed=seed,
    )
    found, _ = trained.evaluate(sources[1])
    row = {"run": name, "seed": seed} | score(found, sets[1], TOY.skeleton)
    seen = ToySet(*(x[: len(sets[1].images)] for x in sets[0]))
    known, _ = trained.evaluate(_source(seen, seen.images))
    row["train_joint_error_px"] = score(known, seen, TOY.skeleton)["joint_error_px"]
    if name in _FROZEN:
        row["ends"] = new_ends(directory, trained, model, sets)
    write_run(directory, found._asdict(), row)


def new_ends(directory, trained: TrainedNetwork, model: ToyNet, sets) -> dict:
    """Joint errors (px) of ends that are trained on a network's features, which stay."""
    features = [_features(trained, model, x.images) for x in sets]
    mean, std = features[0].mean(axis=0), features[0].std(axis=0) + 1e-6
    sources = [_source(x, (own - mean) / std) for x, own in zip(sets, features, strict=True)]
    errors = {}
    for outputs, name in _ENDS.items():
        method = make_variant(name, sets[0])
        for hidden in ((), _MORE):
            end = train_network(
                directory / f"{outputs}_{len(hidden)}",
                _End(method.num_outputs, hidden),
                method,
                *sources,
                epochs=_END_EPOCHS.value,
                batch_size=128,
            )
            found, _ = end.evaluate(sources[1])
            layers = "three layers" if hidden else "one layer"
            scores = score(found, sets[1], TOY.skeleton)
            errors[f"{outputs}, {layers}"] = scores["joint_error_px"]
    return errors


class _End(nn.Module):
    num_outputs: int
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, x, *, train=False):
        for units in self.hidden:
            x = nn.relu(nn.Dense(units, kernel_init=nn.initializers.he_normal())(x))
        return nn.Dense(self.num_outputs, kernel_init=nn.initializers.normal(0.001))(x)


def _features(trained: TrainedNetwork, model: ToyNet, images) -> np.ndarray:
    """(N, units) what the output layer sees."""

    @jax.jit
    def features(images):
        last = f"dropout{len(model.hidden)}"
        _, seen = model.apply(
            trained.variables, images, capture_intermediates=lambda module, _: module.name == last
        )
        return jax.tree.leaves(seen)[0]

    parts = [images[i : i + 500] for i in range(0, len(images), 500)]
    return np.concatenate([np.asarray(features(part)) for part in parts])


def _source(x: ToySet, images):
    return array_source(images, x.joints, x.params)


def tables(scores: Sequence[dict]) -> list[list[list[str]]]:
    """What was trained from nothing, and the ends on frozen features; means over seeds."""
    keys = {
        "joint_error_px": "joint error (px)",
        "train_joint_error_px": "on training images (px)",
        "angle_error_deg": "angle error (deg)",
    }
    groups = {name: [s for s in scores if s["run"] == name] for name in RUNS}
    first = [["from nothing", *keys.values(), "seeds"]]
    for name, rows in groups.items():
        if rows:
            means = [f"{np.mean([s[key] for s in rows]):.2f}" for key in keys]
            first.append([name.replace("_", " "), *means, str(len(rows))])
    frozen = {name: groups[name] for name in _FROZEN if groups[name]}
    ends = next((rows[0]["ends"] for rows in frozen.values()), {})
    second = [["a new end on the features of (px)", *(name.replace("_", " ") for name in frozen)]]
    for end in ends:
        means = [f"{np.mean([s['ends'][end] for s in rows]):.2f}" for rows in frozen.values()]
        second.append([end, *means])
    return [first, second]


def draw(path: pathlib.Path, scores: Sequence[dict]):
    """The joint errors of both tables as bars."""
    from kinpose.drawing import new_figure, save_figure

    (_, *first), (heads, *second) = tables(scores)
    columns = [("from nothing", [(row[0], row[1]) for row in first])]
    for i, name in enumerate(heads[1:], 1):
        columns.append((f"new ends on the features of {name}", [(r[0], r[i]) for r in second]))
    heights = [len(bars) for _, bars in columns]
    figure = new_figure(7.5, 0.26 * sum(heights) + 1.6)
    axes = figure.subplots(len(columns), 1, sharex=True, squeeze=False, height_ratios=heights)
    for ax, (title, bars) in zip(axes[:, 0], columns, strict=True):
        values = [float(x) for _, x in bars]
        is_joint = [name.startswith(("direct joint", "joints")) for name, _ in bars]
        colors = np.where(is_joint, "#d55e00", "#0072b2")
        ax.bar_label(
            ax.barh([name for name, _ in bars], values, color=colors), fmt="%.2f", padding=3
        )
        ax.set_title(title, fontsize=10, loc="left")
        ax.invert_yaxis()
        ax.margins(x=0.1, y=0.02)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("joint error (px)")
    figure.tight_layout()
    save_figure(figure, path)


if __name__ == "__main__":
    flags.set_default(EPOCHS, 8)
    run_program(main)
