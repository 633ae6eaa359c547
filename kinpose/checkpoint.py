"""Checkpoints: states on disk that are whole, or not there.

A state is a directory, STEP, with what Orbax writes and a checksum of each of its files. It is
written beside its place and renamed into it, so whatever ends a process leaves the newest or the
one before.
"""

import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from kinpose.extras import needs
from kinpose.mesh import by_path, place_like

with needs("train"):
    import orbax.checkpoint as ocp
    from absl import logging

_LEAVES, _CHECKSUMS = "leaves", "checksums.json"
"""What a step has: Orbax's directory; size and checksum of each file in it."""


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
          step: of the state, beyond any that is there.
          state: a pytree of arrays, keys of random numbers among them.

        Raises:
          OSError: naming the directory and the step, when it cannot be written.
          ValueError: for a step that is there, or before one.
        """
        leaves = {path: np.asarray(leaf) for path, leaf in by_path(_numbers(state)).items()}
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
            path = self._path(step)
            try:
                damage = _find_damage(path, step)
                leaves = {} if damage else _read(path)
            except Exception:
                if step in self._steps():
                    raise
                continue  # a run that goes on has deleted it
            if damage:
                if step in self._steps():
                    logging.warning("%s is damaged and passed over: %s", path, damage)
                    self._damaged.append(step)
                continue
            numbers = by_path(_numbers(like))
            for name, leaf in numbers.items():
                if leaf.size == 0:  # of which Orbax writes none
                    leaves.setdefault(name, np.empty(leaf.shape, leaf.dtype))
            if part:
                leaves = {path: leaves[path] for path in numbers if path in leaves}
            self._check_like(leaves, numbers, step)
            self._newest = step
            placed = [place_like(leaves[path], leaf) for path, leaf in numbers.items()]
            placed = map(_as_key, placed, jax.tree.leaves(like))
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
        return self.directory / f"{step}"

    def _temporary(self, step: int) -> pathlib.Path:
        return self.directory / f".{step}.tmp"

    def _steps(self) -> list[int]:
        """Steps that are there, whole or not."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        steps = [int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]*", name)]
        return [step for step in steps if _has_checksums(self._path(step))]

    def _write(self, step: int, leaves: Mapping[str, np.ndarray]):
        self.directory.mkdir(parents=True, exist_ok=True)
        for number in self._damaged:
            _put_aside(self._path(number))
        self._damaged = []
        last = max(self._steps(), default=-1)
        if last >= step:
            raise ValueError(
                f"{self.directory} has a checkpoint of step {last}, so step {step} cannot be "
                f"saved; restore that one or move it away."
            )
        for left_by_a_kill in self.directory.glob(".[0-9]*.tmp"):
            shutil.rmtree(left_by_a_kill)
        temporary, path = self._temporary(step), self._path(step)
        try:
            temporary.mkdir()
            _fill(temporary, step, leaves)
            if os.path.lexists(path):  # without checksums
                _put_aside(path)
            temporary.rename(path)
            _sync(self.directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for number in sorted(self._steps())[: -self._keep]:
            shutil.rmtree(self._path(number).rename(self._temporary(number)))

    def _check_like(self, leaves: dict[str, np.ndarray], like: dict[str, jax.Array], step: int):
        there, here = (
            {path: f"{x.dtype}{list(x.shape)}" for path, x in tree.items()}
            for tree in (leaves, like)
        )
        for path in [*here, *there]:
            if there.get(path) != here.get(path):
                raise ValueError(
                    f"step {step} in {self.directory} is of another model or optimiser: {path} is "
                    f"{there.get(path, 'missing')} there, {here.get(path, 'missing')} here."
                )


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _numbers(tree: Any) -> Any:
    """The tree with the numbers of its random keys, as some optimisers have them, for these."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _as_key(numbers: jax.Array, like: jax.Array) -> jax.Array:
    """What `_numbers` made of a leaf, as that leaf is."""
    if not _is_key(like):
        return numbers
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(like))


def _put_aside(path: pathlib.Path):
    names = [f"{path.name}.damaged", *(f"{path.name}.damaged.{i}" for i in range(1, 10_000))]
    path.rename(next(path.with_name(n) for n in names if not os.path.lexists(path.with_name(n))))


def _fill(directory: pathlib.Path, step: int, leaves: Mapping[str, np.ndarray]):
    """Fills an empty directory; all of it is on the disk at the end."""
    _check_room(directory, leaves)
    with _as_os_error(directory):
        full = {name: leaf for name, leaf in leaves.items() if leaf.size}
        _orbax().save(directory / _LEAVES, args=ocp.args.PyTreeSave(full))
    names = [str(x.relative_to(directory)) for x in directory.rglob("*") if x.is_file()]
    files = {name: _measure(directory / name) for name in sorted(names)}
    (directory / _CHECKSUMS).write_bytes(_sealed({"step": step, "files": files}))
    for path in (*directory.rglob("*"), directory):
        _sync(path)


def _read(directory: pathlib.Path) -> dict[str, np.ndarray]:
    """Leaves by path, as they were written."""
    with _as_os_error(directory):
        return _orbax().restore(directory / _LEAVES)


def _orbax() -> ocp.Checkpointer:
    """Of this process alone: it waits for no other."""
    index = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"kinpose{index}"
    )
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


@contextlib.contextmanager
def _as_os_error(directory: pathlib.Path) -> Iterator[None]:
    """Turns what Orbax makes of an error of the system into that error."""
    try:
        yield
    except Exception as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(directory)) from error


def _check_room(directory: pathlib.Path, leaves: Mapping[str, np.ndarray]):
    """Raises the error of a full disk, of which Orbax prints some hundred lines."""
    size = sum(leaf.nbytes + 4096 for leaf in leaves.values()) + 2**16
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with tempfile.TemporaryFile(dir=directory) as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise


def _has_checksums(directory: pathlib.Path) -> bool:
    try:
        return _CHECKSUMS in os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _find_damage(directory: pathlib.Path, step: int) -> str | None:
    """What is not as it was written, if anything."""
    content = (directory / _CHECKSUMS).read_bytes()
    try:
        known = json.loads(content)
        known.pop("crc32")
        whole = _sealed(known) == content and known["step"] == step
    except MemoryError:
        raise
    except Exception:  # what is not what was written can fail in any way
        whole = False
    if not whole:
        return f"{_CHECKSUMS} is not what was written"
    for name, measures in known["files"].items():
        try:
            if _measure(directory / name) != measures:
                return f"{name} is not what was written"
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return f"{name} is missing"
    return None


def _sealed(known: Mapping) -> bytes:
    """As JSON, with its own checksum."""
    checksum = f"{zlib.crc32(json.dumps(known).encode()):08x}"
    return json.dumps({**known, "crc32": checksum}, indent=1).encode()


def _measure(path: pathlib.Path) -> dict[str, Any]:
    size = value = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            size, value = size + len(block), zlib.crc32(block, value)
    return {"bytes": size, "crc32": f"{value:08x}"}


def _sync(path: pathlib.Path):
    """Returns when a file, or the names in a directory, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
