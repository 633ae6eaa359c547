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
from kinpose.fitting._problem import Problem, cost_of, into_bounds
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


def first_state(problem: Problem, start, skeleton: Skeleton) -> State:
    """Before the first step, which starts within the limits."""
    start = into_bounds(start, skeleton)
    cost = cost_of(problem, start, skeleton)
    one = jnp.ones_like(cost)
    return State(start, cost, 1e-3 * one, 2.0 * one, jnp.zeros_like(cost, jnp.int32), one < 0)


def minimise(
    problem: Problem, state: State, skeleton, max_iterations, tolerance, method="least_squares"
) -> State:
    """Steps until one would move the joints by less than the tolerance, were it not damped."""
    propose = {"least_squares": _newton_step, "gradient_descent": dense.descent_step}[method]

    def step(state: State) -> State:
        params, numbers = propose(problem, state.params, state.damping, skeleton)
        cost, predicted, promised = numbers
        better = cost < state.cost
        gain = (state.cost - cost) / jnp.maximum(predicted, jnp.finfo(cost.dtype).tiny)
        shrink = jnp.clip(1.0 - (2.0 * gain - 1.0) ** 3, 0.1, 2.0)  # Nielsen (1999)
        return State(
            params=jnp.where(better, params, state.params),
            cost=jnp.where(better, cost, state.cost),
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
      The proposed parameters (D,), and (3,): their cost, the predicted gain, and the square
      of the way that the step promises to move the joints.
    """
    args = problem, params, damping, skeleton
    if not _is_sparse(skeleton):
        return dense.newton_step(*args)
    return by_platform(*args, cpu=sparse.newton_step, default=dense.newton_step)


def solution_of(params, weights, free, right, skeleton: Skeleton) -> jax.Array:
    """(D,) the solution of J'WJ x = right for the free dofs, zero for the others.

    Linear in `right`, which alone is differentiated.
    """
    args = params, weights, free, right, skeleton
    if not _is_sparse(skeleton):
        return dense.solution(*args)
    return by_platform(*args, cpu=sparse.solution, default=dense.solution)


def _is_sparse(skeleton: Skeleton) -> bool:
    return KERNELS and not _DENSE.get() and sparse.is_small(skeleton)


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
