"""Laws of the tutorials: each says its cost, runs without a warning, and comes to what it says."""

import ast
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.notebook import cells_of, code_of

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
SMALL = {
    "3_own_network": ["EPOCHS=2"],
    "5_toy_problem": ["NUM_TRAIN=256", "NUM_TEST=64", "EPOCHS=1"],
}
"""Settings with which the long ones are short."""

ALL_S = 300
"""Of all of them together."""


def run(path, *values):
    """What a tutorial prints and shows; see `tests.notebook`."""
    command = [sys.executable, "-m", "tests.notebook", path, *values]
    found = subprocess.run(command, cwd=ROOT, env=_users_env(), capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout


def check(path, text):
    """What a tutorial promises in words."""
    number = path.stem[0]
    if number == "1":
        errors = [float(x) for x in re.findall(r"off by +([\d.]+) degrees", text)]
        assert len(errors) == 4
        assert max(errors) < 6
    elif number == "2":
        first, last = re.search(r"([\d.]+) cm at first, (\S+) cm at last", text).groups()
        assert float(last) < 1e-3 * float(first)
    elif number == "3":
        assert re.search(r"kinematic +joints off by .*bones vary by +0.0", text)
        assert "must take train=False" in text
        assert "must give 42 outputs" in text
        assert "written: False" in text
    elif number == "4":
        squares, robust = re.findall(r"other 16 joints off by +([\d.]+) mm", text)
        assert float(robust) < 0.5 * float(squares)
        assert "wrists far off : 0 of" in text
    elif number == "5":
        assert re.search(r"bones vary by \(px\) +[\d.]*[1-9][\d.]* +0.00", text)
    elif number == "6":
        assert "losses of all epochs are the same, to the last bit: True" in text
        assert float(re.search(r"losses differ by (\S+) of", text)[1]) < 1e-3
    elif number == "7":
        assert "within the limits: True" in text
        low, high = re.findall(r"off by \[(\S+) (\S+)\] m", text)[0]
        assert max(float(low), float(high)) < 1e-5
    elif number == "8":
        assert re.search(r"with contacts +feet slide +0.00 mm", text)


def test_there_are_eight():
    assert [path.stem[0] for path in TUTORIALS] == list("12345678")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_begins_with_what_it_shows_and_its_cost(path):
    header, [(tags, text), *_] = cells_of(path)
    assert "format_name: percent" in header
    assert "name: python3" in header
    assert "[markdown]" in tags
    said = ["# # ", "# **What it shows.**", "# **Cost.** About ", "# **Needs.**"]
    places = [text.find(start) for start in said]
    assert places == sorted(places)
    assert places[0] == 0


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_what_a_tutorial_imports_and_links_is_there(path):
    for tree in code_of(path):
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                exec(ast.unparse(node), {})
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path):
    check(path, run(path, *SMALL.get(path.stem, ())))


@pytest.mark.slow
def test_all_tutorials_run_in_kernels_and_show_pictures():
    """As they stand, on the site; in less than five minutes where nothing else runs."""
    jupytext, nbclient = (pytest.importorskip(name) for name in ("jupytext", "nbclient"))
    used = -_cpu_s()
    for path in TUTORIALS:
        notebook = jupytext.read(path)
        place = {"metadata": {"path": str(path.parent)}}
        client = nbclient.NotebookClient(notebook, kernel_name="python3", resources=place)
        client.execute(env=_users_env())
        outputs = [x for cell in notebook.cells for x in cell.get("outputs", ())]
        assert "error" not in {x.output_type for x in outputs}
        assert not [x.text for x in outputs if x.get("name") == "stderr"]
        kinds = {kind for x in outputs for kind in x.get("data", ())}
        assert path.stem[0] == "6" or {"text/html", "image/png"} & kinds
        streams = "".join(x.text for x in outputs if x.output_type == "stream")
        check(path, streams)
    assert used + _cpu_s() < 2 * ALL_S  # of two cores


def _users_env():
    """As users compile, without a test's optimisation of nothing; and kernels find the library."""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    paths = [str(ROOT), env.get("PYTHONPATH", "")]
    return env | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _cpu_s():
    times = os.times()
    return times.children_user + times.children_system
