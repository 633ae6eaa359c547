"""One jitted step over all devices, and the evaluation.

The state is replicated and the batch is split over a mesh of one axis, on one device, on
many, or on those of many processes; batch sizes are global.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kinpose.extras import needs
from kinpose.mesh import by_path, own_part, place_like, replicated, share_batch, split
from kinpose.methods import Method, Prediction
from kinpose.train._sources import Source

with needs("train"):
    import flax.linen as nn
    import optax

_TOTALS = ("steps", "loss", "gradient_norm")


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
        variables = model.init({"params": key, "dropout": key}, images)
        opt_state, totals = optimiser.init(variables["params"]), dict.fromkeys(_TOTALS, 0.0)
        return TrainState(jnp.int32(0), variables, opt_state, jax.tree.map(jnp.float32, totals))

    return jax.jit(init, out_shardings=replicated(mesh))(key, np.asarray(images))


def begin_with(
    state: TrainState, variables: dict[str, Any], optimiser: optax.GradientTransformation
) -> TrainState:
    """A state before the first step, with other variables, which are copied.

    Raises:
      ValueError: for variables of another structure or shape, naming the first that differs.
    """
    here, there = by_path(state.variables), by_path(variables)
    for path in [*here, *there]:
        shapes = [np.shape(x[path]) if path in x else "missing" for x in (here, there)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"init must give variables of the model, but {path} is {shapes[1]} there and "
                f"{shapes[0]} in the model."
            )
    leaves = [np.asarray(there[path], x.dtype) for path, x in here.items()]
    values = jax.tree.unflatten(jax.tree.structure(state.variables), leaves)
    kept = values, optimiser.init(values["params"])  # on the host, the same in all processes
    before = state.variables, state.opt_state
    copies = jax.tree.map(lambda new, old: place_like(np.asarray(new), old), kept, before)
    return state._replace(variables=copies[0], opt_state=copies[1])


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
    update = optax.with_extra_args_support(optimiser).update  # some ask for the loss

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
        moves, opt_state = update(gradient, state.opt_state, params, value=loss)
        variables = {**state.variables, **updates, "params": optax.apply_updates(params, moves)}
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}
        counted = metrics | {"steps": jnp.float32(1.0)}
        totals = {name: state.totals[name] + counted[name].astype("float32") for name in _TOTALS}
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
