"""A network's whole training in one call."""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from kinpose.checkpoint import Checkpoints
from kinpose.extras import needs
from kinpose.hosts import all_of, wait_for_all
from kinpose.mesh import make_mesh
from kinpose.methods import Method, Prediction
from kinpose.optimisers import one_cycle_adam
from kinpose.progress import show_progress
from kinpose.train._gates import check_network, check_scores, count_steps
from kinpose.train._loop import train
from kinpose.train._sources import Source, batch_indices
from kinpose.train._steps import (
    begin_with,
    epoch_means,
    evaluate,
    init_state,
    make_eval_step,
    make_train_step,
)
from kinpose.workdir import MetricsWriter, check_shared, claim_workdir, read_metrics

with needs("train"):
    import flax.linen as nn
    import optax

_PER_DEVICE = 40
"""Samples in a batch of the evaluation."""


class TrainedNetwork(NamedTuple):
    """What `train_network` gives.

    Attributes:
      variables: of the Flax model, for its `apply`.
      evaluate: from a `Source` of N samples to a `Prediction` of N rows, which is told no more
        than the targets' scale, and the losses (N,), as NumPy arrays.
    """

    variables: dict[str, Any]
    evaluate: Callable[[Source], tuple[Prediction, np.ndarray]]


def train_network(
    directory: str | os.PathLike,
    model: nn.Module,
    method: Method,
    train_set: Source,
    test_set: Source | None = None,
    *,
    epochs: int = 50,
    batch_size: int = 64,
    optimiser: optax.GradientTransformation
    | Callable[[int], optax.GradientTransformation] = one_cycle_adam,
    seed: int = 0,
    score: Callable[[Prediction], Mapping[str, float]] | None = None,
    init: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    save_every: int = 500,
    ahead: Callable[[Callable], Callable] = lambda load_batch: load_batch,
) -> TrainedNetwork:
    """Trains a network, or goes on from its last checkpoint, bit for bit.

    It trains on all devices. For several processes `kinpose.hosts.join_processes` comes first;
    then all of them make the same call, with a directory that all of them see. docs/training.md
    has an example and tells what is written.

    Args:
      directory: of this network: settings, checkpoints, and metrics.jsonl with a line per epoch.
      model: a Flax module with `method.num_outputs` outputs, called with images and `train`,
        which is False by default; its random numbers are of the stream `dropout`.
      method: what the outputs mean, and the loss.
      train_set: the samples to learn from, the same in all processes.
      test_set: what each line of metrics is evaluated on; None: nothing.
      epochs: passes over the training set.
      batch_size: samples per step, over all devices.
      optimiser: of optax, or a function that makes it from the number of steps.
      seed: of initial weights, order of samples and dropout.
      score: numbers for metrics.jsonl by names of their own, from predictions for the whole
        test set.
      init: from the model's first variables to others of their shapes, such as pretrained ones,
        which are copied.
      save_every: steps from one checkpoint to the next, or two epochs where these are fewer.
      ahead: makes a function from steps to batches work ahead, in threads of its own.

    Returns:
      The trained network; at once, where the directory has the last step.

    Raises:
      ValueError: before anything is compiled, for samples, model and method that do not suit
        each other, for a batch that the devices cannot share, and for a directory of other
        settings, in use, or not seen by all processes; after the first epoch, for a score that
        gives something else than numbers, or names that a line has already.
      FloatingPointError: for a loss or gradient that is not finite.
      kinpose.stopping.Stopped: after SIGTERM or Ctrl-C, when the state is saved.
    """
    check_network(model, method, train_set, test_set)
    num_steps = count_steps(train_set.num, batch_size, epochs, save_every)
    if not hasattr(optimiser, "update"):
        optimiser = optimiser(num_steps)
    num, epoch, mesh = train_set.num, max(1, train_set.num // batch_size), make_mesh()
    init_key, key = jax.random.split(jax.random.key(seed))
    step_fn = make_train_step(model, method, optimiser, mesh)
    eval_step = make_eval_step(model, method, mesh)

    def ends_epoch(step: int) -> bool:
        return step * batch_size // num > (step - 1) * batch_size // num

    @ahead
    def load_batch(step: int):
        return train_set.load(batch_indices(num, batch_size, step, seed))

    def test(state, source: Source) -> tuple[Prediction, np.ndarray]:
        return evaluate(eval_step, state.variables, source, mesh, _PER_DEVICE * mesh.size)

    settings = {"samples": num, "epochs": epochs, "batch_size": batch_size, "seed": seed}
    settings = {name: int(value) for name, value in settings.items()}
    with claim_workdir(directory, settings) as place:
        wait_for_all(place.name)
        check_shared(place)
        state = init_state(init_key, model, optimiser, train_set.load(np.arange(1))[0], mesh)
        checkpoints = Checkpoints(place / "checkpoints")
        saved = checkpoints.restore(state)
        if saved is None and init is not None:
            state = begin_with(state, init(state.variables), optimiser)
        first, state = saved or (0, state)
        if len(found := set(all_of(first))) > 1:
            raise ValueError(
                f"{checkpoints.directory} must be one directory for all processes, but their "
                f"newest checkpoints there are of steps {sorted(found)}."
            )
        start = time.monotonic()
        steps = train(
            state,
            step_fn,
            load_batch,
            key,
            mesh,
            num_steps=num_steps,
            checkpoints=checkpoints,
            save_every=min(2 * epoch, save_every),
            ends_epoch=ends_epoch,
        )
        has_row = first in {row["step"] for row in read_metrics(place)}
        # Closed, it gives signals back to whoever had them, also where an evaluation fails.
        with MetricsWriter(place, first_step=first) as writer, contextlib.closing(steps):

            def write_row(step: int, state):
                rate = (step - first) * batch_size / (time.monotonic() - start)
                row = {"epoch": step * batch_size / num} | epoch_means(state)
                if test_set is not None:
                    found, test_loss = test(state, test_set)
                    row |= {"test_loss": np.mean(test_loss)}
                    scores = score(found) if score else {}
                    check_scores(scores, taken=("step", *row, "images_per_s"))
                    row |= scores
                writer.write(step, row | {"images_per_s": rate})

            def has_end(step: int) -> bool:
                return ends_epoch(step) or step == num_steps

            if first and has_end(first) and not has_row:  # ended between saving and writing
                write_row(first, state)
            shown = {"label": place.name, "unit": "images", "count": lambda step: batch_size}
            total = (num_steps - first) * batch_size
            for step, state, _ in show_progress(steps, **shown, total=total):
                if has_end(step):
                    write_row(step, state)
    return TrainedNetwork(state.variables, functools.partial(test, state))
