"""Programs of scalars that run over a batch of rows, with all their derivatives.

A CPU gets kernels that are made for it, by `kinpose.small_calls` or, where there are many
examples or several devices, `kinpose.windows`. Other platforms fuse by themselves and get the
program as it is; on GPU results are kept from being joined before they are known, as each
would bring its own chain along.

Derivatives of a program are programs again, to any order in both modes.

Shapes: B batch, N and M scalars in a row.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from kinpose.programs import cut, mapped
from kinpose.small_calls import small_calls
from kinpose.windows import windows, windows_in_blocks

_FEW = 4096
"""Up to so many examples small calls, which are quick to start, beat all threads together."""

_QUICK, _PER_EXAMPLE = 2500, 20
"""A program of more operations, and of more per example, runs in its compact form."""


class _Programs(NamedTuple):
    """The same function twice; the compact form is traced when it is asked for."""

    scalars: ClosedJaxpr
    compact: Callable[[], ClosedJaxpr] | None


def fused(
    program: Callable, *rows: jax.Array, compact: Callable | None = None, linear: int = 0
) -> list[jax.Array]:
    """Runs a program of scalars over the batch that `jax.vmap` adds.

    Args:
      program: takes a list of scalars per row and returns lists of scalars. Traced once for
        each form of the rows, so the same function should be passed each time.
      *rows: (N,) each, all of one dtype.
      compact: the same function of whole rows, which a CPU runs where a program is long and
        examples are few: kernels of such programs take long to compile. Traced where it is used.
      linear: in how many of the last rows the program is linear.

    Returns:
      An array (M,) per list.
    """
    lengths, dtype = tuple(map(len, rows)), jnp.result_type(*rows)
    jaxpr, sizes = _trace(program, lengths, dtype)
    programs = _Programs(jaxpr, compact and _trace_rows(compact, lengths, dtype))
    return _fused_p.bind(*rows, programs=programs, sizes=sizes, linear=linear)


@functools.lru_cache(maxsize=256)
def _trace(program: Callable, lengths: tuple[int, ...], dtype) -> tuple[ClosedJaxpr, tuple]:
    """The program over scalars side by side, and the sizes of its results."""

    def flat(*scalars):
        results = [list(result) for result in program(*cut(scalars, lengths))]
        sizes.extend(map(len, results))
        return [jnp.asarray(x, dtype) for x in itertools.chain(*results)]

    sizes: list[int] = []
    scalar = jax.ShapeDtypeStruct((), dtype)
    return jax.make_jaxpr(flat)(*[scalar] * sum(lengths)), tuple(sizes)


@functools.lru_cache(maxsize=256)
def _trace_rows(function: Callable, lengths: tuple[int, ...], dtype) -> Callable:
    rows = [jax.ShapeDtypeStruct((n,), dtype) for n in lengths]
    return functools.cache(lambda: jax.make_jaxpr(function)(*rows))


@functools.lru_cache(maxsize=256)
def _derived(derive: Callable, compact: Callable | None, *args) -> Callable | None:
    return compact and functools.cache(lambda: derive(compact(), *args))


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
    results = cut(known(mapped(programs.scalars, batch, columns)), sizes)
    return [jnp.stack(part, -1) if part else jnp.zeros((*batch, 0), dtype) for part in results]


_on_gpu = functools.partial(_anywhere, known=lax.optimization_barrier)


def _on_cpu(*rows, programs, sizes, linear, divided):
    """By the kernel, or in the form, that suits the numbers of examples and operations."""
    batch, width = _batch_shape(rows), sum(row.shape[-1] for row in rows if row.ndim > 1)
    size, length = math.prod(batch), len(programs.scalars.jaxpr.eqns)
    if programs.compact is not None and length > max(_QUICK, size * _PER_EXAMPLE):
        return mapped(programs.compact(), batch, rows)
    if not size or (batch and not width):
        return _anywhere(*rows, programs=programs, sizes=sizes, linear=linear)
    rows = [row.reshape(size, -1) if row.ndim > 1 or not batch else row for row in rows]
    kernel = windows if divided else small_calls if size <= _FEW else windows_in_blocks
    results = kernel(programs.scalars, sizes, rows)
    return [x.reshape(*batch, x.shape[-1]) for x in results]


def _lower_on_cpu(context, *rows, **options):
    """Window reductions are what XLA divides among the devices of a `jit`.

    In a `shard_map` each device has its own batch, and no such number is known.
    """
    divided = getattr(context.module_context.axis_context, "num_devices", 1) > 1
    function = functools.partial(_on_cpu, divided=divided)
    return mlir.lower_fun(function, multiple_results=True)(context, *rows, **options)


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
    places = cut(range(len(programs.scalars.in_avals)), [row.shape[-1] for row in rows])
    derived = _Programs(
        _tangent(programs.scalars, tuple(place for i in moved for place in places[i])),
        _derived(_tangent, programs.compact, tuple(moved)),
    )
    slopes = _fused_p.bind(*rows, *moving, programs=derived, sizes=sizes, linear=len(moved))
    return values, slopes


def _transpose(cotangents, *rows, programs, sizes, linear):
    num_fixed, cotangents = len(rows) - linear, [ad.instantiate_zeros(c) for c in cotangents]
    wanted = [row.aval.shape for row in rows[num_fixed:]]
    lengths = tuple(shape[-1] for shape in wanted)
    derived = _Programs(
        _transposed(programs.scalars, sum(lengths)),
        _derived(_transposed, programs.compact, linear),
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
mlir.register_lowering(_fused_p, _lower_on_cpu, platform="cpu")
mlir.register_lowering(_fused_p, mlir.lower_fun(_on_gpu, multiple_results=True), platform="gpu")
