"""A rasteriser in NumPy for meshes of many small triangles.

Every pixel in the bounding box of a visible triangle is a candidate; those inside the
triangle are fragments; the nearest fragment of a pixel is seen. All triangles are worked on at
once, so the cost is that of the candidates: about three per covered pixel for our bodies.
Nothing is random and no order of summation depends on threads: equal input gives equal bytes.

Shapes: V vertices, F faces, N fragments.
"""

from typing import NamedTuple

import numpy as np

from data.camera import Camera, project

_SLACK = 1e-4  # of a triangle's height: rounding must not open cracks between triangles
_SMALLEST = 1e-6  # twice the area (px^2) of a triangle that is drawn


class Fragments(NamedTuple):
    """What is seen, one entry per covered pixel.

    Attributes:
      pixels: (N,) indices into the flattened image, rising.
      vertices: (3, N) the triangle's vertices.
      shares: (3, N) float32, how much of each vertex: perspective-correct, with sum 1.
    """

    pixels: np.ndarray
    vertices: np.ndarray
    shares: np.ndarray


def rasterise(places, depths, faces, shape: tuple[int, int]) -> Fragments:
    """Which point of which triangle is seen at each pixel's centre.

    Args:
      places: (V, 2) x and y in the image (px).
      depths: (V,) distance along the optical axis, positive.
      faces: (F, 3) triangles, counter-clockwise seen from outside; the others are not seen.
      shape: rows and columns.

    Returns:
      The fragments; none for pixels that no triangle covers.
    """
    corners, x, y, areas, boxes = _visible(*places.T.astype(np.float32), faces, shape)
    owner, column, row, pixels = _candidates(boxes, shape[1])
    across, down, constant = (slope.take(owner, axis=1) for slope in _edges(x, y, areas))
    shares = across * column + down * row + constant
    inside = np.flatnonzero((shares >= -_SLACK).all(axis=0))
    corners = corners.take(owner[inside], axis=1)
    shares, pixels = shares.take(inside, axis=1), pixels[inside]
    shares /= depths.astype(np.float32)[corners]
    nearness = shares.sum(axis=0)  # one over the depth, linear in the image
    seen = _nearest(pixels, nearness, shape[0] * shape[1])
    return Fragments(pixels[seen], corners[:, seen], shares[:, seen] / nearness[seen])


def render(vertices, normals, colors, faces, camera: Camera, background, light):
    """Draws a mesh over a background.

    Edges are smoothed by four samples a pixel. Colours at the vertices are shaded and then
    interpolated (Gouraud): light from above and around, and a lamp.

    Args:
      vertices: (V, 3) in the camera's frame (mm), in front of it.
      normals: (V, 3) in the camera's frame, outwards, of about unit length.
      colors: (V, 3) float32 from 0 to 1.
      faces: (F, 3) triangles, counter-clockwise seen from outside.
      camera: gives focal length and centre.
      background: (H, W, 3) float32 from 0 to 1; its shape is the image's.
      light: (3,) towards the lamp, in the camera's frame; its length is the lamp's strength.

    Returns:
      image: (H, W, 3) uint8.
      cover: (H, W) float32, the part of each pixel that the mesh covers.
    """
    rows, columns = background.shape[:2]
    places = 2 * project(np.asarray(vertices, np.float32), camera) + np.float32(0.5)
    seen = rasterise(places, vertices[:, 2], faces, (2 * rows, 2 * columns))
    shaded = shade(normals, colors, light)
    samples = np.zeros((4 * rows * columns, 4), np.float32)
    samples[seen.pixels, :3] = _mixed(shaded, seen)
    samples[seen.pixels, 3] = 1
    samples = samples.reshape(rows, 2, columns, 2, 4)
    mean = (samples[:, 0] + samples[:, 1]).sum(axis=2) / 4
    cover = mean[..., 3]
    image = mean[..., :3] + (1 - cover[..., None]) * background
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8), cover


def shade(normals, colors, light) -> np.ndarray:
    """Colours under light: diffuse, three parts from the sky and around, three from a lamp.

    Args:
      normals: (V, 3) in the camera's frame.
      colors: (V, 3).
      light: (3,) towards the lamp, as long as it is strong.

    Returns:
      (V, 3) float32.
    """
    sky = 0.5 - 0.15 * normals[:, 1]  # y points down
    lamp = np.maximum(normals @ np.asarray(light, np.float32), 0)
    return (colors * (sky + 0.65 * lamp)[:, None]).astype(np.float32)


def _mixed(values, seen: Fragments) -> np.ndarray:
    """(N, C) values at the vertices (V, C), interpolated."""
    parts = zip(seen.shares, seen.vertices, strict=True)
    return sum(share[:, None] * values[vertex] for share, vertex in parts)


def _visible(x, y, faces, shape):
    """Faces towards the viewer that have pixel centres in their box.

    Returns the faces' corners (3, F), the corners' x and y counted from the box's first pixel
    (small numbers keep float32 exact enough), and the boxes: left, top, width, height.
    """
    corners = np.ascontiguousarray(faces.T)
    x, y = x[corners], y[corners]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    left = np.maximum(np.ceil(x.min(axis=0)), 0)
    width = np.minimum(np.floor(x.max(axis=0)) + 1, shape[1]) - left
    top = np.maximum(np.ceil(y.min(axis=0)), 0)
    height = np.minimum(np.floor(y.max(axis=0)) + 1, shape[0]) - top
    kept = np.flatnonzero((area < -_SMALLEST) & (width > 0) & (height > 0))  # y points down
    boxes = np.stack([left, top, width, height])[:, kept]
    corners, x, y = (a.take(kept, axis=1) for a in (corners, x, y))
    return corners, x - boxes[0], y - boxes[1], area[kept], boxes.astype(np.int32)


def _candidates(boxes, columns: int):
    """The pixels of all boxes: their box, column and row in it, and index in the image."""
    left, top, width, height = boxes
    counts = width * height
    owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    starts = np.cumsum(counts, dtype=np.int32) - counts
    row, column = np.divmod(np.arange(len(owner), dtype=np.int32) - starts[owner], width[owner])
    pixels = (top * np.int32(columns) + left)[owner] + row * np.int32(columns) + column
    return owner, column.astype(np.float32), row.astype(np.float32), pixels


def _edges(x, y, areas):
    """The corners' shares as linear functions: slopes by column and row, constant, (3, F) each."""
    x1, y1, x2, y2 = (np.roll(a, shift, axis=0) for shift in (-1, -2) for a in (x, y))
    constant = x1 * y2 - x2 * y1
    return (y1 - y2) / areas, (x2 - x1) / areas, constant / areas


def _nearest(pixels, nearness, num_pixels: int) -> np.ndarray:
    """Indices of the fragments that are nearest in their pixel, by rising pixel.

    One integer holds nearness and index: positive floats are ordered as their bits are.
    """
    keys = nearness.view(np.int32).astype(np.int64) << 32
    keys |= np.arange(len(pixels))
    best = np.full(num_pixels, -1, np.int64)
    np.maximum.at(best, pixels, keys)
    return best[best >= 0] & 0xFFFFFFFF
