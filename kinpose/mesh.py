"""Arrays over all devices: one mesh of one axis, for one device, many, or many processes."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of all processes, or those given, in one axis named `batch`."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("batch",), (AxisType.Auto,), devices=devices)


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
