"""Programs of scalars: functions of many numbers, traced, that run over batches of rows.

Shapes: B examples, N scalars in a row.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, DebugInfo, Jaxpr, Literal, jaxpr_as_fun

Kernel = Callable[[ClosedJaxpr, Sequence[int], list], list[jax.Array]]
"""A way to run a program for every example: from the program of all scalars of all rows, how
many results go to each row, and the rows, which are (B, N), or (N,) where all examples share
them, to (B, size) for each size. At least one row has a batch."""

_UNNAMED = DebugInfo("part", "part", None, None)


def batch_size(rows: list) -> int:
    """B of rows (B, N) and (N,)."""
    return next(len(row) for row in rows if row.ndim > 1)


def padded_blocks(row: jax.Array, most: int) -> jax.Array:
    """(B, N) in equal blocks of at most so many examples; what the last lacks is zero."""
    count = -(-len(row) // most)
    each = -(-len(row) // count)
    row = jnp.pad(row, ((0, count * each - len(row)), (0, 0)))
    return row.reshape(count, each, row.shape[1])


def joined(blocks: jax.Array, size: int) -> jax.Array:
    """(B, N) from such blocks."""
    count, each, width = blocks.shape
    return blocks.reshape(count * each, width)[:size]


def merged(rows: list, blocks: Sequence) -> list:
    """The rows, with these blocks in place of those that have a batch."""
    blocks = iter(blocks)
    return [next(blocks) if row.ndim > 1 else row for row in rows]


def split_list(items: Sequence, sizes: Sequence[int]) -> list[list]:
    """The items in lists of these sizes."""
    items = iter(items)
    return [list(itertools.islice(items, size)) for size in sizes]


def vmap_jaxpr(program: ClosedJaxpr, batch: tuple[int, ...], args) -> list[jax.Array]:
    """The program for every element of a batch, whose dimensions come first where they are."""
    function = jaxpr_as_fun(program)
    cores = program.in_avals
    axes = [0 if a.ndim > core.ndim else None for a, core in zip(args, cores, strict=True)]
    if any(axis == 0 for axis in axes):
        for _ in batch:
            function = jax.vmap(function, axes)
        return function(*args)
    return [jnp.broadcast_to(x, (*batch, *x.shape)) for x in function(*args)]


def jaxpr_from(invars: list, outvars: list, equations: list) -> Jaxpr:
    """A program without constants."""
    return Jaxpr((), invars, outvars, equations, debug_info=_UNNAMED)


def in_parts(jaxpr: Jaxpr, most: int) -> list[Jaxpr]:
    """The operations that matter, in parts of at most so many, cut where few values are handed on.

    At least one part, which may be empty.
    """
    results, equations = set(names_of(jaxpr.outvars)), depth_first(jaxpr)
    crossing = _crossing(equations, results)
    parts, later, end = [], results, len(equations)
    while end > 0 or not parts:
        cuts = range(end - most, end - most // 2)
        start = min(cuts, key=crossing.__getitem__) if end > most else 0
        own = equations[start:end]
        made = dict.fromkeys(x for equation in own for x in equation.outvars)
        used = dict.fromkeys(x for equation in own for x in names_of(equation.invars))
        invars, outvars = [x for x in used if x not in made], [x for x in made if x in later]
        parts.append(jaxpr_from(invars, outvars, own))
        later.update(invars)
        end = start
    return parts[::-1]


def _crossing(equations: list, results: set) -> list[int]:
    """Before each operation, how many values wait for a later one; results are stored anyway."""
    last = {x: i for i, equation in enumerate(equations) for x in names_of(equation.invars)}
    change = [0] * (len(equations) + 1)
    for i, equation in enumerate(equations):
        for x in equation.outvars:
            if x in last and x not in results:
                change[i + 1] += 1
                change[last[x] + 1] -= 1
    return list(itertools.accumulate(change))


def depth_first(jaxpr: Jaxpr) -> list:
    """The operations that matter, each soon after what it needs; last results first.

    Of a tree's limbs that is one after the other, there and back, so that few values are
    needed later.
    """
    makers = {x: equation for equation in jaxpr.eqns for x in equation.outvars}
    ordered, seen = [], set()
    stack = [(makers[x], False) for x in names_of(jaxpr.outvars) if x in makers]
    while stack:
        equation, ready = stack.pop()
        if ready:
            ordered.append(equation)
        elif id(equation) not in seen:
            seen.add(id(equation))
            stack.append((equation, True))
            stack += [(makers[x], False) for x in names_of(equation.invars) if x in makers]
    return ordered


def names_of(atoms) -> list:
    """Without the constants that stand in their place."""
    return [x for x in atoms if not isinstance(x, Literal)]
