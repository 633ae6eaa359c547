"""Checkpoints: states on disk that are whole, or not there.

Orbax writes them in the background and renames each into place. What it does not do is done
here: bytes that changed on the disk are found by a checksum per leaf, and a step that cannot
be read is passed over for the one before it.
"""

import pathlib
import zlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging


class Checkpoints:
    """The checkpoints of one run; a context manager, which waits for the last one at its end.

    Under several processes each of them makes the same calls, with the same replicated state.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     with Checkpoints(directory) as checkpoints:
      ...         checkpoints.save(10, {"weights": jnp.ones(3)})
      ...     with Checkpoints(directory) as checkpoints:
      ...         step, state = checkpoints.restore({"weights": jnp.zeros(3)})
      >>> step, state["weights"].tolist()
      (10, [1.0, 1.0, 1.0])
    """

    def __init__(self, directory, *, keep: int = 2):
        """Opens the directory, or makes it.

        Args:
          directory: of this run's checkpoints alone.
          keep: how many are kept, the newest.
        """
        self.directory = pathlib.Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(self.directory, options=options)
        self._newest: int | None = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._manager.close()

    def save(self, step: int, state: Any, *, wait: bool = False) -> None:
        """Begins to write a state; its buffers may be donated once this returns.

        Args:
          step: of the state. What is there of this step or of later ones, which `restore`
            has passed over, is deleted.
          state: a pytree of arrays.
          wait: whether to return only when it is on the disk.
        """
        for passed_over in self._manager.all_steps():
            if passed_over >= step:
                self._manager.delete(passed_over)
        leaves = {path: np.array(leaf) for path, leaf in _by_path(state).items()}
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(leaves),
            meta=ocp.args.JsonSave({path: _checksum(leaf) for path, leaf in leaves.items()}),
        )
        self._manager.save(step, args=arguments, force=True)
        self._newest = step
        if wait:
            self._manager.wait_until_finished()

    def restore(self, like: Any, *, part: bool = False) -> tuple[int, Any] | None:
        """Reads the newest checkpoint that is whole.

        Args:
          like: a state of the same structure, shapes, dtypes and shardings.
          part: whether `like` may lack leaves that the checkpoint has, as a dictionary of some
            of the state's fields does.

        Returns:
          The step and the state, placed as `like`; None if there is none.

        Raises:
          ValueError: for a whole checkpoint of another structure, shape or dtype, naming the
            first leaf that differs.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                leaves = self._read(step)
            except Exception as error:
                reason = (str(error) or type(error).__name__).split("[tensorstore_spec")[0]
                logging.warning("%s: step %d is passed over: %s", self.directory, step, reason)
                continue
            if part:
                leaves = {path: leaves[path] for path in _by_path(like) if path in leaves}
            self._check_like(leaves, like, step)
            self._newest = step
            placed = [_place(leaves[path], leaf) for path, leaf in _by_path(like).items()]
            return step, jax.tree.unflatten(jax.tree.structure(like), placed)
        return None

    def describe_newest(self) -> str:
        """What to tell a person who wants to go back."""
        if self._newest is None:
            return f"no checkpoint is in {self.directory}"
        return f"the last checkpoint in {self.directory} is of step {self._newest}"

    def _read(self, step: int) -> dict[str, np.ndarray]:
        """Leaves by path, as they were written."""
        arguments = ocp.args.Composite(
            state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore()
        )
        found = self._manager.restore(step, args=arguments)
        leaves = {path: np.asarray(leaf) for path, leaf in found["state"].items()}
        if leaves.keys() != found["meta"].keys():
            raise OSError("leaves are missing")
        for path, leaf in leaves.items():
            if _checksum(leaf) != found["meta"][path]:
                raise OSError(f"{path} is not what was written")
        return leaves

    def _check_like(self, leaves: dict[str, np.ndarray], like: Any, step: int):
        there = {path: f"{x.dtype}{list(x.shape)}" for path, x in leaves.items()}
        here = {path: f"{x.dtype}{list(x.shape)}" for path, x in _by_path(like).items()}
        for path in [*here, *there]:
            if there.get(path) != here.get(path):
                raise ValueError(
                    f"step {step} in {self.directory} is of another model or optimiser: {path} is "
                    f"{there.get(path, 'missing')} there, {here.get(path, 'missing')} here."
                )


def _by_path(tree: Any) -> dict[str, Any]:
    """Leaves by names such as `variables.params.conv1.kernel`."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _checksum(leaf: np.ndarray) -> str:
    return f"{leaf.dtype}{list(leaf.shape)} {zlib.crc32(leaf.tobytes()):08x}"


def _place(leaf: np.ndarray, like) -> jax.Array:
    """On the devices of `like`, those of other processes included."""
    return jax.make_array_from_callback(leaf.shape, like.sharding, lambda index: leaf[index])
