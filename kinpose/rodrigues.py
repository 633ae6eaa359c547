"""Rodrigues' formula."""

import numpy as np


def rotation_parts(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rotation by t about an axis is A + cos(t) B + sin(t) C.

    Args:
      axis: (..., 3) unit vectors.

    Returns:
      A, B, C, each (..., 3, 3).
    """
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    along = axis[..., :, None] * axis[..., None, :]
    turning = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    return along, np.eye(3) - along, np.moveaxis(turning, (0, 1), (-2, -1))
