"""Programs of scalars as bytecode that XLA's code runs: for batches on a CPU.

XLA on CPU gives every output of a computation a kernel of its own, and each of them repeats
what leads to it: 51 coordinates, 51 times the chain. But a call that is marked as small,
which XLA by itself makes around small loops, is one kernel that works on one array after the
other, on one thread; so the loop over instructions is one kernel, whatever the program. The
registers of a block of examples stay in the cache.

Without the mark, which is XLA's own and no promise, results are the same and come later.

Shapes: B examples, b of them in a block, N scalars in a row.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr

from kinpose._kernels.bytecode import SIGNS, Bytecode, bytecode_of
from kinpose._kernels.jaxprs import batch_size, padded_blocks
from kinpose._kernels.polynomials import sine_and_cosine
from kinpose._kernels.thresholds import BLOCK


def in_blocks(program: ClosedJaxpr, sizes: Sequence[int], rows: list) -> list[jax.Array]:
    """A program for every example: see `kinpose._kernels.jaxprs.Kernel`."""
    size, dtype = batch_size(rows), rows[0].dtype
    own = tuple(row.ndim > 1 for row in rows for _ in range(row.shape[-1]))
    code = bytecode_of(program, own)
    blocks = [padded_blocks(row, BLOCK).swapaxes(1, 2) for row in rows if row.ndim > 1]
    shared = [row for row in rows if row.ndim == 1]
    known = lax.optimization_barrier((jnp.asarray(code.instructions), shared, blocks))
    wanted = [n for n in sizes if n]
    found = iter(_small_call(functools.partial(_run, code, wanted), known) if wanted else ())
    shape = blocks[0].shape

    def rows_of(part, n):
        return part.reshape(shape[0], n, shape[2]).swapaxes(1, 2).reshape(shape[0] * shape[2], n)

    return [rows_of(next(found), n)[:size] if n else jnp.zeros((size, 0), dtype) for n in sizes]


def _run(code: Bytecode, sizes: Sequence[int], known) -> list[jax.Array]:
    """Results (B / b * size, b) of the code.

    Rows in and out are turned by operations of their own, which are vectors.

    Args:
      code: what runs.
      sizes: how many results go to each array.
      known: its instructions, rows that all examples share, and others in blocks (B / b, N, b).
    """
    instructions, shared, blocks = known
    count, _, each = blocks[0].shape
    fixed = jnp.concatenate([*shared, code.constants.astype(blocks[0].dtype)])[:, None]
    start = sum(block.shape[1] for block in blocks) + 2 * len(code.turned)
    end = start + len(fixed) + code.num_others
    empty = jnp.zeros((end + sum(sizes), each), fixed.dtype)
    registers = _put(empty, jnp.broadcast_to(fixed, (len(fixed), each)), np.uint32(start))

    def step(i, registers):
        kind, result, *_ = jnp.unstack(_row(instructions, i))

        def apply(function, i, instructions, registers):
            _, _, *rest = jnp.unstack(_row(instructions, i))
            return function(rest[:SIGNS], lambda i: _row(registers, rest[SIGNS + i]))

        kinds = [functools.partial(apply, function) for function in code.kinds]
        known = i, instructions, registers  # what a branch is handed costs as much as its work
        return _put(registers, lax.switch(kind, kinds, *known)[None], result)

    def run_block(i, carry):
        registers, results = carry
        columns = [block[i] for block in blocks]
        if code.turned:
            columns += sine_and_cosine(_rows_in(columns, code.turned))
        registers = _put(registers, jnp.concatenate(columns), np.uint32(0))
        registers = lax.fori_loop(0, len(instructions), step, registers)
        parts = jnp.split(registers[end:], np.cumsum(sizes)[:-1])
        rows = [_put(x, part, i * len(part)) for x, part in zip(results, parts, strict=True)]
        return registers, rows

    results = [jnp.zeros((count * size, each), fixed.dtype) for size in sizes]
    return lax.fori_loop(0, count, run_block, (registers, results))[1]


def _rows_in(tables: list, which: range) -> jax.Array:
    """These rows of tables that lie below each other."""
    starts = np.cumsum([0, *map(len, tables[:-1])])
    ranges = (np.clip([which.start - at, which.stop - at], 0, None) for at in starts)
    parts = [table[first:last] for table, (first, last) in zip(tables, ranges, strict=True)]
    return jnp.concatenate([part for part in parts if len(part)])


def _row(table, i) -> jax.Array:
    """The row of this number, which is not negative: then XLA need not look."""
    start = i.astype(np.uint32), np.uint32(0)
    return lax.dynamic_slice(table, start, (1, table.shape[1]))[0]


def _put(table, rows, i) -> jax.Array:
    """The table, with these rows from the one of this number on."""
    return lax.dynamic_update_slice(table, rows, (i.astype(np.uint32), np.uint32(0)))


def _small_call(function: Callable, tables) -> Sequence[jax.Array]:
    """Arrays from a tree of arrays, by one kernel. XLA aborts where one of them is not used.

    It has one result more, which the barrier keeps: XLA divides a call with a single large one
    among threads, which a small call does not have, so that the program would not link.
    """

    def several(tables):
        return [*function(tables), jnp.zeros(())]

    mark = {"xla_cpu_small_call": "true", "inlineable": "false"}
    return lax.optimization_barrier(set_xla_metadata(jax.jit(several)(tables), **mark))[:-1]
