"""The paper's toy problem (Sec. 4.1): methods beside each other, objects of growing complexity.

  python -m experiments.toy --flagfile=experiments/flags/toy_quick.flags --workdir=runs/toy_quick

Trains one network per method, number of parameters and seed; each in a directory of its own
below the workdir, and one that is finished is not trained again. So the same command goes on
after an interruption, and a command with other methods, parameters or seeds adds to the same
tables. Writes results.json, results.md, figure5.png, samples.png and predictions.png.
"""

import itertools
import json
import pathlib
import sys
import time

import jax
import numpy as np
import optax
from absl import app, flags, logging

from data.toy import ToySet, load_toy, toy_object
from experiments.program import run_program
from experiments.progress import show_progress
from experiments.toy_figures import draw_figure5, draw_predictions, draw_samples
from experiments.toy_methods import METHODS, make_method
from experiments.toy_scores import PAPER, format_table, model_fit, score
from kinpose import Skeleton
from kinpose.checkpoint import Checkpoints
from kinpose.io.files import write_atomically
from kinpose.mesh import make_mesh
from kinpose.methods import Method, Prediction, Targets
from kinpose.models import ToyNet
from kinpose.optimisers import caffe_sgd
from kinpose.stopping import Stopped
from kinpose.train import (
    batch_indices,
    init_state,
    make_eval_step,
    make_train_step,
    predict,
    train,
)
from kinpose.workdir import MetricsWriter, claim_workdir

_PAPERS = ("direct_joint", "kinematic_joint", "direct_parameter", "fitted_joint")

_WORKDIR = flags.DEFINE_string("workdir", "runs/toy", "Where everything is written.")
_METHODS = flags.DEFINE_list(
    "methods",
    list(_PAPERS),
    f"What to train, of {', '.join(METHODS)}; direct_joint gives model_fit, too.",
)
_OBJECTS = flags.DEFINE_list("num_params", ["3", "10"], "Objects, of 3, 6, 8 and 10 parameters.")
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Of initial weights, order of samples and dropout.")
_BONE_LENGTH = flags.DEFINE_float(
    "bone_length", None, "Of all bones (px); by default 45, 32, 25, 20 for 3, 6, 8, 10 parameters."
)
_NUM_TRAIN = flags.DEFINE_integer("num_train", 16_000, "Training images.", 1)
_NUM_TEST = flags.DEFINE_integer("num_test", 1_000, "Test images.", 1)
_EPOCHS = flags.DEFINE_integer("epochs", 50, "Passes over the training images.", 1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images per step, over all devices.", 1)
_OPTIMISER = flags.DEFINE_enum(
    "optimiser",
    "adam",
    ["adam", "caffe_sgd"],
    "adam: with a rate that rises and falls once (one-cycle); caffe_sgd: momentum 0.9 and a "
    "constant rate, as in the paper's [41].",
)
_RATE = flags.DEFINE_float("learning_rate", 1e-3, "The rate; for adam its peak.", 0.0)

for _flag, _known in ((_METHODS, set(METHODS)), (_OBJECTS, {"3", "6", "8", "10"})):
    flags.register_validator(
        _flag,
        lambda values, known=_known: bool(values) and set(values) <= known,
        f"must be some of {', '.join(sorted(_known))}, separated by commas",
    )
flags.register_validator(
    _SEEDS,
    lambda seeds: bool(seeds) and all(seed.isdecimal() for seed in seeds),
    "must be numbers from 0 on, separated by commas",
)

_RECIPE = (_BONE_LENGTH, _NUM_TRAIN, _NUM_TEST, _EPOCHS, _BATCH_SIZE, _OPTIMISER, _RATE)

_METHOD_ORDER = (*METHODS, "model_fit")


def main(argv):
    """Trains what is not yet trained, then shows all there is."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}.")
    check_batch_size()
    for num_params in map(int, _OBJECTS.value):
        _load(num_params)  # refuses what cannot be drawn, before anything is written
    workdir = claim_workdir(_WORKDIR.value, {flag.name: flag.value for flag in _RECIPE})
    runs = list(itertools.product(map(int, _OBJECTS.value), map(int, _SEEDS.value), _METHODS.value))
    for i, (num_params, seed, name) in enumerate(runs):
        directory = workdir / f"{num_params}_{name}_{seed}"
        if (directory / "scores.json").exists():
            logging.info("%s is finished already", directory)
            continue
        logging.info("run %d of %d: %s", i + 1, len(runs), directory.name)
        try:
            run(directory, name, num_params, seed)
        except Stopped as stop:
            print(f"{stop}; the same command goes on from there", file=sys.stderr)
            sys.exit(128 + stop.signum)
    print(report(workdir))


def check_batch_size():
    """Refuses a batch that the images do not fill, or the devices cannot share."""
    size, images = _BATCH_SIZE.value, _EPOCHS.value * _NUM_TRAIN.value
    if size > images:
        raise ValueError(
            f"batch_size must be at most {images}, all epochs' images, but got {size}."
        )
    if size % jax.device_count():
        raise ValueError(
            f"batch_size must be a multiple of {jax.device_count()}, the number of devices, but "
            f"got {size}."
        )


def run(directory: pathlib.Path, name: str, num_params: int, seed: int):
    """Trains one network and writes scores.json and predictions.npz into its directory."""
    toy, sets = toy_object(num_params, _BONE_LENGTH.value), _load(num_params)
    method = make_method(name, toy, sets[0])
    found = train_network(directory, method, toy.skeleton, sets, seed)
    rows = {name: (directory, found)}
    if name == "direct_joint":
        fitted = directory.with_name(f"{num_params}_model_fit_{seed}")
        rows["model_fit"] = (fitted, model_fit(found, toy.skeleton))
    for method_name, (place, prediction) in reversed(rows.items()):  # its own scores come last
        row = {"method": method_name, "num_params": num_params, "seed": seed}
        _write_run(place, prediction, row | score(prediction, sets[1], toy.skeleton))


def train_network(
    directory: pathlib.Path,
    method: Method,
    skeleton: Skeleton,
    sets: tuple[ToySet, ToySet],
    seed: int,
) -> Prediction:
    """Trains, or goes on from the last checkpoint; returns the predictions for the test set."""
    (images, joints, params), test_set = sets
    mesh, model, size = make_mesh(), ToyNet(method.num_outputs), _BATCH_SIZE.value
    num_steps = _EPOCHS.value * len(images) // size
    optimiser = make_optimiser(num_steps)
    init_key, key = jax.random.split(jax.random.key(seed))
    state = init_state(init_key, model, optimiser, images[:1], mesh)
    step_fn = make_train_step(model, method, optimiser, mesh)
    eval_step = make_eval_step(model, method, mesh)

    def load_batch(step: int):
        index = batch_indices(len(images), size, step, seed)
        return images[index], Targets(joints[index], params[index])

    def evaluate(state) -> Prediction:
        return predict(eval_step, state.variables, test_set.images, mesh, 40 * mesh.size)

    epoch = max(1, len(images) // size)
    with Checkpoints(directory / "checkpoints") as checkpoints:
        first, state = checkpoints.restore(state) or (0, state)
        start = time.monotonic()
        plan = {"num_steps": num_steps, "checkpoints": checkpoints, "save_every": 2 * epoch}
        steps = show_progress(
            train(state, step_fn, load_batch, key, mesh, **plan),
            directory.name,
            unit="images",
            count=lambda step: size,
            total=(num_steps - first) * size,
        )
        with MetricsWriter(directory, first_step=first) as writer:
            for step, state, metrics in steps:
                if step % epoch == 0 or step == num_steps:
                    rate = (step - first) * size / (time.monotonic() - start)
                    scores = score(evaluate(state), test_set, skeleton)
                    writer.write(step, metrics | scores | {"images_per_s": rate})
    return evaluate(state)


def make_optimiser(num_steps: int) -> optax.GradientTransformation:
    """That of the flags."""
    if _OPTIMISER.value == "caffe_sgd":
        return caffe_sgd(_RATE.value, momentum=0.9)
    return optax.adam(optax.cosine_onecycle_schedule(max(num_steps, 2), _RATE.value))


def report(workdir: pathlib.Path) -> str:
    """Writes tables and pictures of all finished runs in a workdir; returns the tables."""
    found = [json.loads(path.read_text()) for path in workdir.glob("*/scores.json")]
    order = {name: i for i, name in enumerate(_METHOD_ORDER)}
    scores = sorted(found, key=lambda s: (order[s["method"]], s["num_params"], s["seed"]))
    text = format_table(scores)
    paper = [{"method": m, "num_params": n} | row for (m, n), row in PAPER.items()]
    recipe = {flag.name: flag.value for flag in _RECIPE}
    _write_json(workdir / "results.json", {"flags": recipe, "scores": scores, "paper": paper})
    with write_atomically(workdir / "results.md") as path:
        path.write_text(text + "\n", encoding="utf-8")
    draw_figure5(workdir / "figure5.png", scores)
    objects = sorted({s["num_params"] for s in scores})
    draw_samples(workdir / "samples.png", {n: _load(n)[1] for n in objects})
    largest, seed = objects[-1], min(s["seed"] for s in scores if s["num_params"] == objects[-1])
    names = [s["method"] for s in scores if (s["num_params"], s["seed"]) == (largest, seed)]
    predictions = {
        name: np.load(workdir / f"{largest}_{name}_{seed}" / "predictions.npz")["joints"]
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
    return f"{text}\n\nwritten to {workdir}: " + ", ".join(
        path.name for path in sorted(workdir.iterdir()) if path.is_file()
    )


def _write_run(directory: pathlib.Path, found: Prediction, scores: dict):
    """The scores last: a directory that has them is finished."""
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {key: x for key, x in found._asdict().items() if x is not None}
    with write_atomically(directory / "predictions.npz") as path, open(path, "wb") as file:
        np.savez(file, **arrays)
    _write_json(directory / "scores.json", scores)


def _write_json(path: pathlib.Path, value):
    with write_atomically(path) as part:
        part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


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
