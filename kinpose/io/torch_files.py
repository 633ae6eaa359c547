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
import pickletools
import zipfile
from typing import Any, NamedTuple

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
"""In all tensors of a file, or three times its size and 256 MB: more is meant to harm."""

_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_PICKLE = 2**23
"""Bytes of a zip file's pickle: names and shapes, never numbers."""
_MOST_DIMENSIONS = 8


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
    with path.open("rb") as file:
        try:
            content, storages = _read_zip(file) if zipfile.is_zipfile(file) else _read_old(file)
            most = min(MOST_BYTES, 3 * os.fstat(file.fileno()).st_size + 2**28)
            content = _state_dict(content, most)
            return {name: _view(tensor, storages) for name, tensor in content.items()}
        except Exception as error:  # a broken file can raise anything
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
                raise ValueError(f"{name[:99]} must be in it, not compressed.")
            if entry.file_size > size:
                raise ValueError(f"{name[:99]} has {entry.file_size} bytes instead of {size}.")
            return archive.read(entry)

        if root + "byteorder" in entries and read(root + "byteorder", 6) != b"little":
            raise ValueError("its numbers are not little-endian.")
        unpickler = _Unpickler(io.BytesIO(read(pickles[0], _MOST_PICKLE)))
        content = unpickler.load()
        sizes = [x.size * x.dtype.itemsize for x in unpickler.storages.values()]
        if sum(sizes) > os.fstat(file.fileno()).st_size:
            raise ValueError(f"its storages have {sum(sizes)} bytes, more than the file.")
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
    system = _Unpickler(file).load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are not little-endian.")
    unpickler = _Unpickler(file)
    content = unpickler.load()
    storages = {}
    keys = _Unpickler(file).load()
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("it has no list of storages.")
    for key in keys:
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise ValueError(f"storage {key} has another size than its tensors say.")
        num_bytes = storage.size * storage.dtype.itemsize
        if num_bytes > os.fstat(file.fileno()).st_size:
            raise ValueError(f"storage {key} ends early.")
        storages[key] = file.read(num_bytes)
    return content, storages


class _Unpickler:
    """Builds dictionaries, lists, numbers, text and `_Tensor`s out of a pickle; calls nothing.

    It reads the opcodes by itself: Python's own unpickler hashes and compares whatever a file
    puts together, and nested tuples of a few hundred bytes keep it busy for ever.
    """

    def __init__(self, file):
        self._file = file
        self.storages: dict[str, _Storage] = {}

    def load(self):
        """The next object of the file."""
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[int, Any] = {}
        for opcode, value, _ in pickletools.genops(self._file):
            name = opcode.name
            if name in _SKIPPED:
                continue
            if name in _PUT:
                memo[len(memo) if value is None else value] = stack[-1]
            elif name in _GET:
                stack.append(memo[value])
            elif name in _VALUES:
                stack.append(value)
            elif name == "MARK":
                marks.append(len(stack))
            elif name in _MADE:
                stack.append(_MADE[name]())
            elif name in _SMALL_TUPLES:
                start = len(stack) - _SMALL_TUPLES[name]
                stack[start:] = [tuple(stack[start:])]
            elif name in ("TUPLE", "LIST", "APPENDS", "SETITEMS", "DICT"):
                start = marks.pop()
                items = stack[start:]
                del stack[start:]
                self._put_together(name, items, stack)
            elif name in ("APPEND", "SETITEM"):
                count = 1 if name == "APPEND" else 2
                items = stack[-count:]
                del stack[-count:]
                self._put_together(name + "S", items, stack)
            elif name == "BUILD":  # attributes of an OrderedDict
                stack.pop()
            elif name in ("GLOBAL", "STACK_GLOBAL"):
                names = value.split(" ", 1) if name == "GLOBAL" else [stack.pop(-2), stack.pop()]
                stack.append(_named(*names))
            elif name == "REDUCE":
                arguments = stack.pop()
                stack.append(_called(stack.pop(), arguments))
            elif name == "BINPERSID":
                stack.append(self._storage(stack.pop()))
            elif name == "STOP":
                return stack.pop()
            else:
                raise ValueError(f"it has the opcode {name}, which torch does not write.")
        raise ValueError("it ends early.")

    def _put_together(self, name: str, items: list, stack: list):
        if name in ("TUPLE", "LIST"):
            stack.append(tuple(items) if name == "TUPLE" else items)
            return
        if name == "DICT":
            stack.append({})
        if name == "APPENDS":
            if type(stack[-1]) is not list:
                raise ValueError("it appends to what is no list.")
            stack[-1].extend(items)
            return
        keys, values = items[::2], items[1::2]
        if not isinstance(stack[-1], dict) or not all(type(key) in _KEYS for key in keys):
            raise ValueError("it has a dictionary whose keys are not text or numbers.")
        stack[-1].update(zip(keys, values, strict=True))

    def _storage(self, pid) -> _Storage:
        if type(pid) is not tuple or len(pid) < 5:
            raise ValueError("it refers to what is not a storage.")
        kind, type_name, key, _, size, *_ = pid
        known = type(type_name) is _Global and type_name.name in _DTYPES
        if kind != "storage" or not known or type(key) is not str or not _is_size(size):
            raise ValueError("it refers to what is not a storage.")
        storage = _Storage(key, _DTYPES[type_name.name], size)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key[:99]} is described in two ways.")
        return storage


class _Global(NamedTuple):
    """A name that a file asks for."""

    name: str


_SKIPPED = ("PROTO", "FRAME")
_PUT = ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE")
_GET = ("BINGET", "LONG_BINGET", "GET")
_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_MADE = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_SMALL_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS = (str, int, float, bool, type(None))
_NUMPY = ("scalar", "dtype", "_reconstruct", "ndarray", "encode")
_KNOWN = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    *(("torch", name) for name in _DTYPES),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in _NUMPY[:3:2]),
    *(("numpy", name) for name in ("dtype", "ndarray")),
    ("_codecs", "encode"),
}
"""What a file may ask for; numbers of NumPy, such as the best score, are passed over."""


def _named(module, name) -> _Global:
    if type(module) is not str or type(name) is not str or (module, name) not in _KNOWN:
        raise ValueError(
            f"it asks for {str(module)[:99]}.{str(name)[:99]}, which is not a tensor and may do "
            "harm; a state dict saved alone does not."
        )
    return _Global(name)


def _called(function, arguments):
    if type(function) is not _Global or type(arguments) is not tuple:
        raise ValueError("it calls what is no function.")
    if function.name == "OrderedDict":
        pairs = arguments[0] if arguments else []
        if type(pairs) is not list or any(
            type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) not in _KEYS
            for pair in pairs
        ):
            raise ValueError("it has a dictionary made of other things.")
        return collections.OrderedDict(pairs)
    if function.name == "_rebuild_tensor_v2" and len(arguments) >= 4:
        return _checked(*arguments[:4])
    if function.name == "_rebuild_parameter" and arguments:
        return arguments[0]
    if function.name in _NUMPY:
        return None
    raise ValueError(f"it calls {function.name} with {len(arguments)} arguments.")


def _checked(storage, offset, shape, strides) -> _Tensor:
    plain = type(shape) is tuple and type(strides) is tuple and type(storage) is _Storage
    if not plain or len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(
            f"a tensor must have as many sizes as strides, at most {_MOST_DIMENSIONS}."
        )
    if not all(map(_is_size, (offset, *shape, *strides))):
        raise ValueError("a tensor has a size or stride that is no such number.")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # Zero strides could make much of little, so there must be a number for each place.
    if 0 not in shape and (last >= storage.size or math.prod(shape) > storage.size):
        raise ValueError(f"a tensor of shape {shape} is larger than its storage {storage}.")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _is_size(number) -> bool:
    return type(number) is int and 0 <= number <= MOST_BYTES


def _state_dict(content, most: int) -> dict[str, _Tensor]:
    """Of an entry before the whole, as other entries, such as the best score, may be tensors."""
    if isinstance(content, dict):
        for found in (content.get("state_dict"), content.get("model"), content):
            if tensors := _tensors(found):
                total = sum(math.prod(x.shape) * x.storage.dtype.itemsize for x in tensors.values())
                if total > most:
                    raise ValueError(f"its tensors have {total} bytes, more than {most}.")
                return tensors
    raise ValueError("it has no state dict.")


def _tensors(found) -> dict[str, _Tensor]:
    entries = found.items() if isinstance(found, dict) else ()
    tensors = {name: x for name, x in entries if isinstance(x, _Tensor)}
    return tensors if all(isinstance(name, str) for name in tensors) else {}


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
