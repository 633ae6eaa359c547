"""Centres of joints from markers on the skin, as of Vicon's Plug-in Gait.

Plug-in Gait knows the widths of a person's joints, which are measured beside the recording; files
of markers do not have them. Here they are those of a mean person of the same height, and the height
is that of a mean person with the same shank.

Sources. Hips: Bell et al., J. Biomech. 23, 1990, in parts of the distance of the anterior spines.
Knees, ankles, elbows: the chord of Davis et al., Hum. Mov. Sci. 10, 1991, as Plug-in Gait has it,
with the widths of Ross and Wilson's Phantom, Bull. Educ. Phys. 10, 1974. Shoulders: Rab et al.,
J. Orthop. Res. 20, 2002. Shank and height: Drillis and Contini, 1966. Tilt of the pelvis: Levine
and Whittle, J. Orthop. Sports Phys. Ther. 24, 1996.

Shapes: T frames.
"""

import math
from collections.abc import Mapping

import numpy as np

_HIP = (-0.19, -0.30, 0.36)
"""Forwards, upwards and to its side of the middle of the anterior spines, in their distance."""

_SHOULDER = 0.17
"""Below the acromion, in the distance of both."""

_TILT = math.radians(11.3)
"""By which, in people who stand, the anterior spines are below the posterior ones."""

_SHANK = 0.246
"""Of the height."""

_WIDTHS = {"knee": 9.52 / 170.18, "ankle": 6.68 / 170.18, "elbow": 6.48 / 170.18}
"""In the height: the distance of the epicondyles or malleoli."""

_MARKER_MM = 7.0
"""Radius of a marker, of a person of `_HEIGHT_MM`."""

_HEIGHT_MM = 1701.8
_STRAIGHT = 0.17
"""Sine of the angle below which an elbow does not tell about which axis it bends."""


def joint_centres(markers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Places keypoints of `human_17` by the markers of Plug-in Gait.

    Args:
      markers: name -> (T, 3), NaN where missing, in any unit: LASI, LPSI, LTHI, LKNE, LTIB, LANK
        and those of the right side; perhaps LSHO, LELB, LWRA, LWRB, LFHD, LBHD, those of the
        right side, C7, CLAV, T10 and STRN.

    Returns:
      Keypoint -> (T, 3): hips, knees, ankles, pelvis, and with the others neck, head, shoulders,
      elbows and wrists, without them a torso that stands on the pelvis as if people had no spine;
      NaN where a marker that it needs is missing.
    """
    front, back = (_middle(markers, f"L{x}", f"R{x}") for x in ("ASI", "PSI"))
    across = markers["RASI"] - markers["LASI"]
    width, right = np.linalg.norm(across, axis=-1, keepdims=True), _unit(across)
    forward = _unit(_aside(front - back, right))
    up = np.cross(right, forward)
    shanks = [np.linalg.norm(markers[f"{s}KNE"] - markers[f"{s}ANK"], axis=-1) for s in "LR"]
    height = _median(np.stack(shanks)) / _SHANK
    found = {}
    for side, letter, sign in (("left", "L", -1), ("right", "R", 1)):
        own = {name[1:]: place for name, place in markers.items() if name[0] == letter}
        hip = front + width * (_HIP[0] * forward + _HIP[1] * up + sign * _HIP[2] * right)
        knee = _beside(hip, own["KNE"], own["KNE"] - own["THI"], _offset("knee", height))
        ankle = _beside(knee, own["ANK"], own["ANK"] - own["TIB"], _offset("ankle", height))
        found |= {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle}
    found["pelvis"] = (found["left_hip"] + found["right_hip"]) / 2
    if "CLAV" in markers:
        return found | _upper(markers, height)
    upright = math.cos(_TILT) * up - math.sin(_TILT) * forward
    return found | {"torso": found["pelvis"] + width * upright}


def _upper(markers, height: float) -> dict[str, np.ndarray]:
    """Neck, head and arms."""
    down = _unit(_middle(markers, "T10", "STRN") - _middle(markers, "C7", "CLAV"))
    apart = np.linalg.norm(markers["RSHO"] - markers["LSHO"], axis=-1, keepdims=True)
    found = {}
    for side, letter, sign in (("left", "L", 1), ("right", "R", -1)):
        shoulder = markers[f"{letter}SHO"] + _SHOULDER * apart * down
        wrist = _middle(markers, f"{letter}WRA", f"{letter}WRB")
        marker = markers[f"{letter}ELB"]
        inwards = sign * _bend(marker - shoulder, wrist - marker)
        elbow = _beside(shoulder, marker, inwards, _offset("elbow", height))
        found |= {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": wrist}
    found["neck"] = (found["left_shoulder"] + found["right_shoulder"]) / 2
    found["head"] = np.mean([markers[x] for x in ("LFHD", "RFHD", "LBHD", "RBHD")], axis=0)
    return found


def _offset(joint: str, height: float) -> float:
    """From a marker's centre to the joint's."""
    return height * (_WIDTHS[joint] / 2 + _MARKER_MM / _HEIGHT_MM)


def _beside(above: np.ndarray, marker: np.ndarray, inwards: np.ndarray, offset: float):
    """(T, 3) the centre at a distance from a marker, from which both are at a right angle.

    Of the plane through the centre of the joint above and the marker, `inwards` tells the turn.
    """
    along = above - marker
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    cosine = np.minimum(offset / length, 1.0)
    aside = _unit(_aside(inwards, along / length))
    return marker + offset * (cosine * along / length + np.sqrt(1 - cosine**2) * aside)


def _bend(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """(T, 3) the axis about which a limb bends; of a straight one that of the nearest frame.

    It goes along with the upper limb, by the least turn.
    """
    upper, lower = _unit(upper), _unit(lower)
    axes = np.cross(upper, lower)
    sines = np.linalg.norm(axes, axis=-1)
    bent = np.flatnonzero(sines > _STRAIGHT)
    if not len(bent):
        return np.full_like(axes, np.nan)
    frames = np.arange(len(axes))
    after = np.searchsorted(bent, frames)
    before, after = bent[np.maximum(after - 1, 0)], bent[np.minimum(after, len(bent) - 1)]
    nearest = np.where(np.abs(frames - before) <= np.abs(after - frames), before, after)
    turn = np.cross(upper[nearest], upper)
    cosine = np.sum(upper[nearest] * upper, axis=-1, keepdims=True)
    axis = axes[nearest] / sines[nearest][:, None]
    turned = cosine * axis + np.cross(turn, axis)
    return turned + turn * np.sum(turn * axis, axis=-1, keepdims=True) / (1 + cosine)


def _middle(markers, one: str, other: str) -> np.ndarray:
    return (markers[one] + markers[other]) / 2


def _aside(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The part of vectors at a right angle to a unit vector."""
    return vectors - np.sum(vectors * axis, axis=-1, keepdims=True) * axis


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, np.nan)


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else np.nan
