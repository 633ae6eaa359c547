"""Programs of scalars as calls that XLA compiles to one kernel each: for batches on a CPU.

XLA on CPU gives every output of a computation a kernel of its own, and each of them repeats
what leads to it: 51 coordinates, 51 times the chain. But a call that is marked as small,
which XLA by itself makes around small loops, is one kernel that works on one array after the
other; and what calls within it return, if they may not be inlined, is not computed again. A
kernel takes a block of examples, whose arrays then stay in the cache, on one thread. Within,
all arrays are tables with one column below the other.

Without the mark, which is XLA's own and no promise, results are the same and come later.

Shapes: B examples, b of them in a block, N scalars in a row.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from kinpose.programs import batch_size, cut, in_parts, joined, mapped, merged, padded_blocks
from kinpose.trigonometry import TURNED, sine_and_cosine, with_polynomials

_BLOCK = 128
"""Most examples of a block."""

_PART = 300
"""Most operations of an inner call. Smaller parts make more arrays, which take longer to compile;
larger ones compute more twice."""


def small_calls(program: ClosedJaxpr, sizes: Sequence[int], rows: list) -> list[jax.Array]:
    """A program for every example: see `kinpose.programs.Kernel`."""
    size, batched = batch_size(rows), [row.ndim > 1 for row in rows]
    blocks = [padded_blocks(row, _BLOCK).swapaxes(1, 2) for row in rows if row.ndim > 1]
    count, _, each = blocks[0].shape
    body = functools.partial(_from_tables, program, sizes, each, batched)

    def run(tables):
        return _opaque(body, *merged(rows, tables), xla_cpu_small_call="true")

    found = lax.map(run, [block.reshape(count, -1) for block in blocks])
    return [joined(x.reshape(count, -1, each).swapaxes(1, 2), size) for x in found]


def _opaque(function: Callable, *args, **metadata) -> Sequence[jax.Array]:
    """A call that XLA does not inline: nothing is fused across its border.

    It has one result more, which the barrier keeps: XLA divides a call with a single large one
    among threads, which a small call does not have, so that the program would not link.
    """

    def several(*args):
        return [*function(*args), jnp.zeros(())]

    results = set_xla_metadata(jax.jit(several)(*args), inlineable="false", **metadata)
    return lax.optimization_barrier(results)[:-1]


def _from_tables(program: ClosedJaxpr, sizes, each: int, batched, *tables) -> list[jax.Array]:
    """The program from tables to tables.

    Args:
      program: of all scalars of all tables.
      sizes: how many columns go to each result.
      each: b, the length of a column.
      batched: of each table, whether it has columns, not scalars that all examples share.
      *tables: (N * b,) or (N,).
    """
    jaxpr, tables, batched = program.jaxpr, list(tables), list(batched)
    lengths = [len(x) // each if own else len(x) for x, own in zip(tables, batched, strict=True)]
    origins = [(t, i) for t, length in enumerate(lengths) for i in range(length)]
    places = dict(zip(jaxpr.invars, origins, strict=True))
    rest = _turn_tables(jaxpr, tables, batched, places)

    def read(tables, name):
        t, i = places[name]
        return tables[t][i * each : (i + 1) * each] if batched[t] else tables[t][i]

    def work(part, names, tables, *given):
        known = dict(zip(names, given, strict=True))
        args = [known[x] if x in known else read(tables, x) for x in part.invars]
        return mapped(with_polynomials(ClosedJaxpr(part, ())), (each,), args)

    values = dict(zip(jaxpr.constvars, map(jnp.asarray, program.consts), strict=True))
    for part in in_parts(rest, _PART):
        names = [x for x in part.invars if x not in places]
        call = functools.partial(work, part, names)
        found = _opaque(call, tables, *(values[x] for x in names))
        values.update(zip(part.outvars, found, strict=True))

    def result(x):
        if isinstance(x, Literal):
            return jnp.full(each, x.val, x.aval.dtype)
        return jnp.broadcast_to(values[x] if x in values else read(tables, x), (each,))

    empty = jnp.zeros(0, tables[0].dtype)
    return [jnp.concatenate([*map(result, names), empty]) for names in cut(jaxpr.outvars, sizes)]


def _turn_tables(jaxpr: Jaxpr, tables: list, batched: list, places: dict) -> Jaxpr:
    """Adds tables of the sines and cosines of whole tables; returns the other operations."""
    turned, rest = {}, []
    for equation in jaxpr.eqns:
        kind, argument = equation.primitive.name, next(iter(equation.invars), None)
        if kind not in TURNED or isinstance(argument, Literal) or argument not in places:
            rest.append(equation)
            continue
        t, i = places[argument]
        if t not in turned:
            turned[t] = len(tables)
            tables += _opaque(_sine_and_cosine, tables[t])
            batched += [batched[t]] * 2
        places[equation.outvars[0]] = turned[t] + TURNED.index(kind), i
    return jaxpr.replace(eqns=rest)


def _sine_and_cosine(angles) -> tuple[jax.Array, jax.Array]:
    if angles.dtype == jnp.float32:
        return sine_and_cosine(angles)
    return jnp.sin(angles), jnp.cos(angles)
