"""Values that differ between the devices of a `jax.shard_map`, which checks where they do.

Loops and branches ask for the same of what goes in and out, so what they start from, constants
among it, has to be marked.
"""

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
