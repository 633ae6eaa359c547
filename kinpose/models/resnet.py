"""Residual networks for colour images of any size.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016; the layers'
paddings are those of its Caffe models and of torchvision, whose names the parameters follow.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kinpose.models._layers import (
    MEAN,
    SMALL,
    SMALLEST_SIDE,
    STD,
    BatchNorm,
    Convolution,
    Normalise,
    checked_images,
)
from kinpose.models.resnet_layers import max_pool

__all__ = ["MEAN", "SMALLEST_SIDE", "STAGES", "STD", "ResNet"]

STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of each stage, by depth; from 50 on a block has three convolutions, before two."""


class ResNet(nn.Module):
    """ResNet-18, 34, 50, 101 or 152 as first published (ReLU after the sum).

    Parameters, statistics and outputs are float32. Batch normalisation is over the batch that
    the caller sees, so under `jit` over the global one, however it is split over devices.
    Pixels are normalised here, by `mean` and `std` in `batch_stats["input"]`: those of
    ImageNet, until pretrained weights bring their own. Weights of the output begin small, so
    that the first prediction is near zero.

    Attributes:
      depth: 18, 34, 50, 101 or 152.
      num_outputs: length of the output vector.
      stride_in_1x1: where a block of three convolutions halves the image: in the first, 1x1, as
        in the original Caffe models and Keras, or in the 3x3, as in torchvision.
      dtype: of the computation: float32, or bfloat16 where the device is made for it.

    Example:
      >>> net = ResNet(18, num_outputs=51)
      >>> images = jnp.zeros((2, 64, 64, 3), jnp.uint8)
      >>> outputs, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
      >>> outputs.shape
      (2, 51)
    """

    depth: int
    num_outputs: int
    stride_in_1x1: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Outputs for a batch of images.

        Args:
          images: (B, H, W, 3) red, green and blue from 0 to 255, integer or floating point; H
            and W from 32 on.
          train: whether to normalise by the statistics of the batch; make `batch_stats` mutable.

        Returns:
          (B, num_outputs) float32.

        Raises:
          ValueError: for an unknown depth or images of a wrong shape.
        """
        if self.depth not in STAGES:
            raise ValueError(f"depth must be one of {list(STAGES)}, but got {self.depth}.")
        images = checked_images(images)
        convolution = functools.partial(Convolution, dtype=self.dtype)
        norm = functools.partial(BatchNorm, train=train)
        block = _BasicBlock if self.depth < 50 else _Bottleneck
        x = Normalise(name="input")(images).astype(self.dtype)
        x = norm(name="bn1")(convolution(64, 7, 2, name="conv1")(x))
        x = nn.relu(max_pool(x))  # either order gives the same; this one handles fewer numbers
        for stage, num_blocks in enumerate(STAGES[self.depth]):
            for i in range(num_blocks):
                x = block(
                    64 * 2**stage,
                    stride=2 if stage and not i else 1,
                    stride_in_1x1=self.stride_in_1x1,
                    convolution=convolution,
                    norm=norm,
                    name=f"layer{stage + 1}_{i}",
                )(x)
        features = jnp.mean(x, (1, 2), dtype=jnp.float32)
        return nn.Dense(self.num_outputs, kernel_init=SMALL, name="fc")(features)


class _BasicBlock(nn.Module):
    """Two convolutions of 3x3."""

    width: int
    stride: int
    stride_in_1x1: bool
    convolution: type
    norm: type

    @nn.compact
    def __call__(self, x):
        y = self.convolution(self.width, 3, self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.convolution(self.width, 3, 1, name="conv2")(y)
        return nn.relu(self.norm(name="bn2")(y) + _shortcut(self, x, self.width))


class _Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1, the last of four times the width."""

    width: int
    stride: int
    stride_in_1x1: bool
    convolution: type
    norm: type

    @nn.compact
    def __call__(self, x):
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = self.convolution(self.width, 1, first, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.convolution(self.width, 3, second, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y))
        y = self.convolution(4 * self.width, 1, 1, name="conv3")(y)
        return nn.relu(self.norm(name="bn3")(y) + _shortcut(self, x, 4 * self.width))


def _shortcut(block, x, num_channels: int):
    """The input of a block, brought to the size of its output where they differ."""
    if block.stride == 1 and x.shape[-1] == num_channels:
        return x
    y = block.convolution(num_channels, 1, block.stride, name="downsample_conv")(x)
    return block.norm(name="downsample_bn")(y)
