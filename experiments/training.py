"""What all experiments that train have in common: their flags, and one network's training.

Each network has a directory of its own below the workdir; what is finished there is not trained
again, and what is not goes on from its last checkpoint.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping

import flax.linen as nn
import numpy as np
import optax
from absl import flags, logging

from kinpose.methods import Method, Prediction
from kinpose.optimisers import caffe_sgd, one_cycle_adam
from kinpose.train import Source, count_steps, train_network

SEEDS = flags.DEFINE_list("seeds", ["0"], "Of initial weights, order of samples and dropout.")
EPOCHS = flags.DEFINE_integer("epochs", 50, "Passes over the training images.", 1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images per step, over all devices.", 1)
OPTIMISER = flags.DEFINE_enum(
    "optimiser",
    "adam",
    ["adam", "caffe_sgd"],
    "adam: with a rate that rises and falls once (one-cycle); caffe_sgd: momentum 0.9 and a "
    "constant rate, as in the paper and its [41].",
)
RATE = flags.DEFINE_float("learning_rate", 1e-3, "The rate; for adam its peak.", 0.0)
RECIPE = (EPOCHS, BATCH_SIZE, OPTIMISER, RATE)
"""Flags that a workdir belongs to, beside those of the experiment."""

flags.register_validator(
    SEEDS,
    lambda seeds: bool(seeds) and all(seed.isdecimal() for seed in seeds),
    "must be numbers from 0 on, separated by commas",
)


def must_be_some_of(flag, known):
    """Refuses a list flag that is empty or names something unknown."""
    flags.register_validator(
        flag,
        lambda values: bool(values) and set(values) <= set(known),
        f"must be some of {', '.join(sorted(known))}, separated by commas",
    )


def check_batch_size(num_images: int):
    """Refuses a batch that the images do not fill, or the devices cannot share.

    Args:
      num_images: in the training set.

    Raises:
      ValueError: for such a batch.
    """
    count_steps(num_images, BATCH_SIZE.value, EPOCHS.value)


def make_optimiser(
    num_steps: int, *, weight_decay: float = 0.0, drop_step: int | None = None
) -> optax.GradientTransformation:
    """That of the flags.

    Args:
      num_steps: of the training.
      weight_decay: L2 term of caffe_sgd, decoupled decay of adam.
      drop_step: from which caffe_sgd takes a tenth of the rate; None: never.

    Returns:
      The optimiser.
    """
    if OPTIMISER.value == "caffe_sgd":
        drops = {} if drop_step is None else {drop_step: 0.1}
        rate = optax.piecewise_constant_schedule(RATE.value, drops)
        return caffe_sgd(rate, momentum=0.9, weight_decay=weight_decay)
    return one_cycle_adam(num_steps, RATE.value, weight_decay)


def run_all(workdir: pathlib.Path, runs: Mapping[str, Callable[[pathlib.Path], None]]):
    """Runs what is not finished: what has no scores.json in its directory.

    Args:
      workdir: of all runs.
      runs: by the name of its directory, a function that trains there and calls
        `experiments.results.write_run`.

    Raises:
      Stopped: after a signal, when the state is saved.
    """
    for i, (name, run) in enumerate(runs.items()):
        directory = workdir / name
        if (directory / "scores.json").exists():
            logging.info("%s is finished already", directory)
            continue
        logging.info("run %d of %d: %s", i + 1, len(runs), name)
        run(directory)


def train_by_flags(
    directory: pathlib.Path,
    model: nn.Module,
    method: Method,
    sets: tuple[Source, Source],
    *,
    weight_decay: float = 0.0,
    drop_step: int | None = None,
    **options,
) -> Callable[[Source], tuple[Prediction, np.ndarray]]:
    """`kinpose.train.train_network` with the recipe of the flags.

    Args:
      directory: of this network.
      model: with the outputs of the method.
      method: what they mean, and the loss.
      sets: for training and for testing.
      weight_decay: see `make_optimiser`.
      drop_step: see `make_optimiser`.
      **options: of `train_network`.

    Returns:
      A function of a test set to the trained network's predictions and losses.
    """
    optimiser = functools.partial(make_optimiser, weight_decay=weight_decay, drop_step=drop_step)
    recipe = {"epochs": EPOCHS.value, "batch_size": BATCH_SIZE.value, "optimiser": optimiser}
    return train_network(directory, model, method, *sets, **recipe, **options).evaluate
