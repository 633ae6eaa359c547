"""How every binary here begins and ends: as those of `kinpose.apps`."""

from kinpose.apps.program import run_program

__all__ = ["run_program"]
