"""Functions of scalars over a batch of rows, as kernels on a CPU, with all their derivatives.

A CPU gets kernels that are made for it, by `kinpose._kernels.cpu_blocks` or, for short programs of
many examples and on several devices, `kinpose._kernels.cpu_reduce_window`. Other platforms fuse by
themselves and get operation by operation; on GPU results are kept from being joined before
they are known, as each would bring its own chain along.

Derivatives of a program are programs again, to any order in both modes.

Shapes: B batch, N and M scalars in a row.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

from kinpose._kernels.cpu_blocks import in_blocks
from kinpose._kernels.cpu_reduce_window import windows, windows_in_blocks
from kinpose._kernels.jaxprs import split_list, vmap_jaxpr
from kinpose._kernels.thresholds import FEW_EXAMPLES, WINDOW_OPERATIONS


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of scalars, traced.

    Attributes:
      name: of what it was traced from.
      jaxpr: of all scalars side by side.
    """

    name: str
    jaxpr: ClosedJaxpr

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.jaxpr.jaxpr.eqns)} operations>"


def bind(function: Callable, *rows: jax.Array, linear: int = 0) -> list[jax.Array]:
    """What `kinpose._kernels.over_batch` does where kernels are on."""
    program, sizes = _trace(function, tuple(map(len, rows)), jnp.result_type(*rows))
    return _over_batch_p.bind(*rows, program=program, sizes=sizes, linear=linear)


@functools.lru_cache(maxsize=256)
def _trace(function: Callable, lengths: tuple[int, ...], dtype) -> tuple[Program, tuple]:
    """The program over scalars side by side, and the sizes of its results."""

    def flat(*scalars):
        results = [list(result) for result in function(*split_list(scalars, lengths))]
        sizes.extend(map(len, results))
        return [jnp.asarray(x, dtype) for x in itertools.chain(*results)]

    sizes: list[int] = []
    scalar = jax.ShapeDtypeStruct((), dtype)
    traced = jax.make_jaxpr(flat)(*[scalar] * sum(lengths))
    return Program(function.__name__, traced), tuple(sizes)


@functools.lru_cache(maxsize=256)
def _tangent(program: Program, moved: tuple[int, ...]) -> Program:
    """(arguments, tangents of the moved ones) -> tangents of the results."""
    function, avals = jaxpr_as_fun(program.jaxpr), program.jaxpr.in_avals

    def tangent(*args):
        args, tangents = args[: len(avals)], args[len(avals) :]

        def along(*chosen):
            values = dict(zip(moved, chosen, strict=True))
            return function(*(values.get(i, x) for i, x in enumerate(args)))

        return jax.jvp(along, [args[i] for i in moved], list(tangents))[1]

    traced = jax.make_jaxpr(tangent)(*avals, *(avals[i] for i in moved))
    return Program(f"tangent of {program.name}", traced)


@functools.lru_cache(maxsize=256)
def _transposed(program: Program, linear: int) -> Program:
    """(fixed arguments, cotangents of the results) -> cotangents of the last, linear ones."""
    function, avals = jaxpr_as_fun(program.jaxpr), program.jaxpr.in_avals
    num_fixed = len(avals) - linear
    fixed, moving = avals[:num_fixed], avals[num_fixed:]

    def transposed(*args):
        part = functools.partial(function, *args[:num_fixed])
        return jax.linear_transpose(part, *moving)(list(args[num_fixed:]))

    traced = jax.make_jaxpr(transposed)(*fixed, *program.jaxpr.out_avals)
    return Program(f"transpose of {program.name}", traced)


def _batch_shape(rows) -> tuple[int, ...]:
    return max((row.shape[:-1] for row in rows), key=len)


def _anywhere(*rows, program, sizes, linear, known=lambda results: results):
    """Operation by operation over the whole batch."""
    del linear
    columns = [column for row in rows for column in jnp.unstack(row, axis=-1)]
    batch, dtype = _batch_shape(rows), rows[0].dtype
    results = split_list(known(vmap_jaxpr(program.jaxpr, batch, columns)), sizes)
    return [jnp.stack(part, -1) if part else jnp.zeros((*batch, 0), dtype) for part in results]


_on_gpu = functools.partial(_anywhere, known=lax.optimization_barrier)


def _on_cpu(*rows, program, sizes, linear, divided):
    """By the kernel that suits the number of examples and the length of the program."""
    batch, width = _batch_shape(rows), sum(row.shape[-1] for row in rows if row.ndim > 1)
    known = all(isinstance(size, int) for size in batch)  # jax.export may leave some open
    size = math.prod(batch)
    if not known or not size or (batch and not width):
        return _anywhere(*rows, program=program, sizes=sizes, linear=linear)
    rows = [row.reshape(size, -1) if row.ndim > 1 or not batch else row for row in rows]
    at_once = size <= FEW_EXAMPLES or len(program.jaxpr.eqns) > WINDOW_OPERATIONS
    kernel = windows if divided else in_blocks if at_once else windows_in_blocks
    results = kernel(program.jaxpr, sizes, rows)
    return [x.reshape(*batch, x.shape[-1]) for x in results]


def _lower_on_cpu(context, *rows, **options):
    """Window reductions are what XLA divides among the devices of a `jit`.

    In a `shard_map` each device has its own batch, and no such number is known.
    """
    divided = getattr(context.module_context.axis_context, "num_devices", 1) > 1
    function = functools.partial(_on_cpu, divided=divided)
    return mlir.lower_fun(function, multiple_results=True)(context, *rows, **options)


_over_batch_p = Primitive("over_batch")
"""Rows (..., N) to rows (..., M): `linear` says how many of the last rows enter linearly.

The batch dimensions are the same for all rows that have any.
"""
_over_batch_p.multiple_results = True


@_over_batch_p.def_abstract_eval
def _results(*rows, program, sizes, linear):
    del program, linear
    row = max(rows, key=lambda row: row.ndim)
    spec = jax.sharding.PartitionSpec(*row.sharding.spec[:-1], None)
    sharding = jax.sharding.NamedSharding(row.sharding.mesh, spec)
    return [
        jax.core.ShapedArray((*row.shape[:-1], size), row.dtype, sharding=sharding)
        for size in sizes
    ]


@functools.lru_cache(maxsize=256)
def _compiled(**options):
    return jax.jit(functools.partial(_over_batch_p.bind, **options))


@_over_batch_p.def_impl
def _run(*rows, **options):
    if jax.config.jax_disable_jit:  # then what is compiled would come back here
        return _anywhere(*rows, **options)
    return _compiled(**options)(*rows)


def _differentiate(rows, tangents, *, program, sizes, linear):
    values = _over_batch_p.bind(*rows, program=program, sizes=sizes, linear=linear)
    moved = [i for i, tangent in enumerate(tangents) if type(tangent) is not ad.Zero]
    moving, num_fixed = [tangents[i] for i in moved], len(rows) - linear
    if moved == list(range(num_fixed, len(rows))):  # linear: the tangent's program is its own
        rest = {"program": program, "sizes": sizes, "linear": linear}
        return values, _over_batch_p.bind(*rows[:num_fixed], *moving, **rest)
    places = split_list(range(len(program.jaxpr.in_avals)), [row.shape[-1] for row in rows])
    tangent = _tangent(program, tuple(place for i in moved for place in places[i]))
    slopes = _over_batch_p.bind(*rows, *moving, program=tangent, sizes=sizes, linear=len(moved))
    return values, slopes


def _transpose(cotangents, *rows, program, sizes, linear):
    num_fixed, cotangents = len(rows) - linear, [ad.instantiate_zeros(c) for c in cotangents]
    wanted = [row.aval.shape for row in rows[num_fixed:]]
    lengths = tuple(shape[-1] for shape in wanted)
    transposed = _transposed(program, sum(lengths))
    options = {"program": transposed, "sizes": lengths, "linear": len(sizes)}
    found = _over_batch_p.bind(*rows[:num_fixed], *cotangents, **options)
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
        row = row.reshape(row.shape[0], *(row.shape[1:-1] or [1] * len(inner)), row.shape[-1])
        return jnp.broadcast_to(row, (size, *inner, row.shape[-1]))

    found = _over_batch_p.bind(*itertools.starmap(spread, pairs), **options)
    return found, [0] * len(found)


ad.primitive_jvps[_over_batch_p] = _differentiate
ad.primitive_transposes[_over_batch_p] = _transpose
batching.primitive_batchers[_over_batch_p] = _add_batch
mlir.register_lowering(_over_batch_p, mlir.lower_fun(_anywhere, multiple_results=True))
mlir.register_lowering(_over_batch_p, _lower_on_cpu, platform="cpu")
mlir.register_lowering(
    _over_batch_p, mlir.lower_fun(_on_gpu, multiple_results=True), platform="gpu"
)
