"""Speed and quality beside the peers.

  python -m experiments.benchmark --suite=fit --batch=4096 --output=fit.json

Every contender runs in a process of its own, so that no thread pool or allocator disturbs
another and one that hangs can be given up. The parent lets them work in turn, round after
round, and judges what they return by the same float64 kinematics.
"""

import json
import multiprocessing
import os
import pathlib
import platform
import resource
import statistics
import time
from collections.abc import Callable
from importlib import metadata, util
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting OpenMP threads stall the others

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from kinpose import forward_kinematics, joint_jacobian, limit_skeleton, scale_skeleton
from kinpose.alignment import align_params
from kinpose.fitting import fit_params
from kinpose.skeletons import HUMAN_LIMITS, human_17

_SUITE = flags.DEFINE_string("suite", "fit", "What to measure: fit, or all.")
_CONTENDERS = flags.DEFINE_list("contenders", None, "Names to run; by default all of the suite.")
_WORKLOADS = flags.DEFINE_list("workloads", None, "Names to run; by default all of the suite.")
_BATCH = flags.DEFINE_integer("batch", 4096, "Items per call.", 1)
_SAMPLE = flags.DEFINE_integer("sample", 64, "Items for those that take one at a time.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed calls of each; the median counts.", 1)
_TIMEOUT_S = flags.DEFINE_float("timeout_s", 300.0, "A call that takes longer is given up.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")


class Contender(NamedTuple):
    """One way to do the work of a suite."""

    build: Callable  # from a workload to the function to time, which returns a row per item
    package: str = "kinpose"
    one_by_one: bool = False  # takes items one at a time, so gets a sample


class Suite(NamedTuple):
    """A comparison; the first contender is what the others are compared with."""

    draw: Callable  # from the batch size to workloads by name
    contenders: dict[str, Contender]
    judge: Callable  # from a workload and all results by name to more columns by name


# Model fitting, in metres: solvers without units of their own meet lengths and angles alike.

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
    bent = np.where(LIMITED.limits[:, 0] == 0, np.abs(params), params)
    points, within = (
        np.asarray(POSITIONS(x.astype(np.float32), HUMAN))
        for x in (params, np.clip(bent, *LIMITED.limits.T))
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


SUITES = {
    "fit": Suite(
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
    ),
}


# Measuring


def serve(connection, suite: str, workload: str, name: str, batch: int, sample: int) -> None:
    """A contender's process: runs when told to, sends the time, the result and its memory."""
    items, contender = SUITES[suite].draw(batch)[workload], SUITES[suite].contenders[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = contender.build(items[:sample] if contender.one_by_one else items)
    while connection.recv():
        start = time.perf_counter()
        result = np.asarray(jax.block_until_ready(run()))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        connection.send((seconds, result, (peak - before) / 1024))


class Worker:
    """The parent's end of a contender's process."""

    def __init__(self, *task):
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(theirs, *task), daemon=True)
        self.process.start()
        theirs.close()

    def call(self, timeout_s: float):
        """One run: seconds, result, peak memory in MB; None if it fails or takes too long."""
        try:
            self.connection.send(True)
            return self.connection.recv() if self.connection.poll(timeout_s) else None
        except (EOFError, OSError):
            return None


def compare(suite: str, workload: str, names: list[str]) -> list[dict]:
    """Rows of the table for one workload."""
    task = (_BATCH.value, _SAMPLE.value)
    workers = {name: Worker(suite, workload, name, *task) for name in names}
    first, last, seconds = {}, {}, {name: [] for name in names}
    try:
        for turn in range(_ROUNDS.value + 1):
            for name, worker in list(workers.items()):
                answer = worker.call(_TIMEOUT_S.value)
                if answer is None:
                    print(f"{name} is out: it failed or took over {_TIMEOUT_S.value:g} s.")
                    workers.pop(name).process.kill()
                elif turn == 0:
                    first[name] = answer[0]
                else:
                    seconds[name].append(answer[0])
                    last[name] = answer
    finally:
        for worker in workers.values():
            worker.process.kill()
    results = {name: last[name][1] for name in workers}
    each = {name: 1e3 * statistics.median(seconds[name]) / len(results[name]) for name in results}
    judged = SUITES[suite].judge(SUITES[suite].draw(_BATCH.value)[workload], results)
    base = each.get(next(iter(SUITES[suite].contenders)))
    return [
        {
            "workload": workload,
            "contender": name,
            "items": len(results[name]),
            "ms per item": each[name],
            "ratio": each[name] / base if base else None,
            "first call s": first[name],
            "peak MB": last[name][2],
            **judged[name],
        }
        for name in results
    ]


def choose(kind: str, wanted: list[str] | None, known) -> list[str]:
    """The names wanted, or all; each must be known."""
    if unknown := [name for name in wanted or () if name not in known]:
        raise app.UsageError(f"there is no {kind} {unknown}; choose from {list(known)}.")
    return wanted or list(known)


def installed(names: list[str], contenders: dict[str, Contender]) -> list[str]:
    """Those that can run; says which cannot."""
    missing = {name for name in names if util.find_spec(contenders[name].package) is None}
    for name in missing:
        print(f"{name} is skipped: {contenders[name].package} is not installed (extra bench).")
    return [name for name in names if name not in missing]


def describe_machine() -> dict:
    """What the numbers depend on."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    packages = ("jax", "jaxlib", "numpy", "scipy", "optimistix")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.system(),
        "python": platform.python_version(),
        **{p: metadata.version(p) for p in packages if util.find_spec(p)},
    }


def format_table(rows: list[dict]) -> str:
    """Aligned columns, numbers to four digits."""
    cells = [list(rows[0])] if rows else []
    cells += [[f"{x:.4g}" if isinstance(x, float) else str(x) for x in r.values()] for r in rows]
    columns = []
    for i, column in enumerate(zip(*cells, strict=True)):
        align, width = (str.ljust if i < 2 else str.rjust), max(map(len, column))
        columns.append([align(cell, width) for cell in column])
    return "\n".join("  ".join(line) for line in zip(*columns, strict=True))


def main(_) -> None:
    machine, tables = describe_machine(), {}
    settings = {"batch": _BATCH.value, "sample": _SAMPLE.value, "rounds": _ROUNDS.value}
    print(", ".join(f"{key} {value}" for key, value in (machine | settings).items()))
    wanted = None if _SUITE.value == "all" else [_SUITE.value]
    for name in choose("suite", wanted, SUITES):
        suite = SUITES[name]
        workloads = choose("workload", _WORKLOADS.value, suite.draw(1))
        contenders = choose("contender", _CONTENDERS.value, suite.contenders)
        contenders = installed(contenders, suite.contenders)
        tables[name] = [row for work in workloads for row in compare(name, work, contenders)]
        print(f"\n{name}\n{format_table(tables[name])}")
    if _OUTPUT.value:
        report = {"machine": machine, "settings": settings, "suites": tables}
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
