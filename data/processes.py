"""Work in several processes: begun in order, handed out as it is done, ended by Ctrl-C."""

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_AHEAD = 4  # items that wait for a process, per process


def run_in_processes(
    function: Callable[[Any], Any], items: Iterable, processes: int | None = None
) -> Iterator[tuple[Any, Any]]:
    """Calls a function on each item, several at the same time.

    A few items per process are taken ahead, so `items` may be a generator of large ones.

    Args:
      function: of a module, so that other processes find it. What it writes must appear whole or
        not at all (`kinpose.io.files.write_atomically`): it may be ended at any time.
      items: what to work on; values that can be pickled.
      processes: that work at the same time; the number of cores by default. 1: this one.

    Yields:
      Each item and its result, in the order in which they are done. A ValueError that the
      function raises is the item's result; any other error ends the work.
    """
    processes = processes or os.cpu_count() or 1
    if processes == 1:
        for item in items:
            yield item, _result(lambda item=item: function(item))
        return
    items, running = iter(items), {}
    context = multiprocessing.get_context("spawn")
    with (
        _one_thread_each(),
        concurrent.futures.ProcessPoolExecutor(processes, context, _start_worker) as pool,
    ):
        try:
            while True:
                for item in itertools.islice(items, processes * _AHEAD - len(running)):
                    running[pool.submit(function, item)] = item
                if not running:
                    return
                done, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                for future in done:
                    yield running.pop(future), _result(future.result)
        finally:
            pool.shutdown(cancel_futures=True)


def _result(call):
    try:
        return call()
    except ValueError as error:
        return error


def _start_worker() -> None:
    """Lets the parent alone answer Ctrl-C, and ends with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start within it do not split their matrix products among threads."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    former = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
