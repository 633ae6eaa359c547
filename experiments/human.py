"""3D human pose from images (Sec. 4.2): Table 1, Figure 7 and Table 2 of the paper.

  python -m experiments.human --flagfile=experiments/flags/human_cpu.flags --data_dir=datasets \
      --dataset=rendered_people/small_64 --workdir=runs/human

Trains one network per method and seed, each in a directory of its own below the workdir; the
same command goes on after an interruption, and one with other methods or seeds adds to the same
tables. Writes table1.md, table1.csv, results.json, figure7.png and table2.png.
"""

import functools
import itertools
import pathlib
from importlib import util

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from data.pipeline import Samples, open_samples, prefetched
from experiments.human_methods import METHODS, make_method, make_network
from experiments.human_sets import (
    camera_skeleton,
    fit_poses,
    learn_people,
    make_source,
    make_truth,
    pose_joints,
    units_mm,
)
from experiments.human_tables import format_csv, format_table, order_rows, published_rows
from experiments.program import run_program
from experiments.results import read_scores, write_json, write_run, write_text
from experiments.training import (
    BATCH_SIZE,
    OPTIMISER,
    RECIPE,
    SEEDS,
    check_batch_size,
    must_be_some_of,
    reported,
    run_all,
    train_by_flags,
)
from kinpose import Skeleton
from kinpose.evaluation import PAPER, Truth, describe, evaluate
from kinpose.hosts import join_processes
from kinpose.io.predictions import Predictions, read_predictions
from kinpose.models.resnet import STAGES
from kinpose.skeletons import human_17
from kinpose.workdir import claim_workdir, read_metrics

_PAPERS = ("direct_joint", "kinematic_joint", "direct_parameter", "fitted_joint")

_DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "Data set and configuration: rendered_people/... or human36m/...",
    required=True,
)
_DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Where data sets are built.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/human", "Where everything is written.")
_METHODS = flags.DEFINE_list(
    "methods",
    list(_PAPERS),
    f"What to train, of {', '.join(METHODS)}; direct_joint gives model_fit, too.",
)
_DEPTH = flags.DEFINE_integer("depth", 50, "Of the ResNet.")
_DECAY = flags.DEFINE_float("weight_decay", 0.0, "Of all weights.", 0.0)
_DROP = flags.DEFINE_integer(
    "drop_epoch", None, "After this epoch caffe_sgd has a tenth of the rate.", 1
)
_INIT = flags.DEFINE_string(
    "init_from", None, "Pretrained ResNet: a state dict of torchvision or timm, or a Keras .h5."
)
_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    None,
    "For several processes, which share the workdir: auto, where the cluster tells "
    "jax.distributed the rest, or ADDRESS:PORT,PROCESSES,INDEX.",
)
flags.register_validator(
    _DEPTH, STAGES.__contains__, f"must be one of {', '.join(map(str, STAGES))}"
)
must_be_some_of(_METHODS, METHODS)
flags.register_validator(
    _INIT,
    lambda path: path is None or pathlib.Path(path).is_file(),
    "must be a file that is there",
)
flags.register_multi_flags_validator(
    [_DROP, OPTIMISER],
    lambda values: values[_DROP.name] is None or values[OPTIMISER.name] == "caffe_sgd",
    "drop_epoch is for the optimiser caffe_sgd; adam's rate falls by itself",
)

_RECIPE = (_DATASET, _DEPTH, _DECAY, _DROP, _INIT, *RECIPE)


def main(argv):
    """Trains what is not yet trained, then shows all there is."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}.")
    join_processes(_DISTRIBUTED.value)
    sets = tuple(
        open_samples(_DATASET.value, split, data_dir=_DATA_DIR.value) for split in ("train", "test")
    )
    check_batch_size(len(sets[0]))
    check_pretrained()
    skeleton = camera_skeleton(mean_skeleton(_DATASET.value))
    recipe = {flag.name: flag.value for flag in _RECIPE}
    with claim_workdir(_WORKDIR.value, recipe) as workdir:
        people, params = learn_people(workdir / "targets.npz", sets, skeleton)
        truth = make_truth(sets[1])
        runs = {"true_joints_fit": functools.partial(fit_truth, skeleton=skeleton, test=sets[1])}
        for seed, name in itertools.product(map(int, SEEDS.value), _METHODS.value):
            runs[f"{name}_{seed}"] = functools.partial(
                run, name=name, seed=seed, people=people, sets=sets, params=params
            )
        shown = functools.partial(report, test=sets[1], truth=truth, skeleton=skeleton)
        with reported(shown, workdir):
            run_all(workdir, runs)


def check_pretrained():
    """Refuses weights that do not fit the network, before any work."""
    if _INIT.value is None:
        return
    model, image = make_network(1, _DEPTH.value, _INIT.value), jnp.zeros((1, 32, 32, 3), jnp.uint8)
    _pretrained(jax.eval_shape(model.init, jax.random.key(0), image))


def mean_skeleton(dataset: str) -> Skeleton:
    """`human_17` with the mean bone lengths of a data set's subjects."""
    if dataset.startswith("human36m"):
        return human_17()
    from data.rendered_people import mean_skeleton

    return mean_skeleton()


def run(directory: pathlib.Path, name: str, seed: int, people, sets, params):
    """Trains one network and writes scores.json and predictions.npz into its directory."""
    method = make_method(name, people)
    train, test = (
        make_source(samples, p, true_scale=is_train)
        for samples, p, is_train in zip(sets, params, (True, False), strict=True)
    )
    unit, truth, scale = units_mm(sets[1]), make_truth(sets[1]), sets[1].scale

    def in_mm(found):
        return Predictions(truth.keys, found.joints * unit[:, None, None], found.params)

    def score(found):
        scores = _evaluate(in_mm(found), truth)
        return scores["over_actions"] | {"bone_length_error_mm": scores["bone_length_error_mm"]}

    drop = None if _DROP.value is None else _DROP.value * len(sets[0]) // BATCH_SIZE.value
    trained = train_by_flags(
        directory,
        make_network(method.num_outputs, _DEPTH.value, _INIT.value),
        method,
        (train, test),
        seed=seed,
        weight_decay=_DECAY.value,
        drop_step=drop,
        score=score,
        init=_pretrained if _INIT.value else None,
        ahead=prefetched,
    )
    found = in_mm(trained(test)[0])
    true_scale = None
    if found.params is not None:
        source = make_source(sets[1], params[1], true_scale=True)
        true_scale = in_mm(trained(source)[0])
    if name == "direct_joint" and jax.process_index() == 0:
        fits = [_fit(found.joints, s, people.skeleton, truth) for s in (np.ones_like(scale), scale)]
        _write(directory.with_name(f"model_fit_{seed}"), "model_fit", seed, truth, *fits)
    _write(directory, name, seed, truth, found, true_scale)  # its own scores come last


def fit_truth(directory: pathlib.Path, skeleton: Skeleton, test: Samples):
    """The model's floor: ModelFit on the true joints."""
    fits = [
        _fit(test.joints, scale, skeleton, make_truth(test))
        for scale in (np.ones_like(test.scale), test.scale)
    ]
    _write(directory, "true_joints_fit", 0, make_truth(test), *fits)


def _fit(joints, scale, skeleton: Skeleton, truth: Truth) -> Predictions:
    params = fit_poses(joints, scale, skeleton, "joints")
    return Predictions(truth.keys, pose_joints(params, scale, skeleton), params)


def _evaluate(found: Predictions, truth: Truth) -> dict:
    return evaluate(found.keys, found.joints, truth, PAPER)


def _write(directory, name: str, seed: int, truth: Truth, found, true_scale):
    scores = {"method": name, "seed": seed} | _evaluate(found, truth)
    if true_scale is not None:
        scores["true_scale"] = _evaluate(true_scale, truth)
    write_run(directory, found._asdict() | {"keys": np.array(found.keys, str)}, scores)


def _pretrained(variables):
    from kinpose.models.pretrained import load_pretrained

    return load_pretrained(_INIT.value, variables)


def report(workdir: pathlib.Path, test: Samples, truth: Truth, skeleton: Skeleton) -> str:
    """Writes tables and pictures of all finished runs in a workdir; returns the table."""
    scores = order_rows(read_scores(workdir), (*METHODS, "model_fit", "true_joints_fit"))
    published = published_rows(_DATASET.value)
    text = f"{describe(PAPER)}\n\n{format_table(scores, published)}\n"
    recipe = {flag.name: flag.value for flag in _RECIPE}
    results = {"flags": recipe, "protocol": PAPER._asdict(), "scores": scores}
    write_json(workdir / "results.json", results | {"published": published})
    write_text(workdir / "table1.md", text)
    write_text(workdir / "table1.csv", format_csv(scores, published))
    if util.find_spec("matplotlib"):
        draw(workdir, scores, test, skeleton)
    return f"{text}\nwritten to {workdir}: " + ", ".join(
        path.name for path in sorted(workdir.iterdir()) if path.is_file()
    )


def draw(workdir: pathlib.Path, scores: list[dict], test: Samples, skeleton: Skeleton):
    """Writes the pictures of a report."""
    from experiments.human_figures import draw_figure7, draw_table2

    metrics = {
        (s["method"], s["seed"]): read_metrics(workdir / f"{s['method']}_{s['seed']}")
        for s in scores
    }
    draw_figure7(workdir / "figure7.png", {run: rows for run, rows in metrics.items() if rows})
    seed = min(map(int, SEEDS.value))
    shown = ("direct_joint", "kinematic_joint", "fitted_joint", "model_fit")
    loss = "" if (workdir / f"direct_joint_{seed}").exists() else "_l1"  # all of one loss
    files = {m: workdir / f"{m}{loss}_{seed}" / "predictions.npz" for m in shown}
    poses = {m: read_predictions(path).joints for m, path in files.items() if path.exists()}
    if "direct_joint" in poses:
        draw_table2(workdir / "table2.png", test, poses, skeleton)


if __name__ == "__main__":
    run_program(main)
