"""What a benchmark is made of."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Contender(NamedTuple):
    """One way to do the work of a suite."""

    build: Callable  # from a workload to the function to time, which returns a row per item
    package: str = "kinpose"
    one_by_one: bool = False  # takes items one at a time, so gets a sample
    program: str = ""  # needed beside the package, such as a compiler
    endings: tuple[str, ...] = ("",)  # of the names of the workloads that it can do


class Suite(NamedTuple):
    """A comparison; the first contender is what the others are compared with."""

    draw: Callable  # from the batch size to workloads by name, without those too large
    contenders: dict[str, Contender]
    judge: Callable  # from a workload and all results by name to more columns by name
    keep: Callable = np.asarray  # from what a contender returns to what the judge reads
    unit: str = "ms"  # of a time per item


class Plan(NamedTuple):
    """What to measure of a suite, and how often."""

    suite: str
    batch: Sequence[int]
    workloads: Sequence[str] | None = None  # by default all, as of contenders
    contenders: Sequence[str] | None = None
    sample: int = 64  # items for those that take one at a time
    rounds: int = 5  # timed ones of each


def verdict(difference: float, tolerance: float) -> dict:
    """A judge's columns; the times of a contender that is not right do not count."""
    return {"difference": float(difference), "right": bool(difference <= tolerance)}
