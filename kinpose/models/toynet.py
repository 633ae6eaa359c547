"""The network for one-channel images of 128 x 128 pixels, of five layers.

Source: the public Caffe configuration of Zhou et al., "Model-based deep hand pose
estimation", IJCAI 2016.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from kinpose.models.convolution import convolve_and_pool

SIDE = 128
"""Rows and columns of an image."""

# Caffe's "Xavier" counts the inputs only.
_XAVIER = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
_SMALL = nn.initializers.normal(0.001)


class ToyNet(nn.Module):
    """Three convolutions and hidden layers, two of 1024 units as published.

    Parameters and computation are float32.

    Attributes:
      num_outputs: length of the output vector.
      dropout: share of the hidden units that a training step leaves out.
      hidden: units of the hidden layers.

    Example:
      >>> net = ToyNet(num_outputs=27)
      >>> images = jnp.zeros((2, 128, 128))
      >>> outputs, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
      >>> outputs.shape
      (2, 27)
    """

    num_outputs: int
    dropout: float = 0.3
    hidden: Sequence[int] = (1024, 1024)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Outputs for a batch of images.

        Args:
          images: (B, 128, 128) bool, integer or floating point.
          train: whether to drop hidden units; needs the stream of keys `dropout`.

        Returns:
          (B, num_outputs) float32.

        Raises:
          ValueError: for images of a wrong shape.
        """
        images = jnp.asarray(images)
        if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
            raise ValueError(f"images must have shape (B, {SIDE}, {SIDE}), but got {images.shape}.")
        x = images.astype(jnp.float32)[..., None]
        x = _Convolution(8, 5, pool=4, dark=True, name="conv1")(x)
        x = _Convolution(8, 5, pool=2, name="conv2")(x)
        x = _Convolution(8, 3, pool=1, name="conv3")(x)
        x = x.reshape(len(x), math.prod(x.shape[1:]))
        for i, units in enumerate(self.hidden, 1):
            init = _SMALL if i == 2 else _XAVIER
            x = nn.relu(nn.Dense(units, kernel_init=init, name=f"dense{i}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")(x)
        return nn.Dense(self.num_outputs, kernel_init=_SMALL, name="output")(x)


class _Convolution(nn.Module):
    """Convolution with ReLU and max pooling.

    Attributes:
      num_channels: of the output.
      size: side of the kernel.
      pool: side of a pooling window.
      dark: whether its inputs are mostly zero.
    """

    num_channels: int
    size: int
    pool: int
    dark: bool = False

    @nn.compact
    def __call__(self, images):
        shape = (self.size, self.size, images.shape[-1], self.num_channels)
        kernel = self.param("kernel", _XAVIER, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), shape[-1:], jnp.float32)
        return convolve_and_pool(images, kernel, bias, pool=self.pool, dark=self.dark)
