"""Programs of scalars as calls that XLA compiles to one kernel each: for batches on a CPU.

XLA on CPU gives every output of a computation a kernel of its own, and each of them repeats
what leads to it: 51 coordinates, 51 times the chain. But a call that is marked as small,
which XLA by itself makes around small loops, is one kernel that works on one array after the
other. A kernel takes a block of examples, whose arrays then stay in the cache, on one thread.
Between kernels all arrays are tables with one column below the other.

Without the mark, which is XLA's own and no promise, results are the same and come later.

Shapes: B examples, b of them in a block, N scalars in a row.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from kinpose._kernels.jaxprs import (
    batch_size,
    in_parts,
    joined,
    merged,
    padded_blocks,
    split_list,
    vmap_jaxpr,
)
from kinpose._kernels.polynomials import TURNED, sine_and_cosine, with_polynomials
from kinpose._kernels.thresholds import BLOCK, BLOCK_OPERATIONS


def in_blocks(program: ClosedJaxpr, sizes: Sequence[int], rows: list) -> list[jax.Array]:
    """A program for every example: see `kinpose._kernels.jaxprs.Kernel`."""
    size, batched = batch_size(rows), [row.ndim > 1 for row in rows]
    blocks = [padded_blocks(row, BLOCK).swapaxes(1, 2) for row in rows if row.ndim > 1]
    count, _, each = blocks[0].shape

    def run(tables):
        tables = lax.optimization_barrier(merged(rows, tables))  # XLA must not look into them
        return _run_block(program, sizes, each, batched, tables)

    found = lax.map(run, [block.reshape(count, -1) for block in blocks])
    return [joined(x.reshape(count, -1, each).swapaxes(1, 2), size) for x in found]


def _small_call(function: Callable, tables) -> Sequence[jax.Array]:
    """Arrays from a tree of arrays, by one kernel. XLA aborts where one of them is not used.

    It has one result more, which the barrier keeps: XLA divides a call with a single large one
    among threads, which a small call does not have, so that the program would not link.
    """

    def several(tables):
        return [*function(tables), jnp.zeros(())]

    mark = {"xla_cpu_small_call": "true", "inlineable": "false"}
    return lax.optimization_barrier(set_xla_metadata(jax.jit(several)(tables), **mark))[:-1]


def _run_block(program: ClosedJaxpr, sizes, each: int, batched, tables) -> list[jax.Array]:
    """The program from tables to tables, part by part.

    Args:
      program: of all scalars of all tables.
      sizes: how many columns go to each result.
      each: b, the length of a column.
      batched: of each table, whether it has columns, not scalars that all examples share.
      tables: (N * b,) or (N,) each.
    """
    jaxpr, dtype, tables, batched = program.jaxpr, tables[0].dtype, list(tables), list(batched)
    lengths = [len(x) // each if own else len(x) for x, own in zip(tables, batched, strict=True)]
    origins = [(t, i) for t, length in enumerate(lengths) for i in range(length)]
    places = dict(zip(jaxpr.invars, origins, strict=True))
    constants = dict(zip(jaxpr.constvars, program.consts, strict=True))
    *parts, last = in_parts(_turn_tables(jaxpr, tables, batched, places), BLOCK_OPERATIONS)

    def read(name, tables, known):
        if isinstance(name, Literal):
            return jnp.asarray(name.val, name.aval.dtype)
        if name in known:
            return known[name]
        t, i = places[name]
        if batched[t]:
            value = lax.slice_in_dim(tables[t], i * each, (i + 1) * each)
        else:
            value = lax.index_in_dim(tables[t], i, keepdims=False)
        return value.astype(name.aval.dtype)

    def run(part, wanted, tables):
        args = [read(name, tables, constants) for name in part.invars]
        found = vmap_jaxpr(with_polynomials(ClosedJaxpr(part, ())), (each,), args)
        known = constants | dict(zip(part.outvars, found, strict=True))

        def column(name):
            return jnp.broadcast_to(read(name, tables, known).astype(dtype), (each,))

        nothing = jnp.zeros(0, dtype)
        return [jnp.concatenate([nothing, *map(column, names)]) for names in wanted]

    def call(part, wanted):
        names = (x for x in [*part.invars, *itertools.chain(*wanted)] if not isinstance(x, Literal))
        used = sorted({places[name][0] for name in names if name in places})
        return _small_call(functools.partial(run, part, wanted), {t: tables[t] for t in used})

    for part in parts:
        found = call(part, [part.outvars])
        places |= {name: (len(tables), i) for i, name in enumerate(part.outvars)}
        tables += found
        batched.append(True)
    return call(last, split_list(jaxpr.outvars, sizes))


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
            tables += _small_call(_sine_and_cosine, tables[t])
            batched += [batched[t]] * 2
        places[equation.outvars[0]] = turned[t] + TURNED.index(kind), i
    return jaxpr.replace(eqns=rest)


def _sine_and_cosine(angles) -> tuple[jax.Array, jax.Array]:
    if angles.dtype == jnp.float32:
        return sine_and_cosine(angles)
    return jnp.sin(angles), jnp.cos(angles)
