"""Work in several processes: begun in order, handed out as it is done, ended by Ctrl-C."""

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
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

    Raises:
      OSError: when one of the processes is killed.
    """
    processes = processes or os.cpu_count() or 1
    if processes == 1:
        for item in items:
            yield item, _result(lambda item=item: function(item))
        return
    items, running = iter(items), {}
    context, others = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    with (
        _one_thread_each(),
        concurrent.futures.ProcessPoolExecutor(processes, context, _start_worker) as pool,
    ):
        try:
            while True:
                for item in itertools.islice(items, processes * _AHEAD - len(running)):
                    with _ctrl_c_blocked():  # a process that begins has no handler yet
                        running[pool.submit(_work, function, item)] = item
                if not running:
                    return
                done, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                for future in done:
                    yield running.pop(future), _result(future.result)
        except concurrent.futures.process.BrokenProcessPool:
            raise OSError(
                "a worker process was killed, as for want of memory; the same command goes on."
            ) from None
        finally:
            if running:
                for process in set(multiprocessing.active_children()) - set(others):
                    process.terminate()
            pool.shutdown(cancel_futures=True)


def _work(function, item):
    try:
        return function(item)
    except SystemExit:  # by `_start_worker`: the pool would go on
        os._exit(1)


def _result(call):
    try:
        return call()
    except ValueError as error:
        return error


def _start_worker() -> None:
    """Lets the parent alone answer Ctrl-C, and ends with it, however it ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so what is half written goes

    def follow():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """For this thread, until the end, and for processes that begin within it."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


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
