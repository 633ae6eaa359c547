"""The door to the kernels: a function of scalars, over a batch.

What `over_batch` means is `plain`, three lines of JAX, and that is what GPU, TPU and shapes that
are not known run. On a CPU, where XLA would compute every result with a chain of its own, the
same function becomes kernels (`kinpose._kernels.primitive`), an optimisation that could be
deleted: KINPOSE_KERNELS=off in the environment does without.
"""

import os
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kinpose._varying import varying_axes

try:
    from kinpose._kernels.primitive import bind
except (ImportError, AttributeError) as error:  # a name of JAX that is no promise is gone
    warnings.warn(
        f"this JAX, {jax.__version__}, lacks what kinpose's CPU kernels need ({error}): results "
        "are the same, and batches on a CPU take longer.",
        stacklevel=2,
    )
    bind = None

if os.environ.get("KINPOSE_KERNELS", "on") not in ("on", "off"):
    raise ValueError(
        f"KINPOSE_KERNELS must be on or off, but is {os.environ['KINPOSE_KERNELS']!r}."
    )
KERNELS = bind is not None and os.environ.get("KINPOSE_KERNELS") != "off"
"""Whether batches on a CPU run as kernels."""


def over_batch(function: Callable, *rows: jax.Array, linear: int = 0) -> list[jax.Array]:
    """The function of lists of scalars, for this row and for every row that `jax.vmap` adds.

    Args:
      function: takes a list of scalars per row and returns lists of scalars. Traced once for
        each form of the rows, so the same function should be passed each time.
      *rows: (N,) each, all of one dtype.
      linear: in how many of the last rows the function is linear.

    Returns:
      An array (M,) per list.
    """
    if not KERNELS or any(varying_axes(row) for row in rows):  # known of JAX's operations only
        return plain(function, *rows)
    return bind(function, *rows, linear=linear)


def plain(function: Callable, *rows: jax.Array) -> list[jax.Array]:
    """What `over_batch` means."""
    dtype = jnp.result_type(*rows)
    found = function(*(list(jnp.unstack(row)) for row in rows))
    scalars = [[jnp.asarray(x, dtype) for x in part] for part in found]
    return [jnp.stack(part) if part else jnp.zeros(0, dtype) for part in scalars]
