"""Arithmetic of the walk: sums and products of numbers of which some are known beforehand.

Those are Python's own. Zeros and ones that are known cost nothing, so formulas need no special
cases for axes along X, Y or Z, for 2D objects, or for what stands still. Where neither is known
`jax.lax` traces it, in a third of the time of operators, which take what is known in any type.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def plus(a, b):
    """A sum."""
    if _known(a) and a == 0.0:
        return b
    if _known(b) and b == 0.0:
        return a
    return a + b if _known(a) or _known(b) else lax.add(a, b)


def minus(a, b):
    """A difference."""
    if _known(a) and a == 0.0:
        return times(-1.0, b)
    if _known(b) and b == 0.0:
        return a
    return a - b if _known(a) or _known(b) else lax.sub(a, b)


def times(a, b):
    """A product."""
    if _known(a) and _known(b):
        return a * b
    known, other = (a, b) if _known(a) else (b, a)
    if _known(known) and known in (0.0, 1.0, -1.0):
        return 0.0 if known == 0.0 else other if known == 1.0 else lax.neg(other)
    return known * other if _known(known) else lax.mul(a, b)


def clip(x, low, high):
    """The nearest number within limits."""
    return lax.min(lax.max(x, low), high)


def _known(x) -> bool:
    return isinstance(x, float)


def vector_sum(a: Sequence, b: Sequence) -> tuple:
    """Sum of two vectors."""
    return tuple(map(plus, a, b))


def vector_difference(a: Sequence, b: Sequence) -> tuple:
    """Difference of two vectors."""
    return tuple(map(minus, a, b))


def scale(factor, vector: Sequence) -> tuple:
    """A vector times a number."""
    return tuple(times(factor, x) for x in vector)


def matrix_times(rows: Sequence, vector: Sequence) -> tuple:
    """Matrix times vector."""
    return tuple(dot(row, vector) for row in rows)


def cross(a: Sequence, b: Sequence) -> tuple:
    """Vector product in space."""
    (x, y, z), (u, v, w) = a, b
    pairs = ((y, w, z, v), (z, u, x, w), (x, v, y, u))
    return tuple(minus(times(p, q), times(r, s)) for p, q, r, s in pairs)


def dot(a: Sequence, b: Sequence):
    """Scalar product."""
    return functools.reduce(plus, map(times, a, b))


def rotation_parts(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, B, C (..., 3, 3) of Rodrigues' formula, by unit vectors (..., 3).

    The rotation by t about such an axis is A + cos(t) B + sin(t) C.
    """
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    along = axis[..., :, None] * axis[..., None, :]
    turning = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    return along, np.eye(3) - along, np.moveaxis(turning, (0, 1), (-2, -1))


def at_least_float32(x: jax.Array, name: str) -> jax.Array:
    """Widens half precision, which cannot hold sums of squares; float64 stays.

    Raises:
      ValueError: if x, which the caller calls by that name, is not of floating point.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating point, but got {x.dtype}.")
    return x.astype(np.promote_types(x.dtype, np.float32))
