"""Checkpoints: states on disk that are whole, or not there.

A state is one file, STEP.safetensors, in the format of that name, with a checksum over all of
it. It is written beside its place and renamed into it, so whatever ends a process leaves the
newest or the one before.
"""

import json
import os
import pathlib
import re
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.extras import needs
from kinpose.io.files import write_atomically

with needs("train"):
    from absl import logging

_SUFFIX = ".safetensors"
_DTYPES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    **{f"float{n}": f"F{n}" for n in (16, 32, 64)},
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)},
}
"""The format's names of types, by NumPy's."""


class Checkpoints:
    """The checkpoints of one run.

    Under several processes each of them makes the same calls, with the same replicated state and
    a directory that all of them see; the first one writes.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     Checkpoints(directory).save(10, {"weights": jnp.ones(3)})
      ...     step, state = Checkpoints(directory).restore({"weights": jnp.zeros(3)})
      >>> step, state["weights"].tolist()
      (10, [1.0, 1.0, 1.0])
    """

    def __init__(self, directory, *, keep: int = 2):
        """Names the directory.

        Args:
          directory: of this run's checkpoints alone; made when the first one is saved.
          keep: how many are kept, the newest.
        """
        self.directory = pathlib.Path(directory).absolute()
        self._keep = keep
        self._newest: int | None = None
        self._damaged: list[int] = []

    def save(self, step: int, state: Any) -> None:
        """Writes a state; it is on the disk once this returns.

        What `restore` has found damaged is renamed to end in `.damaged`.

        Args:
          step: of the state, no less than any that is there.
          state: a pytree of arrays.

        Raises:
          OSError: naming the directory and the step, when it cannot be written.
          ValueError: for a step before one that is there.
        """
        leaves = {path: np.asarray(leaf) for path, leaf in _by_path(state).items()}
        if jax.process_index() == 0:
            try:
                self._write(step, leaves)
            except OSError as error:
                reason = f"step {step} cannot be saved: {error.strerror or error}"
                raise OSError(error.errno, reason, str(self.directory)) from error
        self._newest = step

    def restore(self, like: Any, *, part: bool = False) -> tuple[int, Any] | None:
        """Reads the newest checkpoint that is whole; changes nothing on the disk.

        Args:
          like: a state of the same structure, shapes, dtypes and shardings.
          part: whether `like` may lack leaves that the checkpoint has, as a dictionary of some
            of the state's fields does.

        Returns:
          The step and the state, placed as `like`; None if there is none.

        Raises:
          OSError: for a file that cannot be read now; it may be whole.
          ValueError: where all are damaged; and for a whole checkpoint of another structure,
            shape or dtype, naming the first leaf that differs.
        """
        self._damaged = []
        for step in sorted(self._steps(), reverse=True):
            try:
                leaves = _read(self._path(step), step)
            except FileNotFoundError:  # a run that goes on has deleted it
                continue
            except ValueError as error:
                logging.warning("%s is damaged and passed over: %s", self._path(step), error)
                self._damaged.append(step)
                continue
            if part:
                leaves = {path: leaves[path] for path in _by_path(like) if path in leaves}
            self._check_like(leaves, like, step)
            self._newest = step
            placed = [_place(leaves[path], leaf) for path, leaf in _by_path(like).items()]
            return step, jax.tree.unflatten(jax.tree.structure(like), placed)
        if self._damaged:
            raise ValueError(
                f"{self.directory}: all checkpoints are damaged, of steps "
                f"{', '.join(map(str, self._damaged))}; move them away to begin anew."
            )
        if strange := [path.name for path in self.directory.glob("[0-9]*")]:
            raise ValueError(
                f"{self.directory} has {strange[0]}, which is no checkpoint of this version; move "
                f"it away to begin anew."
            )
        return None

    def describe_newest(self) -> str:
        """What to tell a person who wants to go back."""
        if self._newest is None:
            return f"no checkpoint is in {self.directory}"
        return f"the last checkpoint in {self.directory} is of step {self._newest}"

    def _path(self, step: int) -> pathlib.Path:
        return self.directory / f"{step}{_SUFFIX}"

    def _steps(self) -> list[int]:
        """Steps of the files that are there, whole or not."""
        try:
            with os.scandir(self.directory) as entries:
                names = [entry.name for entry in entries if not entry.is_dir()]
        except FileNotFoundError:
            return []
        found = (re.fullmatch(rf"(0|[1-9]\d*)\{_SUFFIX}", name) for name in names)
        return [int(match[1]) for match in found if match]

    def _write(self, step: int, leaves: dict[str, np.ndarray]):
        self.directory.mkdir(parents=True, exist_ok=True)
        for number in self._damaged:
            path = self._path(number)
            path.rename(_unused(path.with_name(f"{path.name}.damaged")))
        self._damaged = []
        later = max(self._steps(), default=step)
        if later > step:
            raise ValueError(
                f"{self.directory} has a checkpoint of step {later}, so step {step} cannot be "
                f"saved; restore that one or move it away."
            )
        for left_by_a_kill in self.directory.glob(f".*{_SUFFIX}"):
            left_by_a_kill.unlink()
        with write_atomically(self._path(step)) as temporary, open(temporary, "wb") as file:
            file.write(_header(step, leaves))
            for leaf in leaves.values():
                file.write(_bytes(leaf))
            file.flush()
            os.fsync(file.fileno())
        for number in sorted(self._steps())[: -self._keep]:
            self._path(number).unlink()

    def _check_like(self, leaves: dict[str, np.ndarray], like: Any, step: int):
        there = {path: f"{x.dtype}{list(x.shape)}" for path, x in leaves.items()}
        here = {path: f"{x.dtype}{list(x.shape)}" for path, x in _by_path(like).items()}
        for path in [*here, *there]:
            if there.get(path) != here.get(path):
                raise ValueError(
                    f"step {step} in {self.directory} is of another model or optimiser: {path} is "
                    f"{there.get(path, 'missing')} there, {here.get(path, 'missing')} here."
                )


def _unused(path: pathlib.Path) -> pathlib.Path:
    """The path, or one with a number behind it."""
    names = [path.name, *(f"{path.name}.{i}" for i in range(1, 10_000))]
    return next(path.with_name(n) for n in names if not path.with_name(n).exists())


def _by_path(tree: Any) -> dict[str, Any]:
    """Leaves by names such as `variables.params.conv1.kernel`."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _bytes(leaf: np.ndarray) -> memoryview:
    """The numbers in order; a scalar's and an empty array's, too."""
    return memoryview(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8))


def _header(step: int, leaves: Mapping[str, np.ndarray]) -> bytes:
    """All that comes before the numbers."""
    places, end = {}, 0
    for path, leaf in leaves.items():
        start, end = end, end + leaf.nbytes
        kind = _DTYPES[leaf.dtype.name]
        places[path] = {"dtype": kind, "shape": list(leaf.shape), "data_offsets": [start, end]}
    known = {"step": str(step), "crc32": _checksum(step, places, leaves)}
    text = json.dumps({"__metadata__": known} | places).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _checksum(step: int, places: Mapping, leaves: Mapping[str, np.ndarray]) -> str:
    """Of everything that the file says."""
    value = zlib.crc32(json.dumps([step, places]).encode())
    for leaf in leaves.values():
        value = zlib.crc32(_bytes(leaf), value)
    return f"{value:08x}"


def _read(path: pathlib.Path, step: int) -> dict[str, np.ndarray]:
    """Leaves by path, as they were written; a ValueError says what is damaged."""
    content = np.fromfile(path, np.uint8)
    length = int.from_bytes(content[:8].tobytes(), "little")
    header, numbers = content[8 : 8 + length], content[8 + length :]
    try:
        places = json.loads(header.tobytes())
        known = places.pop("__metadata__")
        leaves = {name: _leaf(numbers, place) for name, place in places.items()}
        whole = known == {"step": str(step), "crc32": _checksum(step, places, leaves)}
    except MemoryError:
        raise
    except Exception as error:  # what is not what was written can fail in any way
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from None
    if not whole or sum(leaf.nbytes for leaf in leaves.values()) != len(numbers):
        raise ValueError("it is not what was written")
    return leaves


def _leaf(numbers: np.ndarray, place: Mapping) -> np.ndarray:
    (name,) = (name for name, kind in _DTYPES.items() if kind == place["dtype"])
    start, end = place["data_offsets"]
    return numbers[start:end].view(jnp.dtype(name)).reshape(place["shape"])


def _place(leaf: np.ndarray, like) -> jax.Array:
    """On the devices of `like`, those of other processes included."""
    return jax.make_array_from_callback(leaf.shape, like.sharding, lambda index: leaf[index])
