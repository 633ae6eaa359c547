"""Levenberg-Marquardt, and plain descent, on Eq. 3 for one pose."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import kinpose.fitting._dense as dense
import kinpose.fitting._sparse as sparse
from kinpose._kernels import KERNELS
from kinpose._kernels.kept_programs import by_platform
from kinpose.fitting._problem import Problem, into_bounds
from kinpose.skeleton import Skeleton

_DENSE = contextvars.ContextVar("dense", default=False)

MAX_ITERATIONS = {"least_squares": 60, "gradient_descent": 3000}
"""Steps to try, by method."""


class State(NamedTuple):
    """Where the descent of one pose is."""

    params: Any  # (D,)
    cost: Any
    damping: Any
    growth: Any  # of the damping when a step fails
    iterations: Any
    converged: Any


def first_state(start, skeleton: Skeleton) -> State:
    """Before the first step, which starts within the limits, and tells the cost there."""
    start = into_bounds(start, skeleton)
    one = jnp.ones_like(start[0])
    return State(start, jnp.inf * one, 1e-3 * one, 2.0 * one, one.astype(jnp.int32) - 1, one < 0)


def minimise(
    problem: Problem, state: State, skeleton, max_iterations, tolerance, method="least_squares"
) -> State:
    """Steps until one would move the joints by less than the tolerance, were it not damped."""
    propose = {"least_squares": _newton_step, "gradient_descent": dense.descent_step}[method]

    def step(state: State) -> State:
        found = propose(problem, state.params, state.damping, skeleton)
        params, (here, cost, predicted, promised) = found
        better = cost < here
        gain = (here - cost) / jnp.maximum(predicted, jnp.finfo(cost.dtype).tiny)
        shrink = jnp.clip(1.0 - (2.0 * gain - 1.0) ** 3, 0.1, 2.0)  # Nielsen (1999)
        return State(
            params=jnp.where(better, params, state.params),
            cost=jnp.where(better, cost, here),
            damping=state.damping * jnp.where(better, shrink, state.growth),
            growth=jnp.where(better, 2.0, 2.0 * state.growth),
            iterations=state.iterations + 1,
            converged=promised * jnp.square(1.0 + state.damping) < tolerance**2,
        )

    return jax.lax.while_loop(
        lambda state: ~state.converged & (state.iterations < max_iterations), step, state
    )


def _newton_step(problem: Problem, params, damping, skeleton: Skeleton) -> list:
    """Gauss-Newton, damped in proportion to the diagonal: dense, or sparse over a batch on a CPU.

    Returns:
      The proposed parameters (D,), and (4,): the cost at the old ones and at these, the predicted
      gain, and the square of the way that the step promises to move the joints.
    """
    return _in_form(sparse.newton_step, dense.newton_step, problem, params, damping, skeleton)


def solution_of(params, weights, free, right, skeleton: Skeleton) -> jax.Array:
    """(D,) the solution of J'WJ x = right for the free dofs, zero for the others.

    Linear in `right`, which alone is differentiated.
    """
    return _in_form(sparse.solution, dense.solution, params, weights, free, right, skeleton)


def _in_form(cpu, default, *args):
    """What suits the platform; of arguments whose last is the skeleton."""
    if _DENSE.get() or not KERNELS or not sparse.is_small(args[-1]):
        return default(*args)
    return by_platform(*args, cpu=cpu, default=default)


@contextlib.contextmanager
def form_for(batch) -> Iterator[None]:
    """Traces a fit in the form that suits the number of poses.

    Numbers that are not known go as matrices, as there are no kernels for them.
    """
    token = _DENSE.set(not isinstance(batch, int))
    try:
        yield
    finally:
        _DENSE.reset(token)
