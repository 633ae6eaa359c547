"""Progress of long work: a bar on a terminal, log lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kinpose.extras import needs

with needs("train"):
    from absl import logging
    from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


def show_progress(
    items: Iterable,
    label: str,
    *,
    unit: str,
    count: Callable[[Any], float] = lambda item: 1,
    total: float | None = None,
) -> Iterator:
    """Passes items on and shows how far the work has come.

    Args:
      items: what to pass on.
      label: what is being done.
      unit: what is counted.
      count: how much of it an item is.
      total: how much there is in all; the number of items by default.

    Yields:
      The items.
    """
    total = len(items) if total is None else total
    show = _bar if sys.stderr.isatty() else _lines
    yield from show(items, label, unit, count, total)


def _bar(items, label, unit, count, total) -> Iterator:
    with tqdm(total=total, desc=label, unit=unit) as bar:
        for item in items:
            yield item
            bar.update(count(item))


def _lines(items, label, unit, count, total) -> Iterator:
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += count(item)
        now = time.monotonic()
        if now - last > _SECONDS_BETWEEN_LINES or done >= total:
            rate = done / max(now - start, 1e-9)
            left = (total - done) / rate if rate else float("inf")
            logging.info(
                "%s: %d of %d %s, %.0f per s, %.0f s left", label, done, total, unit, rate, left
            )
            last = now
