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
from importlib import metadata, util

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting OpenMP threads stall the others

import jax
import numpy as np
from absl import app, flags

from experiments.benchmark_fit import FIT
from experiments.benchmark_suite import Contender
from experiments.benchmark_toynet import TOYNET

_SUITE = flags.DEFINE_string("suite", "fit", "What to measure: fit, toynet, or all.")
_CONTENDERS = flags.DEFINE_list("contenders", None, "Names to run; by default all of the suite.")
_WORKLOADS = flags.DEFINE_list("workloads", None, "Names to run; by default all of the suite.")
_BATCH = flags.DEFINE_integer("batch", 4096, "Items per call.", 1)
_SAMPLE = flags.DEFINE_integer("sample", 64, "Items for those that take one at a time.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed calls of each; the median counts.", 1)
_TIMEOUT_S = flags.DEFINE_float("timeout_s", 300.0, "A call that takes longer is given up.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")


SUITES = {"fit": FIT, "toynet": TOYNET}


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
    packages = ("jax", "jaxlib", "flax", "numpy", "scipy", "optimistix", "torch")
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
