"""How every binary here begins and ends."""

import contextlib
import gc
import logging
import os
import pathlib
import sys
from collections.abc import Callable

import absl.logging
import jax
from absl import app, flags

from kinpose.hosts import end_process, leave_processes, wait_for_watch
from kinpose.stopping import Interrupted, Stopped, signals_raised

_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Where compiled programs are kept, so that the next run starts faster; by default "
    "JAX_COMPILATION_CACHE_DIR or the user's cache folder; empty: nowhere.",
)


_GARBAGE = 100_000
"""New objects after which Python looks for garbage, in place of 700: traces are millions, and none
is garbage."""


def run_program(main: Callable[[list[str]], object]) -> None:
    """Entry point: a user's mistake, a signal or a full disk ends in one line, not in a traceback.

    What is compiled is kept for the next run.

    Args:
      main: takes the command line, as absl passes it.

    Raises:
      SystemExit: when the work is done. After a failure the process ends at once, as threads of
        libraries may wait for ever or crash.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)  # which devices are absent
    _quiet_orbax()

    def run(argv):
        _keep_compiled()
        gc.set_threshold(_GARBAGE)
        try:
            return main(argv)
        finally:
            gc.freeze()  # or the interpreter's end looks through all that was traced

    try:
        with signals_raised():
            app.run(run)
    except Stopped as end:
        leave_processes()
        _end(str(end), 128 + end.signum)
    except Interrupted as end:
        _end(str(end), 128 + end.signum)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        wait_for_watch()
        _end(f"error: {error}", 1)
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized():
            raise
        wait_for_watch()
        _end(f"error: with another process: {str(error).splitlines()[0][:200]}", 1)


def _end(sentence: str, status: int):
    with contextlib.suppress(OSError):  # of a pipe that nobody reads
        sys.stdout.flush()
    end_process(sentence, status)


def _keep_compiled():
    """Entries of other versions, flags and machines are told apart by JAX; broken ones skipped."""
    folder = _CACHE.value
    if folder is None and not jax.config.jax_compilation_cache_dir:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        folder = pathlib.Path(home) / "kinpose" / "compiled"
    if folder is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder) or None)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _quiet_orbax():
    """Keeps Orbax's twenty lines per checkpoint out of the log; its warnings stay."""
    handler = absl.logging.get_absl_handler()
    handle = handler.handle

    def handle_others(record):
        if record.levelno > logging.INFO or f"{os.sep}orbax{os.sep}" not in record.pathname:
            handle(record)

    handler.handle = handle_others
