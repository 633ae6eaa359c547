"""Arrays of a Keras file; run in a process of its own (`io/_apart.py`)."""

import h5py
import numpy as np

_MOST_ITEMS = 10_000
"""Groups and arrays; a ResNet of 152 layers has 2,500."""


def read_keras(path: str, most_bytes: int) -> dict[str, np.ndarray]:
    """Arrays by `layer/variable`; only what is in the file itself is read."""
    arrays = {}
    with h5py.File(path) as file:
        for count, (name, item) in enumerate(_items(file), 1):
            if count > _MOST_ITEMS:
                raise ValueError(f"it has more than {_MOST_ITEMS} groups and arrays")
            if isinstance(item, h5py.Dataset) and not name.startswith("optimizer_weights"):
                if item.external or item.is_virtual:
                    raise ValueError(f"{name} is in another file")
                most_bytes -= item.nbytes
                if not np.issubdtype(item.dtype, np.floating) or most_bytes < 0:
                    raise ValueError(f"{name} has type {item.dtype} and shape {item.shape}")
                layer, *_, variable = name.removeprefix("model_weights/").split("/")
                arrays[f"{layer}/{variable.removesuffix(':0')}"] = item[()]
    return arrays


def _items(group, path=""):
    """Not by h5py's own walk, which never returns from some damaged files."""
    for key in group:
        if isinstance(group.get(key, getlink=True), h5py.HardLink):
            item, name = group[key], f"{path}{key}"
            yield name, item
            if isinstance(item, h5py.Group):
                yield from _items(item, f"{name}/")
