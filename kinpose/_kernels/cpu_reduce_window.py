"""Programs of scalars as window reductions: for large batches, and several devices, on a CPU.

The window reduction is the one operation of many operands and many results that XLA on CPU
compiles as a whole, vectorises and divides among threads. With windows of one element the
program is the reducer; with windows of a whole row a reducer that shifts its values by one
place takes the row apart. A call costs a tenth of a microsecond for each operation, before
any example is worked on. A long program is a few reductions, one after the other.

Shapes: B examples, N scalars in a row.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from kinpose._kernels.jaxprs import (
    batch_size,
    in_parts,
    joined,
    merged,
    padded_blocks,
    split_list,
)
from kinpose._kernels.polynomials import with_polynomials
from kinpose._kernels.thresholds import POLYNOMIAL_EXAMPLES, WINDOW_EXAMPLES, WINDOW_OPERATIONS


def windows_in_blocks(program: ClosedJaxpr, sizes: Sequence[int], rows: list) -> list[jax.Array]:
    """A program for every example of a large batch: see `kinpose._kernels.jaxprs.Kernel`."""
    size = batch_size(rows)
    if size <= WINDOW_EXAMPLES:
        return windows(program, sizes, rows)

    def run(blocks):
        return windows(program, sizes, merged(rows, blocks))

    found = lax.map(run, [padded_blocks(row, WINDOW_EXAMPLES) for row in rows if row.ndim > 1])
    return [joined(x, size) for x in found]


def windows(program: ClosedJaxpr, sizes: Sequence[int], rows: list) -> list[jax.Array]:
    """A program for every example: see `kinpose._kernels.jaxprs.Kernel`."""
    dtype, size = rows[0].dtype, batch_size(rows)
    program = with_polynomials(program) if size >= POLYNOMIAL_EXAMPLES else program
    fill = [(0, _filling(size, dtype)), (0, 0)]
    columns = [
        column if row.ndim > 1 else column[0]
        for row in rows
        for column in _columns(jnp.pad(row, fill) if row.ndim > 1 else row[None])
    ]
    example = next(column for column in columns if column.ndim)
    names = [*program.jaxpr.invars, *program.jaxpr.constvars]
    values = dict(zip(names, [*columns, *map(jnp.asarray, program.consts)], strict=True))
    for part in in_parts(program.jaxpr, WINDOW_OPERATIONS):
        found = _run_part(part, [values[name] for name in part.invars], example)
        values.update(zip(part.outvars, found, strict=True))
    results = [x.val if isinstance(x, Literal) else values[x] for x in program.jaxpr.outvars]
    results = [jnp.broadcast_to(jnp.asarray(x, dtype), example.shape) for x in results]
    return [_rows(part, size, dtype) for part in split_list(results, sizes)]


def _run_part(part: Jaxpr, values: list, example) -> list[jax.Array]:
    """One kernel. What all examples share enters as the initial values."""
    dtype, num = example.dtype, len(part.outvars)
    batched = [x for x in values if x.ndim] or [example]
    shared = [x.astype(dtype) for x in values if not x.ndim]
    width = max(len(batched), len(shared), num)

    def reducer(shared, batched):
        scalars = iter(shared), iter(batched)
        chosen = (
            next(scalars[x.ndim > 0]).astype(name.aval.dtype)
            for x, name in zip(values, part.invars, strict=True)
        )
        results = [x.astype(dtype) for x in jax.core.eval_jaxpr(part, (), *chosen)]
        return (*results, *[jnp.zeros((), dtype)] * (width - num))

    operands = (*batched, *[batched[0]] * (width - len(batched)))
    initial = (*shared, *[jnp.zeros((), dtype)] * (width - len(shared)))
    return lax.reduce_window(operands, initial, reducer, (1,), (1,), "VALID")[:num]


def _filling(size: int, dtype) -> int:
    """How many poses to add, so that columns do not start at the same place of a cache's ways."""
    return 192 // dtype.itemsize if size * dtype.itemsize % 1024 == 0 else 0


def _columns(rows) -> list[jax.Array]:
    """The columns of (B, N), taken apart by one kernel: N arrays (B,)."""
    size, zero = rows.shape[1], jnp.zeros((), rows.dtype)
    if size < 2:
        return [rows[:, i] for i in range(size)]

    def shift(kept, new):
        return (*kept[1:], new[0])

    whole_rows = (1, size), (1, 1), "VALID"
    return [x[:, 0] for x in lax.reduce_window((rows,) * size, (zero,) * size, shift, *whole_rows)]


def _rows(columns: list, size: int, dtype) -> jax.Array:
    """(B, M): first below each other, which copies whole columns, then turned."""
    return jnp.stack(columns).T[:size] if columns else jnp.zeros((size, 0), dtype)
