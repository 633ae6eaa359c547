"""Laws of how binaries begin: what they compiled is found again."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAM = """
import jax, jax.numpy as jnp
from kinpose.apps.program import run_program
from kinpose import forward_kinematics
from kinpose.skeletons import human_17

def main(argv):
    gradient = jax.jit(jax.grad(lambda params: forward_kinematics(params, human_17()).sum()))
    print(gradient(jnp.ones(27)).sum(), jax.config.jax_compilation_cache_dir)

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


@pytest.mark.parametrize("damage", [b"", b"not a program"])
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
