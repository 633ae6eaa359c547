"""Unpacking what was downloaded: the official archives, and VideoPose3D's file.

Archives are read once from end to end, so that whatever is damaged in them is found; the files
of one archive appear together or not at all.
"""

import contextlib
import gzip
import os
import pathlib
import pickle
import shutil
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from data.human36m.files import BOXES, VIDEOS, WORLD
from data.human36m.names import clip_of

_MOST_TIMES, _MOST_MORE = {VIDEOS: 2, BOXES: 1000}, 2**26
"""How many times its size an archive of a kind may grow to (others: 20), and how many bytes more:
videos do not shrink, masks within the boxes are almost nothing."""


def unpack_archive(
    path: str | os.PathLike, kind: str, subject: str, directory: str | os.PathLike
) -> None:
    """Unpacks the files of one kind; does nothing where that was done before.

    Args:
      path: a tar file, compressed or not.
      kind: the directory that the files lie in within the archive.
      subject: whose files they are.
      directory: where <subject>/<kind>/ is made.

    Raises:
      ValueError: naming the archive, when it is damaged, has no such files, or grows to more
        than its kind does.
    """
    target, num_files = pathlib.Path(directory, subject, kind), 0
    if target.exists():
        return
    left = _MOST_TIMES.get(kind, 20) * os.stat(path).st_size + _MOST_MORE
    opened = open if str(path).lower().endswith(".tar") else gzip.open
    try:
        with (
            _made_at_once(target) as temporary,
            opened(path, "rb") as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            for member in archive:
                name = pathlib.PurePosixPath(member.name)
                if member.isfile() and name.parent.name == kind and name.name[:4] != "_ALL":
                    left -= member.size
                    if member.issparse() or left < 0:
                        raise ValueError(f"{os.fspath(path)} grows beyond all measure.")
                    with open(temporary / name.name, "wb") as out:
                        shutil.copyfileobj(archive.extractfile(member), out)
                    num_files += 1
            while stream.read(1 << 20):  # up to the checksum
                pass
            if not num_files:
                raise ValueError(f"{os.fspath(path)} has no files in a directory {kind}.")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OverflowError) as error:
        raise ValueError(f"{os.fspath(path)} is damaged ({error}); fetch it again.") from None


def unpack_npz(path: str | os.PathLike, subject: str, directory: str | os.PathLike) -> None:
    """Unpacks a subject's world positions from VideoPose3D's file, m to mm.

    Args:
      path: of data_3d_h36m.npz.
      subject: whose positions.
      directory: where <subject>/D3_Positions/<clip>.npy is made, unless it is there.

    Raises:
      ValueError: naming the file, when it is not of that kind or does not have the subject.
    """
    target = pathlib.Path(directory, subject, WORLD)
    if target.exists():
        return
    try:
        with zipfile.ZipFile(path) as archive, archive.open("positions_3d.npy") as file:
            size = archive.getinfo("positions_3d.npy").file_size
            if size > 20 * os.stat(path).st_size + _MOST_MORE:
                raise ValueError(f"it grows to {size} bytes")
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            positions = _ArraysOnly(file).load().item()[subject]
        joints = {
            clip_of(name): 1000 * np.reshape(points, (len(points), 32, 3)).astype(np.float64)
            for name, points in positions.items()
            if clip_of(name)
        }
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(
            f"{os.fspath(path)}: no 32 joints of {subject} can be read from it ({error!r})."
        ) from None
    with _made_at_once(target) as temporary:
        for clip, points in joints.items():
            np.save(temporary / f"{clip}.npy", points)


class _ArraysOnly(pickle._Unpickler):  # the one in Python, whose opcodes can be taken away
    """Reads arrays in dictionaries by name; a pickle of anything else could run any program.

    Other keys are not hashed: nested tuples keep that busy for ever.
    """

    _NAMES = (("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"))
    dispatch = {
        code: read
        for code, read in pickle._Unpickler.dispatch.items()
        if bytes([code]) not in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)
    }

    def _put(self, items):
        if not all(isinstance(key, str) for key in items[::2]):
            raise pickle.UnpicklingError("it holds a dictionary whose keys are not text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def load_setitem(self):
        *_, key, value = self.stack
        del self.stack[-2:]
        self._put([key, value])

    def load_setitems(self):
        self._put(self.pop_mark())

    def load_dict(self):
        items = self.pop_mark()
        self.append({})
        self._put(items)

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode"):  # bytes, in older protocols
            return _latin1
        if (module.split(".")[-1], name) not in self._NAMES:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}")
        # Files of NumPy 1 name numpy.core, which has moved.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _latin1(text, encoding="latin1"):
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes in {encoding!r}")
    return text.encode("latin1")


@contextlib.contextmanager
def _made_at_once(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """A directory to fill, that takes the place of `directory` at the end."""
    temporary = directory.with_name(f".{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.rename(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
