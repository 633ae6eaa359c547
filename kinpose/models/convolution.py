"""Convolution, ReLU and max pooling as one layer, in the form that suits the platform.

XLA's CPU backend is slow where channels are few. There, an image is cut into blocks of the
size of a pooling window; a few neighbouring blocks hold all that the outputs of one window
see, so that one matrix product gives the outputs of all windows at once.

Shapes: B batch, H and W rows and columns, C channels in, D channels out.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def convolve_and_pool(images: jax.Array, kernel: jax.Array, bias: jax.Array, *, pool: int):
    """Valid convolution, bias, ReLU, max pooling with windows side by side.

    Sizes after pooling round up, as in Caffe: the last window may hang over the edge.

    Args:
      images: (B, H, W, C).
      kernel: (h, w, C, D).
      bias: (D,).
      pool: side of a pooling window; 1 for none.

    Returns:
      (B, ceil((H - h + 1) / pool), ceil((W - w + 1) / pool), D).
    """
    return lax.platform_dependent(
        images,
        kernel,
        bias,
        cpu=functools.partial(by_matrix_product, pool=pool),
        default=functools.partial(by_convolution, pool=pool),
    )


def by_convolution(images, kernel, bias, *, pool: int) -> jax.Array:
    """`convolve_and_pool` in XLA's own operations."""
    convolved = lax.conv_general_dilated(
        images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    activations = jax.nn.relu(convolved + bias[None, None, None])
    if pool == 1:
        return activations
    windows = (1, pool, pool, 1)
    overhang = [(0, -size % step) for size, step in zip(activations.shape, windows, strict=True)]
    return lax.reduce_window(activations, -jnp.inf, lax.max, windows, windows, overhang)


def by_matrix_product(images, kernel, bias, *, pool: int) -> jax.Array:
    """`convolve_and_pool` as one matrix product per layer."""
    sizes = [have - need + 1 for have, need in zip(images.shape[1:3], kernel.shape, strict=False)]
    windows = [-(-size // pool) for size in sizes]
    reach = [-(-(need + pool - 1) // pool) for need in kernel.shape[:2]]
    patches = _patches(images, windows, reach, pool)
    places = jnp.matmul(patches, _widened(kernel, reach, pool), precision="highest")
    places = places.reshape(-1, pool * pool, kernel.shape[-1])
    outside = _outside(sizes, windows, pool)
    if outside.any():
        shape = (len(images), *outside.shape, 1)
        places = jnp.where(
            jnp.broadcast_to(outside[None, ..., None], shape).reshape(-1, pool * pool, 1),
            -jnp.inf,
            places,
        )
    # ReLU and bias change no order, so they may come after the maximum, on fewer numbers.
    outputs = jax.nn.relu(_first_max(places) + bias[None])
    return outputs.reshape(len(images), *windows, -1)


def _patches(images, windows, reach, pool: int) -> jax.Array:
    """(B * windows, reach * pool^2 * C) what the outputs of a pooling window see."""
    batch, *have, channels = images.shape
    blocks = [window + more - 1 for window, more in zip(windows, reach, strict=True)]
    want = [block * pool for block in blocks]
    missing = [(0, max(0, w - h)) for w, h in zip(want, have, strict=True)]
    images = jnp.pad(images, [(0, 0), *missing, (0, 0)])[:, : want[0], : want[1]]
    cut = images.reshape(batch, blocks[0], pool, blocks[1], pool, channels)
    cut = cut.transpose(0, 1, 3, 2, 4, 5).reshape(batch, *blocks, -1)
    shifted = [
        cut[:, i : i + windows[0], j : j + windows[1]]
        for i in range(reach[0])
        for j in range(reach[1])
    ]
    patches = jnp.concatenate(shifted, axis=-1)
    return patches.reshape(-1, patches.shape[-1])


def _widened(kernel, reach, pool: int) -> jax.Array:
    """(reach * pool^2 * C, pool^2 * D) the kernel at every place of a pooling window."""
    height, width, channels, _ = kernel.shape
    free = reach[0] * pool - height, reach[1] * pool - width
    at_places = [
        jnp.pad(kernel, ((i, free[0] - i), (j, free[1] - j), (0, 0), (0, 0)))
        for i in range(pool)
        for j in range(pool)
    ]
    whole = jnp.stack(at_places, axis=3)
    whole = whole.reshape(reach[0], pool, reach[1], pool, channels, -1)
    return whole.transpose(0, 2, 1, 3, 4, 5).reshape(-1, pool * pool * kernel.shape[-1])


def _outside(sizes, windows, pool: int) -> np.ndarray:
    """(rows, columns, pool^2) bool, the places of pooling windows over the edge."""
    rows, columns = (
        np.arange(window * pool).reshape(window, pool) >= size
        for size, window in zip(sizes, windows, strict=True)
    )
    outside = rows[:, None, :, None] | columns[None, :, None, :]
    return outside.reshape(*windows, pool * pool)


@jax.custom_vjp
def _first_max(places) -> jax.Array:
    """(N, D) the maximum of (N, P, D) over P; among equals the first takes the gradient.

    So does pooling in XLA, while `jnp.max` shares it, and binary images have many equals.
    """
    return jnp.max(places, axis=1)


def _first_max_forward(places):
    return _first_max(places), (jnp.argmax(places, axis=1).astype(jnp.uint8), places.shape[1])


def _first_max_backward(saved, cotangent):
    first, num = saved
    is_first = first[:, None, :] == jnp.arange(num, dtype=jnp.uint8)[None, :, None]
    return (jnp.where(is_first, cotangent[:, None, :], 0.0),)


_first_max.defvjp(_first_max_forward, _first_max_backward)
