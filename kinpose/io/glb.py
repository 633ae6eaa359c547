"""What all `.glb` files have in common: arrays, shapes, colours, and the file itself.

Binary glTF 2.0 is one JSON document and one buffer, each in a chunk of whole words.
"""

import json
import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from kinpose.io.files import write_atomically

LARGEST = 1e30
"""Numbers of a file are below it, as float32 ends at 3e38."""

BONE_COLOR = (0.75, 0.7, 0.6, 1.0)
"""Red, green, blue and opacity of bones."""

_FLOAT, _SHORT = 5126, 5123


class Binary:
    """Arrays one after another, and what glTF says of them."""

    def __init__(self):
        self.data, self.views, self.accessors = bytearray(), [], []

    def add(self, array: np.ndarray, kind: str, *, bounds: bool = False, target: int = 0) -> int:
        """The number of the accessor of an array (N,) or (N, components)."""
        type_ = _SHORT if array.dtype == np.uint16 else _FLOAT
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view | ({"target": target} if target else {}))
        accessor = {"bufferView": len(self.views) - 1, "componentType": type_}
        accessor |= {"count": len(array), "type": kind}
        if bounds:
            columns = array.reshape(len(array), -1)
            accessor |= {"min": columns.min(axis=0).tolist(), "max": columns.max(axis=0).tolist()}
        self.accessors.append(accessor)
        self.data += array.tobytes()
        self.data += b"\0" * (-len(self.data) % 4)
        return len(self.accessors) - 1


def document_of(nodes: Sequence[dict], tops: Sequence[int]) -> dict[str, Any]:
    """A document with one scene of nodes, of which `tops` are below no other."""
    return {
        "asset": {"version": "2.0", "generator": "kinpose"},
        "scene": 0,
        "scenes": [{"nodes": list(tops)}],
        "nodes": list(nodes),
    }


def look_of(color: Sequence[float]) -> dict[str, Any]:
    """A material without gloss, of a colour (red, green, blue, opacity)."""
    look = {"baseColorFactor": list(color), "metallicFactor": 0.0, "roughnessFactor": 0.8}
    return {"pbrMetallicRoughness": look}


def bone_mesh(
    start: np.ndarray, end: np.ndarray, *, width: float = 0.08, widest: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    """An octahedron from one place to another.

    Args:
      start: (3,) a tip.
      end: (3,) the other tip.
      width: half the distance of opposite corners between them, in its lengths.
      widest: where these are, as a part of the way.

    Returns:
      (24, 3) points and normals of its triangles.
    """
    along = end - start
    length = np.linalg.norm(along)
    across = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    across *= width * length / np.linalg.norm(across)
    other = np.cross(along / length, across)
    ring = [start + widest * along + side for side in (across, other, -across, -other)]
    faces = []
    for one, two in zip(ring, ring[1:] + ring[:1], strict=True):
        faces += [(start, two, one), (end, one, two)]
    points = np.array(faces)
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return points.reshape(-1, 3), np.repeat(normals, 3, axis=0)


def numbers(values: np.ndarray) -> list[float]:
    """Numbers of a document, rounded as those of the buffer are."""
    return [float(value) for value in np.float32(values)]


def write_glb(path: str | os.PathLike, document: dict[str, Any], binary: Binary) -> None:
    """Writes a document and its arrays, whole or not at all."""
    if binary.data:
        document["buffers"] = [{"byteLength": len(binary.data)}]
        document |= {"bufferViews": binary.views, "accessors": binary.accessors}
    text = json.dumps(document, separators=(",", ":")).encode()
    chunks = _chunk(b"JSON", text, b" ")
    if binary.data:
        chunks += _chunk(b"BIN\0", bytes(binary.data), b"\0")
    with write_atomically(path) as temporary:
        temporary.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


def _chunk(kind: bytes, data: bytes, filler: bytes) -> bytes:
    data += filler * (-len(data) % 4)
    return struct.pack("<I4s", len(data), kind) + data
