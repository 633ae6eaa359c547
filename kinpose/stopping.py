"""SIGTERM and Ctrl-C: noted, so that a training can save before it ends."""

import contextlib
import itertools
import signal
from collections.abc import Iterator, Sequence

import jax
from jax.experimental import multihost_utils

_SYNC_POINTS = itertools.count(1)
"""Of all trainings of a program: jax.distributed wants numbers that rise."""


class Stopped(Exception):  # noqa: N818 - no error
    """A signal ended the training; its state is saved."""

    def __init__(self, step: int, signals: Sequence[int] = ()):
        self.step, self.signum = step, [*signals, signal.SIGTERM][0]
        name = signal.Signals(self.signum).name
        super().__init__(f"stopped by {name} after step {step}; the same run goes on from there")


class Interrupted(KeyboardInterrupt):
    """SIGTERM or Ctrl-C, where nothing is to be saved."""

    def __init__(self, signum: int):
        super().__init__(f"ended by {signal.Signals(signum).name}")
        self.signum = signum


@contextlib.contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Notes SIGTERM and Ctrl-C in a list; a second Ctrl-C interrupts.

    Does nothing outside the main thread, where signals cannot be caught.
    """
    noted = []

    def note(signum, frame):
        if signum == signal.SIGINT and noted:
            raise Interrupted(signum)
        noted.append(signum)

    with _handled_by(note):
        yield noted


@contextlib.contextmanager
def signals_raised() -> Iterator[None]:
    """SIGTERM and Ctrl-C raise `Interrupted`, so that what is half done is undone."""

    def interrupt(signum, frame):
        raise Interrupted(signum)

    with _handled_by(interrupt):
        yield


@contextlib.contextmanager
def _handled_by(handler):
    # Under jax.distributed SIGTERM belongs to the service that tells all processes of it.
    caught = [signal.SIGINT] + ([signal.SIGTERM] if not jax.distributed.is_initialized() else [])
    former = {}
    try:
        with contextlib.suppress(ValueError):
            for signum in caught:
                former[signum] = signal.signal(signum, handler)
        yield
    finally:
        for signum, known in former.items():
            signal.signal(signum, known)


def is_stopped(signals: Sequence[int]) -> bool:
    """Whether to end now: the same answer in all processes, which ask equally often.

    Args:
      signals: of `signals_noted`.

    Returns:
      The answer.
    """
    if jax.process_count() == 1:
        return bool(signals)
    if signals:
        raise Interrupted(signals[0])  # the others cannot know of it
    return multihost_utils.reached_preemption_sync_point(next(_SYNC_POINTS))
