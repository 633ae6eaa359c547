"""Ctrl-C while the command `kinpose` imports for a second: imported before all else.

After that it raises `kinpose.stopping.Interrupted`, which undoes what is half done.
"""

import os
import signal
import sys


def _is_command() -> bool:
    """Whether this process is `kinpose` or `python -m kinpose`, no program that imports it."""
    program = (getattr(sys, "argv", None) or [""])[0]
    if program != "-m":  # which stands there while packages of the module are imported
        return os.path.splitext(os.path.basename(program))[0] == "kinpose"
    given = sys.orig_argv
    return "-m" in given and given[given.index("-m") + 1 :][:1] == ["kinpose"]


def _end(signum, frame):
    os.write(2, b"ended by SIGINT\n")
    os._exit(128 + signum)


if _is_command():
    signal.signal(signal.SIGINT, _end)
