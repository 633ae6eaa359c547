"""Reading in a process of its own: what it returns, and how it may end."""

import os
import sys

import numpy as np
import pytest

from kinpose.io._apart import read_apart


def echo(path, *arguments):
    with open(path, "rb") as file:
        content = np.frombuffer(file.read(), np.uint8)
    return {"a/content": content, "numbers": np.array(arguments)}


def refuse(path):
    raise KeyError("no such layer")


def ask_for_much(path):
    return {"vast": np.ones(1 << 29)}


def crash(path):
    os.abort()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a file.h5"
    path.write_bytes(b"abc")
    return path


def test_arrays_come_back_with_their_names(path):
    found = read_apart(echo, path, 2, 3)
    assert found["a/content"].tobytes() == b"abc"
    assert found["numbers"].tolist() == [2, 3]


def test_what_the_reader_raises_is_the_sentence(path):
    with pytest.raises(ValueError, match="no such layer"):
        read_apart(refuse, path)


def test_a_reader_that_crashes_is_a_sentence_too(path):
    with pytest.raises(ValueError, match="reading it ended with SIGABRT"):
        read_apart(crash, path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds of Linux")
def test_a_reader_that_asks_for_much_more_than_its_file_is_refused(path):
    with pytest.raises(ValueError, match=r"Unable to allocate 4\.00 GiB"):
        read_apart(ask_for_much, path)


def test_what_is_found_here_is_found_there(path, tmp_path, monkeypatch):
    (tmp_path / "beside_nothing.py").write_text("NUMBER = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert read_apart(read_with_a_module, path)["number"] == 7


def read_with_a_module(path):
    import beside_nothing

    return {"number": np.array(beside_nothing.NUMBER)}
