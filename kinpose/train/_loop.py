"""The loop around a training step: what it saves, when it ends, what it gives away."""

import collections
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from kinpose.checkpoint import Checkpoints
from kinpose.mesh import share_batch
from kinpose.methods import Targets
from kinpose.stopping import Stopped, is_stopped, signals_noted
from kinpose.train._steps import TrainState

_IN_FLIGHT = 2
"""Steps that are sent to the devices before the loss of an earlier one is looked at."""


def train(
    state: TrainState,
    train_step: Callable,
    load_batch: Callable[[int], tuple[Any, Targets]],
    key: jax.Array,
    mesh: Mesh,
    *,
    num_steps: int,
    checkpoints: Checkpoints,
    save_every: int,
    ends_epoch: Callable[[int], bool] = lambda step: False,
) -> Iterator[tuple[int, TrainState, dict[str, float]]]:
    """Trains from the state's step on; the caller's loop shows, logs and evaluates.

    Saves every `save_every` steps and at the end, so whatever ends the process loses no more
    steps than that. SIGTERM and Ctrl-C save, too, and end the loop, those that come after the
    last step included. Under `jax.distributed` a signal to one process ends all of them at the
    same step.

    Args:
      state: where to begin; consumed.
      train_step: of `make_train_step`.
      load_batch: from a step to this process's images and `Targets`.
      key: of all that is random in the steps.
      mesh: of `make_mesh`.
      num_steps: the step to end at.
      checkpoints: where to save.
      save_every: steps between two checkpoints.
      ends_epoch: whether an epoch ends at a step, counted from 1; the state's `totals` begin
        anew after it.

    Yields:
      The number of steps done, the state, which lives until the next step, and the metrics
      of the newest step that is known, which may be some steps old.

    Raises:
      FloatingPointError: for a loss or gradient that is not finite, naming the step and the
        last checkpoint, which is from before it.
      Stopped: after a signal.
    """
    step, flying = int(state.step), collections.deque()

    def land() -> dict[str, float]:
        at, metrics = flying.popleft()
        values = {name: float(value) for name, value in metrics.items()}
        if not np.isfinite(list(values.values())).all():
            shown = ", ".join(f"{name} {value}" for name, value in values.items())
            raise FloatingPointError(
                f"step {at} is not finite ({shown}); {checkpoints.describe_newest()}."
            )
        return values

    metrics = {}
    with signals_noted() as signals:
        while step < num_steps:
            if ends_epoch(step):
                state = state._replace(totals=jax.tree.map(_zero, state.totals))
            images, targets = share_batch(load_batch(step), mesh)
            state, new = train_step(state, images, targets, key)
            step += 1
            flying.append((step, new))
            stops = is_stopped(signals)
            saves = stops or step % save_every == 0 or step == num_steps
            while len(flying) > (0 if saves else _IN_FLIGHT):
                metrics = land()
            if saves:
                checkpoints.save(step, state)
            if stops:
                raise Stopped(step, signals)
            yield step, state, metrics
        if is_stopped(signals):
            raise Stopped(step, signals)


def _zero(total: jax.Array) -> jax.Array:
    return jax.make_array_from_callback(total.shape, total.sharding, lambda _: np.float32(0))
