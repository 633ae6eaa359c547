"""Values that differ between the devices of a mesh, where JAX checks it.

In a `jax.shard_map` it checks where they differ, on a mesh with explicit axes how they are divided.

Loops and branches ask for the same of what goes in and out, so what they start from, constants
among it, has to be marked.
"""

from collections.abc import Callable
from typing import Any

import jax


def varying_axes(x: jax.Array) -> frozenset[str]:
    """The axes of the mesh along which a value may differ."""
    kind = jax.typeof(x)
    kind = getattr(kind, "manual_axis_type", kind)  # under one name or the other, by version
    return frozenset(getattr(kind, "varying", None) or getattr(kind, "vma", None) or ())


def varying_like(tree: Any, *others: jax.Array) -> Any:
    """The arrays of a tree, marked as differing wherever one of the others does."""
    axes = frozenset().union(*map(varying_axes, others))

    def mark(x):
        more = tuple(axes - varying_axes(x))
        return jax.lax.pcast(x, more, to="varying") if more else x

    return jax.tree.map(mark, tree) if axes else tree


def in_auto_axes(function: Callable, like: jax.Array) -> Callable:
    """The function, whose results are divided as the first dimension of an array is.

    On a mesh whose axes are explicit, as `jax.make_mesh` makes them, how to divide what is in
    between is left to the compiler.
    """
    sharding = jax.typeof(like).sharding
    if jax.sharding.AxisType.Explicit not in sharding.mesh.axis_types:
        return function
    spec = jax.sharding.PartitionSpec(sharding.spec[0])
    return jax.sharding.auto_axes(
        function, out_sharding=jax.sharding.NamedSharding(sharding.mesh, spec)
    )
