"""Skeletons of the paper and of the library's examples. Data; each cites its source."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kinpose.builder import build_skeleton
from kinpose.skeleton import Joint, Motion, Skeleton

HUMAN36M_LENGTHS_MM = {
    "pelvis-hip": 134.2,
    "hip-knee": 456.1,
    "knee-ankle": 451.9,
    "pelvis-torso": 245.4,
    "torso-neck": 254.0,
    "neck-nose": 116.7,
    "nose-head": 115.0,
    "neck-shoulder": 157.5,
    "shoulder-elbow": 284.2,
    "elbow-wrist": 249.6,
}
"""Mean bone lengths over the seven subjects of Human3.6M (Ionescu et al., 2014), left = right."""

HUMAN36M_DIRECTIONS = {
    "pelvis-hip": (1.0, 0.0, 0.0),
    "neck-shoulder": (148.7, -50.0, -14.0),
    "neck-nose": (0.0, math.cos(math.radians(30)), math.sin(math.radians(30))),
    "nose-head": (0.0, math.cos(math.radians(18)), -math.sin(math.radians(18))),
}
"""Directions of the bones that no angle turns against what they are fixed to, on the left side.

x to the left, y up along the trunk, z forward; their lengths do not count. Of Human3.6M, rounded
from means over 394 poses of its test subject S9: in the frame of the trunk the left shoulder is
(174, -47, -14) mm from the neck, the right one (-172, -54, -14), the nose (-18, 99, 58), the head
(9, 105, -33) from the nose; so 50 mm below the neck and 14 behind it at the mean length. With
shoulders level with the neck and a head straight above the nose, ModelFit misses the true joints of
these poses by 30.7 mm, with these directions by 21.3 (mean lengths, scale 1, roots aligned).
"""

HUMAN36M_KEYPOINTS = (
    "pelvis",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "torso",
    "neck",
    "nose",
    "head",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
)
"""The 17 joints of the Human3.6M protocol, in its order."""

_LIMITS_DEG = {
    "spine_roll": (-60, 60),
    "spine_yaw": (-90, 90),
    "neck_yaw": (-100, 100),
    "neck_pitch": (-85, 85),
    "neck_roll": (-75, 75),
    **{
        f"{side}_{dof}": bounds
        for side in ("left", "right")
        for dof, bounds in (
            ("hip_flexion", (-60, 150)),
            ("hip_abduction", (-60, 85)),
            ("hip_rotation", (-90, 90)),
            ("knee_flexion", (-15, 160)),
            ("shoulder_flexion", (-90, 210)),
            ("shoulder_abduction", (-90, 180)),
            ("shoulder_rotation", (-180, 180)),
            ("elbow_flexion", (-15, 160)),
        )
    },
}

HUMAN_LIMITS = {
    dof: (math.radians(low), math.radians(high)) for dof, (low, high) in _LIMITS_DEG.items()
}
"""How far the joints of people go, with room for the hypermobile and for errors of the points.

Normal ranges: American Academy of Orthopaedic Surgeons, "Joint Motion: Method of Measuring and
Recording" (1965); measured: Boone and Azen (1979), Soucie et al. (2011); hyperextension: Beighton,
Solomon and Soskolne (1973). See docs/angles.md.

Hips and neck have one triple of angles for each orientation: of the two that turn a joint alike
the middle angles are x and 180 degrees - x, and none reaches beyond 90. So a knee that goes a
little beyond straight is a small negative angle, and not a thigh turned by half a turn. A raised
arm may be written by flexion or by abduction. The pelvis has no limits: people roll and lie.
"""


def human_17(
    lengths: Mapping[str, float] = HUMAN36M_LENGTHS_MM,
    directions: Mapping[str, Sequence[float]] = HUMAN36M_DIRECTIONS,
) -> Skeleton:
    """The paper's human: 17 keypoints, 27 parameters (Sec. 4.2, Fig. 6), in mm.

    Rest pose: standing upright, arms and legs hanging down; x to the person's left, y up,
    z forward. The dofs are anatomical, zero in the rest pose and positive as in everyday
    use; left and right mean the same. In the order in which they turn, with the ranges of
    `HUMAN_LIMITS` (docs/angles.md has pictures and sources):

    ==================  =====  ==================================  =============
    dof                 about  positive                            range, deg
    ==================  =====  ==================================  =============
    pelvis_tx, ty, tz          to the left, up, forwards           none
    pelvis_yaw          y      to the left                         full circle
    pelvis_pitch        x      bends forwards                      full circle
    pelvis_roll         z      to the right                        full circle
    spine_roll          z      to the right                        -60 to 60
    spine_yaw           y      to the left                         -90 to 90
    neck_yaw            y      to the left                         -100 to 100
    neck_pitch          x      nods forwards                       -85 to 85
    neck_roll           z      to the right                        -75 to 75
    *_hip_flexion       x      thigh forwards                      -60 to 150
    *_hip_abduction     z      away from the other leg             -60 to 85
    *_hip_rotation      y      toes inwards                        -90 to 90
    *_knee_flexion      x      heel to buttocks                    -15 to 160
    *_shoulder_flexion  x      arm forwards                        -90 to 210
    *_shoulder_abduction  z    away from the body                  -90 to 180
    *_shoulder_rotation  y     forearm inwards                     -180 to 180
    *_elbow_flexion     x      hand to shoulder                    -15 to 160
    ==================  =====  ==================================  =============

    The torso is the midpoint of pelvis and neck and has no parameter. `spine` is a helper
    joint at the pelvis that carries the two angles of the neck against the pelvis. Where
    hips, shoulders, nose and head sit (the paper's fixed transforms) belongs to a data set, as
    the lengths do. Of a head that did not bend at the nose the three angles of the neck could
    not all be seen.

    Args:
      lengths: of the bones (mm), named as those of Human3.6M's mean person.
      directions: of the bones that no angle turns, named as `HUMAN36M_DIRECTIONS`, which stands
        for those that are left out. `kinpose.shoulders` measures the shoulders' in a recording.

    Returns:
      The skeleton, without limits (see `HUMAN_LIMITS`), keypoints as `HUMAN36M_KEYPOINTS`.

    Raises:
      ValueError: for a direction of another bone, or one that is no direction.
    """
    trunk = lengths["pelvis-torso"] + lengths["torso-neck"]
    fixed = _fixed_bones(lengths, directions)
    joints = [
        Joint(
            "pelvis",
            motions=(
                Motion("t", "x", "pelvis_tx"),
                Motion("t", "y", "pelvis_ty"),
                Motion("t", "z", "pelvis_tz"),
                *_yaw_pitch_roll("pelvis"),
            ),
        ),
        *_leg("right", -1, lengths, fixed),
        *_leg("left", 1, lengths, fixed),
        Joint(
            "spine",
            "pelvis",
            motions=(Motion("r", "z", "spine_roll"), Motion("r", "y", "spine_yaw")),
        ),
        Joint("torso", "spine", (0, trunk / 2, 0)),
        Joint("neck", "torso", (0, trunk / 2, 0)),
        Joint("skull", "neck", motions=_yaw_pitch_roll("neck")),
        Joint("nose", "skull", fixed["neck-nose"]),
        Joint("head", "nose", fixed["nose-head"]),
        *_arm("left", 1, lengths, fixed),
        *_arm("right", -1, lengths, fixed),
    ]
    return build_skeleton(joints, keypoints=HUMAN36M_KEYPOINTS)


def toy(num_params: int, bone_length: float = 45.0) -> Skeleton:
    """The paper's 2D object of growing complexity (Sec. 4.1, Fig. 4), in pixels.

    3 parameters: the root's x and y and one angle theta; two bones leave the root upwards
    at +theta and -theta from the vertical, so theta drives two rotations of opposite sign.
    6 parameters add the orientation of the whole and, at the end of each bone, one more
    bone with an angle of its own; 8 and 10 add a further bone to each end.

    Args:
      num_params: 3, 6, 8 or 10.
      bone_length: of every bone, in pixels.

    Returns:
      The skeleton; the parameters are x, y (pixels), orientation (not with 3), theta, then
      the angles of left and right, from the root outwards. y points down, as image rows do.

    Raises:
      ValueError: for another number of parameters.
    """
    if num_params not in (3, 6, 8, 10):
        raise ValueError(f"the toy object has 3, 6, 8 or 10 parameters, but got {num_params}.")
    levels = {3: 0, 6: 1, 8: 2, 10: 3}[num_params]
    place = [Motion("t", "x", "x"), Motion("t", "y", "y")]
    turn = [Motion("r", "z", "orientation")] if levels else []
    joints = [Joint("root", None, (0, 0), place + turn)]
    for level in range(levels + 1):
        for side, sign in (("left", -1.0), ("right", 1.0)):
            dof = Motion("r", "z", f"{side}_{level}") if level else Motion("r", "z", "theta", sign)
            parent = f"{side}_{level}" if level else "root"
            hinge = f"{side}_hinge_{level}"
            joints.append(Joint(hinge, parent, (0, 0), [dof]))
            joints.append(Joint(f"{side}_{level + 1}", hinge, (0, -bone_length)))
    keypoints = [joint.name for joint in joints if "hinge" not in joint.name]
    return build_skeleton(joints, keypoints=keypoints)


def _yaw_pitch_roll(joint: str) -> tuple[Motion, ...]:
    names = (("y", "yaw"), ("x", "pitch"), ("z", "roll"))
    return tuple(Motion("r", axis, f"{joint}_{name}") for axis, name in names)


def _ball(joint: str, side: float) -> tuple[Motion, ...]:
    """Flexion, abduction, rotation of a limb that hangs down; side is +1 on the left."""
    return (
        Motion("r", (-1, 0, 0), f"{joint}_flexion"),
        Motion("r", (0, 0, side), f"{joint}_abduction"),
        Motion("r", (0, -side, 0), f"{joint}_rotation"),
    )


def _fixed_bones(
    lengths: Mapping[str, float], directions: Mapping[str, Sequence[float]]
) -> dict[str, np.ndarray]:
    """Offsets of the bones that no angle turns, on the left side."""
    if unknown := sorted(directions.keys() - HUMAN36M_DIRECTIONS.keys()):
        raise ValueError(
            f"directions must be of some of {', '.join(HUMAN36M_DIRECTIONS)}, but got {unknown}."
        )
    offsets = {}
    for bone, direction in (HUMAN36M_DIRECTIONS | dict(directions)).items():
        vector = np.asarray(direction, np.float64)
        length = np.linalg.norm(vector) if vector.shape == (3,) else math.nan
        if not 0 < length < math.inf:
            raise ValueError(
                f"the direction of {bone} must be three numbers that are not all 0, but got "
                f"{direction}."
            )
        offsets[bone] = lengths[bone] * vector / length
    return offsets


def _leg(name: str, side: int, lengths: Mapping[str, float], fixed) -> list[Joint]:
    hip, knee, ankle = f"{name}_hip", f"{name}_knee", f"{name}_ankle"
    return [
        Joint(hip, "pelvis", fixed["pelvis-hip"] * (side, 1, 1), _ball(hip, side)),
        Joint(knee, hip, (0, -lengths["hip-knee"], 0), [Motion("r", "x", f"{knee}_flexion")]),
        Joint(ankle, knee, (0, -lengths["knee-ankle"], 0)),
    ]


def _arm(name: str, side: int, lengths: Mapping[str, float], fixed) -> list[Joint]:
    shoulder, elbow, wrist = f"{name}_shoulder", f"{name}_elbow", f"{name}_wrist"
    bend = Motion("r", (-1, 0, 0), f"{elbow}_flexion")
    return [
        Joint(shoulder, "neck", fixed["neck-shoulder"] * (side, 1, 1), _ball(shoulder, side)),
        Joint(elbow, shoulder, (0, -lengths["shoulder-elbow"], 0), [bend]),
        Joint(wrist, elbow, (0, -lengths["elbow-wrist"], 0)),
    ]
