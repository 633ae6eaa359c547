"""The command `kinpose VERB ...`: each verb is a module, imported when it is used.

Such a module has a docstring, which is its help; `define_flags()`; and `main(argv)`, as of absl.
"""

import importlib
import sys
import types

from absl import flags

from kinpose import __version__
from kinpose.apps.program import run_program

VERBS = {
    "fit": "joint angles out of a recording",
    "video": "a person's points out of a video, for fit",
    "retarget": "a recording for another skeleton",
    "convert": "a recording from one file format to another",
    "compare": "the angles of several fits: curves and a table",
    "view": "skeletons and recordings in a browser, or as one page",
}
"""Modules of `kinpose.apps` and what they do."""


def main() -> None:
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
    run_verb(verb)


def run_verb(verb: types.ModuleType) -> None:
    """Runs a verb with the flags of `sys.argv`.

    Raises:
      SystemExit: always.
    """
    verb.define_flags()
    for flag in flags.FLAGS.flags_by_module_dict()[verb.__name__]:
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)  # those that --help shows
    sys.modules["__main__"].__doc__ = verb.__doc__
    run_program(verb.main)


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  kinpose {name:{width}}  {what}" for name, what in VERBS.items()]
    return "\n".join([*lines, "kinpose VERB --help tells the flags of each."])
