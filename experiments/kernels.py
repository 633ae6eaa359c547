"""How many kernels an accelerator gets: kinematics compiled for a GPU or TPU that is not there.

  pip install libtpu                                     # or: jax-cuda12-pjrt jax-cuda12-plugin
  JAX_PLATFORMS=cpu python -m experiments.kernels --target=tpu

Compiles what a training step is made of, for human_17, and counts in the result what runs one
after the other: kernels ("fusions"), copies, loops, and calls to the host, of which there must
be none. Nothing is run.
"""

import collections
import os
import re
import time

import jax
import jax.numpy as jnp
from absl import app, flags
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from experiments.program import run_program
from kinpose import fit_params, forward_kinematics, joint_jacobian
from kinpose.skeletons import human_17

_TARGET = flags.DEFINE_enum("target", "tpu", ["tpu", "cuda"], "TPU v5e, or NVIDIA A100.")
_BATCH = 4096

_COUNTED = ("fusion", "copy", "concatenate", "while", "conditional", "custom-call")
"""The rest are names for parts of memory."""

_A100 = """
gpu_device_info {
  cuda_compute_capability { major: 8 }
  core_count: 108  fpus_per_core: 64  clock_rate_ghz: 1.41
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 166912
  shared_memory_per_core: 167936
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  device_memory_size: 79050250240  memory_bandwidth: 2039000000000  l2_cache_size: 41943040
}
platform_name: "CUDA"
runtime_version { major: 12 minor: 4 }
device_description_str: "NVIDIA A100-SXM4-80GB"
"""


def absent_device(target: str) -> jax.Device:
    """A device to compile for, which need not be there.

    Args:
      target: "tpu" or "cuda".

    Returns:
      The device.

    Raises:
      ValueError: where the package that compiles for it is not installed.
    """
    try:
        if target == "cuda":
            options = {"target_config": _A100, "topology": "1x1x1"}
            return topologies.get_topology_desc("1x1x1", "cuda", **options).devices[0]
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
        os.environ.setdefault("TPU_WORKER_ID", "0")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        options = {"chips_per_host_bounds": [2, 2, 1]}
        return topologies.get_topology_desc("v5e:2x2", "tpu", **options).devices[0]
    except Exception as error:  # each plugin has errors of its own
        package = {"tpu": "libtpu", "cuda": "jax-cuda12-pjrt and jax-cuda12-plugin"}[target]
        raise ValueError(f"cannot compile for {target}: install {package} ({error}).") from error


def count_kernels(function, shapes, device: jax.Device) -> tuple[dict[str, int], float]:
    """What the compiled program consists of.

    Args:
      function: of arrays of float32.
      shapes: of its arguments.
      device: to compile for.

    Returns:
      How many operations of each kind the program has outside its loops, the kernels of one pass
      through each of its loops, its calls to the host, and the seconds that compiling took.
    """
    place = SingleDeviceSharding(device)
    args = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place) for shape in shapes]
    start = time.monotonic()
    text = jax.jit(function).lower(*args).compile().as_text()
    seconds = time.monotonic() - start
    entry = _count(text[text.index("ENTRY") :])
    bodies = [
        re.search(rf"^%?{re.escape(name)} .*?^}}", text, flags=re.DOTALL | re.MULTILINE).group()
        for name in re.findall(r"body=%?([\w.\-]+)", text)
    ]
    loops = sum(_count(body)["fusion"] for body in bodies)
    host = sum(text.count(word) for word in ("callback", "infeed(", "outfeed("))
    counts = {name: entry[name] for name in _COUNTED}
    return counts | {"fusion in loops": loops, "host": host}, seconds


def _count(text: str) -> collections.Counter:
    """Kinds of operations, a line each."""
    lines = (line.split(" = ", 1)[-1] for line in text.splitlines())
    found = (re.search(r" ([a-z][a-z\-]+)\(", line) for line in lines)
    return collections.Counter(match.group(1) for match in found if match)


def workloads() -> dict:
    """Name -> function and the shapes of its arguments."""
    skeleton = human_17()
    params, joints = (_BATCH, skeleton.num_dofs), (_BATCH, 17, 3)

    def forward(params):
        return jax.vmap(forward_kinematics, in_axes=(0, None))(params, skeleton)

    def loss(params, joints):
        return 0.5 * jnp.sum((forward(params) - joints) ** 2)

    def jacobian(params):
        return jax.vmap(joint_jacobian, in_axes=(0, None))(params, skeleton)

    def fit(joints):
        return fit_params(joints, skeleton).params

    return {
        "forward": (forward, (params,)),
        "value and gradient": (jax.value_and_grad(loss), (params, joints)),
        "Jacobian": (jacobian, (params,)),
        "fit": (fit, (joints,)),
    }


def main(argv):
    """Prints a line per workload."""
    jax.config.update("jax_enable_compilation_cache", False)  # only who runs programs can read it
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}.")
    device = absent_device(_TARGET.value)
    print(f"{device.device_kind}, batch {_BATCH}")
    for name, (function, shapes) in workloads().items():
        counts, seconds = count_kernels(function, shapes, device)
        shown = ", ".join(f"{kind} {n}" for kind, n in counts.items())
        print(f"{name}: {shown}; compiled in {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    run_program(main)
