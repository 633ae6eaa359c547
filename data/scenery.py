"""What surrounds a person in a picture: a procedural background and a lamp.

Drawn from a seed by NumPy alone, so the same seed gives the same bytes.
"""

import numpy as np

_CELLS = (3, 7, 17, 41)  # of the noise grids, from clouds to grain
_MOST_PANELS = 9


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A wall and a floor with panels in front of them, under uneven light.

    Args:
      rng: where the randomness comes from.
      size: rows and columns (px).

    Returns:
      (size, size, 3) float32 from 0 to 1.
    """
    image = np.empty((size, size, 3), np.float32)
    image[:] = _paint(rng)
    image[int(size * rng.uniform(0.5, 1.0)) :] = _paint(rng)
    for _ in range(rng.integers(_MOST_PANELS + 1)):
        rows, columns = (_interval(rng, size) for _ in range(2))
        image[rows, columns] = _paint(rng)
    for cells in _CELLS:
        image *= 1 + _clouds(rng, cells, size) * np.float32(rng.uniform(0, 0.25))
    return np.clip(image, 0, 1, out=image)


def draw_light(rng: np.random.Generator) -> np.ndarray:
    """The direction of a lamp that stands above and on the camera's side of the person.

    Args:
      rng: where the randomness comes from.

    Returns:
      (3,) float32 unit vector towards it, in the camera's frame (x right, y down, z forward).
    """
    towards = rng.uniform((-1, -1, -1), (1, -0.2, -0.2))
    return (towards / np.linalg.norm(towards)).astype(np.float32)


def _paint(rng: np.random.Generator) -> np.ndarray:
    """(3,) a colour, more often dull than bright."""
    grey, color = rng.uniform(0.1, 0.9), rng.uniform(0, 1, 3)
    return np.float32(grey + rng.uniform(0, 0.6) ** 2 * (color - grey))


def _interval(rng: np.random.Generator, size: int) -> slice:
    start, stop = np.sort(rng.integers(0, size + 1, 2))
    return slice(start, stop)


def _clouds(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """(size, size, 1) noise of a grid from -1 to 1, interpolated between its points."""
    grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    place = np.linspace(0, cells - 1, size)
    tent = np.maximum(1 - np.abs(place[:, None] - np.arange(cells)), 0).astype(np.float32)
    return (tent @ grid @ tent.T)[..., None]
