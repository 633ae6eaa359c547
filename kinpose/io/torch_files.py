"""Tensors out of files that torch has saved, without torch and without running their code.

A `.pth` is a pickle, which may call anything. Here it may build dictionaries and tensors, and
a file that asks for more is refused. Both formats are read: the zip file of torch 1.6 and
later, and the sequence of pickles before it.
"""

import collections
import io
import math
import os
import pathlib
import pickle
import zipfile
from typing import NamedTuple

import jax.dtypes
import numpy as np

_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(jax.dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
MOST_BYTES = 2**31
"""In all tensors of a file: what is larger is a mistake or meant to harm."""

_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_PICKLE = 2**24
"""Bytes of a zip file's pickle: names and shapes, never numbers."""


class _Storage(NamedTuple):
    """The place of numbers in the file."""

    key: str
    dtype: np.dtype
    size: int


class _Tensor(NamedTuple):
    """A view of a storage, in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a state dict, by name.

    Args:
      path: of the file. The state dict may be an entry `state_dict` or `model` of a
        dictionary; what else is there is passed over.

    Returns:
      Arrays by name, in the types of the file.

    Raises:
      ValueError: for a file that is damaged, that asks for anything but tensors, or that has
        no state dict.
    """
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            content, storages = _read_zip(file) if zipfile.is_zipfile(file) else _read_old(file)
        content = _state_dict(content)
        return {name: _view(tensor, storages) for name, tensor in content.items()}
    except OSError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"{path} cannot be read as tensors saved by torch: {error}") from error


def _read_zip(file) -> tuple[object, dict[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError(f"it must have one data.pkl, but has {len(pickles)}.")
        root = pickles[0].removesuffix("data.pkl")

        def read(name: str, size: int) -> bytes:
            entry = entries.get(name)
            if entry is None or entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} must be in it, not compressed.")
            if entry.file_size > size:
                raise ValueError(f"{name} has {entry.file_size} bytes instead of {size}.")
            return archive.read(entry)

        if root + "byteorder" in entries and read(root + "byteorder", 6) != b"little":
            raise ValueError("its numbers are not little-endian.")
        unpickler = _Unpickler(io.BytesIO(read(pickles[0], _MOST_PICKLE)))
        content = unpickler.load()
        storages = {
            key: read(f"{root}data/{key}", storage.size * storage.dtype.itemsize)
            for key, storage in unpickler.storages.items()
        }
        return content, storages


def _read_old(file) -> tuple[object, dict[str, bytes]]:
    file.seek(0)
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("it does not begin as such a file does.")
    _Unpickler(file).load()  # version
    if not _Unpickler(file).load().get("little_endian"):
        raise ValueError("its numbers are not little-endian.")
    unpickler = _Unpickler(file)
    content = unpickler.load()
    storages = {}
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise ValueError(f"storage {key} has another size than its tensors say.")
        num_bytes = storage.size * storage.dtype.itemsize
        if num_bytes > os.fstat(file.fileno()).st_size:
            raise ValueError(f"storage {key} ends early.")
        storages[key] = file.read(num_bytes)
    return content, storages


class _Unpickler(pickle.Unpickler):
    """Builds dictionaries, numbers, text and `_Tensor`s; all other names are refused."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _checked(
                storage, offset, shape, strides
            )
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise ValueError(
            f"it asks for {module}.{name}, which is not a tensor and may do harm; a state dict "
            "saved alone does not."
        )

    def persistent_load(self, pid):
        kind, type_name, key, _, size, *_ = pid
        if kind != "storage" or not isinstance(key, str) or not _is_size(size):
            raise ValueError(f"it refers to {pid!r}, which is not a storage.")
        storage = _Storage(key, _DTYPES[type_name], size)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key} is described in two ways.")
        return storage


def _checked(storage, offset, shape, strides) -> _Tensor:
    sizes = [offset, *shape, *strides]
    if not isinstance(storage, _Storage) or not all(map(_is_size, sizes)):
        raise ValueError(f"a tensor has shape {shape} and strides {strides} in {storage}.")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # Zero strides could make much of little, so there must be a number for each place.
    if 0 not in shape and (last >= storage.size or math.prod(shape) > storage.size):
        raise ValueError(f"a tensor of shape {shape} is larger than its storage {storage}.")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _is_size(number) -> bool:
    return type(number) is int and number >= 0


def _state_dict(content) -> dict[str, _Tensor]:
    for _ in range(2):
        if isinstance(content, dict):
            tensors = {name: x for name, x in content.items() if isinstance(x, _Tensor)}
            if tensors and all(isinstance(name, str) for name in tensors):
                total = sum(math.prod(x.shape) * x.storage.dtype.itemsize for x in tensors.values())
                if total > MOST_BYTES:
                    raise ValueError(f"its tensors have {total} bytes, more than {MOST_BYTES}.")
                return tensors
            content = content.get("state_dict", content.get("model"))
    raise ValueError("it has no state dict.")


def _view(tensor: _Tensor, storages: dict[str, bytes]) -> np.ndarray:
    storage, dtype = tensor.storage, tensor.storage.dtype
    numbers = np.frombuffer(storages[storage.key], dtype)
    if len(numbers) != storage.size:
        raise ValueError(f"storage {storage.key} ends early.")
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    strides = [step * dtype.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], tensor.shape, strides, writeable=False
    ).copy()
