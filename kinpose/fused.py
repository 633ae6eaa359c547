"""Programs of scalars that run over a batch of rows as one kernel.

XLA on CPU gives every output of a computation a kernel of its own, and each of them repeats
what leads to it: 51 coordinates, 51 times the chain. The one operation of many operands and
many results that it compiles as a whole, and vectorises, is the window reduction. Two of
them make a batch kernel of any program: with windows of one element the program is the
reducer, and with windows of a whole row a reducer that shifts its values by one place takes
the row apart. Other platforms fuse by themselves and get the program as it is; on GPU results
are kept from being joined before they are known, as each would bring its own chain along.

Derivatives of a program are programs again, to any order in both modes, so they are one
kernel, too. A long program is a few kernels, one after the other.

Shapes: B batch, N and M scalars in a row.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import (
    ClosedJaxpr,
    DebugInfo,
    Jaxpr,
    Literal,
    Primitive,
    jaxpr_as_fun,
)
from jax.interpreters import ad, batching, mlir

from kinpose.trigonometry import with_polynomials

_PER_EXAMPLE = 20
"""A kernel of more operations per example than this takes longer to launch than to run."""

_MANY = 1024
"""From so many examples on, polynomials for sine and cosine are worth their operations."""

_BLOCK = 4096
"""Examples that are worked on at a time; so many rows of a hundred numbers fit a cache."""

_UNNAMED = DebugInfo("part", "part", None, None)

_LONG = 2500
"""Most operations of one kernel: beyond, it takes minutes to compile; and what goes from one
kernel to the next passes through memory."""


class _Programs(NamedTuple):
    """The same function twice."""

    scalars: ClosedJaxpr
    rows: ClosedJaxpr | None


def fused(
    program: Callable, *rows: jax.Array, small: Callable | None = None, linear: int = 0
) -> list[jax.Array]:
    """Runs a program of scalars, as one kernel over the batch that `jax.vmap` adds.

    Args:
      program: takes a list of scalars per row and returns lists of scalars. Traced once for
        each form of the rows, so the same function should be passed each time.
      *rows: (N,) each, all of one dtype.
      small: the same function of the rows themselves, for a CPU with a single example or a
        few: a kernel takes the longer to launch the larger its program is. Traced once, too.
      linear: in how many of the last rows the program is linear.

    Returns:
      An array (M,) per list.
    """
    lengths, dtype = tuple(map(len, rows)), jnp.result_type(*rows)
    jaxpr, sizes = _trace(program, lengths, dtype)
    programs = _Programs(jaxpr, small and _trace_rows(small, lengths, dtype))
    return _fused_p.bind(*rows, programs=programs, sizes=sizes, linear=linear)


def _cut(items: Sequence, sizes: Sequence[int]) -> list[list]:
    items = iter(items)
    return [list(itertools.islice(items, size)) for size in sizes]


@functools.lru_cache(maxsize=256)
def _trace(program: Callable, lengths: tuple[int, ...], dtype) -> tuple[ClosedJaxpr, tuple]:
    """The program over scalars side by side, and the sizes of its results."""

    def flat(*scalars):
        results = [list(result) for result in program(*_cut(scalars, lengths))]
        sizes.extend(map(len, results))
        return [jnp.asarray(x, dtype) for x in itertools.chain(*results)]

    sizes: list[int] = []
    scalar = jax.ShapeDtypeStruct((), dtype)
    return jax.make_jaxpr(flat)(*[scalar] * sum(lengths)), tuple(sizes)


@functools.lru_cache(maxsize=256)
def _trace_rows(function: Callable, lengths: tuple[int, ...], dtype) -> ClosedJaxpr:
    return jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct((n,), dtype) for n in lengths))


@functools.lru_cache(maxsize=256)
def _tangent(jaxpr: ClosedJaxpr, moved: tuple[int, ...]) -> ClosedJaxpr:
    """(arguments, tangents of the moved ones) -> tangents of the results."""
    function, avals = jaxpr_as_fun(jaxpr), jaxpr.in_avals

    def tangent(*args):
        args, tangents = args[: len(avals)], args[len(avals) :]

        def along(*chosen):
            values = dict(zip(moved, chosen, strict=True))
            return function(*(values.get(i, x) for i, x in enumerate(args)))

        return jax.jvp(along, [args[i] for i in moved], list(tangents))[1]

    return jax.make_jaxpr(tangent)(*avals, *(avals[i] for i in moved))


@functools.lru_cache(maxsize=256)
def _transposed(jaxpr: ClosedJaxpr, linear: int) -> ClosedJaxpr:
    """(fixed arguments, cotangents of the results) -> cotangents of the last, linear ones."""
    function, num_fixed = jaxpr_as_fun(jaxpr), len(jaxpr.in_avals) - linear
    fixed, moving = jaxpr.in_avals[:num_fixed], jaxpr.in_avals[num_fixed:]

    def transposed(*args):
        part = functools.partial(function, *args[:num_fixed])
        return jax.linear_transpose(part, *moving)(list(args[num_fixed:]))

    return jax.make_jaxpr(transposed)(*fixed, *jaxpr.out_avals)


def _batch_shape(rows) -> tuple[int, ...]:
    return max((row.shape[:-1] for row in rows), key=len)


def _anywhere(*rows, programs, sizes, linear, known=lambda results: results):
    """Operation by operation over the whole batch."""
    del linear
    columns = [column for row in rows for column in jnp.unstack(row, axis=-1)]
    batch, dtype = _batch_shape(rows), rows[0].dtype
    results = _cut(known(_mapped(programs.scalars, batch, columns)), sizes)
    return [jnp.stack(part, -1) if part else jnp.zeros((*batch, 0), dtype) for part in results]


_on_gpu = functools.partial(_anywhere, known=lax.optimization_barrier)


def _mapped(jaxpr: ClosedJaxpr, batch: tuple[int, ...], args) -> list[jax.Array]:
    """The program for every element of a batch, whose dimensions come first where they are."""
    function = jaxpr_as_fun(jaxpr)
    axes = [0 if a.ndim > core.ndim else None for a, core in zip(args, jaxpr.in_avals, strict=True)]
    if any(axis == 0 for axis in axes):
        for _ in batch:
            function = jax.vmap(function, axes)
        return function(*args)
    return [jnp.broadcast_to(x, (*batch, *x.shape)) for x in function(*args)]


def _on_cpu(*rows, programs, sizes, linear):
    """As one kernel, or as the loop that suits a few examples."""
    batch, width = _batch_shape(rows), sum(row.shape[-1] for row in rows if row.ndim > 1)
    size = math.prod(batch)
    if programs.rows is not None and size * _PER_EXAMPLE < len(programs.scalars.jaxpr.eqns):
        return _mapped(programs.rows, batch, rows)
    if not size or (batch and not width):
        return _anywhere(*rows, programs=programs, sizes=sizes, linear=linear)
    rows = [row.reshape(size, -1) if row.ndim > 1 or not batch else row for row in rows]
    scalars = with_polynomials(programs.scalars) if size >= _MANY else programs.scalars
    results = _in_blocks(functools.partial(_kernel, scalars, sizes), size, rows)
    return [x.reshape(*batch, x.shape[-1]) for x in results]


def _in_blocks(kernel: Callable, size: int, rows: list) -> list[jax.Array]:
    """The kernel over parts of a large batch: what is between its steps stays in the cache."""
    if size <= _BLOCK:
        return kernel(rows)
    end = size // _BLOCK * _BLOCK
    batched = [row for row in rows if row.ndim > 1]

    def run(part):
        part = iter(part)
        return kernel([next(part) if row.ndim > 1 else row for row in rows])

    blocks = lax.map(run, [row[:end].reshape(-1, _BLOCK, row.shape[1]) for row in batched])
    results = [x.reshape(end, -1) for x in blocks]
    if end == size:
        return results
    rest = run([row[end:] for row in batched])
    return [jnp.concatenate(parts) for parts in zip(results, rest, strict=True)]


def _kernel(jaxpr: ClosedJaxpr, sizes: Sequence[int], rows: list) -> list[jax.Array]:
    """Rows (B, N), and rows (N,), which all examples share."""
    dtype, size = rows[0].dtype, max(len(row) for row in rows if row.ndim > 1)
    fill = [(0, _filling(size, dtype)), (0, 0)]
    columns = [
        column if row.ndim > 1 else column[0]
        for row in rows
        for column in _columns(jnp.pad(row, fill) if row.ndim > 1 else row[None])
    ]
    example = next(column for column in columns if column.ndim)
    names = [*jaxpr.jaxpr.invars, *jaxpr.jaxpr.constvars]
    values = dict(zip(names, [*columns, *map(jnp.asarray, jaxpr.consts)], strict=True))
    for part in _parts(jaxpr):
        found = _run_part(part, [values[name] for name in part.invars], example)
        values.update(zip(part.outvars, found, strict=True))
    results = [x.val if isinstance(x, Literal) else values[x] for x in jaxpr.jaxpr.outvars]
    results = [jnp.broadcast_to(jnp.asarray(x, dtype), example.shape) for x in results]
    return [_rows(part, size, dtype) for part in _cut(results, sizes)]


@functools.lru_cache(maxsize=256)
def _parts(closed: ClosedJaxpr) -> list[Jaxpr]:
    """The operations that matter, in parts that compile quickly."""
    results = set(_names(closed.jaxpr.outvars))
    needed, equations = results.copy(), []
    for equation in reversed(closed.jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            equations.append(equation)
            needed.update(_names(equation.invars))
    equations.reverse()
    count = -(-len(equations) // _LONG)
    length = -(-len(equations) // max(count, 1))
    parts, later = [], results
    for i in reversed(range(count)):
        own = equations[i * length : (i + 1) * length]
        made = dict.fromkeys(x for equation in own for x in equation.outvars)
        used = dict.fromkeys(x for equation in own for x in _names(equation.invars))
        invars, outvars = [x for x in used if x not in made], [x for x in made if x in later]
        parts.append(Jaxpr((), invars, outvars, own, debug_info=_UNNAMED))
        later.update(invars)
    return parts[::-1]


def _names(atoms) -> list:
    """Without the constants that stand in their place."""
    return [x for x in atoms if not isinstance(x, Literal)]


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

    windows = (1, size), (1, 1), "VALID"
    return [x[:, 0] for x in lax.reduce_window((rows,) * size, (zero,) * size, shift, *windows)]


def _rows(columns: list, size: int, dtype) -> jax.Array:
    """(B, M): first below each other, which copies whole columns, then turned."""
    return jnp.stack(columns).T[:size] if columns else jnp.zeros((size, 0), dtype)


_fused_p = Primitive("fused")
"""Rows (..., N) to rows (..., M): `linear` says how many of the last rows enter linearly.

The batch dimensions are the same for all rows that have any.
"""
_fused_p.multiple_results = True


@_fused_p.def_abstract_eval
def _results(*rows, programs, sizes, linear):
    del programs, linear
    batch = _batch_shape(rows)
    return [jax.core.ShapedArray((*batch, size), rows[0].dtype) for size in sizes]


@functools.lru_cache(maxsize=256)
def _compiled(**options):
    return jax.jit(functools.partial(_fused_p.bind, **options))


@_fused_p.def_impl
def _run(*rows, **options):
    return _compiled(**options)(*rows)


def _differentiate(rows, tangents, *, programs, sizes, linear):
    values = _fused_p.bind(*rows, programs=programs, sizes=sizes, linear=linear)
    moved = [i for i, tangent in enumerate(tangents) if type(tangent) is not ad.Zero]
    moving, num_fixed = [tangents[i] for i in moved], len(rows) - linear
    if moved == list(range(num_fixed, len(rows))):  # linear: the tangent's program is its own
        rest = {"programs": programs, "sizes": sizes, "linear": linear}
        return values, _fused_p.bind(*rows[:num_fixed], *moving, **rest)
    places = _cut(range(len(programs.scalars.in_avals)), [row.shape[-1] for row in rows])
    derived = _Programs(
        _tangent(programs.scalars, tuple(place for i in moved for place in places[i])),
        programs.rows and _tangent(programs.rows, tuple(moved)),
    )
    slopes = _fused_p.bind(*rows, *moving, programs=derived, sizes=sizes, linear=len(moved))
    return values, slopes


def _transpose(cotangents, *rows, programs, sizes, linear):
    num_fixed, cotangents = len(rows) - linear, [ad.instantiate_zeros(c) for c in cotangents]
    wanted = [row.aval.shape for row in rows[num_fixed:]]
    lengths = tuple(shape[-1] for shape in wanted)
    derived = _Programs(
        _transposed(programs.scalars, sum(lengths)),
        programs.rows and _transposed(programs.rows, linear),
    )
    options = {"programs": derived, "sizes": lengths, "linear": len(sizes)}
    found = _fused_p.bind(*rows[:num_fixed], *cotangents, **options)
    extra = [tuple(range(x.ndim - len(shape))) for x, shape in zip(found, wanted, strict=True)]
    return [None] * num_fixed + [jnp.sum(x, axes) for x, axes in zip(found, extra, strict=True)]


def _add_batch(rows, dims, **options):
    pairs = list(zip(rows, dims, strict=True))
    size = next(row.shape[dim] for row, dim in pairs if dim is not None)
    shapes = ([n for i, n in enumerate(row.shape) if i != dim] for row, dim in pairs)
    inner = max((shape[:-1] for shape in shapes), key=len)

    def spread(row, dim):
        if dim is None and row.ndim == 1:
            return row
        row = row[None] if dim is None else jnp.moveaxis(row, dim, 0)
        row = row.reshape(len(row), *(row.shape[1:-1] or [1] * len(inner)), row.shape[-1])
        return jnp.broadcast_to(row, (size, *inner, row.shape[-1]))

    found = _fused_p.bind(*itertools.starmap(spread, pairs), **options)
    return found, [0] * len(found)


ad.primitive_jvps[_fused_p] = _differentiate
ad.primitive_transposes[_fused_p] = _transpose
batching.primitive_batchers[_fused_p] = _add_batch
mlir.register_lowering(_fused_p, mlir.lower_fun(_anywhere, multiple_results=True))
mlir.register_lowering(_fused_p, mlir.lower_fun(_on_cpu, multiple_results=True), platform="cpu")
mlir.register_lowering(_fused_p, mlir.lower_fun(_on_gpu, multiple_results=True), platform="gpu")
