"""The orientation of the head, from the nose, eyes and ears that detectors of people report.

Frame of the head: x to the left, y up, z forward; the plane of ears and lower rims of the
orbits, the Frankfurt plane of anthropometry, is level in it. Shapes: T frames.
"""

import math

import numpy as np

from kinpose.skeletons import human_17

FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
"""What is known of a face, in order."""

FACE_MM = np.array([[0, -20, 108], [32, 16, 70], [-32, 16, 70], [75, 0, 0], [-75, 0, 0]], float)
"""Nose, eyes and ears of a mean adult in the frame of the head, from the middle of the ears.

Rounded from MediaPipe's canonical face (canonical_face_model.obj of its face_geometry module:
tip of the nose, corners of the eyes, the face's edge before the ears), the ears' middle taken
5 mm behind that edge.
"""

_SPREAD_MM = 25.0
"""Second singular value of the mean face's points about their middle: of fewer, nearer to one line,
the turn about that line would be noise. Nose, eye and ear of one side alone have 23."""


def head_keypoints(face: np.ndarray, neck: np.ndarray, scale: float = math.nan) -> np.ndarray:
    """Places the keypoints "nose" and "head" of `human_17` as the head is turned.

    The mean face is turned onto the points that are there (Kabsch, 1976); on the neck stands
    the model's head in that orientation. So the angles of the neck are those of the head
    against the trunk, zero where a person looks straight ahead, whatever the shape of the neck.
    The face is above the neck; where that asks for a mirror image, axes
    are left-handed or left and right exchanged, and nose and head are right for these.

    Args:
      face: (T, 5, 3) positions of `FACE`; NaN where missing.
      neck: (T, 3) the keypoint "neck".
      scale: the unit of the points per mm, times the person's size; by default that of the face.

    Returns:
      (T, 2, 3) nose and head; NaN where fewer than three points, or only points near one line,
      are there.
    """
    seen = np.isfinite(face).all(axis=-1)[..., None]
    mean_face, points = _centred(FACE_MM, seen), _centred(face, seen)
    spread = np.linalg.svd(mean_face, compute_uv=False)[:, 1]
    known = (spread > _SPREAD_MM) & np.isfinite(neck).all(axis=-1)
    if not known.any():
        return np.full((len(face), 2, 3), np.nan)
    covariance = points.swapaxes(1, 2) @ mean_face
    left, _, right = np.linalg.svd(covariance)
    left[..., 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    middle = np.mean(face, axis=1, where=seen | ~known[:, None, None])
    rise = np.sum((left @ right)[..., 1] * (middle - neck), axis=1)
    left[..., 2] *= np.where(rise < 0, -1.0, 1.0)[:, None]
    turn = left @ right
    if not np.isfinite(scale):
        squares = np.sum(mean_face[known] ** 2, axis=(1, 2))
        scale = np.median(np.sum((turn * covariance)[known], axis=(1, 2)) / squares)
    rest = scale * _HEAD_MM @ turn.swapaxes(1, 2)
    return np.where(known[:, None, None], neck[:, None] + rest, np.nan)


def _centred(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(T, 5, 3) about the middle of those seen; 0 where none is."""
    points = np.where(seen, points, 0.0)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    return np.where(seen, points - points.sum(axis=1, keepdims=True) / count, 0.0)


def _rest_head() -> np.ndarray:
    """(2, 3) nose and head from the neck in the rest pose of `human_17`, mm."""
    human = human_17()
    bones = [human.names.index(name) for name in ("nose", "head")]
    return np.cumsum(np.asarray(human.offsets)[bones], axis=0)


_HEAD_MM = _rest_head()
HEAD_LEAN = math.atan2(_HEAD_MM[1, 2], _HEAD_MM[1, 1])
"""Radians by which the line from neck to head leans forward in the rest pose of `human_17`."""
