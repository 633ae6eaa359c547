"""Convolution with 3x3 kernels in 16 products per 2x2 outputs instead of 36.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016:
F(2x2, 3x3). The image is cut into tiles of 4x4 that overlap by two. Tiles and kernels are
transformed, multiplied place by place, which is 16 matrix products over the channels, and
the outputs transformed back. The transforms add and subtract only, so float32 stays accurate.

Shapes: B batch, H and W rows and columns, C channels in, D channels out, h and w rows and
columns of tiles. A grid is a list of rows of arrays, one for each place of a tile.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

_MIRROR = (3, 1, 2, 0)
"""Mirroring a kernel is the same as taking its transform in this order."""


def by_winograd(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of (B, H, W, C) with (3, 3, C, D), padded by one: (B, H, W, D)."""
    outputs = _products(_in_both(_tile, _tiles(x)), _in_both(_kernel, _places(kernel)))
    return assemble(_in_both(_output, outputs), x.shape)


def by_winograd_on_input(cotangent: jax.Array, kernel: jax.Array) -> jax.Array:
    """The derivative by x: a convolution again, with the kernel mirrored and transposed."""
    grid = _in_both(_kernel, _places(kernel))
    mirrored = [[grid[i][j].T for j in _MIRROR] for i in _MIRROR]
    outputs = _products(_in_both(_tile, _tiles(cotangent)), mirrored)
    return assemble(_in_both(_output, outputs), cotangent.shape)


def _kernel(a):
    ends, middle = (a[0] + a[2]) / 2, a[1] / 2
    return [a[0], ends + middle, ends - middle, a[2]]


def _tile(a):
    return [a[0] - a[2], a[1] + a[2], a[2] - a[1], a[1] - a[3]]


def _output(a):
    return [a[0] + a[1] + a[2], a[1] - a[2] - a[3]]


def _in_both(transform: Callable, grid) -> list:
    """Transforms along columns, then along rows."""
    across = [transform(row) for row in grid]
    down = [transform(column) for column in zip(*across, strict=True)]
    return list(zip(*down, strict=True))


def _products(tiles, kernels) -> list:
    """(B, h, w, D) the product at each place of a tile."""

    def product(tile, kernel):
        flat = tile.reshape(-1, tile.shape[-1])
        return jnp.matmul(flat, kernel, precision="highest").reshape(
            *tile.shape[:3], kernel.shape[-1]
        )

    return [list(map(product, *rows)) for rows in zip(tiles, kernels, strict=True)]


def _places(kernel) -> list:
    return [list(row) for row in kernel]


def _tiles(x) -> list:
    """(B, h, w, C) each place of all tiles."""
    batch, height, width, channels = x.shape
    h, w = -(-height // 2), -(-width // 2)
    margins = [(0, 0), (1, 2 * h - height + 1), (1, 2 * w - width + 1), (0, 0)]
    pairs = jnp.pad(x, margins).reshape(batch, h + 1, 2, w + 1, 2, channels)
    return [
        [pairs[:, i // 2 : i // 2 + h, i % 2, j // 2 : j // 2 + w, j % 2] for j in range(4)]
        for i in range(4)
    ]


def assemble(grid: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The image that has a grid of 2x2 places at each of (h, w), cut to the size of a shape."""
    tiles = jnp.stack([jnp.stack(row, axis=3) for row in grid], axis=2)
    batch, h, _, w, _, channels = tiles.shape
    return tiles.reshape(batch, 2 * h, 2 * w, channels)[:, : shape[1], : shape[2]]
