"""Files as torch saves them, written without torch, so that they can also be written wrongly."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile
from typing import NamedTuple
from unittest import mock

import numpy as np

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


class Tensor(NamedTuple):
    """A view of a storage, an array of one axis; offset and strides count its numbers."""

    storage: np.ndarray
    offset: int
    shape: tuple
    strides: tuple


def whole(array) -> Tensor:
    """An array as a tensor that has its storage for itself."""
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    strides = tuple(step // array.itemsize for step in array.strides)
    return Tensor(array.reshape(-1), 0, array.shape, strides)


class _Pickler(pickle.Pickler):
    def __init__(self, file, torch):
        super().__init__(file, protocol=2)
        self.torch, self.storages = torch, {}

    def persistent_id(self, value):
        if type(value) is not np.ndarray:
            return None
        key = str(id(value))
        self.storages[key] = value
        kind = getattr(self.torch, STORAGES[value.dtype.name])
        return "storage", kind, key, "cpu", value.size

    def reducer_override(self, value):
        if isinstance(value, Tensor):
            rest = False, collections.OrderedDict()
            return self.torch._utils._rebuild_tensor_v2, (*value, *rest)
        return NotImplemented


def _pickled(content) -> tuple[bytes, dict[str, np.ndarray]]:
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch._utils = utils
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        """Only its name is written."""

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        pickler = _Pickler(file, torch)
        pickler.dump(content)
    return file.getvalue(), pickler.storages


def write_zip(path, content, compression=zipfile.ZIP_STORED):
    """The format of torch 1.6 and later."""
    data, storages = _pickled(content)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, numbers in storages.items():
            archive.writestr(f"archive/data/{key}", numbers.tobytes())


def write_old(path, content):
    """The format before torch 1.6."""
    data, storages = _pickled(content)
    with open(path, "wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(value, file, protocol=2)
        file.write(data)
        pickle.dump(sorted(storages), file, protocol=2)
        for _, numbers in sorted(storages.items()):
            file.write(struct.pack("<q", numbers.size) + numbers.tobytes())
