"""Packages that the core does without: whoever lacks one is told which extra has it."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports of packages of an extra of setup.cfg.

    Args:
      extra: its name.

    Raises:
      ModuleNotFoundError: naming the package and the extra, where one is missing.

    Example:
      >>> with needs("plot"):
      ...     import no_such_package
      Traceback (most recent call last):
      ...
      ModuleNotFoundError: no_such_package is missing: pip install 'kinpose[plot]'
    """
    try:
        yield
    except ImportError as error:
        message = f"{error.name} is missing: pip install 'kinpose[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from error
