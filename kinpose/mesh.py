"""Arrays over all devices: one mesh of one axis, for one device, many, or many processes."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of all processes, or those given, in one axis named `batch`.

    Process by process, so that the rows of each are next to each other in a batch, as `own_part`
    has them: `jax.make_mesh` goes along the torus of a TPU, from host to host and back.
    """
    devices = jax.devices() if devices is None else devices
    in_order = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(in_order), ("batch",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The leading dimension in equal parts over the devices."""
    return NamedSharding(mesh, PartitionSpec("batch"))


def share_batch(batch: Any, mesh: Mesh) -> Any:
    """A pytree of this process's rows as global arrays, split over the mesh."""
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(split(mesh), np.asarray(x)), batch
    )


def own_part(rows: np.ndarray) -> np.ndarray:
    """This process's rows of a global batch."""
    return np.split(rows, jax.process_count())[jax.process_index()]


def place_like(value: np.ndarray, like: jax.Array) -> jax.Array:
    """A new array on the devices of another of its shape, those of other processes included."""
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: value[index])


def by_path(tree: Any) -> dict[str, Any]:
    """Leaves by names such as `variables.params.conv1.kernel`."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
