"""Convolution, ReLU and max pooling as one layer, in the form that suits the platform.

XLA's CPU backend is slow where channels are few. There, an image is cut into blocks of the
size of a pooling window; a few neighbouring blocks hold all that the outputs of one window
see, so that one matrix product gives the outputs of all windows at once.

Shapes: B batch, H and W rows and columns, C channels in, D channels out.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_SHARES = 16
"""Dark images are worked through in so many parts at most."""


def convolve_and_pool(
    images: jax.Array, kernel: jax.Array, bias: jax.Array, *, pool: int, dark: bool = False
) -> jax.Array:
    """Valid convolution, bias, ReLU, max pooling with windows side by side.

    Sizes after pooling round up, as in Caffe: the last window may hang over the edge.

    Args:
      images: (B, H, W, C).
      kernel: (h, w, C, D).
      bias: (D,).
      pool: side of a pooling window; 1 for none.
      dark: whether the images are mostly zero, which is used where it helps. Results are the
        same.

    Returns:
      (B, ceil((H - h + 1) / pool), ceil((W - w + 1) / pool), D).
    """
    return lax.platform_dependent(
        images,
        kernel,
        bias,
        cpu=functools.partial(by_matrix_product, pool=pool, dark=dark),
        default=functools.partial(by_convolution, pool=pool),
    )


def by_convolution(
    images: jax.Array, kernel: jax.Array, bias: jax.Array, *, pool: int
) -> jax.Array:
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


def by_matrix_product(
    images: jax.Array, kernel: jax.Array, bias: jax.Array, *, pool: int, dark: bool = False
) -> jax.Array:
    """`convolve_and_pool` as one matrix product per layer."""
    sizes = [have - need + 1 for have, need in zip(images.shape[1:3], kernel.shape, strict=False)]
    windows = tuple(-(-size // pool) for size in sizes)
    reach = tuple(-(-(need + pool - 1) // pool) for need in kernel.shape[:2])
    dark = dark and len(images) > 0  # none are nothing to share
    form = _Form(windows, reach, pool, _outside(sizes, windows, pool), dark)
    blocks, widened = _blocks(images, form), _widened(kernel, form)
    # ReLU and bias change no order, so they may come after the maximum, on fewer numbers.
    outputs = jax.nn.relu(_maximum(form, blocks, widened) + bias[None])
    return outputs.reshape(len(images), *windows, len(bias))


class _Form(NamedTuple):
    """The shapes of a layer; N windows are those of all images."""

    windows: tuple[int, int]  # rows and columns of pooling windows
    reach: tuple[int, int]  # rows and columns of blocks that one of them sees
    pool: int
    outside: tuple[tuple[bool, ...], ...] | None  # (windows, pool^2) places over the edge
    dark: bool


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _maximum(form: _Form, blocks, widened) -> jax.Array:
    """(N, D) the maximum of the convolution over each pooling window.

    Among equals the first takes the gradient. So does pooling in XLA, while `jnp.max` shares
    it, and binary images have many equals.
    """
    return _maximum_and_first(form, blocks, widened)[0]


def _maximum_and_first(form, blocks, widened) -> tuple[jax.Array, jax.Array]:
    """(N, D) the maximum and the place in the window where it is first."""

    def find(patches, outside):
        places = jnp.matmul(patches, widened, precision="highest")
        places = places.reshape(len(patches), form.pool**2, widened.shape[1] // form.pool**2)
        if outside is not None:
            places = jnp.where(outside[:, :, None], -jnp.inf, places)
        return jnp.max(places, axis=1), jnp.argmax(places, axis=1).astype(jnp.uint8)

    outside = None
    if form.outside is not None:
        outside = jnp.tile(np.array(form.outside), (len(blocks), 1))
    if not form.dark:
        return find(_patches(blocks, form), outside)

    def add(index, found):
        lit = find(_patches_at(blocks, index, form), None if outside is None else outside[index])
        return tuple(x.at[index].set(new, mode="drop") for x, new in zip(found, lit, strict=True))

    shape = len(blocks) * math.prod(form.windows), widened.shape[1] // form.pool**2
    nothing = jnp.zeros(shape, widened.dtype), jnp.zeros(shape, jnp.uint8)
    return _over_lit(form, blocks, add, nothing)


def _maximum_forward(form, blocks, widened):
    maximum, first = _maximum_and_first(form, blocks, widened)
    return maximum, (blocks, widened, first)


def _maximum_backward(form, saved, cotangent):
    blocks, widened, first = saved

    def spread(first, cotangent):
        is_first = first[:, None, :] == jnp.arange(form.pool**2, dtype=jnp.uint8)[None, :, None]
        places = jnp.where(is_first, cotangent[:, None, :], 0.0)
        return places.reshape(len(first), widened.shape[1])

    def weigh(patches, first, cotangent):
        return jnp.matmul(patches.T, spread(first, cotangent), precision="highest")

    def add(index, total):
        mine = cotangent.at[index].get(mode="fill", fill_value=0.0)
        return total + weigh(_patches_at(blocks, index, form), first[index], mine)

    if form.dark:
        on_widened = _over_lit(form, blocks, add, jnp.zeros_like(widened))
    else:
        on_widened = weigh(_patches(blocks, form), first, cotangent)
    back = jnp.matmul(spread(first, cotangent), widened.T, precision="highest")
    (on_blocks,) = jax.linear_transpose(functools.partial(_patches, form=form), blocks)(back)
    return on_blocks, on_widened


_maximum.defvjp(_maximum_forward, _maximum_backward)


def _over_lit(form, blocks, add: Callable, start):
    """Adds the windows that see anything, a share at a time: their indices, filled up with N."""
    lit = _patches(jnp.any(blocks != 0, axis=-1, keepdims=True), form).any(axis=-1)
    share = -(-lit.size // _SHARES)
    index = jnp.nonzero(lit, size=_SHARES * share, fill_value=lit.size)[0].reshape(_SHARES, -1)
    num_shares = -(-jnp.sum(lit) // share)
    return lax.fori_loop(0, num_shares, lambda i, found: add(index[i], found), start)


def _blocks(images, form: _Form) -> jax.Array:
    """(B, rows, columns, pool^2 * C) images cut into blocks of the size of a pooling window."""
    batch, *have, channels = images.shape
    rows, columns = (
        window + more - 1 for window, more in zip(form.windows, form.reach, strict=True)
    )
    want = rows * form.pool, columns * form.pool
    missing = [(0, max(0, w - h)) for w, h in zip(want, have, strict=True)]
    images = jnp.pad(images, [(0, 0), *missing, (0, 0)])[:, : want[0], : want[1]]
    cut = images.reshape(batch, rows, form.pool, columns, form.pool, channels)
    cut = cut.transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, rows, columns, form.pool**2 * channels)


def _patches(blocks, form: _Form) -> jax.Array:
    """(N, reach * pool^2 * C) what the outputs of each pooling window see."""
    (rows, columns), reach = form.windows, form.reach
    shifted = [
        blocks[:, i : i + rows, j : j + columns] for i in range(reach[0]) for j in range(reach[1])
    ]
    patches = jnp.concatenate(shifted, axis=-1)
    return patches.reshape(-1, patches.shape[-1])


def _patches_at(blocks, index, form: _Form) -> jax.Array:
    """The rows `index` of `_patches`."""
    places = jnp.unravel_index(index, (len(blocks), *form.windows))
    image, row, column = (place[:, None, None] for place in places)
    down, right = jnp.meshgrid(*map(jnp.arange, form.reach), indexing="ij")
    return blocks[image, row + down[None], column + right[None]].reshape(len(index), -1)


def _widened(kernel, form: _Form) -> jax.Array:
    """(reach * pool^2 * C, pool^2 * D) the kernel at every place of a pooling window."""
    height, width, channels, _ = kernel.shape
    pool, reach = form.pool, form.reach
    free = reach[0] * pool - height, reach[1] * pool - width
    at_places = [
        jnp.pad(kernel, ((i, free[0] - i), (j, free[1] - j), (0, 0), (0, 0)))
        for i in range(pool)
        for j in range(pool)
    ]
    whole = jnp.stack(at_places, axis=3)
    whole = whole.reshape(reach[0], pool, reach[1], pool, channels, -1)
    return whole.transpose(0, 2, 1, 3, 4, 5).reshape(-1, pool * pool * kernel.shape[-1])


def _outside(sizes, windows, pool: int) -> tuple | None:
    """(windows, pool^2) the places of pooling windows over the edge, if there are any."""
    rows, columns = (
        np.arange(window * pool).reshape(window, pool) >= size
        for size, window in zip(sizes, windows, strict=True)
    )
    outside = rows[:, None, :, None] | columns[None, :, None, :]
    return tuple(map(tuple, outside.reshape(-1, pool * pool))) if outside.any() else None
