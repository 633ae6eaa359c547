"""Where a data set has the shoulders: against the neck, in the frame of the trunk.

Some have the neck between the shoulders, some above them, as Human3.6M; which of them says more
about the data set than about the person.
"""

from collections.abc import Sequence

import jax
import numpy as np

_KEYPOINTS = ("pelvis", "neck", "left_shoulder", "right_shoulder")


def shoulder_direction(joints: jax.typing.ArrayLike, keypoints: Sequence[str]) -> np.ndarray | None:
    """The direction from neck to left shoulder in a whole recording, for `human_17`.

    The trunk's frame is that of `human_17`: y from pelvis to neck, x along the shoulders; both
    sides are taken alike. The medians over the frames do not follow single points far off.

    Args:
      joints: (T, K, 3) points in any unit and axes, right-handed; NaN marks a missing one.
      keypoints: K names.

    Returns:
      (3,) to the left, up and forward, of length one; None where no frame tells.

    Example:
      >>> from kinpose import forward_kinematics
      >>> from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17
      >>> body = human_17(directions={"neck-shoulder": (0.9, -0.4, -0.1)})
      >>> joints = forward_kinematics(np.full((5, 27), 0.3, np.float32), body)
      >>> direction = shoulder_direction(joints, HUMAN36M_KEYPOINTS)
      >>> (direction / direction[0]).round(3).tolist()
      [1.0, -0.444, -0.111]
    """
    keypoints = list(keypoints)
    if not set(_KEYPOINTS) <= set(keypoints):
        return None
    at = np.asarray(joints, np.float64)[:, [keypoints.index(key) for key in _KEYPOINTS]]
    pelvis, neck, left, right = at[np.isfinite(at).all(axis=(1, 2))].swapaxes(0, 1)
    up, ahead = neck - pelvis, np.cross(left - right, neck - pelvis)
    tells = (np.linalg.norm(up, axis=1) > 0) & (np.linalg.norm(ahead, axis=1) > 0)
    if not tells.any():
        return None
    frame = np.stack([np.cross(up, ahead), up, ahead], axis=1)[tells]
    frame /= np.linalg.norm(frame, axis=2, keepdims=True)
    from_neck = np.stack([left - neck, right - neck], axis=2)[tells]
    found = np.mean(frame @ from_neck * [[1, -1], [1, 1], [1, 1]], axis=2)
    middle = np.median(found, axis=0)
    return middle / np.linalg.norm(middle)
