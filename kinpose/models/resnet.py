"""Residual networks for colour images of any size.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016; the layers'
paddings are those of its Caffe models and of torchvision, whose names the parameters follow.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kinpose.models.resnet_layers import convolve, max_pool

STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks of each stage, by depth; from 50 on a block has three convolutions, before two."""

SMALLEST_SIDE = 32
"""px; the last stage sees one place for every 32 pixels."""

EPSILON = 1e-5
"""Added to variances in batch normalisation."""

_STEP = 0.1
"""By which running statistics go towards those of a batch."""

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet's red, green and blue, from 0 to 255."""

_HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_SMALL = nn.initializers.normal(0.001)


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
      >>> variables = jax.jit(net.init)(jax.random.key(0), images)
      >>> jax.jit(net.apply)(variables, images).shape
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
        images = jnp.asarray(images)
        if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < SMALLEST_SIDE:
            raise ValueError(
                f"images must have shape (B, H, W, 3) with H and W at least {SMALLEST_SIDE}, "
                f"but got {images.shape}."
            )
        convolution = functools.partial(_Convolution, dtype=self.dtype)
        norm = functools.partial(_BatchNorm, train=train)
        block = _BasicBlock if self.depth < 50 else _Bottleneck
        x = _Normalise(name="input")(images).astype(self.dtype)
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
        return nn.Dense(self.num_outputs, kernel_init=_SMALL, name="fc")(features)


class _Normalise(nn.Module):
    """Pixels of mean 0 and variance 1."""

    @nn.compact
    def __call__(self, images):
        mean = self.variable("batch_stats", "mean", lambda: jnp.array(MEAN))
        std = self.variable("batch_stats", "std", lambda: jnp.array(STD))
        pixels = images.astype(jnp.float32)
        return (pixels - mean.value[None, None, None]) / std.value[None, None, None]


class _Convolution(nn.Module):
    """Convolution without bias, padded so that stride 1 keeps the size."""

    num_channels: int
    size: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x):
        shape = (self.size, self.size, x.shape[-1], self.num_channels)
        kernel = self.param("kernel", _HE, shape)
        return convolve(x, kernel.astype(self.dtype), self.stride)


class _BatchNorm(nn.Module):
    """Mean 0 and variance 1 over the batch, then a scale and a bias, for each channel.

    Statistics are float32 whatever the type of the input; running ones move by a tenth.
    """

    train: bool

    @nn.compact
    def __call__(self, x):
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        wide = x.astype(jnp.float32)
        if self.train:
            batch_mean = jnp.mean(wide, (0, 1, 2))
            batch_var = jnp.maximum(jnp.mean(wide**2, (0, 1, 2)) - batch_mean**2, 0)
            mean.value += _STEP * (batch_mean - mean.value)
            var.value += _STEP * (batch_var - var.value)
        else:
            batch_mean, batch_var = mean.value, var.value
        factor = scale * jax.lax.rsqrt(batch_var + EPSILON)
        shift = bias - factor * batch_mean
        return (wide * factor[None, None, None] + shift[None, None, None]).astype(x.dtype)


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
