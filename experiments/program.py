"""How every binary here begins and ends."""

import logging
import os

import absl.logging
from absl import app


def run_program(main):
    """Entry point: a user's mistake ends in one line, not in a traceback.

    Args:
      main: takes the command line, as absl passes it.

    Raises:
      SystemExit: always.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)  # which devices are absent
    _quiet_orbax()
    try:
        app.run(main)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None


def _quiet_orbax():
    """Keeps Orbax's twenty lines per checkpoint out of the log; its warnings stay."""
    handler = absl.logging.get_absl_handler()
    handle = handler.handle

    def handle_others(record):
        if record.levelno > logging.INFO or f"{os.sep}orbax{os.sep}" not in record.pathname:
            handle(record)

    handler.handle = handle_others
