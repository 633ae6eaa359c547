"""Progress of long work, as in `kinpose.progress`."""

from kinpose.progress import show_progress

__all__ = ["show_progress"]
