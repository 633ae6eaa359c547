"""Training steps of the toy's network, with dropout and Adam, beside torch."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import optax

from data.toy import ToySet, load_toy, toy_object
from experiments.benchmark_suite import Contender, Suite, verdict
from experiments.toy_methods import make_method
from kinpose.mesh import make_mesh, share_batch
from kinpose.methods import Targets
from kinpose.models import ToyNet, toynet
from kinpose.models.convolution import by_convolution
from kinpose.train import init_state, make_train_step

_TOLERANCE = 1e-4
"""Outputs are of size one."""

_CAFFE_SCALE = 3.0
"""Weights of torch layers: uniform with variance 1 / inputs, as the toy's."""


class Work(NamedTuple):
    """A batch.

    Attributes:
      data: images, joints (px) and parameters.
      weights: of Flax, layer by layer; all random, so that outputs tell networks apart.
    """

    data: ToySet
    weights: dict


def draw(batch: int) -> dict[str, Work]:
    """The object of 10 parameters."""
    train, _ = load_toy(10, num_train=batch, num_test=0)
    net, rng = ToyNet(18), np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), train.images[:1])["params"]

    def draw_weight(leaf):
        bound = np.sqrt(_CAFFE_SCALE / np.prod(leaf.shape[:-1]))
        return rng.uniform(-bound, bound, leaf.shape).astype(np.float32)

    weights = jax.tree.map(draw_weight, shapes)
    return {"training step": Work(train, weights)}


def judge(work, results: dict[str, np.ndarray]) -> dict[str, dict]:
    """The largest difference of outputs without dropout from those of the first contender."""
    first = next(iter(results.values()))
    return {
        name: verdict(np.abs(outputs - first).max(), _TOLERANCE)
        for name, outputs in results.items()
    }


def kinpose_step(name: str, work: Work):
    """The step of the experiments, the batch brought to the device included."""
    net, optimiser, mesh = ToyNet(18), optax.adam(1e-3), make_mesh(jax.devices()[:1])
    images, *truth = work.data
    method = make_method(name, toy_object(10), work.data)
    outputs = jax.jit(net.apply)({"params": work.weights}, images)
    key = jax.random.key(0)
    state = init_state(key, net, optimiser, images[:1], mesh)
    step = make_train_step(net, method, optimiser, mesh)

    def run():
        nonlocal state
        batch = share_batch((images, Targets(*truth)), mesh)
        state, _ = step(state, *batch, key)
        jax.block_until_ready(state)
        return outputs

    return run


def plain_step(work: Work):
    """The same with XLA's own convolutions, as an accelerator has them."""
    toynet.convolve_and_pool = lambda *args, dark, **options: by_convolution(*args, **options)
    return kinpose_step("direct_joint", work)


def torch_step(channels_last: bool, work: Work):
    """The same network and optimiser in torch, eager."""
    import torch
    from torch import nn

    pool = functools.partial(nn.MaxPool2d, ceil_mode=True)
    kept = [nn.Conv2d(1, 8, 5), nn.Conv2d(8, 8, 5), nn.Conv2d(8, 8, 3)]
    dense = [nn.Linear(1152, 1024), nn.Linear(1024, 1024), nn.Linear(1024, 18)]
    relu, drop = nn.ReLU(), nn.Dropout(0.3)
    net = nn.Sequential(
        *(kept[0], relu, pool(4), kept[1], relu, pool(2), kept[2], relu, nn.Flatten()),
        *(dense[0], relu, drop, dense[1], relu, drop, dense[2]),
    )
    with torch.no_grad():
        for layer, weights in zip([*kept, *dense], work.weights.values(), strict=True):
            layer.weight.copy_(torch.from_numpy(_as_torch(weights["kernel"])))
            layer.bias.copy_(torch.from_numpy(weights["bias"]))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.to(memory_format=layout)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    images, joints, _ = work.data
    targets = torch.from_numpy(joints.reshape(len(joints), -1) / 64 - 1)

    def outputs():
        batch = torch.from_numpy(images).float()[:, None]
        return net(batch.contiguous(memory_format=layout))

    net.eval()
    with torch.no_grad():
        first = outputs().numpy()
    net.train()

    def run():
        optimiser.zero_grad()
        loss = 0.5 * ((outputs() - targets) ** 2).sum() / len(targets)
        loss.backward()
        optimiser.step()
        return first

    return run


def _as_torch(kernel: np.ndarray) -> np.ndarray:
    """From Flax's order of dimensions; the first dense layer sees channels first in torch."""
    if kernel.ndim == 4:
        return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    if kernel.shape[0] == 1152:
        kernel = kernel.reshape(12, 12, 8, -1).transpose(2, 0, 1, 3).reshape(1152, -1)
    return np.ascontiguousarray(kernel.T)


TOYNET = Suite(
    draw,
    {
        "kinpose": Contender(functools.partial(kinpose_step, "direct_joint")),
        "kinpose-fitted-joint": Contender(functools.partial(kinpose_step, "fitted_joint")),
        "plain": Contender(plain_step),
        "torch": Contender(functools.partial(torch_step, False), "torch"),
        "torch-channels-last": Contender(functools.partial(torch_step, True), "torch"),
    },
    judge,
)
