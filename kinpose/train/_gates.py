"""The gates of a training: what does not suit each other is named before anything is compiled.

But for what a score gives, which is known after the first epoch.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kinpose.extras import needs
from kinpose.methods import Method, Targets
from kinpose.train._sources import Source

with needs("train"):
    import flax.linen as nn


_FEW = 2
"""Images that a model is tried with; one could hide what goes wrong with many."""


def count_steps(num: int, batch_size: int, epochs: int, save_every: int = 1) -> int:
    """Steps of a whole training.

    Args:
      num: samples to learn from.
      batch_size: of each step, over all devices.
      epochs: passes over the samples.
      save_every: steps between two checkpoints.

    Returns:
      How many whole batches they fill.

    Raises:
      ValueError: for numbers that are none to count by, and for a batch that the samples do not
        fill, or the devices cannot share.
    """
    devices = jax.device_count()
    counts = {"epochs": epochs, "batch_size": batch_size, "save_every": save_every}
    for name, count in counts.items():
        if not isinstance(count, (int, np.integer)) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, but got {count}.")
    if batch_size > epochs * num:
        raise ValueError(
            f"batch_size must be at most {epochs * num}, all epochs' images, but got {batch_size}."
        )
    if batch_size % devices:
        raise ValueError(
            f"batch_size must be a multiple of {devices}, the number of devices, but got "
            f"{batch_size}."
        )
    return epochs * num // batch_size


def check_network(
    model: nn.Module, method: Method, train_set: Source, test_set: Source | None
) -> None:
    """Refuses a model, a method and samples that do not suit each other; traces, compiles nothing.

    Raises:
      ValueError: naming what does not suit what.
    """
    _check_model(model)
    sets = {"train_set": train_set} | ({} if test_set is None else {"test_set": test_set})
    samples = {name: _read_one(source, name) for name, source in sets.items()}
    images, _ = samples["train_set"]
    tested, _ = samples.get("test_set", (images, None))
    if _say(tested) != _say(images):
        raise ValueError(
            f"images must be alike in both sets, but those of train_set are {_say(images)} "
            f"and those of test_set {_say(tested)}."
        )
    try:
        outputs = jax.eval_shape(lambda images: _outputs(model, images), images)
    except Exception as error:
        raise ValueError(f"model cannot be applied to images {_say(images)}: {error}") from error
    wanted = (_FEW, method.num_outputs)
    if getattr(outputs, "shape", None) != wanted:
        raise ValueError(
            f"model must give {method.num_outputs} outputs, those of the method, per image: "
            f"{wanted} for {_FEW} images, but gives {_say(outputs)}."
        )
    for name, (_, targets) in samples.items():
        _check_targets(method, outputs, targets, name)


def check_scores(scores: Mapping[str, float], taken: Sequence[str]) -> None:
    """Refuses scores that a line of metrics cannot have.

    Args:
      scores: numbers by name.
      taken: names that the line has already.

    Raises:
      ValueError: for what is no number, or has a name that is taken.
    """
    if not isinstance(scores, Mapping):
        raise ValueError(f"score must give numbers by name, but gives {_say(scores)}.")
    for name, value in scores.items():
        if name in taken:
            raise ValueError(
                f"score must give names other than {', '.join(taken)}, but gives {name!r}."
            )
        is_number = isinstance(value, (int, float, np.generic, np.ndarray, jax.Array))
        if not is_number or np.shape(value) != ():
            raise ValueError(
                f"score must give one number by each name, but {name!r} is {_say(value)}."
            )


def _check_targets(method: Method, outputs, targets: Targets, name: str):
    try:
        found = jax.eval_shape(method.predict, outputs, targets.scale)
        same = found.joints.shape == targets.joints.shape
        losses = jax.eval_shape(method.loss, outputs, targets) if same else None
    except Exception as error:
        raise ValueError(
            f"method cannot be applied to targets of {name}, {_say(targets)}: {error}"
        ) from error
    if not same:
        raise ValueError(
            f"joints must be as the method predicts them, {found.joints.shape} for {_FEW} "
            f"images, but those of {name} are {targets.joints.shape}."
        )
    if losses.shape != (_FEW,):
        raise ValueError(f"method must give one loss per image, but gives {_say(losses)}.")


def _check_model(model: Any):
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model must be a Flax Linen module, but got {type(model).__name__}; "
            f"flax.nnx.bridge.ToLinen makes one of an nnx class."
        )
    taken = inspect.signature(type(model).__call__).parameters
    if any(p.kind == p.VAR_KEYWORD for p in taken.values()):
        return
    if "train" not in taken or taken["train"].default is not False:
        raise ValueError(
            f"model must take train=False, which is True in training, but "
            f"{type(model).__name__}.__call__ takes {', '.join(map(str, taken.values()))}."
        )


def _outputs(model: nn.Module, images):
    """As in a training step, of a model that begins."""
    key = jax.random.key(0)
    variables = model.init({"params": key, "dropout": key}, images)
    given = {"train": True, "rngs": {"dropout": key}, "mutable": ["batch_stats"]}
    return model.apply(variables, images, **given)[0]


def _read_one(source: Source, name: str):
    """Shapes of images and targets of a few samples, from those of the first one."""
    if not isinstance(source, Source):
        raise ValueError(
            f"{name} must be a Source, such as array_source makes of arrays, but got "
            f"{type(source).__name__}."
        )
    if source.num < 1:
        raise ValueError(f"{name} has no samples.")
    images, targets = source.load(np.arange(1))
    if not isinstance(targets, Targets):
        raise ValueError(
            f"{name}.load must give images and Targets, but gave {type(targets).__name__}."
        )
    images, targets = jax.tree.map(np.asarray, (images, targets))
    rows = {x.shape[:1] for x in jax.tree.leaves((images, targets))}
    if rows != {(1,)}:
        raise ValueError(
            f"{name}.load must give a row per index, but gave for one index images {_say(images)} "
            f"and targets of {_say(targets)}."
        )

    def widen(x):
        dtype = jax.dtypes.canonicalize_dtype(x.dtype)
        return jax.ShapeDtypeStruct((_FEW, *x.shape[1:]), dtype)

    return jax.tree.map(widen, (images, targets))


def _say(arrays: Any) -> str:
    """Shapes and types of arrays by name."""
    if isinstance(arrays, Targets):
        return ", ".join(f"{name} {_say(x)}" for name, x in arrays._asdict().items())
    if not hasattr(arrays, "shape"):
        return "None" if arrays is None else f"a {type(arrays).__name__}"
    return f"{arrays.dtype}{list(arrays.shape)}"
