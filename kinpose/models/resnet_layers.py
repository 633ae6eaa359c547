"""Convolution and max pooling of residual networks, in the form that suits the platform.

Shapes: B batch, H and W rows and columns, C channels in, D channels out.
"""

import jax
import numpy as np
from jax import lax


def convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolution of odd size, padded so that stride 1 keeps the size.

    Args:
      x: (B, H, W, C).
      kernel: (size, size, C, D).
      stride: in both directions.

    Returns:
      (B, ceil(H / stride), ceil(W / stride), D).
    """
    return by_convolution(x, kernel, stride)


def max_pool(x: jax.Array) -> jax.Array:
    """The maximum over windows of 3x3, two places apart, padded by one.

    Args:
      x: (B, H, W, C).

    Returns:
      (B, ceil(H / 2), ceil(W / 2), C).
    """
    window, stride = (1, 3, 3, 1), (1, 2, 2, 1)
    padding = [(0, 0), (1, 1), (1, 1), (0, 0)]
    return lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, window, stride, padding)


def by_convolution(x, kernel, stride: int) -> jax.Array:
    """`convolve` in XLA's own operation."""
    margin = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(margin, margin)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
