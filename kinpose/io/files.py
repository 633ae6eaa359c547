"""Files that appear whole or not at all."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A path beside the target, to write to, that takes the target's place at the end.

    Whoever reads the target finds the old file or the new one, never half of it. After any
    failure, an interrupt included, the old file is still there and no other.

    Args:
      path: the target; what is there is replaced.

    Yields:
      The path to write to: same directory, same suffix. Close the file before the end.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     target = pathlib.Path(directory, "notes.txt")
      ...     with write_atomically(target) as temporary:
      ...         length = temporary.write_text("whole")
      ...     print(target.read_text())
      whole
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
