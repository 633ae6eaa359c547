"""Convolution and max pooling of residual networks, in the form that suits the platform.

An accelerator has its own convolution. XLA's on CPU is good where images are large and the
kernel's derivative has few channels; elsewhere matrix products are faster, by up to a hundred
times where an image is smaller than the kernel.

Shapes: B batch, H and W rows and columns, C channels in, D channels out.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kinpose.models.winograd import assemble, by_winograd, by_winograd_on_input


def convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolution of odd size, padded so that stride 1 keeps the size.

    Args:
      x: (B, H, W, C).
      kernel: (size, size, C, D).
      stride: in both directions.

    Returns:
      (B, ceil(H / stride), ceil(W / stride), D).
    """
    return _convolve(stride, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(stride, x, kernel):
    native = functools.partial(by_convolution, stride=stride)
    return lax.platform_dependent(x, kernel, cpu=_on_cpu(stride, x, kernel)[0], default=native)


def _convolve_forward(stride, x, kernel):
    return _convolve(stride, x, kernel), (x, kernel)


def _convolve_backward(stride, saved, cotangent):
    native = functools.partial(by_convolution, stride=stride)
    _, on_input, on_kernel = _on_cpu(stride, *saved)

    def both(by_input, by_kernel, x, kernel, cotangent):
        return by_input(x, kernel, cotangent), by_kernel(x, kernel, cotangent)

    return lax.platform_dependent(
        *saved,
        cotangent,
        cpu=functools.partial(both, on_input, on_kernel),
        default=functools.partial(both, _on_input(native), _on_kernel(native)),
    )


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _on_cpu(stride: int, x, kernel) -> tuple[Callable, Callable, Callable]:
    """The fastest forms of a convolution and of its derivatives by input and by kernel."""
    size = len(kernel)
    native = functools.partial(by_convolution, stride=stride)
    patches = functools.partial(by_patches, stride=stride)
    if size == 1:
        return patches, _on_input(patches), _on_kernel(patches)
    if (size, stride, x.dtype) == (3, 1, jnp.float32):
        on_input = lambda x, kernel, cotangent: by_winograd_on_input(cotangent, kernel)  # noqa: E731
        return by_winograd, on_input, _on_kernel(by_winograd)
    if size == 3:
        forward = native if min(x.shape[1:3]) >= size else patches
        return forward, _on_input(patches), _on_kernel(forward)
    return native, _on_input(native), _on_kernel(native)


def _on_input(form: Callable) -> Callable:
    """The derivative of a form of convolution by its input."""

    def derivative(x, kernel, cotangent):
        return jax.linear_transpose(lambda x: form(x, kernel), x)(cotangent)[0]

    return derivative


def _on_kernel(form: Callable) -> Callable:
    """The derivative of a form of convolution by its kernel."""

    def derivative(x, kernel, cotangent):
        return jax.linear_transpose(lambda kernel: form(x, kernel), kernel)(cotangent)[0]

    return derivative


def by_convolution(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """`convolve` in XLA's own operation."""
    margin = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(margin, margin)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def by_patches(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """`convolve` as one product of the patches that the outputs see with the kernel."""
    size, _, _, channels = kernel.shape
    seen = jnp.concatenate(_shifted(x, size, stride, 0), axis=-1)
    outputs = jnp.matmul(
        seen.reshape(-1, seen.shape[-1]), kernel.reshape(-1, channels), precision="highest"
    )
    return outputs.reshape(*seen.shape[:3], channels)


def _shifted(x, size: int, stride: int, filling) -> list[jax.Array]:
    """(B, ceil(H / stride), ceil(W / stride), C) what each place of a kernel sees, row by row."""
    margin = (size - 1) // 2
    h, w = (-(-side // stride) for side in x.shape[1:3])
    padded = jnp.pad(
        x, [(0, 0), (margin, margin), (margin, margin), (0, 0)], constant_values=filling
    )
    return [
        padded[:, i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]


def max_pool(x: jax.Array) -> jax.Array:
    """The maximum over windows of 3x3, two places apart, padded by one.

    Among equals the first takes the gradient, as in XLA, whose own derivative is over ten
    times slower on CPU.

    Args:
      x: (B, H, W, C).

    Returns:
      (B, ceil(H / 2), ceil(W / 2), C).
    """
    return _max_pool(x.shape, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _max_pool(shape, x):
    return functools.reduce(jnp.maximum, _shifted(x, 3, 2, -np.inf))


def _max_pool_forward(shape, x):
    seen = _shifted(x, 3, 2, -np.inf)
    maximum = functools.reduce(jnp.maximum, seen)
    first = jnp.zeros(maximum.shape, jnp.uint8)
    for place in reversed(range(9)):
        first = jnp.where(seen[place] == maximum, jnp.uint8(place), first)
    return maximum, first


def _max_pool_backward(shape, first, cotangent):
    h, w = first.shape[1:3]
    first, cotangent = (jnp.pad(a, [(0, 0), (0, 1), (0, 1), (0, 0)]) for a in (first, cotangent))

    def from_window(down, right, row, column):
        here = slice(None), slice(down, down + h), slice(right, right + w)
        return jnp.where(first[here] == 3 * row + column, cotangent[here], 0)

    # An even line is the middle of its window; an odd one the end of it and the next one's start.
    windows = [(0, 1)], [(0, 2), (1, 0)]
    grid = [
        [
            sum(from_window(down, right, i, j) for down, i in rows for right, j in columns)
            for columns in windows
        ]
        for rows in windows
    ]
    return (assemble(grid, shape),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)
