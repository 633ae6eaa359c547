"""Laws of the progress of long work."""

import io

import pytest
from absl import logging

from kinpose import progress


@pytest.mark.parametrize("is_terminal", [True, False])
def test_items_pass_through_in_order(monkeypatch, is_terminal):
    terminal = io.StringIO()
    terminal.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stderr", terminal)
    items = [3, 1, 2]
    assert list(progress.show_progress(items, "x", unit="y")) == items


def test_lines_say_how_far_the_work_has_come(monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", -1.0)
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
    list(progress._lines([10, 5], "fitting", "frames", lambda item: item, 15))
    assert [line[:24] for line in lines] == ["fitting: 10 of 15 frames", "fitting: 15 of 15 frames"]
