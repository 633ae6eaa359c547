"""Laws of how binaries begin and end: what they compiled is found again, failures are one line."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

PROGRAM = """
import jax, jax.numpy as jnp
from kinpose.apps.program import run_program

def many(x):
    for i in range(40):
        x = jnp.sort(jnp.sin(x + i))
    return x.sum()

def main(argv):
    print(jax.jit(many)(jnp.ones(27)), jax.config.jax_compilation_cache_dir)

run_program(main)
"""  # takes a second to compile


def run(*args, **env):
    kept = {key: x for key, x in os.environ.items() if "COMPILATION_CACHE" not in key}
    command = [sys.executable, "-c", PROGRAM, *args]
    done = subprocess.run(command, cwd=ROOT, env=kept | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def files_of(path):
    return [file for file in path.rglob("*") if file.is_file()]


def test_compiled_programs_are_kept_in_the_users_cache_folder(tmp_path):
    _, folder = run(XDG_CACHE_HOME=str(tmp_path))
    assert folder == str(tmp_path / "kinpose" / "compiled")
    assert files_of(tmp_path)


@pytest.mark.parametrize("damage", [pytest.param(b"", marks=pytest.mark.slow), b"not a program"])
def test_damaged_entries_do_no_harm(tmp_path, damage):
    first, _ = run(f"--compilation_cache={tmp_path}")
    assert files_of(tmp_path)
    for file in files_of(tmp_path):
        file.write_bytes(damage)
    assert run(f"--compilation_cache={tmp_path}")[0] == first


def test_a_flag_turns_it_off_and_a_variable_moves_it(tmp_path):
    assert run("--compilation_cache=", XDG_CACHE_HOME=str(tmp_path))[1] == "None"
    assert not files_of(tmp_path)
    assert run(JAX_COMPILATION_CACHE_DIR=str(tmp_path))[1] == str(tmp_path)


BUSY = """
import sys, threading, time
from experiments.program import run_program

def main(argv):
    threading.Thread(target=time.sleep, args=(600,)).start()  # as libraries leave them
    print("begun", flush=True)
    if argv[1] == "sleep":
        time.sleep(600)
    raise OSError(28, "No space left on device", "somewhere")

run_program(main)
"""


def start(*command):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, **pipes)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_program_in_one_line(signum):
    with start("-c", BUSY, "sleep") as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signum)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (128 + signum, f"ended by {signum.name}\n")


def test_a_failure_ends_a_program_in_one_line_whatever_its_threads_do():
    with start("-c", BUSY, "fail") as process:
        _, said = process.communicate(timeout=60)
    line = "error: [Errno 28] No space left on device: 'somewhere'\n"
    assert (process.returncode, said) == (1, line)


def test_ctrl_c_ends_a_program_that_imports_in_one_line():
    with start("-X", "importtime", "-m", "experiments.model_fit") as process:
        for line in process.stderr:
            if line.rstrip().endswith("| experiments"):
                break
        process.send_signal(signal.SIGINT)
        said = [line for line in process.stderr if not line.startswith("import time:")]
    assert (process.wait(), said) == (130, ["ended by SIGINT\n"])


@pytest.mark.parametrize("how", ["module", "script"])
@pytest.mark.parametrize("last", ["kinpose._command", "absl.flags"])
def test_ctrl_c_ends_the_command_in_one_line_from_its_first_import_on(tmp_path, how, last):
    script = tmp_path / "kinpose"
    script.write_text("from kinpose.__main__ import run\nrun()\n")
    command = ["-m", "kinpose"] if how == "module" else [script]
    with start("-X", "importtime", *command, "fit", "none.bvh") as process:
        for line in process.stderr:
            if line.split("|")[-1].strip() == last:
                break
        process.send_signal(signal.SIGINT)
        said = [line for line in process.stderr if not line.startswith("import time:")]
    assert (process.wait(), said) == (130, ["ended by SIGINT\n"])


def test_a_program_that_imports_kinpose_keeps_its_own_ctrl_c():
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import kinpose; "
        "print(signal.getsignal(signal.SIGINT).__name__)"
    )
    with start("-c", code) as process:
        assert process.communicate()[0] == "default_int_handler\n"


SUMS = """
import jax, numpy as np
from kinpose.hosts import join_processes, wait_for_all
from experiments.program import run_program
from kinpose.mesh import make_mesh, replicated, share_batch

def main(argv):
    join_processes(argv[1])
    mesh = make_mesh()
    total = jax.jit(lambda x: x.sum(), out_shardings=replicated(mesh))
    wait_for_all("sums")
    while True:
        print(float(total(share_batch(np.ones(1), mesh))), flush=True)

run_program(main)
"""


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_has_lost_another_ends_in_one_line(victim, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    both = [start("-c", SUMS, f"127.0.0.1:{port},2,{index}") for index in range(2)]
    for process in both:
        assert "2.0\n" in process.stdout
    both[victim].kill()
    began = time.monotonic()
    _, said = both[1 - victim].communicate(timeout=100)
    both[victim].communicate()
    assert time.monotonic() - began < 60
    assert both[1 - victim].returncode == 1
    # JAX's own log notices the loss of the first process as soon.
    log = r"I" if victim else r"[IWEF]\d{4} \d\d:|Additional GRPC|:UNKNOWN:"
    (line,) = (line for line in said.splitlines() if not re.match(log, line))
    assert line.startswith("error: another process was lost")
