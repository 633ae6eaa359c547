"""Samples, and which of them a step takes."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kinpose.mesh import own_part
from kinpose.methods import Targets


class Source(NamedTuple):
    """The samples of a training or test set, read as they are needed.

    Attributes:
      num: how many there are.
      load: from indices (B,) to images (B, ...) and `Targets`.
    """

    num: int
    load: Callable[[np.ndarray], tuple[np.ndarray, Targets]]


def array_source(
    images: ArrayLike,
    joints: ArrayLike,
    params: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> Source:
    """Samples in memory.

    Args:
      images: (N, ...) what the network sees, of any kind.
      joints: (N, K, n) see `Targets`, as the others.
      params: (N, D) or None.
      scale: (N,) or None.

    Returns:
      The source; floating point numbers are float32.

    Raises:
      ValueError: where the arrays have different numbers of rows.

    Example:
      >>> source = array_source(np.zeros((40, 8)), np.zeros((40, 17, 3)))
      >>> images, targets = source.load(np.array([3, 1]))
      >>> source.num, images.shape, targets.joints.shape
      (40, (2, 8), (2, 17, 3))
    """
    arrays = {"images": images, "joints": joints, "params": params, "scale": scale}
    arrays = {name: _narrow(x) for name, x in arrays.items() if x is not None}
    rows = {name: len(x) if x.ndim else 0 for name, x in arrays.items()}
    if len(set(rows.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise ValueError(f"all arrays must have one row per sample, but their rows are: {said}.")
    images = arrays.pop("images")

    def load(index):
        return images[index], Targets(**{name: x[index] for name, x in arrays.items()})

    return Source(len(images), load)


def _narrow(array: ArrayLike) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def batch_indices(num: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Which samples this process takes at a step.

    Every sample comes once an epoch, in an order that depends on the seed and the epoch; a
    batch may begin in one epoch and end in the next.

    Args:
      num: number of samples.
      batch_size: over all processes, each of which takes an equal part.
      step: counted from 0.
      seed: of the order.

    Returns:
      (batch_size / number of processes,) indices below `num`.
    """
    place = own_part(np.arange(step * batch_size, (step + 1) * batch_size))
    epochs, within = np.divmod(place, num)
    index = np.empty_like(place)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        index[here] = _order(num, int(epoch), seed)[within[here]]
    return index


@functools.lru_cache(maxsize=2)
def _order(num: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num)
