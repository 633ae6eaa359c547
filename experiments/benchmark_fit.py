"""Model fitting beside the peers.

In metres: solvers without units of their own meet lengths and angles alike.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark_suite import Contender, Suite
from kinpose import forward_kinematics, joint_jacobian, limit_skeleton, scale_skeleton
from kinpose.fitting import align_params, fit_params
from kinpose.skeletons import HUMAN_LIMITS, human_17

HUMAN = scale_skeleton(human_17(), 0.001)
LIMITED = limit_skeleton(HUMAN, HUMAN_LIMITS)
POSITIONS = jax.jit(jax.vmap(forward_kinematics, in_axes=(0, None)))
ALIGN = jax.jit(jax.vmap(align_params, in_axes=(0, None, None)))


def draw_points(batch: int) -> dict[str, np.ndarray]:
    """Points (batch, K, 3) of poses that face anywhere, angles normal with 0.5 rad."""
    rng = np.random.default_rng(0)
    params = rng.normal(size=(batch, HUMAN.num_dofs)) * 0.5
    params[:, :3] *= 2
    params[:, HUMAN.dof_names.index("pelvis_yaw")] = rng.uniform(-np.pi, np.pi, batch)
    points, within = (
        np.asarray(POSITIONS(x.astype(np.float32), HUMAN))
        for x in (params, np.clip(params, *LIMITED.limits.T))
    )
    noise = rng.normal(size=points.shape).astype(np.float32)
    return {"reachable": points, "within limits": within, "10 mm noise": points + 0.01 * noise}


def judge_fits(points: np.ndarray, results: dict[str, np.ndarray]) -> dict[str, dict]:
    """Share of poses found to 0.1 and to 1 mm, and share no worse than any contender's."""
    misses, costs = [], np.full((len(results), len(points)), np.inf)
    for cost, params in zip(costs, results.values(), strict=True):
        with jax.enable_x64(True):
            model = np.asarray(POSITIONS(params.astype(float), HUMAN))
        misses.append(np.linalg.norm(model - points[: len(model)], axis=-1))
        cost[: len(model)] = np.sum(misses[-1] ** 2, axis=-1)
    enough = 1.01 * costs.min(axis=0) + 17 * 1e-5**2  # 1 %, or 0.01 mm at every keypoint
    return {
        name: {
            "under 0.1 mm": float(np.mean(miss.max(axis=-1) < 1e-4)),
            "under 1 mm": float(np.mean(miss.max(axis=-1) < 1e-3)),
            "as the best": float(np.mean((cost <= enough)[: len(miss)])),
        }
        for name, miss, cost in zip(results, misses, costs, strict=True)
    }


def kinpose_fit(points):
    return lambda: fit_params(points, HUMAN).params


def kinpose_limits(points):
    """For poses within the limits; weights and missing points change nothing in the program."""
    return lambda: fit_params(points, LIMITED).params


def kinpose_gradient(points):
    """Fits, and goes back to the points."""

    def loss(points):
        params = fit_params(points, HUMAN).params
        return jnp.sum(jnp.square(params)), params

    gradient = jax.jit(jax.grad(loss, has_aux=True))
    return lambda: gradient(points)[1]


def scipy_fit(start, points):
    """MINPACK's Levenberg-Marquardt in float64 with the analytic Jacobian."""
    from scipy.optimize import least_squares

    linearise = jax.jit(joint_jacobian)

    def fit_one(points, start):
        return least_squares(
            lambda params: np.ravel(linearise(params, HUMAN)[0] - points),
            start,
            lambda params: np.reshape(linearise(params, HUMAN)[1], (points.size, -1)),
            method="lm",
            x_scale="jac",
        ).x

    def run():
        with jax.enable_x64(True):
            return np.array([fit_one(*x) for x in zip(points, start(points), strict=True)])

    points = points.astype(float)
    return run


def optimistix_fit(start, points):
    """Its Levenberg-Marquardt, vmapped."""
    import optimistix

    solver = optimistix.LevenbergMarquardt(rtol=1e-5, atol=1e-6)

    @jax.jit
    @jax.vmap
    def fit(points, start):
        def miss(params, _):
            return forward_kinematics(params, HUMAN) - points

        return optimistix.least_squares(miss, solver, start, max_steps=256, throw=False).value

    return lambda: fit(points, start(points))


def from_zero(points) -> np.ndarray:
    return np.zeros((len(points), HUMAN.num_dofs), points.dtype)


def from_alignment(points) -> np.ndarray:
    """The start of `fit_params`."""
    return np.asarray(ALIGN(points, np.ones(points.shape[1], points.dtype), HUMAN))


def starting(start: Callable, build: Callable) -> Callable:
    return lambda points: build(start, points)


FIT = Suite(
    draw_points,
    {
        "kinpose": Contender(kinpose_fit),
        "kinpose-limits": Contender(kinpose_limits),
        "kinpose-gradient": Contender(kinpose_gradient),
        "scipy": Contender(starting(from_zero, scipy_fit), "scipy", True),
        "scipy-aligned": Contender(starting(from_alignment, scipy_fit), "scipy", True),
        "optimistix": Contender(starting(from_zero, optimistix_fit), "optimistix"),
        "optimistix-aligned": Contender(starting(from_alignment, optimistix_fit), "optimistix"),
    },
    judge_fits,
)
