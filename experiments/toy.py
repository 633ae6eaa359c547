"""The paper's toy problem (Sec. 4.1): methods beside each other, objects of growing complexity.

  python -m experiments.toy --flagfile=experiments/flags/toy_quick.flags --workdir=runs/toy_quick

Trains one network per method, number of parameters and seed; each in a directory of its own
below the workdir, and one that is finished is not trained again. So the same command goes on
after an interruption, and a command with other methods, parameters or seeds adds to the same
tables. Writes results.json, results.md, figure5.png, samples.png and predictions.png.
"""

import functools
import itertools
import pathlib
from importlib import util

import numpy as np
from absl import app, flags

from data.toy import ToySet, load_toy, toy_object
from experiments.program import run_program
from experiments.results import read_scores, write_json, write_run, write_text
from experiments.toy_methods import METHODS, make_method
from experiments.toy_scores import PAPER, format_table, model_fit, score
from experiments.training import (
    RECIPE,
    SEEDS,
    check_batch_size,
    must_be_some_of,
    reported,
    run_all,
    train_by_flags,
)
from kinpose.io.arrays import read_arrays
from kinpose.models import ToyNet
from kinpose.train import array_source
from kinpose.workdir import claim_workdir

_PAPERS = ("direct_joint", "kinematic_joint", "direct_parameter", "fitted_joint")

_WORKDIR = flags.DEFINE_string("workdir", "runs/toy", "Where everything is written.")
_METHODS = flags.DEFINE_list(
    "methods",
    list(_PAPERS),
    f"What to train, of {', '.join(METHODS)}; direct_joint gives model_fit, too.",
)
_OBJECTS = flags.DEFINE_list("num_params", ["3", "10"], "Objects, of 3, 6, 8 and 10 parameters.")
_BONE_LENGTH = flags.DEFINE_float(
    "bone_length", None, "Of all bones (px); by default 45, 32, 25, 20 for 3, 6, 8, 10 parameters."
)
_NUM_TRAIN = flags.DEFINE_integer("num_train", 16_000, "Training images.", 1)
_NUM_TEST = flags.DEFINE_integer("num_test", 1_000, "Test images.", 1)
_DROPOUT = flags.DEFINE_float("dropout", 0.3, "Share of hidden units left out of a step.", 0, 0.99)

must_be_some_of(_METHODS, METHODS)
must_be_some_of(_OBJECTS, {"3", "6", "8", "10"})

_RECIPE = (_BONE_LENGTH, _NUM_TRAIN, _NUM_TEST, _DROPOUT, *RECIPE)

_METHOD_ORDER = (*METHODS, "model_fit")


def main(argv):
    """Trains what is not yet trained, then shows all there is."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}.")
    check_batch_size(_NUM_TRAIN.value)
    for num_params in map(int, _OBJECTS.value):
        _load(num_params)  # refuses what cannot be drawn, before anything is written
    wanted = itertools.product(map(int, _OBJECTS.value), map(int, SEEDS.value), _METHODS.value)
    runs = {
        f"{num_params}_{name}_{seed}": functools.partial(
            run, name=name, num_params=num_params, seed=seed
        )
        for num_params, seed, name in wanted
    }
    recipe = {flag.name: flag.value for flag in _RECIPE}
    with claim_workdir(_WORKDIR.value, recipe) as workdir, reported(report, workdir):
        run_all(workdir, runs)


def run(directory: pathlib.Path, name: str, num_params: int, seed: int):
    """Trains one network and writes scores.json and predictions.npz into its directory."""
    toy, sets = toy_object(num_params, _BONE_LENGTH.value), _load(num_params)
    method = make_method(name, toy, sets[0])
    sources = tuple(array_source(x.images, x.joints, x.params) for x in sets)
    evaluate = train_by_flags(
        directory,
        ToyNet(method.num_outputs, dropout=_DROPOUT.value),
        method,
        sources,
        seed=seed,
        score=functools.partial(score, truth=sets[1], skeleton=toy.skeleton),
    )
    found, _ = evaluate(sources[1])
    rows = {name: (directory, found)}
    if name == "direct_joint":
        fitted = directory.with_name(f"{num_params}_model_fit_{seed}")
        rows["model_fit"] = (fitted, model_fit(found, toy.skeleton))
    for method_name, (place, prediction) in reversed(rows.items()):  # its own scores come last
        row = {"method": method_name, "num_params": num_params, "seed": seed}
        scores = score(prediction, sets[1], toy.skeleton)
        write_run(place, prediction._asdict(), row | scores)


def report(workdir: pathlib.Path) -> str:
    """Writes tables and pictures of all finished runs in a workdir; returns the tables."""
    order = {name: i for i, name in enumerate(_METHOD_ORDER)}
    scores = sorted(
        read_scores(workdir), key=lambda s: (order[s["method"]], s["num_params"], s["seed"])
    )
    text = format_table(scores)
    paper = [{"method": m, "num_params": n} | row for (m, n), row in PAPER.items()]
    recipe = {flag.name: flag.value for flag in _RECIPE}
    write_json(workdir / "results.json", {"flags": recipe, "scores": scores, "paper": paper})
    write_text(workdir / "results.md", text + "\n")
    if util.find_spec("matplotlib"):
        draw(workdir, scores)
    return f"{text}\n\nwritten to {workdir}: " + ", ".join(
        path.name for path in sorted(workdir.iterdir()) if path.is_file()
    )


def draw(workdir: pathlib.Path, scores: list[dict]):
    """Writes the pictures of a report."""
    from experiments.toy_figures import draw_figure5, draw_predictions, draw_samples

    draw_figure5(workdir / "figure5.png", scores)
    objects = sorted({s["num_params"] for s in scores})
    draw_samples(workdir / "samples.png", {n: _load(n)[1] for n in objects})
    largest, seed = objects[-1], min(s["seed"] for s in scores if s["num_params"] == objects[-1])
    names = [s["method"] for s in scores if (s["num_params"], s["seed"]) == (largest, seed)]
    predictions = {
        name: _read_joints(workdir / f"{largest}_{name}_{seed}" / "predictions.npz")
        for name in names
    }
    shown, skeleton = 6, toy_object(largest, _BONE_LENGTH.value).skeleton
    test = _load(largest)[1]
    draw_predictions(
        workdir / "predictions.png",
        test.images[:shown],
        test.joints[:shown],
        {name: joints[:shown] for name, joints in predictions.items()},
        skeleton,
    )


def _read_joints(path: pathlib.Path) -> np.ndarray:
    arrays = read_arrays(path)
    if "joints" not in arrays:
        raise ValueError(f"{path} has no joints.")
    return arrays["joints"]


_SETS: dict[int, tuple[ToySet, ToySet]] = {}


def _load(num_params: int) -> tuple[ToySet, ToySet]:
    if num_params not in _SETS:
        _SETS[num_params] = load_toy(
            num_params,
            bone_length=_BONE_LENGTH.value,
            num_train=_NUM_TRAIN.value,
            num_test=_NUM_TEST.value,
        )
    return _SETS[num_params]


if __name__ == "__main__":
    run_program(main)
