"""Forward kinematics and its derivatives beside the peers.

Poses (B, D) in, keypoints (B, K, n), a value and its gradient (B, D), or Jacobians
(B, K, n, D) out. What the kinematics of a contender say about a sample of the poses is
compared with ours in float64.
"""

import dataclasses
import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import benchmark_fk_c, peers
from experiments.benchmark_fk_poses import Work, draw
from experiments.benchmark_suite import Contender, Suite, verdict
from kinpose import forward_kinematics, joint_jacobian

_TOLERANCE = 1e-3
"""Of the largest number; float32 leaves up to 1e-4 of quaternions, a wrong formula 1e-2."""

_CHECKED = 256
"""Poses that are compared."""


def spread(count: int) -> np.ndarray:
    """Rows to compare, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _CHECKED)).astype(int))


def keep(result) -> tuple[int, np.ndarray, float]:
    """Number of rows, some of the rows, and the value if there is one."""
    value, rows = result if isinstance(result, tuple) else (0.0, result)
    rows = rows.cpu() if hasattr(rows, "cpu") else rows  # torch's
    return len(rows), np.asarray(rows)[spread(len(rows))], float(value)


def judge(work: Work, results: dict[str, tuple]) -> dict[str, dict]:
    """The largest difference from our float64 results, relative to the largest number."""
    expected = {count: expect(work[:count]) for count in {kept[0] for kept in results.values()}}
    return {
        name: verdict(max(map(difference, kept[1:], expected[kept[0]])), _TOLERANCE)
        for name, kept in results.items()
    }


def expect(work: Work) -> tuple[np.ndarray, float]:
    """Rows and value in float64, as `keep` gives them."""
    work = dataclasses.replace(
        work, params=work.params.astype(float), targets=work.targets.astype(float)
    )
    with jax.enable_x64(True):
        _, rows, value = keep(build_kinpose(work[spread(len(work.params))])())
        if value:
            points = build_kinpose(dataclasses.replace(work, measure="forward"))()
            value = 0.5 * float(np.sum((points - work.targets) ** 2))
    return rows, value


def difference(actual, expected) -> float:
    """Relative to the largest number; infinite for another shape or a NaN."""
    if np.shape(actual) != np.shape(expected) or not np.isfinite(actual).all():
        return np.inf
    largest = np.abs(expected).max()
    return float(np.abs(actual - expected).max() / largest) if largest else 0.0


def build_jax(positions, jacobian, work: Work):
    """What to time, given functions of the parameters (D,) of one pose."""
    batched = jax.vmap(positions)

    def loss(params, targets):
        return 0.5 * jnp.sum((batched(params) - targets) ** 2)

    functions = {
        "forward": batched,
        "value and gradient": jax.value_and_grad(loss),
        "Jacobian": jax.vmap(jacobian),
    }
    function = jax.jit(functions[work.measure])
    targets = (work.targets,) if work.measure == "value and gradient" else ()
    arguments = jax.device_put((work.params, *targets))
    return lambda: function(*arguments)


def build_kinpose(work: Work):
    positions = functools.partial(forward_kinematics, skeleton=work.skeleton)
    return build_jax(positions, lambda params: joint_jacobian(params, work.skeleton)[1], work)


def build_peer_in_jax(make, work: Work):
    """Kinematics of a simulator in JAX, differentiated automatically."""
    tree, ndim = peers.motion_tree(work.skeleton), work.skeleton.ndim
    kinematics = make(work.skeleton)

    def positions(params):
        return kinematics(tree.amounts(params))[:, :ndim]

    return build_jax(positions, jax.jacfwd(positions), work)


def build_engine(make, work: Work):
    """One pose after the other; the gradient by the Jacobian."""
    engine, tree, n = make(work.skeleton), peers.motion_tree(work.skeleton), work.skeleton.ndim

    def forward(params, _):
        return engine.positions(tree.amounts(params))[:, :n]

    def jacobian(params, _):
        return engine.jacobian(tree.amounts(params))[1][:, :n] @ tree.matrix

    def value_and_gradient(params, targets):
        points, by_amounts = engine.jacobian(tree.amounts(params))
        miss = points[:, :n] - targets
        return 0.5 * np.sum(miss**2), np.tensordot(miss, by_amounts[:, :n], 2) @ tree.matrix

    poses = list(zip(work.params.astype(float), work.targets.astype(float), strict=True))
    if work.measure != "value and gradient":
        function = {"forward": forward, "Jacobian": jacobian}[work.measure]
        return lambda: np.array([function(*pose) for pose in poses])

    def run():
        values, slopes = zip(*itertools.starmap(value_and_gradient, poses), strict=True)
        return sum(values), np.array(slopes)

    return run


def build_torch(name: str, work: Work):
    """By a function of the module that needs torch."""
    return getattr(importlib.import_module("experiments.benchmark_fk_torch"), name)(work)


def in_jax(make, package: str) -> Contender:
    return Contender(functools.partial(build_peer_in_jax, make), package)


def one_by_one(make, package: str) -> Contender:
    return Contender(functools.partial(build_engine, make), package, True)


def in_torch(name: str, package: str = "torch", **limits) -> Contender:
    return Contender(functools.partial(build_torch, name), package, **limits)


NO_JACOBIAN = ("forward", "value and gradient")

FK = Suite(
    draw,
    {
        "kinpose": Contender(build_kinpose),
        "torch": in_torch("build"),
        "torch-compile": in_torch("build_compiled"),
        "pytorch-kinematics": in_torch(
            "build_pytorch_kinematics", "pytorch_kinematics", endings=NO_JACOBIAN
        ),
        "mujoco": one_by_one(peers.mujoco_engine, "mujoco"),
        "pinocchio": one_by_one(peers.pinocchio_engine, "pinocchio"),
        "mjx": in_jax(peers.mjx_positions, "mujoco.mjx"),
        "brax": in_jax(peers.brax_positions, "brax"),
        "c": Contender(benchmark_fk_c.build, program=benchmark_fk_c.COMPILER, endings=NO_JACOBIAN),
    },
    judge,
    keep=keep,
    unit="us",
)
