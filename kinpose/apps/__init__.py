"""The tool `kinpose`, and how from Python to do what it does: read, understand, fit a recording.

A module per verb; they are absl binaries. What they share, but for `program` and `progress`, is
private.
"""

import importlib

from kinpose.extras import needs

with needs("tool"):
    import absl  # noqa: F401

_PUBLIC = {
    "Settings": "_reading",
    "fit_recording": "_fit_recording",
    "read_input": "_reading",
    "understand": "_understand",
}
"""Names and the modules that are imported when they are used."""

__all__ = ["Settings", "fit_recording", "read_input", "understand"]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"kinpose.apps.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'kinpose.apps' has no attribute {name!r}")
