"""Progress of long work, as in `kinpose.apps`."""

from kinpose.apps.progress import show_progress

__all__ = ["show_progress"]
