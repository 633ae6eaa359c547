"""Weights of residual networks and of MobileNetV2 that others have trained.

Read are state dicts with the names of torchvision and, of ResNets, timm (`.pth`,
`.pth.tar`, `.pt`, `.safetensors`) and Keras's ResNet50, 101 and 152 (`.h5`). Neither torch nor
Keras is needed. Files of the last two kinds need the extra `pretrained`.
"""

import os
import pathlib
import re
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from kinpose.io._apart import read_apart
from kinpose.io.torch_files import MOST_BYTES, read_torch_file
from kinpose.models._layers import EPSILON
from kinpose.models.mobilenet import layer_names

_KERAS_EPSILON = 1.001e-5
_KERAS_MEAN = (123.68, 116.779, 103.939)
"""Subtracted from red, green and blue; Keras does not divide, and has blue first."""

_KINDS = (".pth", ".pth.tar", ".pt", ".safetensors", ".h5")
_MOST_PROBLEMS = 10
"""Listed in a message."""


def load_pretrained(path: str | os.PathLike, variables: dict[str, Any]) -> dict[str, Any]:
    """Weights and statistics of a file in place of those of a `ResNet` or `MobileNetV2`.

    The output layer `fc` stays as it is where the file has none or one of another length. A
    Keras file fits networks with `stride_in_1x1=True`, one of torch those without; the file
    cannot tell them apart. Keras differs in more, all of which is absorbed exactly: biases of
    convolutions go into the means of the normalisation behind them, its epsilon into the
    variances, its order of colours into the first kernel, and its mean colour into
    `batch_stats["input"]`.

    Args:
      path: `.pth`, `.pth.tar` or `.pt`, `.safetensors`, or `.h5`.
      variables: of the network's `init`, `params` and `batch_stats`; shapes alone will do, to see
        whether the file fits.

    Returns:
      New variables, float32, on the devices of the old.

    Raises:
      ValueError: for a file of another kind, a damaged or malicious one, or one whose names or
        shapes differ; the message lists them.
      ModuleNotFoundError: without the package that reads the file.
    """
    path = pathlib.Path(path)
    if not path.name.endswith(_KINDS):
        raise ValueError(f"pretrained weights must be one of {list(_KINDS)}, but got {path}.")
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    found = _read(path)
    wanted = flax.traverse_util.flatten_dict(variables, sep="/")
    kept = _kept(found, wanted)
    if problems := _differences(found, wanted, kept):
        more = len(problems) - _MOST_PROBLEMS
        shown = "; ".join(problems[:_MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(f"{path} does not fit the network: {shown}.")

    def replace(name, old):
        return old if name in kept else jax.device_put(found[name], getattr(old, "sharding", None))

    merged = {name: replace(name, old) for name, old in wanted.items()}
    return flax.traverse_util.unflatten_dict(merged, sep="/")


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Arrays by the names of the variables."""
    try:
        if path.suffix == ".h5":
            return _from_keras(_read_keras(path))
        is_safe = path.suffix == ".safetensors"
        return _from_torch(_read_safetensors(path) if is_safe else read_torch_file(path))
    except (LookupError, TypeError) as error:
        raise ValueError(f"{path} is not of a ResNet ({error!r}).") from error
    except ModuleNotFoundError as error:
        message = f"{path} needs {error.name}: pip install 'kinpose[pretrained]'"
        raise ModuleNotFoundError(message, name=error.name) from error


def _kept(found, wanted) -> set[str]:
    """Names of what stays as it is: pixels' statistics, and an output layer of another length."""
    kept = {name for name in wanted if name.startswith("batch_stats/input/")} - found.keys()
    output = {name for name in wanted.keys() | found.keys() if name.startswith("params/fc/")}
    if any(np.shape(found.get(name)) != np.shape(wanted.get(name)) for name in output):
        kept |= output
    return kept


def _differences(found, wanted, kept: set[str]) -> list[str]:
    """What keeps a file from fitting the network."""
    problems = []
    for name in sorted((wanted.keys() | found.keys()) - kept):
        if name not in found:
            problems.append(f"{name} is missing")
        elif name not in wanted:
            problems.append(f"{name} is not in the network")
        elif found[name].shape != wanted[name].shape:
            problems.append(f"{name} has shape {found[name].shape}, not {wanted[name].shape}")
        elif not np.isfinite(found[name]).all():
            problems.append(f"{name} is not finite")
    return problems


def _from_torch(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By names of the variables, from those of torchvision."""
    found = {}
    tensors = {name.removeprefix("module."): array for name, array in tensors.items()}
    modules = _mobilenet_modules(tensors)
    for name, array in tensors.items():
        if name.rpartition(".")[0] in modules:
            name = f"{modules[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"
        name = re.sub(r"^layer(\d)\.(\d+)", r"layer\1_\2", name)
        name = name.replace("downsample.0", "downsample_conv")
        name = name.replace("downsample.1", "downsample_bn")
        module, _, field = name.rpartition(".")
        module = module.replace(".", "/")
        if field == "num_batches_tracked":
            continue
        if field.startswith("running_"):
            name = f"batch_stats/{module}/{field.removeprefix('running_')}"
        elif field == "weight":
            name = f"params/{module}/{'scale' if array.ndim == 1 else 'kernel'}"
        else:
            name = f"params/{module}/{field}"
        order = (2, 3, 1, 0) if array.ndim == 4 else None  # of a matrix: transposed
        found[name] = np.ascontiguousarray(array.transpose(order), np.float32)
    return found


def _mobilenet_modules(tensors: dict[str, np.ndarray]) -> dict[str, str]:
    """Modules of a file with those of MobileNetV2, a chain that files cut in several ways."""
    names = {x.rpartition(".")[0]: [] for x in tensors if x.startswith("features.")}
    if not names:
        return {}
    order = sorted(names, key=lambda x: [int(part) for part in x.split(".") if part.isdecimal()])
    is_convolution = [np.ndim(tensors.get(f"{x}.weight")) == 4 for x in order]
    own = [path.replace("/", ".") for pair in layer_names() for path in pair]
    kinds = [path.rpartition(".")[2].startswith("conv") for path in own]
    if is_convolution != kinds:
        number, wanted = sum(is_convolution), len(own) // 2
        raise LookupError(
            f"{number} convolutions and {len(order) - number} other modules under 'features', not "
            f"{wanted} convolutions, each with a normalisation behind it"
        )
    return dict(zip(order, own, strict=True)) | {"classifier.1": "fc", "classifier": "fc"}


def _from_keras(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By names of the variables, from those of Keras: a layer and what of it."""
    fields = {
        "kernel": "params/{}/kernel",
        "bias": "params/{}/bias",
        "gamma": "params/{}/scale",
        "beta": "params/{}/bias",
        "moving_mean": "batch_stats/{}/mean",
        "moving_variance": "batch_stats/{}/var",
    }
    found = {}
    for name, array in arrays.items():
        layer, field = name.split("/")
        form = fields.get(field, "params/{}/" + field)
        found[form.format(_keras_module(layer))] = array.astype(np.float32)
    for name in [name for name in found if re.search(r"conv\d?/bias$", name)]:
        mean = re.sub(r"conv(\d?)/bias$", r"bn\1/mean", name.replace("params", "batch_stats"))
        if mean in found:
            found[mean] = found[mean] - found.pop(name)
    for name in found:
        if name.endswith("/var"):
            found[name] = found[name] + np.float32(_KERAS_EPSILON - EPSILON)
    if "params/conv1/kernel" in found:
        found["params/conv1/kernel"] = found["params/conv1/kernel"][:, :, ::-1]
    found["batch_stats/input/mean"] = np.array(_KERAS_MEAN, np.float32)
    found["batch_stats/input/std"] = np.ones(3, np.float32)
    return found


def _keras_module(layer: str) -> str:
    """`layer1_0/conv2` of conv2_block1_2_conv, and so on."""
    if match := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer):
        stage, block, place, kind = match.groups()
        part = f"{kind}{place}" if place != "0" else f"downsample_{kind}"
        return f"layer{int(stage) - 1}_{int(block) - 1}/{part}"
    return {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}.get(layer, layer)


def _read_safetensors(path) -> dict[str, np.ndarray]:
    import safetensors
    import safetensors.numpy

    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from error


def _read_keras(path) -> dict[str, np.ndarray]:
    """Arrays by `layer/variable`."""
    from kinpose.models import _keras_file

    try:
        arrays = read_apart(_keras_file.read_keras, path, MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as weights of Keras: {error}.") from error
    if not any(name.startswith("conv1_conv/") for name in arrays):
        raise ValueError(
            f"{path} has no layer conv1_conv: it must be a ResNet saved as .h5 with the names of "
            "its layers; a .weights.h5 of Keras 3 has none."
        )
    return arrays
