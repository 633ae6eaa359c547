"""Files of poses and skeletons: each format is known in one module."""

from kinpose.io.recordings import load_recording, save_recording

__all__ = ["load_recording", "save_recording"]
