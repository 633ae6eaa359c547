"""What networks for colour images have in common: pixels, convolution, batch normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kinpose.models.resnet_layers import convolve

SMALLEST_SIDE = 32
"""px; the last stage sees one place for every 32 pixels."""

EPSILON = 1e-5
"""Added to variances in batch normalisation."""

_STEP = 0.1
"""By which running statistics go towards those of a batch."""

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet's red, green and blue, from 0 to 255."""

HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
SMALL = nn.initializers.normal(0.001)


def checked_images(images: jax.Array) -> jax.Array:
    """The gate of images: (B, H, W, 3), none too small for the last stage."""
    images = jnp.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or min(images.shape[1:3]) < SMALLEST_SIDE:
        raise ValueError(
            f"images must have shape (B, H, W, 3) with H and W at least {SMALLEST_SIDE}, "
            f"but got {images.shape}."
        )
    return images


class Normalise(nn.Module):
    """Pixels of mean 0 and variance 1."""

    @nn.compact
    def __call__(self, images):
        mean = self.variable("batch_stats", "mean", lambda: jnp.float32(MEAN))
        std = self.variable("batch_stats", "std", lambda: jnp.float32(STD))
        pixels = images.astype(jnp.float32)
        return (pixels - mean.value[None, None, None]) / std.value[None, None, None]


class Convolution(nn.Module):
    """Convolution without bias, padded so that stride 1 keeps the size."""

    num_channels: int
    size: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x):
        shape = (self.size, self.size, x.shape[-1], self.num_channels)
        kernel = self.param("kernel", HE, shape, jnp.float32)
        return convolve(x, kernel.astype(self.dtype), self.stride)


class BatchNorm(nn.Module):
    """Mean 0 and variance 1 over the batch, then a scale and a bias, for each channel.

    Statistics are float32 whatever the type of the input; running ones move by a tenth.
    """

    train: bool

    @nn.compact
    def __call__(self, x):
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones_init(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), shape, jnp.float32)
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
