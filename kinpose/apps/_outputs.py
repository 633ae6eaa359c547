"""Files that verbs write."""

import os


def refuse_existing(path: str, overwrite: bool) -> None:
    """The gate of a file to write, before any work.

    Raises:
      ValueError: where it is there, unless it may be replaced.
    """
    if os.path.exists(path) and not overwrite:
        raise ValueError(f"{path} exists; give --overwrite or another name.")
