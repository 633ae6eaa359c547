"""The directory of a run: the settings that it belongs to, and its metrics."""

import contextlib
import errno
import fcntl
import json
import math
import os
import pathlib
import platform
import re
import time
from collections.abc import Iterator, Mapping
from importlib import util
from typing import Any

import jax

from kinpose.extras import needs
from kinpose.io.files import naming_errors, read_json, write_atomically

with needs("train"):
    from absl import logging

_SETTINGS = "flags.json"
_METRICS = "metrics.jsonl"
_LOCK = ".lock"
_SEEN_S = 60
"""How late a network's file system may show what another machine wrote."""

_LEFT_BY_A_KILL = re.compile(rf"{re.escape(_LOCK)}|\.[0-9a-f]{{32}}\.\w+")


@contextlib.contextmanager
def claim_workdir(
    workdir: str | os.PathLike, settings: Mapping[str, Any]
) -> Iterator[pathlib.Path]:
    """Makes a directory for runs of these settings, or finds the one that has them, and locks it.

    Under several processes the first one looks, locks and writes; if it refuses, all of them end.

    Args:
      workdir: where the runs write.
      settings: values by name, such as JSON can hold.

    Yields:
      The directory; until the end of the context no other process can claim it. The system
      takes back the lock of a process that was killed.

    Raises:
      ValueError: for a directory of other settings, naming each difference, for one that holds
        something else, and for one that another process has claimed, naming it.
    """
    if "://" in os.fspath(workdir):
        raise ValueError(
            f"workdir must be a directory of this system, but {workdir} is an address; mount it."
        )
    workdir = pathlib.Path(workdir)
    if jax.process_index() != 0:
        yield workdir
        return
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"workdir must be a directory, but {workdir} is a file.")
    there = {path.name for path in workdir.iterdir()} if workdir.exists() else set()
    if _SETTINGS not in there and any(not _LEFT_BY_A_KILL.fullmatch(name) for name in there):
        raise ValueError(
            f"workdir must be new or of an earlier run, but {workdir} has files and no {_SETTINGS}."
        )
    workdir.mkdir(parents=True, exist_ok=True)
    with _locked(workdir):
        _check_settings(workdir, json.loads(json.dumps(settings)))
        yield workdir


def check_shared(workdir: pathlib.Path) -> None:
    """The gate of a claimed directory that other processes are to see, too.

    Raises:
      ValueError: in a process that does not see what the first one wrote, within a minute.
    """
    for _ in range(_SEEN_S):
        if jax.process_index() == 0 or (workdir / _SETTINGS).exists():
            return
        time.sleep(1.0)
    raise ValueError(
        f"{workdir.absolute()} must be a directory that all processes see, but process "
        f"{jax.process_index()} does not see what the first one wrote there."
    )


@contextlib.contextmanager
def _locked(workdir: pathlib.Path) -> Iterator[None]:
    path = workdir / _LOCK
    with open(path, "a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read(200) or "another process"
            raise ValueError(
                f"{workdir} is in use by {owner}; wait for it or give another workdir."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            logging.warning("%s cannot be locked; let no other run write there", workdir)
        with naming_errors(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
        yield


def _check_settings(workdir: pathlib.Path, settings: dict[str, Any]):
    """Writes the settings of a new directory; refuses others of an old one."""
    path = workdir / _SETTINGS
    if not path.exists():
        with write_atomically(path) as part:
            part.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        return
    try:
        there = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error} Give another workdir.") from None
    missing = "not set"
    changes = [
        f"{name}: {there.get(name, missing)} there, {settings.get(name, missing)} here"
        for name in sorted(there.keys() | settings.keys())
        if there.get(name, missing) != settings.get(name, missing)
    ]
    if changes:
        raise ValueError(
            f"{workdir} is of a run with other settings ({'; '.join(changes)}); give another "
            f"workdir or the settings of that run."
        )


class MetricsWriter:
    """Appends metrics to metrics.jsonl, and to TensorBoard where tensorboardX is installed.

    A context manager, which closes the latter. Under several processes only the first one writes.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     with MetricsWriter(directory) as writer:
      ...         writer.write(10, {"loss": 0.5})
      ...     read_metrics(directory)
      [{'step': 10, 'loss': 0.5}]
    """

    def __init__(self, directory, *, first_step: int = 0):
        """Opens the file.

        Args:
          directory: of one run; made if it is not there.
          first_step: of a run that is resumed. Lines of later steps, written after the
            checkpoint it comes from, are dropped; they will be written again.
        """
        self._path = self._board = None
        if jax.process_index() != 0:
            return
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_metrics(directory) if row["step"] <= first_step]
        self._path = directory / _METRICS
        with write_atomically(self._path) as part:
            part.write_text("".join(_as_line(row) for row in kept), encoding="utf-8")
        if util.find_spec("tensorboardX"):
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=first_step + 1)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._board is not None:
            self._board.close()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a line; numbers that are not finite become null.

        Args:
          step: steps done.
          metrics: numbers by name.

        Raises:
          OSError: naming the file, when it cannot be written.
        """
        if self._path is None:
            return
        row = {"step": step} | {name: float(value) for name, value in metrics.items()}
        with naming_errors(self._path), open(self._path, "a", encoding="utf-8") as file:
            file.write(_as_line(row))
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, float(value), step)


def read_metrics(directory: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, oldest first.

    A line that is damaged is left out, with a warning; a last line cut short by a kill, without.
    """
    path = pathlib.Path(directory) / _METRICS
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_checked_row(json.loads(line.decode())))
        except (ValueError, RecursionError) as error:
            logging.warning("%s: line %d is damaged and left out: %s", path, number, error)
    return rows


def _checked_row(row: Any) -> dict[str, Any]:
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        raise ValueError("it has no step")
    wrong = [name for name, x in row.items() if type(x) not in (int, float, type(None))]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no number")
    return row


def _as_line(row: Mapping[str, Any]) -> str:
    finite = {name: x if x is None or math.isfinite(x) else None for name, x in row.items()}
    return json.dumps(finite) + "\n"
