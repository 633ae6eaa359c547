"""Training: one jitted step over all devices, and the loop around it.

The state is replicated and the batch is split over a mesh of one axis, on one device, on
many, or on those of many processes; batch sizes are global. What is random in a step depends
on the run's key and the step, so a resumed run repeats an uninterrupted one.

Shapes: B batch (over all processes), K keypoints, D dofs.
"""

import collections
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kinpose.checkpoint import Checkpoints
from kinpose.extras import needs
from kinpose.mesh import own_part, replicated, share_batch, split
from kinpose.methods import Method, Prediction, Targets
from kinpose.stopping import Stopped, is_stopped, signals_noted

with needs("train"):
    import flax.linen as nn
    import optax

_IN_FLIGHT = 2
"""Steps that are sent to the devices before the loss of an earlier one is looked at."""

_TOTALS = ("steps", "loss", "gradient_norm")


class Source(NamedTuple):
    """The samples of a training or test set, read as they are needed.

    Attributes:
      num: how many there are.
      load: from indices (B,) to images (B, ...) and `Targets`.
    """

    num: int
    load: Callable[[np.ndarray], tuple[np.ndarray, Targets]]


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
      step: () number of steps done.
      variables: of the Flax model: `params`, and `batch_stats` where there are any.
      opt_state: of the optimiser.
      totals: of the epoch so far: its `steps`, and the sums of their `loss` and
        `gradient_norm`.
    """

    step: jax.Array
    variables: dict[str, Any]
    opt_state: optax.OptState
    totals: dict[str, jax.Array]


def init_state(
    key: jax.Array,
    model: nn.Module,
    optimiser: optax.GradientTransformation,
    images: jax.Array,
    mesh: Mesh,
) -> TrainState:
    """The state before the first step, replicated over the mesh.

    Args:
      key: of the initial weights.
      model: a Flax module, called with images and `train`.
      optimiser: of optax.
      images: (B, ...) any batch of the right shape; one image is enough.
      mesh: of `make_mesh`.

    Returns:
      The state.
    """

    def init(key, images):
        variables = model.init(key, images)
        opt_state, totals = optimiser.init(variables["params"]), dict.fromkeys(_TOTALS, 0.0)
        return TrainState(jnp.int32(0), variables, opt_state, jax.tree.map(jnp.float32, totals))

    return jax.jit(init, out_shardings=replicated(mesh))(key, np.asarray(images))


def make_train_step(
    model: nn.Module,
    method: Method,
    optimiser: optax.GradientTransformation,
    mesh: Mesh,
) -> Callable:
    """The jitted training step.

    Args:
      model: a Flax module with `method.num_outputs` outputs.
      method: what they mean, and the loss.
      optimiser: of optax.
      mesh: of `make_mesh`.

    Returns:
      A function of a state, which it consumes, images (B, ...), `Targets` and a key, to the
      next state and the metrics of the batch: `loss`, the mean before the step, and
      `gradient_norm`, of all weights together.
    """

    def step(state, images, targets, key):
        def loss_of(params):
            outputs, updates = model.apply(
                {**state.variables, "params": params},
                images,
                train=True,
                rngs={"dropout": jax.random.fold_in(key, state.step)},
                mutable=["batch_stats"],
            )
            return jnp.mean(method.loss(outputs, targets)), updates

        params = state.variables["params"]
        (loss, updates), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        moves, opt_state = optimiser.update(gradient, state.opt_state, params)
        variables = {**state.variables, **updates, "params": optax.apply_updates(params, moves)}
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}
        totals = {name: state.totals[name] + (metrics | {"steps": 1.0})[name] for name in _TOTALS}
        return TrainState(state.step + 1, variables, opt_state, totals), metrics

    whole, parts = replicated(mesh), split(mesh)
    return jax.jit(
        step,
        in_shardings=(whole, parts, parts, whole),
        out_shardings=whole,
        donate_argnums=0,
    )


def epoch_means(state: TrainState) -> dict[str, float]:
    """The mean `loss` and `gradient_norm` over the steps of the epoch so far."""
    totals = {name: float(total) for name, total in state.totals.items()}
    steps = totals.pop("steps")
    return {name: total / steps for name, total in totals.items()}


def make_eval_step(model: nn.Module, method: Method, mesh: Mesh) -> Callable:
    """The jitted evaluation.

    Args:
      model: a Flax module with `method.num_outputs` outputs.
      method: what they mean, and the loss.
      mesh: of `make_mesh`.

    Returns:
      A function of variables, images (B, ...) and `Targets` to a `Prediction`, which is told
      no more than the targets' scale, and the losses (B,).
    """

    def step(variables, images, targets) -> tuple[Prediction, jax.Array]:
        outputs = model.apply(variables, images)
        return method.predict(outputs, targets.scale), method.loss(outputs, targets)

    whole, parts = replicated(mesh), split(mesh)
    return jax.jit(step, in_shardings=(whole, parts, parts), out_shardings=whole)


def evaluate(
    eval_step: Callable, variables: dict[str, Any], source: Source, mesh: Mesh, batch_size: int
) -> tuple:
    """Evaluates all samples, a batch at a time; under several processes each loads its part.

    Args:
      eval_step: of `make_eval_step`.
      variables: of a state.
      source: N samples, the same in all processes.
      mesh: of `make_mesh`.
      batch_size: a multiple of the number of devices. The last batch is filled up by the last
        sample, whose repetitions are left out of the result.

    Returns:
      What `eval_step` returns, as NumPy arrays of N rows, in all processes.
    """
    rows = []
    for start in range(0, source.num, batch_size):
        index = np.minimum(np.arange(start, start + batch_size), source.num - 1)
        batch = share_batch(source.load(own_part(index)), mesh)
        rows.append(jax.device_get(eval_step(variables, *batch)))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: source.num], *rows)


def batch_indices(num: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Which samples this process takes at a step.

    Every sample comes once an epoch, in an order that depends on the seed and the epoch; a
    batch may begin in one epoch and end in the next.

    Args:
      num: number of samples.
      batch_size: over all processes, each of which takes an equal part.
      step: counted from 0.
      seed: of the order.

    Returns:
      (batch_size / number of processes,) indices below `num`.
    """
    place = own_part(np.arange(step * batch_size, (step + 1) * batch_size))
    epochs, within = np.divmod(place, num)
    index = np.empty_like(place)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        index[here] = _order(num, int(epoch), seed)[within[here]]
    return index


@functools.lru_cache(maxsize=2)
def _order(num: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num)


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
