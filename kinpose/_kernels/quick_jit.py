"""`jax.jit` for long programs, which take longer to compile than to run.

XLA's CPU backend compiles every kernel by itself and takes some 30 ms for each. Its older way of
writing kernels, optimised less, takes 12; and what it writes, sums and products of small matrices
without a library's call among it, runs faster where kernels are many and small. Large batches
(`FEW_EXAMPLES`) run better by the usual one.
"""

import functools
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kernels.kept_programs import kept
from kinpose._kernels.thresholds import FEW_EXAMPLES

_OPTIONS = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 1,
    "xla_cpu_experimental_ynn_fusion_type": "",
}


def quick_jit(function: Callable, most: float = FEW_EXAMPLES, **options) -> Callable:
    """`jax.jit`, sooner done on a CPU; within another program it is that program's part.

    Args:
      function: of arrays; what is static comes as keywords.
      most: length of the first array's first dimension up to which compilation counts; a program
        for more runs long enough to be optimised.
      **options: of `jax.jit`.
    """
    as_it_is = jax.jit(function, **options)

    @functools.cache
    def quick(alone: bool) -> Callable:
        whole = kept(function) if alone else function
        return jax.jit(whole, compiler_options=_known_options(), **options)

    @functools.wraps(function)
    def call(*args, **kwargs):
        found = _devices_of((args, kwargs))
        on_cpu = found and all(device.platform == "cpu" for each in found for device in each)
        soon = on_cpu and max(np.shape(jax.tree.leaves(args)[0])[:1], default=0) <= most
        program = quick(_are_single(found)) if soon else as_it_is  # a part has no options
        return program(*args, **kwargs)

    return call


_made_now = jax.jit(lambda: jnp.zeros(()))  # a tenth of the time of what it is made by


def is_on_one_device(*trees: object) -> bool:
    """Whether all numbers are known now, and in one place."""
    found = _devices_of(trees)
    return found is not None and _are_single(found)


def _devices_of(tree: object) -> list[set] | None:
    """Where what is made now lies, and each array of a tree; None while something is traced."""
    arrays = [_made_now(), *(x for x in jax.tree.leaves(tree) if isinstance(x, jax.Array))]
    known = not any(isinstance(x, jax.core.Tracer) for x in arrays)
    return [x.sharding.device_set for x in arrays] if known else None


def _are_single(found: list[set]) -> bool:
    _, *devices = found  # what is made within a mesh lies on all of it
    return all(len(each) == 1 for each in devices)


@functools.cache
def _known_options() -> dict[str, bool | int | str]:
    """Those that this XLA has and that XLA_FLAGS leaves open."""
    given = os.environ.get("XLA_FLAGS", "")
    options = {name: value for name, value in _OPTIONS.items() if name not in given}
    if _are_known(options):
        return options
    return {name: value for name, value in options.items() if _are_known({name: value})}


def _are_known(options: dict) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # an option of another version
        return False
    return True
