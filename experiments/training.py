"""What all experiments that train have in common: their flags, and one network's training.

Each network has a directory of its own below the workdir; what is finished there is not trained
again, and what is not goes on from its last checkpoint.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

import flax.linen as nn
import jax
import numpy as np
import optax
from absl import flags, logging

from experiments.progress import show_progress
from kinpose.checkpoint import Checkpoints
from kinpose.hosts import wait_for_all
from kinpose.mesh import make_mesh
from kinpose.methods import Method, Prediction
from kinpose.optimisers import caffe_sgd
from kinpose.stopping import Stopped
from kinpose.train import (
    Source,
    batch_indices,
    epoch_means,
    evaluate,
    init_state,
    make_eval_step,
    make_train_step,
    train,
)
from kinpose.workdir import MetricsWriter, read_metrics

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

_SAVE_EVERY = 500  # steps at most; some minutes of a large network
_PER_DEVICE = 40  # images in a batch of the evaluation

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
    size, images = BATCH_SIZE.value, EPOCHS.value * num_images
    if size > images:
        raise ValueError(
            f"batch_size must be at most {images}, all epochs' images, but got {size}."
        )
    if size % jax.device_count():
        raise ValueError(
            f"batch_size must be a multiple of {jax.device_count()}, the number of devices, but "
            f"got {size}."
        )


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
    rate = optax.cosine_onecycle_schedule(max(num_steps, 2), RATE.value)
    return optax.adamw(rate, weight_decay=weight_decay) if weight_decay else optax.adam(rate)


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


@contextlib.contextmanager
def reported(report: Callable[[pathlib.Path], str], workdir: pathlib.Path) -> Iterator[None]:
    """Prints a report of a workdir at its end; after a signal of what is finished till then."""
    try:
        yield
    except Stopped:
        if jax.process_index() == 0 and any(workdir.glob("*/scores.json")):
            print(report(workdir))
        raise
    if jax.process_index() == 0:
        print(report(workdir))


def train_network(
    directory: pathlib.Path,
    model: nn.Module,
    method: Method,
    sets: tuple[Source, Source],
    *,
    seed: int,
    optimiser: optax.GradientTransformation,
    score: Callable[[Prediction], Mapping[str, float]],
    init: Callable[[Mapping], Mapping] | None = None,
    ahead: Callable[[Callable], Callable] = lambda load_batch: load_batch,
) -> Callable[[Source], tuple[Prediction, np.ndarray]]:
    """Trains, or goes on from the last checkpoint; a line of metrics.jsonl per epoch.

    Args:
      directory: of this network.
      model: with the outputs of the method.
      method: what they mean, and the loss.
      sets: for training and for testing.
      seed: of initial weights, order of samples and dropout.
      optimiser: see `make_optimiser`.
      score: numbers by name, from predictions for the whole test set.
      init: from the model's first variables to others, such as pretrained ones.
      ahead: makes a function from steps to batches work ahead, see `data.pipeline.prefetched`.

    Returns:
      A function of a test set to the trained network's predictions and losses.
    """
    (num_train, load), test_set = sets
    mesh, size = make_mesh(), BATCH_SIZE.value
    num_steps, epoch = count_steps(num_train), max(1, num_train // size)
    wait_for_all(directory.name)
    init_key, key = jax.random.split(jax.random.key(seed))
    state = init_state(init_key, model, optimiser, load(np.arange(1))[0], mesh)
    step_fn = make_train_step(model, method, optimiser, mesh)
    eval_step = make_eval_step(model, method, mesh)

    def ends_epoch(step: int) -> bool:
        return step * size // num_train > (step - 1) * size // num_train

    @ahead
    def load_batch(step: int):
        return load(batch_indices(num_train, size, step, seed))

    def test(state, source: Source) -> tuple[Prediction, np.ndarray]:
        return evaluate(eval_step, state.variables, source, mesh, _PER_DEVICE * mesh.size)

    checkpoints = Checkpoints(directory / "checkpoints")
    saved = checkpoints.restore(state)
    if saved is None and init is not None:
        state = state._replace(variables=init(state.variables))
    first, state = saved or (0, state)
    start = time.monotonic()
    steps = show_progress(
        train(
            state,
            step_fn,
            load_batch,
            key,
            mesh,
            num_steps=num_steps,
            checkpoints=checkpoints,
            save_every=min(2 * epoch, _SAVE_EVERY),
            ends_epoch=ends_epoch,
        ),
        directory.name,
        unit="images",
        count=lambda step: size,
        total=(num_steps - first) * size,
    )
    has_row = first in {row["step"] for row in read_metrics(directory)}
    with MetricsWriter(directory, first_step=first) as writer:

        def write_row(step: int, state):
            rate = (step - first) * size / (time.monotonic() - start)
            found, test_loss = test(state, test_set)
            row = epoch_means(state) | {"test_loss": np.mean(test_loss)} | dict(score(found))
            writer.write(step, {"epoch": step * size / num_train} | row | {"images_per_s": rate})

        def has_end(step: int) -> bool:
            return ends_epoch(step) or step == num_steps

        if first and has_end(first) and not has_row:  # ended between saving and writing
            write_row(first, state)
        for step, state, _ in steps:
            if has_end(step):
                write_row(step, state)
    return functools.partial(test, state)


def count_steps(num_train: int) -> int:
    """Steps of the whole training."""
    return EPOCHS.value * num_train // BATCH_SIZE.value
