"""Reading in a process of its own, for libraries in C that a damaged file may lead anywhere.

HDF5 has asked for 4 GB for a file of 9 kB, and has counted for ever. The process that reads may
take a few times the file's size and some minutes; how it ends becomes one sentence.
"""

import contextlib
import inspect
import io
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable

import numpy as np

_MOST_MEMORY = 1 << 28
"""Bytes beyond three times the file's size; where the system can hold a process to it."""

_MOST_S = 60.0
"""Of a core, and a second more for each megabyte."""


def read_apart(read: Callable[..., dict[str, np.ndarray]], path, *arguments) -> dict:
    """What a function reads from a file.

    Args:
      read: a function of a path and of the arguments, which returns arrays by their names. Its
        module is run by itself and imports nothing of this package.
      path: of the file.
      arguments: numbers, texts and lists of these.

    Raises:
      ValueError: with what the function raised, or with how its process ended. It does not name
        the file.
    """
    call = [inspect.getfile(read), read.__name__, os.fspath(path), json.dumps(arguments)]
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        # -P: what stands beside this file is no module of Python's own.
        [sys.executable, "-P", __file__, *call],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode < 0:
        raise ValueError(f"reading it ended with {signal.Signals(-done.returncode).name}")
    if done.returncode:  # above the sentence may be warnings of libraries
        raise ValueError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    with np.load(io.BytesIO(done.stdout)) as arrays:
        return dict(arrays)


def _bound(size: int):
    """Holds this process to what a whole file of this size takes."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # where there are such bounds
        import resource

        seconds = int(_MOST_S + size / 2**20)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        most = now + 3 * size + _MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _main(script: str, name: str, path: str, arguments: str):
    try:
        read = runpy.run_path(script)[name]
        _bound(os.path.getsize(path))
        arrays = read(path, *json.loads(arguments))
        np.savez(sys.stdout.buffer, **arrays)
    except Exception as error:
        sys.exit(str(error) or type(error).__name__)


if __name__ == "__main__":
    _main(*sys.argv[1:])
