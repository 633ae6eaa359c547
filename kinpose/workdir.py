"""The directory of a run: the settings that it belongs to, and its metrics."""

import json
import math
import pathlib
from collections.abc import Mapping
from importlib import util
from typing import Any

import jax

from kinpose.io.files import write_atomically

_SETTINGS = "flags.json"
_METRICS = "metrics.jsonl"


def claim_workdir(workdir, settings: Mapping[str, Any]) -> pathlib.Path:
    """Makes a directory for runs of these settings, or finds the one that has them.

    Under several processes the first one looks and writes; if it refuses, all of them end.

    Args:
      workdir: where the runs write.
      settings: values by name, such as JSON can hold.

    Returns:
      The directory.

    Raises:
      ValueError: for a directory of other settings, naming each difference, and for one that
        holds something else.
    """
    workdir = pathlib.Path(workdir)
    path = workdir / _SETTINGS
    if jax.process_index() != 0:
        return workdir
    settings = json.loads(json.dumps(settings))
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"workdir must be a directory, but {workdir} is a file.")
    if not path.exists():
        if workdir.exists() and any(workdir.iterdir()):
            raise ValueError(
                f"workdir must be new or of an earlier run, but {workdir} has files and no "
                f"{_SETTINGS}."
            )
        workdir.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as part:
            part.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        return workdir
    try:
        there = dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}); give another workdir.") from error
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
    return workdir


class MetricsWriter:
    """Appends metrics to metrics.jsonl, and to TensorBoard where tensorboardX is installed.

    A context manager. Under several processes only the first one writes.

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
        self._file = self._board = None
        if jax.process_index() != 0:
            return
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_metrics(directory) if row["step"] <= first_step]
        with write_atomically(directory / _METRICS) as part:
            part.write_text("".join(_as_line(row) for row in kept), encoding="utf-8")
        self._file = open(directory / _METRICS, "a", encoding="utf-8")  # noqa: SIM115
        if util.find_spec("tensorboardX"):
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=first_step + 1)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for out in (self._file, self._board):
            if out is not None:
                out.close()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a line; numbers that are not finite become null.

        Args:
          step: steps done.
          metrics: numbers by name.
        """
        if self._file is None:
            return
        row = {"step": step} | {name: float(value) for name, value in metrics.items()}
        self._file.write(_as_line(row))
        self._file.flush()
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, float(value), step)


def read_metrics(directory) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, oldest first; a last line cut short by a kill is left out."""
    path = pathlib.Path(directory) / _METRICS
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines]


def _as_line(row: Mapping[str, Any]) -> str:
    finite = {name: x if x is None or math.isfinite(x) else None for name, x in row.items()}
    return json.dumps(finite) + "\n"
