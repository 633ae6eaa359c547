"""Runs the functions of tests/test_transforms.py in shards, by `jax.shard_map`'s defaults.

python -m tests.shards, with XLA_FLAGS=--xla_force_host_platform_device_count=8
"""

import jax
import numpy as np

from tests.test_transforms import CASES


def main():
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("batch")
    for name, (function, given) in CASES.items():
        exact = name in ("forward_kinematics", "gradient")  # fits are within their tolerance
        part = 1e-4 if exact else 1e-3
        shards = jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec)
        found, expected = np.asarray(jax.jit(shards)(given)), np.asarray(function(given))
        np.testing.assert_allclose(found, expected, atol=part * np.abs(expected).max())


if __name__ == "__main__":
    main()
