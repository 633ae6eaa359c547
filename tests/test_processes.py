"""Laws of work in several processes: what kills one of them ends the work in one error."""

import os
import signal

import pytest

from data.processes import run_in_processes


def die_or_double(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def test_results_come_with_their_items():
    assert sorted(run_in_processes(die_or_double, [0, 1, 2], 2)) == [(0, 0), (1, 2), (2, 4)]


def test_a_killed_process_is_one_error():
    with pytest.raises(OSError, match="a worker process was killed"):
        list(run_in_processes(die_or_double, range(8), 2))


def test_ctrl_c_is_the_parents_alone():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert list(run_in_processes(blocked, [0], 2)) == [(0, True)]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def blocked(_):
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
