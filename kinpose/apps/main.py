"""The command `kinpose VERB ...`: each verb is a module with a `main`, imported when it is used."""

import importlib
import sys

from kinpose import __version__
from kinpose.apps.program import run_program

VERBS = {
    "fit": "joint angles out of a recording",
    "convert": "a recording from one file format to another",
    "compare": "the angles of several fits: curves and a table",
}
"""Modules of `kinpose.apps` and what they do."""


def main():
    """The command, by `sys.argv`.

    Raises:
      SystemExit: always.
    """
    name, *args = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        raise SystemExit(print(_help()))
    if name == "--version":
        raise SystemExit(print(__version__))
    if name not in VERBS:
        raise SystemExit(f"error: {name} is no verb.\n{_help()}")
    sys.argv = [f"kinpose {name}", *args]
    try:
        verb = importlib.import_module(f"kinpose.apps.{name}")
    except ModuleNotFoundError as error:
        raise SystemExit(f"error: {error}") from None
    run_program(verb.main)


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  kinpose {name:{width}}  {what}" for name, what in VERBS.items()]
    return "\n".join([*lines, "kinpose VERB --help tells the flags of each."])
