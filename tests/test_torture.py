"""Laws of what is never lost: some tries of each suite of `experiments.torture`."""

import pytest

from experiments.torture import format_table, run_suite

pytest.importorskip("cdflib", reason="files of Human3.6M need the extra human36m")


def assert_held(suite, tries, directory):
    rows = run_suite(suite, tries, 0, directory)
    assert not any(row.failures for row in rows), format_table(rows)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("suite", "tries"), [("corrupt", 30), ("fuzz", 20)])
def test_damaged_files_are_passed_over_or_refused_by_name(suite, tries, tmp_path):
    assert_held(suite, tries, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "tries"), [("kill", 5), ("signals", 4), ("disks", 1)])
def test_programs_lose_nothing(suite, tries, tmp_path):
    assert_held(suite, tries, tmp_path)


@pytest.mark.slow
def test_of_two_processes_none_is_left_alone(tmp_path):
    assert_held("hosts", 1, tmp_path)
