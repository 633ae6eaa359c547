"""Depthwise convolution, each channel with its own 3x3 kernel, in the form that suits the platform.

An accelerator has its own. XLA's on CPU takes tens of times as long as sums over the nine places
of the kernel, of which each adds one shifted image times a weight per channel, in one fused loop.
What is shifted are products where the size stays and images where it is halved, as then no padded
copy is written. The kernel's derivative is summed row by row, so that its terms stay in the cache.

Shapes: B batch, H and W rows and columns, C channels, h and w those of the output.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from kinpose.models.winograd import assemble

_PLACES = tuple((i, j) for i in range(3) for j in range(3))


def convolve_depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolution of each channel with its own 3x3 kernel, padded by one.

    Args:
      x: (B, H, W, C).
      kernel: (3, 3, 1, C), of the type of x.
      stride: 1 or 2, in both directions.

    Returns:
      (B, ceil(H / stride), ceil(W / stride), C).
    """
    return _convolve(stride, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(stride, x, kernel):
    own, native = (functools.partial(f, stride=stride) for f in (by_places, by_convolution))
    return lax.platform_dependent(x, kernel, cpu=own, default=native)


def _convolve_forward(stride, x, kernel):
    return _convolve(stride, x, kernel), (x, kernel)


def _convolve_backward(stride, saved, cotangent):
    def own(x, kernel, cotangent):
        return _on_input(x, kernel, cotangent, stride), _on_kernel(x, kernel, cotangent, stride)

    def native(x, kernel, cotangent):
        return jax.vjp(functools.partial(by_convolution, stride=stride), x, kernel)[1](cotangent)

    return lax.platform_dependent(*saved, cotangent, cpu=own, default=native)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def by_convolution(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """`convolve_depthwise` in XLA's own operation."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(1, 1)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def by_places(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """`convolve_depthwise` as a sum over the places of the kernel, in float32."""
    wide, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
    if stride == 1:
        terms = [_padded(wide * kernel[i, j][None, None], 2 - i, i, 2 - j, j) for i, j in _PLACES]
        return sum(terms)[:, 1:-1, 1:-1].astype(x.dtype)
    shifted = [_padded(wide, 1 - i, i - 1, 1 - j, j - 1) for i, j in _PLACES]
    terms = [
        y[:, ::2, ::2] * kernel[i, j][None, None]
        for y, (i, j) in zip(shifted, _PLACES, strict=True)
    ]
    return sum(terms).astype(x.dtype)


def _padded(x, top: int, bottom: int, left: int, right: int):
    """With lines of zeros about it, or with fewer lines where a number is negative."""
    sides = ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


def _on_input(x, kernel, cotangent, stride: int):
    """The derivative by x: with stride 1 a convolution with the mirrored kernel."""
    if stride == 1:
        return by_places(cotangent, kernel[::-1, ::-1], stride=1)
    wide, kernel = cotangent.astype(jnp.float32), kernel.astype(jnp.float32)
    h, w = cotangent.shape[1:3]
    ahead = _padded(wide, 0, 1, 0, 1)
    # An even line is seen by the kernel's middle; an odd one by its end and the next one's start.
    seen_by = [(1, 0)], [(2, 0), (0, 1)]
    grid = [
        [
            sum(
                ahead[:, down : down + h, right : right + w] * kernel[i, j][None, None]
                for i, down in rows
                for j, right in columns
            )
            for columns in seen_by
        ]
        for rows in seen_by
    ]
    return assemble(grid, x.shape).astype(x.dtype)


def _on_kernel(x, kernel, cotangent, stride: int):
    """The derivative by the kernel: products of what its places see, summed over all outputs."""
    batch, h, w, channels = cotangent.shape
    padded = _padded(x, 1, 1, 1, 1)

    def add(row, sums):
        image, line = row // h, row % h
        lines = lax.dynamic_slice(
            padded, (image, line * stride, 0, 0), (1, 3, padded.shape[2], channels)
        )
        lines = lines[0].astype(jnp.float32)
        own = lax.dynamic_slice(cotangent, (image, line, 0, 0), (1, 1, w, channels))
        own = own[0, 0].astype(jnp.float32)
        reach = (w - 1) * stride + 1
        return tuple(
            total + lines[i, j : j + reach : stride] * own
            for total, (i, j) in zip(sums, _PLACES, strict=True)
        )

    sums = lax.fori_loop(0, batch * h, add, (jnp.zeros((w, channels)),) * 9)
    return jnp.stack([jnp.sum(total, 0) for total in sums]).reshape(kernel.shape).astype(x.dtype)
