"""Laws of several processes: rows are of the samples that they were, and a directory is one."""

import re
import socket

import numpy as np

from tests.test_program import start

HEAD = """
import sys
import flax.linen as nn
import jax, numpy as np
from kinpose.hosts import join_processes, leave_processes
from kinpose.mesh import make_mesh
from kinpose.methods import direct_joint
from kinpose.train import array_source, evaluate, make_eval_step, train_network
from experiments.program import run_program

def method_and_source(argv):
    join_processes(argv[1])
    x = np.arange(8, dtype=np.float32)[:, None]
    return direct_joint(np.zeros((1, 1)), 1.0), array_source(x, x[:, :, None])

class Same(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return x

class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(1)(x)
"""

ORDER = """
def main(argv):
    method, source = method_and_source(argv)
    own = {d: d.process_index for d in jax.devices()}
    one, two = ([d for d in own if own[d] == i] for i in range(2))
    mesh = make_mesh([one[0], *two, one[1]])  # as along the torus of a TPU
    found, losses = evaluate(make_eval_step(Same(), method, mesh), {}, source, mesh, 8)
    print(found.joints.ravel().tolist(), losses.tolist(), flush=True)
    leave_processes()

run_program(main)
"""

TRAIN = """
import kinpose.workdir
kinpose.workdir._SEEN_S = 2

def main(argv):
    train_network(argv[2], Net(), *method_and_source(argv), epochs=4, batch_size=8)
    leave_processes()

run_program(main)
"""


def run_two(code, *own):
    """Output, errors and status of two processes, each with arguments of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    both = [start("-c", HEAD + code, f"127.0.0.1:{port},2,{i}", *own[i : i + 1]) for i in range(2)]
    return [(*process.communicate(timeout=200), process.returncode) for process in both]


def test_rows_are_of_their_samples_wherever_devices_stand():
    for said, errors, status in run_two(ORDER):
        assert status == 0, errors
        joints, losses = (
            np.array(x.split(","), float) for x in re.findall(r"\[([-\d., ]+)\]", said)
        )
        np.testing.assert_array_equal(joints, np.arange(8))
        np.testing.assert_array_equal(losses, np.zeros(8))


def test_a_directory_that_processes_do_not_share_is_refused(tmp_path):
    found = run_two(TRAIN, tmp_path / "a" / "run", tmp_path / "b" / "run")
    assert [status for _, _, status in found] == [1, 1]
    assert "must be a directory that all processes see, but process 1 does not" in found[1][1]
