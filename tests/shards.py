"""Runs the functions of tests/test_transforms.py in shards, by `jax.shard_map`'s defaults.

Then on a mesh as `jax.make_mesh` makes it, with explicit axes.

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
    explicit = jax.sharding.NamedSharding(jax.make_mesh((8,), ("batch",)), spec)
    for name, (function, given) in CASES.items():
        if not name.startswith("fit_sequence"):  # which goes through a loop of updates
            found = np.asarray(jax.jit(function)(jax.device_put(given, explicit)))
            expected = np.asarray(function(given))
            np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


if __name__ == "__main__":
    main()
