"""Tries to lose something: kills, signals, full disks, lost processes, damaged and made-up files.

  python -m experiments.torture --suite=fuzz --tries=200 --seed=0

Prints a table: what is promised, how often it was tried and held, and what fell short. Suites of
programs (kill, signals, disks, hosts) take some ten seconds a try.
"""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from absl import app, flags, logging

from experiments.program import run_program

SUITES = ("kill", "corrupt", "signals", "fuzz", "disks", "hosts")


def define_flags():
    """The flags of `main`; `experiments.benchmark` has one of the same name."""
    flags.DEFINE_enum("suite", "fuzz", SUITES, "What to try.")
    flags.DEFINE_integer("tries", 20, "Of each promise; of the kinds of files, each.", 1)
    flags.DEFINE_integer("seed", 0, "Of all that is random.", 0)
    flags.DEFINE_string("torture_dir", None, "Where to write; by default a temporary one.")


class Row(NamedTuple):
    """A promise and how it was held.

    Attributes:
      promise: in a few words.
      tries: how often it was tried.
      failures: what fell short, a sentence each.
    """

    promise: str
    tries: int
    failures: Sequence[str]


def main(argv):
    """Runs a suite; the exit status is 1 where a promise was not held."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}.")
    logging.set_verbosity(logging.ERROR)
    given = flags.FLAGS
    with tempfile.TemporaryDirectory(dir=given.torture_dir) as directory:
        rows = run_suite(given.suite, given.tries, given.seed, pathlib.Path(directory))
    print(format_table(rows))
    if any(row.failures for row in rows):
        raise SystemExit(1)


def run_suite(suite: str, tries: int, seed: int, directory: pathlib.Path) -> list[Row]:
    """Runs a suite.

    Args:
      suite: of `SUITES`.
      tries: of each promise.
      seed: of all that is random.
      directory: an empty one.

    Returns:
      A row for each promise.
    """
    from experiments import torture_files, torture_runs

    module = torture_files if suite in ("corrupt", "fuzz") else torture_runs
    try:
        return [Row(*row) for row in getattr(module, suite)(tries, seed, directory)]
    finally:
        torture_runs.end_all()


def format_table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| promise | tries | held | what fell short |", "|---|---|---|---|"]
    for promise, tries, failures in rows:
        short = "; ".join(sorted(set(failures))[:3]).replace("|", "/").replace("\n", " ")
        lines.append(f"| {promise} | {tries} | {tries - len(failures)} | {short} |")
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    run_program(main)
