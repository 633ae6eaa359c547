"""What a benchmark is made of."""

from collections.abc import Callable
from typing import NamedTuple


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
