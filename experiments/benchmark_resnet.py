"""Training steps of residual networks, with SGD, beside torch.

An item is an image; the main study's batches are of 52 to 64 small ones:

python -m experiments.benchmark --suite=resnet --batch=64 --workloads=resnet18_64,resnet18_96
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.benchmark_suite import Contender, Suite, verdict
from kinpose.mesh import make_mesh, replicated, share_batch
from kinpose.methods import Targets, direct_joint
from kinpose.models import ResNet, resnet, resnet_layers
from kinpose.optimisers import caffe_sgd
from kinpose.train import init_state, make_train_step

_TOLERANCE = 1e-3
"""Outputs are of size one; every layer adds up float32 in another order."""

_WORKLOADS = [(18, 64), (18, 96), (18, 224), (50, 64), (50, 224)]
_NUM_JOINTS = 17
_MOST_PIXELS = 2**25
_RATE = 1e-6
"""Small, so that random weights stay finite; a step costs the same whatever it is."""


class Work(NamedTuple):
    """A network and the size of its batch."""

    depth: int
    side: int
    batch: int

    @property
    def images(self) -> np.ndarray:
        """(B, side, side, 3) random pixels: speed does not depend on what is seen."""
        shape = self.batch, self.side, self.side, 3
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    @property
    def net(self) -> ResNet:
        """With an output for each coordinate of a person."""
        return ResNet(self.depth, 3 * _NUM_JOINTS)


def draw(batch: int) -> dict[str, Work]:
    """Networks and sides of images, as in the names."""
    works = [Work(depth, side, batch) for depth, side in _WORKLOADS]
    fitting = [work for work in works if batch * work.side**2 <= _MOST_PIXELS]
    return {f"resnet{work.depth}_{work.side}": work for work in fitting}


def judge(work, results: dict[str, np.ndarray]) -> dict[str, dict]:
    """The largest difference of outputs before training from those of the first contender."""
    first = next(iter(results.values()))
    return {
        name: verdict(np.abs(outputs - first).max(), _TOLERANCE)
        for name, outputs in results.items()
    }


def random_variables(net: ResNet, seed: int = 0) -> dict:
    """Weights and statistics that all matter, so that outputs tell networks apart."""
    rng = np.random.default_rng(seed)
    images = jnp.zeros((1, 32, 32, 3), jnp.uint8)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)

    def draw_leaf(leaf):
        if len(leaf.shape) == 1:
            return rng.uniform(0.5, 1.0, leaf.shape).astype(np.float32)
        spread = np.sqrt(1 / np.prod(leaf.shape[:-1]))
        return rng.normal(0, spread, leaf.shape).astype(np.float32)

    variables = jax.tree.map(draw_leaf, shapes)
    pixels = {"mean": np.float32(resnet.MEAN), "std": np.float32(resnet.STD)}
    variables["batch_stats"]["input"] = pixels
    return variables


def kinpose_step(work: Work):
    """The step of the experiments, the batch brought to the device included."""
    net, images, mesh = work.net, work.images, make_mesh(jax.devices()[:1])
    optimiser = caffe_sgd(_RATE)
    method = direct_joint(np.zeros((_NUM_JOINTS, 3), np.float32), 1.0)
    targets = Targets(np.zeros((work.batch, _NUM_JOINTS, 3), np.float32))
    variables, key = random_variables(net), jax.random.key(0)
    outputs = jax.jit(net.apply)(variables, images)
    state = init_state(key, net, optimiser, images[:1], mesh)
    state = state._replace(variables=jax.device_put(variables, replicated(mesh)))
    step = make_train_step(net, method, optimiser, mesh)

    def run():
        nonlocal state
        state, _ = step(state, *share_batch((images, targets), mesh), key)
        jax.block_until_ready(state)
        return outputs

    return run


def plain_step(work: Work):
    """The same with XLA's own convolutions and pooling."""

    def pool(x):
        window, stride, margins = (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)]
        return lax.reduce_window(x, -np.inf, lax.max, window, stride, margins)

    resnet.convolve = lambda x, kernel, stride: resnet_layers.by_convolution(
        x, kernel, stride=stride
    )
    resnet.max_pool = pool
    return kinpose_step(work)


def torch_step(channels_last: bool, work: Work):
    """The same network and optimiser in torch, eager."""
    import torch

    net = torch_resnet(work.net, random_variables(work.net))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.to(memory_format=layout)
    optimiser = torch.optim.SGD(net.parameters(), _RATE, momentum=0.9)
    images = work.images

    def outputs():
        return net(torch_images(images).contiguous(memory_format=layout))

    net.eval()
    with torch.no_grad():
        first = outputs().numpy()
    net.train()

    def run():
        optimiser.zero_grad()
        loss = 0.5 * (outputs() ** 2).sum() / work.batch
        loss.backward()
        optimiser.step()
        return first

    return run


def torch_images(images: np.ndarray):
    """(B, 3, H, W) normalised as ImageNet's are."""
    import torch

    mean, std = torch.tensor(resnet.MEAN), torch.tensor(resnet.STD)
    return ((torch.from_numpy(images).float() - mean) / std).permute(0, 3, 1, 2)


def torch_state(variables: dict) -> dict[str, np.ndarray]:
    """Arrays of a state dict with the names of torchvision."""
    fields = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        _, *modules, field = (entry.key for entry in path)
        if modules == ["input"]:
            continue
        name = ".".join([*modules, fields.get(field, field)])
        for ours, theirs in {"_conv": ".0", "_bn": ".1"}.items():
            name = name.replace(f"downsample{ours}", f"downsample{theirs}")
        if name.startswith("layer"):
            name = name.replace("_", ".", 1)
        order = (3, 2, 0, 1) if np.ndim(leaf) == 4 else None
        state[name] = np.array(np.transpose(leaf, order), order="C")
    return state


def torch_resnet(like: ResNet, variables: dict):
    """The same network in torch, with torchvision's names and its stride in the 3x3."""
    import torch
    from torch import nn

    depth = like.depth

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int):
            super().__init__()
            small = (inputs, width, 3, stride), (width, width, 3, 1)
            large = (inputs, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)
            layers = small if depth < 50 else large
            self.names = [(f"conv{i}", f"bn{i}") for i in range(1, len(layers) + 1)]
            for (conv, bn), (before, after, size, step) in zip(self.names, layers, strict=True):
                layer = nn.Conv2d(before, after, size, step, size // 2, bias=False)
                self.add_module(conv, layer)
                self.add_module(bn, nn.BatchNorm2d(after))
            self.relu, self.downsample = nn.ReLU(inplace=True), None
            if stride > 1 or inputs != after:
                shortcut = nn.Conv2d(inputs, after, 1, stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(after))

        def forward(self, x):
            y = x
            for conv, bn in self.names:
                y = getattr(self, bn)(getattr(self, conv)(self.relu(y) if conv != "conv1" else y))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))

    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(3, 64, 7, 2, 3, bias=False))
    net.add_module("bn1", nn.BatchNorm2d(64))
    net.add_module("relu", nn.ReLU(inplace=True))
    net.add_module("maxpool", nn.MaxPool2d(3, 2, 1))
    channels = 64
    for stage, num_blocks in enumerate(resnet.STAGES[depth]):
        blocks = nn.Sequential()
        for i in range(num_blocks):
            blocks.append(Block(channels, 64 * 2**stage, 2 if stage and not i else 1))
            channels = 64 * 2**stage * (1 if depth < 50 else 4)
        net.add_module(f"layer{stage + 1}", blocks)
    net.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc", nn.Linear(channels, like.num_outputs))
    state = {name: torch.from_numpy(x) for name, x in torch_state(variables).items()}
    net.load_state_dict(state, strict=False)  # which counts batches, as we do not
    return net


RESNET = Suite(
    draw,
    {
        "kinpose": Contender(kinpose_step),
        "plain": Contender(plain_step),
        "torch": Contender(functools.partial(torch_step, False), "torch"),
        "torch-channels-last": Contender(functools.partial(torch_step, True), "torch"),
    },
    judge,
)
