"""Floating point that is wide enough to compute in."""

import jax
import jax.numpy as jnp
import numpy as np


def at_least_float32(x: jax.Array, name: str) -> jax.Array:
    """Widens half precision, which cannot hold sums of squares; float64 stays.

    Args:
      x: any shape.
      name: what the caller calls it, for the error.

    Returns:
      The same numbers.

    Raises:
      ValueError: if x is not of floating point.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating point, but got {x.dtype}.")
    return x.astype(np.promote_types(x.dtype, np.float32))
