"""Motion of a recording, for bodies of other proportions.

A segment of the body turns as the recording's bone does: its rotation in the world is the
bone's rotation from the recording's rest pose, times a constant one that turns the body's rest
pose into the recording's. That constant aligns the directions of upper arms, forearms, thighs
and shanks and, about them, the axes of elbows and knees, which bend forwards in both; trunk and
head stand upright in both; hands and feet go with the limb before them.
"""

import numpy as np

from data.body import SEGMENTS, Body, rest_joints
from data.motion import BodyMotion, leg_length, limb_directions
from kinpose.retargeting import segment_turns
from kinpose.skeletons import HUMAN36M_KEYPOINTS

_DOWN = np.array([0.0, -1.0, 0.0])
_FEET = [list(SEGMENTS).index(foot) for foot in ("left_foot", "right_foot")]


def retarget(motion: BodyMotion, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """The motion for one body, for `data.body.pose_body` frame by frame.

    Args:
      motion: of any person, T frames.
      body: the body, S segments.

    Returns:
      rotations: (T, S, 3, 3) float32 of the segments from the body's rest pose, in the world.
      root: (T, 3) float32 position of the pelvis (mm), scaled by the length of the leg.
    """
    turns = segment_turns(rest_directions(body), motion.directions)
    length = leg_length(_rest_places(body))
    return motion.rotations @ np.float32(turns), motion.root * np.float32(length)


def rest_directions(body: Body) -> np.ndarray:
    """(S, 3) unit vectors along the segments of a body in its rest pose."""
    directions = limb_directions(_rest_places(body))
    directions[_FEET] = _DOWN  # the soles lie flat, as below a shank that hangs straight down
    return directions


def _rest_places(body: Body) -> dict[str, np.ndarray]:
    return dict(zip(HUMAN36M_KEYPOINTS, rest_joints(body).astype(np.float64), strict=True))
