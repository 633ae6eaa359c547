"""MobileNetV2, a network for colour images of any size with few weights and operations.

Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kinpose.models._layers import HE, SMALL, BatchNorm, Convolution, Normalise, checked_images
from kinpose.models.depthwise import convolve_depthwise

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and stride of the first of them: t, c, n, s of Table 2."""

_FIRST, _LAST = 32, 1280


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1: 3.5 million weights, 300 million products at 224 x 224 pixels.

    Parameters, statistics and outputs are float32. Batch normalisation is over the batch that
    the caller sees, so under `jit` over the global one. Pixels are normalised here, by `mean` and
    `std` in `batch_stats["input"]`: those of ImageNet. Weights of the output begin small, so that
    the first prediction is near zero.

    Attributes:
      num_outputs: length of the output vector.
      dtype: of the computation: float32, or bfloat16 where the device is made for it.

    Example:
      >>> net = MobileNetV2(num_outputs=51)
      >>> images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.uint8)
      >>> variables = jax.eval_shape(net.init, jax.random.key(0), images)
      >>> jax.eval_shape(net.apply, variables, images).shape
      (2, 51)
    """

    num_outputs: int
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
          ValueError: for images of a wrong shape.
        """
        images = checked_images(images)
        convolution = functools.partial(Convolution, dtype=self.dtype)
        norm = functools.partial(BatchNorm, train=train)
        x = Normalise(name="input")(images).astype(self.dtype)
        x = nn.relu6(norm(name="bn_first")(convolution(_FIRST, 3, 2, name="conv_first")(x)))
        number = 0
        for expansion, channels, num_blocks, stride in STAGES:
            for i in range(num_blocks):
                number += 1
                x = _Block(
                    expansion,
                    channels,
                    stride=1 if i else stride,
                    convolution=convolution,
                    norm=norm,
                    name=f"block{number}",
                )(x)
        x = nn.relu6(norm(name="bn_last")(convolution(_LAST, 1, 1, name="conv_last")(x)))
        features = jnp.mean(x, (1, 2), dtype=jnp.float32)
        return nn.Dense(self.num_outputs, kernel_init=SMALL, name="fc")(features)


def layer_names() -> list[tuple[str, str]]:
    """Paths of each convolution and the normalisation behind it, in the order of computation."""
    pairs = [("conv_first", "bn_first")]
    expansions = [stage[0] for stage in STAGES for _ in range(stage[2])]
    for number, expansion in enumerate(expansions, start=1):
        own = (1, 2, 3) if expansion > 1 else (2, 3)
        pairs += [(f"block{number}/conv{i}", f"block{number}/bn{i}") for i in own]
    return [*pairs, ("conv_last", "bn_last")]


class _Block(nn.Module):
    """Inverted residual: more channels by 1x1, depthwise 3x3, fewer by 1x1 without ReLU."""

    expansion: int
    num_channels: int
    stride: int
    convolution: type
    norm: type

    @nn.compact
    def __call__(self, x):
        y = x
        if self.expansion > 1:
            y = self.convolution(self.expansion * x.shape[-1], 1, 1, name="conv1")(y)
            y = nn.relu6(self.norm(name="bn1")(y))
        y = nn.relu6(self.norm(name="bn2")(_Depthwise(self.stride, name="conv2")(y)))
        y = self.norm(name="bn3")(self.convolution(self.num_channels, 1, 1, name="conv3")(y))
        return x + y if x.shape == y.shape else y


class _Depthwise(nn.Module):
    """Convolution of 3x3 of each channel by itself, without bias."""

    stride: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", HE, (3, 3, 1, x.shape[-1]))
        return convolve_depthwise(x, kernel.astype(x.dtype), self.stride)
