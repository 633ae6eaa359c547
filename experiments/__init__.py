"""Experiments: absl binaries, run from a checkout as `python -m experiments.NAME`."""

import os
import signal
import sys

if sys.argv[0] == "-m":  # one of them begins, and imports for seconds

    def _end(signum, frame):
        os.write(2, b"ended by SIGINT\n")
        os._exit(128 + signum)

    signal.signal(signal.SIGINT, _end)

if any(flag.startswith("--distributed") for flag in sys.argv):
    # `kinpose.hosts` says in one line what XLA logs in many; read when jaxlib is loaded.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
