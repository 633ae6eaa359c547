"""Files that appear whole or not at all, and JSON files that name themselves when damaged."""

import contextlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A path beside the target, to write to, that takes the target's place at the end.

    Whoever reads the target finds the old file or the new one, never half of it. After any
    failure, an interrupt included, the old file is still there and no other.

    Args:
      path: the target; what is there is replaced.

    Yields:
      The path to write to: same directory, same suffix. Close the file before the end.

    Raises:
      OSError: naming the target, when the disk is full or the like.

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
        with naming_errors(path, temporary):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_errors(path: str | os.PathLike, *others: str | os.PathLike) -> Iterator[None]:
    """Gives an OSError that names no file, or one of the others, the name of this one."""
    try:
        yield
    except OSError as error:
        nameless = error.filename in (None, *map(os.fspath, others))
        if nameless and error.errno is not None:
            error.filename = os.fspath(path)
            if error.filename2 is not None:
                del error.filename2  # None would be printed
        raise


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """A JSON file that holds an object.

    Args:
      path: of the file.

    Returns:
      Values by name.

    Raises:
      ValueError: naming the file, for one that is damaged or holds anything else.
    """
    try:
        value = json.loads(pathlib.Path(path).read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} is not a whole JSON file: {error}.") from None
    if not isinstance(value, dict):
        raise ValueError(
            f"{os.fspath(path)} must hold a JSON object, but holds {type(value).__name__}."
        )
    return value
