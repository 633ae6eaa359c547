"""SIGTERM and Ctrl-C: noted, so that a training can save before it ends."""

import contextlib
import signal
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils


class Stopped(Exception):  # noqa: N818 - no error
    """A signal ended the training; its state is saved."""

    def __init__(self, step: int, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.step, self.signum = step, signum


@contextlib.contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Notes SIGTERM and Ctrl-C in a list; a second Ctrl-C interrupts as usual.

    Does nothing outside the main thread, where signals cannot be caught.
    """
    noted, former = [], {}

    def note(signum, frame):
        if signum == signal.SIGINT and noted:
            raise KeyboardInterrupt
        noted.append(signum)

    # Under jax.distributed SIGTERM belongs to the service that tells all processes of it.
    caught = [signal.SIGINT] + ([signal.SIGTERM] if jax.process_count() == 1 else [])
    try:
        with contextlib.suppress(ValueError):
            for signum in caught:
                former[signum] = signal.signal(signum, note)
        yield noted
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)


def is_stopped(signals: list[int], step: int) -> bool:
    """Whether to end after this step: the same answer in all processes.

    Args:
      signals: of `signals_noted`.
      step: the same in all processes.

    Returns:
      The answer.
    """
    if jax.process_count() == 1:
        return bool(signals)
    if signals:
        raise KeyboardInterrupt  # the others cannot know of it
    return multihost_utils.reached_preemption_sync_point(step)
