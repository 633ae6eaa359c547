"""Sines, cosines and arc tangents in float32 on a CPU.

For these LLVM has no vectors: it calls the mathematical library for each lane, which takes
longer than all else in forward kinematics. Polynomials it vectorises.
"""

import functools
import math

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

TURNED = ("sin", "cos")
"""The operations that `sine_and_cosine` stands for, in the order of its results."""

# pi in three parts; so few digits of the first two that their multiples up to 4096 are exact.
_PI = tuple(np.float32(x) for x in (3.140625, 9.67502593994140625e-4, 1.509957990978376e-7))

# sin x = x + x^3 p(x^2) and cos x = 1 + x^2 q(x^2) for |x| <= pi / 2 to 5e-9 and 3e-10: fitted for
# the least maximum error (least squares in float64, reweighted until the error is even).
_SINE = (-1.66666571e-01, 8.33301635e-03, -1.98065471e-04, 2.59990319e-06)
_COSINE = (-4.99999995e-01, 4.16666406e-02, -1.38884021e-03, 2.47618081e-05, -2.60756622e-07)

# atan x = x + x^3 p(x^2) for |x| <= 1 to 7e-9, fitted in the same way.
_ARC = (
    -3.33329870e-01,
    1.99903962e-01,
    -1.41859720e-01,
    1.05739186e-01,
    -7.36667654e-02,
    4.11214986e-02,
    -1.51323058e-02,
    2.62218476e-03,
)


def sine_and_cosine(angle: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sine and cosine together; derivatives are those of the polynomials, so take others.

    Args:
      angle: float32 (rad), of any shape.

    Returns:
      Sine and cosine, each to 2e-7 for angles up to 1e4 rad. Beyond, the reduction loses digits
      with the size of the angle, as the angle itself does; both stay about -1 to 1. NaN for
      NaN and infinity.
    """
    turns = lax.round(angle * np.float32(1 / math.pi), lax.RoundingMethod.TO_NEAREST_EVEN)
    x = angle
    for part in _PI:
        x = x - turns * part
    x = lax.clamp(np.float32(-1.6), x, np.float32(1.6))
    square = x * x
    sine = x + x * (square * _polynomial(_SINE, square))
    cosine = np.float32(1.0) + square * _polynomial(_COSINE, square)
    odd = turns - np.float32(2.0) * lax.floor(turns * np.float32(0.5))
    sign = np.float32(1.0) - np.float32(2.0) * odd
    return sign * sine, sign * cosine


def arc_tangent(y: jax.Array, x: jax.Array) -> jax.Array:
    """The angle of the direction (x, y).

    Args:
      y: float32, of any shape.
      x: the same.

    Returns:
      rad, from -pi to pi, to 3e-7; zero for (0, 0).
    """
    flat, steep = lax.abs(x), lax.abs(y)
    ratio = lax.min(flat, steep) / lax.max(lax.max(flat, steep), np.float32(1e-37))
    square = ratio * ratio
    angle = ratio + ratio * (square * _polynomial(_ARC, square))
    angle = lax.select(steep > flat, np.float32(math.pi / 2) - angle, angle)
    angle = lax.select(x < 0, np.float32(math.pi) - angle, angle)
    return lax.select(y < 0, -angle, angle)


@functools.lru_cache(maxsize=256)
def with_polynomials(program: ClosedJaxpr) -> ClosedJaxpr:
    """The program with its sines, cosines and arc tangents of float32 replaced by polynomials.

    Args:
      program: of which all derivatives have been taken.

    Returns:
      The same function; what it calls stays as it is.
    """
    jaxpr = program.jaxpr
    if not any(equation.primitive.name in (*TURNED, "atan2") for equation in jaxpr.eqns):
        return program

    def function(*args):
        names = [*jaxpr.constvars, *jaxpr.invars]
        values, pairs = dict(zip(names, [*program.consts, *args], strict=True)), {}

        for equation in jaxpr.eqns:
            name, inputs, outputs = equation.primitive.name, equation.invars, equation.outvars
            inputs = [x for x in inputs if not isinstance(x, Literal)]
            if name in TURNED and inputs and inputs[0].aval.dtype == np.float32:
                angle = inputs[0]
                if angle not in pairs:
                    pairs[angle] = sine_and_cosine(values[angle])
                found = [pairs[angle][TURNED.index(name)]]
            elif name == "atan2" and len(inputs) == 2 and inputs[0].aval.dtype == np.float32:
                found = [arc_tangent(*(values[x] for x in inputs))]
            else:
                alone = jaxpr.replace(constvars=(), invars=inputs, outvars=outputs, eqns=[equation])
                found = jax.core.eval_jaxpr(alone, (), *(values[x] for x in inputs))
            values.update(zip(outputs, found, strict=True))
        return [x.val if isinstance(x, Literal) else values[x] for x in jaxpr.outvars]

    return jax.make_jaxpr(function)(*program.in_avals)


def _polynomial(coefficients, x):
    total = np.float32(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + np.float32(coefficient)
    return total
