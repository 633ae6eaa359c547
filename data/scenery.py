"""What surrounds a person in a picture: a procedural background and a lamp.

Drawn from a seed by NumPy alone, so the same seed gives the same bytes.
"""

import math

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


def draw_any_light(rng: np.random.Generator) -> np.ndarray:
    """A lamp anywhere but behind the person, from next to nothing to glaring.

    Args:
      rng: where the randomness comes from.

    Returns:
      (3,) float32 towards it, in the camera's frame; its length is the lamp's strength, 1 is
      that of `draw_light`.
    """
    towards = rng.uniform((-1, -1, -1), (1, 0.4, 0.3))
    strength = rng.uniform(0.1, 1.6) / np.linalg.norm(towards)
    return (strength * towards).astype(np.float32)


def draw_occluders(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """What stands before a person: none, or up to three bars, boxes and blots.

    Args:
      rng: where the randomness comes from.
      size: rows and columns (px).

    Returns:
      Colours (size, size, 3) float32 from 0 to 1, and which pixels they hide, (size, size) bool.
    """
    colors, hides = np.zeros((size, size, 3), np.float32), np.zeros((size, size), bool)
    place = ((np.arange(size) + 0.5) / size).astype(np.float32)
    for _ in range(rng.choice(4, p=(0.45, 0.3, 0.15, 0.1))):
        x, y = rng.uniform(-0.1, 1.1, 2).tolist()
        sizes = rng.uniform(0.03, 0.22, 2) * rng.choice(((1, 1), (0.3, 6), (6, 0.3)))
        width, height = sizes.tolist()
        sin, cos = _turn(rng)
        across, down = place - x, (place - y)[:, None]
        first = (cos / width) * across + (sin / width) * down
        second = (cos / height) * down - (sin / height) * across
        is_box = rng.uniform() < 0.5
        own = (np.maximum(first**2, second**2) if is_box else first**2 + second**2) < 1
        shade = 1 + 0.5 * rng.uniform(-1, 1) * np.sin(first[own] * rng.uniform(2, 12))
        colors[own] = np.clip(_paint(rng) * shade[:, None], 0, 1)
        hides |= own
    return colors, hides


def develop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Exposure, the lamps' colours and the sensor's noise, other ones for each picture.

    Args:
      rng: where the randomness comes from.
      image: (H, W, 3) uint8.

    Returns:
      (H, W, 3) uint8.
    """
    gains = rng.uniform(0.6, 1.3) * rng.uniform(0.88, 1.12, 3)
    sigma = np.float32(rng.uniform(0, 6))
    values = sigma * rng.standard_normal(image.shape, np.float32)
    values += np.float32(gains) * image + np.float32(0.5)  # to be rounded down
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def _turn(rng: np.random.Generator) -> tuple[float, float]:
    """Sine and cosine of an angle, small more often than not."""
    angle = rng.normal(0, 0.3)
    return math.sin(angle), math.cos(angle)


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
