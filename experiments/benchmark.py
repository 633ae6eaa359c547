"""Speed and quality beside the peers.

  python -m experiments.benchmark --suite=fit --batch=4096 --output=fit.json
  python -m experiments.benchmark --suite=fk --batch=1,256,4096,65536
  python -m experiments.benchmark --suite=page --output=page.json  # all tables of the README

Every contender runs in a process of its own, so that no thread pool or allocator disturbs
another and one that hangs can be given up. The parent lets them work in turn, round after
round, and judges what they return by the same float64 kinematics. A round is as many calls as
take `_ROUND_S`, each waited for, after one that is not timed. The first call includes what is
compiled and brought to the device, not the import of the contender's package. One whose
results are wrong has no time.
"""

import importlib
import json
import multiprocessing
import os
import pathlib
import resource
import shutil
import statistics
import time
from collections.abc import Sequence
from importlib import util
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting OpenMP threads stall the others

import jax
from absl import app, flags

from experiments.benchmark_fit import FIT
from experiments.benchmark_fk import FK
from experiments.benchmark_ik import IK
from experiments.benchmark_page import PAGE, format_page
from experiments.benchmark_report import describe_machine, format_table
from experiments.benchmark_resnet import RESNET
from experiments.benchmark_suite import Contender, Plan
from experiments.benchmark_toynet import TOYNET

_SUITE = flags.DEFINE_string("suite", "fit", "Measured: fk, fit, ik, resnet, toynet; or page.")
_CONTENDERS = flags.DEFINE_list("contenders", None, "Names to run; by default all of the suite.")
_WORKLOADS = flags.DEFINE_list("workloads", None, "Names to run; by default all of the suite.")
_BATCH = flags.DEFINE_list("batch", ["4096"], "Items per call, one number or several.")
_SAMPLE = flags.DEFINE_integer("sample", 64, "Items for those that take one at a time.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed rounds of each; the median counts.", 1)
_TIMEOUT_S = flags.DEFINE_float("timeout_s", 300.0, "A call that takes longer is given up.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")


_ROUND_S = 0.1
"""Shortest round: the clock and the first of many tiny calls weigh little in it."""

_PER_SECOND = {"ms": 1e3, "us": 1e6}

SUITES = {"fk": FK, "fit": FIT, "ik": IK, "resnet": RESNET, "toynet": TOYNET}


class Answer(NamedTuple):
    """What a contender's process sends of a round: time per call, what the judge reads, memory."""

    seconds: float
    result: object
    peak_mb: float


def serve(connection, suite: str, workload: str, name: str, batch: int, sample: int) -> None:
    """A contender's process: answers when told to, the first time with one call, just built."""
    items, contender = SUITES[suite].draw(batch)[workload], SUITES[suite].contenders[name]
    importlib.import_module(contender.package)
    before, run = peak_mb(), None
    while connection.recv():
        start = time.perf_counter()
        first = run is None
        if first:
            run = contender.build(items[:sample] if contender.one_by_one else items)
        result, calls = jax.block_until_ready(run()), 1
        if not first and time.perf_counter() - start < _ROUND_S:
            start = time.perf_counter()
            result, calls = repeat(run, start + _ROUND_S)
        seconds = (time.perf_counter() - start) / calls
        connection.send(Answer(seconds, SUITES[suite].keep(result), peak_mb() - before))


def repeat(run, until: float):
    """Calls until the clock shows a time; returns the last result and the number of calls."""
    calls = 0
    while not calls or time.perf_counter() < until:
        result = jax.block_until_ready(run())
        calls += 1
    return result, calls


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Worker:
    """The parent's end of a contender's process."""

    def __init__(self, *task):
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(theirs, *task), daemon=True)
        self.process.start()
        theirs.close()

    def call(self, timeout_s: float) -> Answer | None:
        """One round; None if it fails or takes too long."""
        try:
            self.connection.send(True)
            return self.connection.recv() if self.connection.poll(timeout_s) else None
        except (EOFError, OSError):
            return None


def race(plan: Plan, workload: str, batch: int, names: list[str]) -> dict[str, list[Answer]]:
    """Answers of those that last to the end, the first call and all rounds."""
    workers = {name: Worker(plan.suite, workload, name, batch, plan.sample) for name in names}
    answers = {name: [] for name in names}
    try:
        for _ in range(plan.rounds + 1):
            for name, worker in list(workers.items()):
                answer = worker.call(_TIMEOUT_S.value)
                answers[name].append(answer)
                if answer is None:
                    print(f"{name} is out: it failed or took over {_TIMEOUT_S.value:g} s.")
                    workers.pop(name).process.kill()
    finally:
        for worker in workers.values():
            worker.process.kill()
    return {name: answers[name] for name in workers}


def compare(plan: Plan, workload: str, batch: int, answers: dict[str, list]) -> list[dict]:
    """Rows of the table for one workload."""
    suite = SUITES[plan.suite]
    results = {name: rounds[-1].result for name, rounds in answers.items()}
    judged = suite.judge(suite.draw(batch)[workload], results)
    items, each = {}, {}
    for name, (_, *rounds) in answers.items():
        items[name] = min(batch, plan.sample) if suite.contenders[name].one_by_one else batch
        seconds = statistics.median(answer.seconds for answer in rounds) / items[name]
        each[name] = seconds * _PER_SECOND[suite.unit] if judged[name].get("right", True) else None
    base = each.get(next(iter(suite.contenders)))
    return [
        {
            "workload": workload,
            "contender": name,
            "batch": batch,
            "items": items[name],
            f"{suite.unit} per item": each[name],
            "ratio": each[name] / base if base and each[name] else None,
            "first call s": rounds[0].seconds,
            "peak MB": rounds[-1].peak_mb,
            **judged[name],
        }
        for name, rounds in answers.items()
    ]


def measure(plan: Plan) -> list[dict]:
    """The table of one suite."""
    suite, rows = SUITES[plan.suite], []
    workloads = choose("workload", plan.workloads, suite.draw(1))
    wanted = choose("contender", plan.contenders, suite.contenders)
    names = installed(wanted, suite.contenders)
    for batch in plan.batch:
        fitting = suite.draw(batch)
        for workload in workloads:
            if workload not in fitting:
                print(f"{workload} is left out at batch {batch}: too large.")
                continue
            able = [n for n in names if workload.endswith(suite.contenders[n].endings)]
            found = compare(plan, workload, batch, race(plan, workload, batch, able))
            for lacking in [n for n in wanted if n not in names]:
                row = {"workload": workload, "contender": f"{lacking} (not installed)"}
                found += [dict.fromkeys(found[0]) | row] if found else []
            rows += found
    return rows


def choose(kind: str, wanted: Sequence[str] | None, known) -> Sequence[str]:
    """The names wanted, or all; each must be known."""
    if unknown := [name for name in wanted or () if name not in known]:
        raise app.UsageError(f"there is no {kind} {unknown}; choose from {list(known)}.")
    return wanted or list(known)


def batches(words: list[str]) -> list[int]:
    """The sizes written in a flag."""
    if not words or not all(word.strip().isdecimal() and int(word) for word in words):
        raise app.UsageError(f"batch must be positive whole numbers, but got {words}.")
    return [int(word) for word in words]


def installed(names: list[str], contenders: dict[str, Contender]) -> list[str]:
    """Those that can run; says which cannot."""
    missing = {}
    for name in names:
        package, program = contenders[name].package, contenders[name].program
        if not has_package(package):
            missing[name] = f"{package} is not installed (extra bench)"
        elif program and not shutil.which(program):
            missing[name] = f"there is no program {program}"
    for name, reason in missing.items():
        print(f"{name} is skipped: {reason}.")
    return [name for name in names if name not in missing]


def has_package(name: str) -> bool:
    """Whether a package, or one inside another, can be found."""
    parts = name.split(".")
    above = ".".join(parts[:-1])
    return (not above or has_package(above)) and util.find_spec(name) is not None


def write(report: dict) -> None:
    """The report so far, where one is wanted."""
    if _OUTPUT.value:
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(report, indent=2) + "\n")


def main(_) -> None:
    machine = describe_machine()
    (name,) = choose("suite", [_SUITE.value], [*SUITES, "page"])
    if name == "page":
        tables: list[list[dict]] = []
        for table in PAGE:
            print(f"{len(tables) + 1} of {len(PAGE)}: {table.title}", flush=True)
            tables.append([row for plan in table.plans for row in measure(plan)])
            write({"machine": machine, "page": tables})
        print(format_page(machine, tables))
        return
    chosen = _WORKLOADS.value, _CONTENDERS.value
    plan = Plan(name, batches(_BATCH.value), *chosen, _SAMPLE.value, _ROUNDS.value)
    settings = {"batch": plan.batch, "sample": plan.sample, "rounds": plan.rounds}
    print(", ".join(f"{key} {value}" for key, value in (machine | settings).items()))
    rows = measure(plan)
    print(f"\n{name}\n{format_table(rows)}")
    write({"machine": machine, "settings": settings, "suites": {name: rows}})


if __name__ == "__main__":
    app.run(main)
