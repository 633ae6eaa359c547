"""Joint angles by the recommendations of the International Society of Biomechanics.

Other readings of the same orientations, for whoever compares with papers: the hip's and spine's
joint coordinate systems of Wu et al. (2002), "ISB recommendation on definitions of joint
coordinate system of various joints for the reporting of human joint motion, part I", J. Biomech.
35, 543-548; the shoulder of Wu et al. (2005), part II, J. Biomech. 38, 981-992, as humerus
against thorax; knee and elbow flexion as Grood and Suntay (1983), J. Biomech. Eng. 105, 136-144.

ISB's axes: X forwards, Y up, Z to the right. The left side is mirrored in the sagittal plane, as
part II recommends, so that a sign means the same on both sides.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kinpose.angles import balls_of
from kinpose.frames import frames_of
from kinpose.skeleton import Skeleton

NEAR_DEG = 10.0
"""So near to the singularity of a triple two of its angles trade against each other: degrees."""

_FURTHEST = 1.5 * np.pi
"""An angle follows the frame before up to here; then it returns by a turn."""

_TO_ISB = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # from x left, y up, z forwards
_MIRROR = np.diag([1.0, 1.0, -1.0])


class IsbAngles(NamedTuple):
    """Angles of a recording.

    Attributes:
      names: of the angles, such as "right_shoulder_plane_of_elevation".
      values: (T, len(names)) rad.
      near_singularity: (T, len(names)) whether an angle belongs to a triple near its singularity,
        where two of the three trade against each other.
    """

    names: tuple[str, ...]
    values: np.ndarray
    near_singularity: np.ndarray


def isb_angles(params: np.ndarray, skeleton: Skeleton) -> IsbAngles:
    """Angles of a human by ISB's sequences.

    - Hip, spine (trunk against pelvis) and neck (head against trunk): Z-X-Y. Hip: flexion,
      adduction, internal rotation are positive; spine and neck: extension, bending to the right,
      turning to the left. The trunk of `human_17` does not bend forwards, so its spine has no
      extension: the pelvis' pitch is that of both.
    - Shoulder: Y-X'-Y''. The plane of elevation is 0 sideways and 90 degrees forwards; elevation
      is negative, as the paper has it; internal rotation is positive. With the arm hanging down
      plane and rotation trade against each other.
    - Knee and elbow: flexion positive, hyperextension negative: those of the model.

    Angles follow the frame before, without turns.

    Args:
      params: (T, D) of the skeleton.
      skeleton: `human_17`, or one with its joints and rest pose: upright, arms hanging down, x
        left, y up, z forwards.

    Returns:
      The angles.

    Raises:
      ValueError: for parameters of a wrong shape, or where a joint is missing.

    Example:
      >>> from kinpose.skeletons import human_17
      >>> forwards = np.zeros((1, 27))
      >>> forwards[0, human_17().dof_names.index("right_shoulder_flexion")] = np.pi / 2
      >>> angles = isb_angles(forwards, human_17())
      >>> plane = angles.names.index("right_shoulder_plane_of_elevation")
      >>> print(np.degrees(angles.values[0, plane : plane + 3]).round().tolist())
      [90.0, -90.0, -90.0]
    """
    params = np.asarray(params)
    if params.ndim != 2 or params.shape[1] != skeleton.num_dofs:
        raise ValueError(
            f"params must have shape (T, {skeleton.num_dofs}), but have {params.shape}."
        )
    needed = {joint for row in _JOINTS for joint in row[1:3]} | {"left_knee", "right_elbow"}
    absent = sorted(needed - set(skeleton.names))
    if absent:
        raise ValueError(f"ISB's angles need the joints of human_17, but {absent} are missing.")
    rotations, _ = frames_of(np.asarray(params, np.float64), skeleton)
    names, values, near = [], [], []
    for prefix, parent, child, sequence, words in _JOINTS:
        before, after = (rotations[:, skeleton.names.index(joint)] for joint in (parent, child))
        relative = _TO_ISB @ before.swapaxes(1, 2) @ after @ _TO_ISB.T
        if prefix.startswith("left"):
            relative = _MIRROR @ relative @ _MIRROR
        triple, singular = sequence(relative)
        first = 0 if _bends_forwards(skeleton, parent, child) else 1
        names += [f"{prefix}_{word}" for word in words[first:]]
        values.append(_steady(triple)[:, first:])
        near.append(np.repeat(singular[:, None], 3 - first, axis=1))
    for name in (f"{s}_{j}_flexion" for j in ("knee", "elbow") for s in ("right", "left")):
        names.append(name)
        values.append(np.asarray(params[:, [skeleton.dof_names.index(name)]], np.float64))
        near.append(np.zeros((len(params), 1), bool))
    return IsbAngles(tuple(names), np.concatenate(values, axis=1), np.concatenate(near, axis=1))


def _bends_forwards(skeleton: Skeleton, parent: str, child: str) -> bool:
    """Whether anything turns about x between two segments: an angle that cannot change is none."""
    joint, motions = skeleton.names.index(child), []
    while skeleton.names[joint] != parent:
        motions += skeleton.motions[joint]
        joint = skeleton.parents[joint]
    return any(motion.kind == "r" and abs(motion.axis[0]) > 1e-6 for motion in motions)


def near_singularity(params: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Where the model's own triples of angles are near their singularity.

    Args:
      params: (T, D) of the skeleton.
      skeleton: any.

    Returns:
      (T, D) whether a dof is the first or last of three whose middle angle is within `NEAR_DEG` of
      a right angle: an arm raised sideways, a pelvis that looks straight up or down.
    """
    params = np.asarray(params, np.float64)
    near = np.zeros(params.shape, bool)
    for ball in balls_of(skeleton):
        singular = np.abs(np.cos(params[:, ball.dofs[1]])) < np.sin(np.radians(NEAR_DEG))
        near[:, [ball.dofs[0], ball.dofs[2]]] = singular[:, None]
    return near


def _zxy(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 3) of Rz(a) Rx(b) Ry(c) with b from -90 to 90 degrees, and (T,) where it is singular."""
    r = rotations
    middle = np.arcsin(np.clip(r[:, 2, 1], -1, 1))
    first = np.arctan2(-r[:, 0, 1], r[:, 1, 1])
    last = np.arctan2(-r[:, 2, 0], r[:, 2, 2])
    return np.stack([first, middle, last], 1), np.cos(middle) < np.sin(np.radians(NEAR_DEG))


def _yxy(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 3) of Ry(a) Rx(b) Ry(c) with b from -180 to 0 degrees, and (T,) where it is singular."""
    r = rotations
    middle = -np.arccos(np.clip(r[:, 1, 1], -1, 1))
    none = np.hypot(r[:, 0, 1], r[:, 2, 1]) < 1e-6  # then the plane is that of abduction
    first = np.where(none, 0.0, np.arctan2(-r[:, 0, 1], -r[:, 2, 1]))
    straight = np.arctan2(r[:, 0, 2], r[:, 0, 0])
    last = np.where(none, straight, np.arctan2(-r[:, 1, 0], r[:, 1, 2]))
    return np.stack([first, middle, last], 1), -np.sin(middle) < np.sin(np.radians(NEAR_DEG))


def _steady(triples: np.ndarray) -> np.ndarray:
    """(T, 3) without jumps by a turn, as long as that does not wind angles up."""
    found = triples.copy()
    for t in range(1, len(found)):
        turns = np.round((found[t - 1] - found[t]) / (2 * np.pi))
        near = found[t] + 2 * np.pi * turns
        found[t] = np.where(np.abs(near) <= _FURTHEST, near, found[t])
    return found


_Row = tuple[str, str, str, Callable, tuple[str, str, str]]
_HIP = ("flexion", "adduction", "internal_rotation")
_SHOULDER = ("plane_of_elevation", "elevation", "internal_rotation")
_SPINE = ("extension", "lateral_bending", "axial_rotation")

_JOINTS: tuple[_Row, ...] = (
    *((f"{s}_hip", "pelvis", f"{s}_hip", _zxy, _HIP) for s in ("right", "left")),
    ("spine", "pelvis", "neck", _zxy, _SPINE),
    ("neck", "neck", "skull", _zxy, _SPINE),
    *((f"{s}_shoulder", "neck", f"{s}_shoulder", _yxy, _SHOULDER) for s in ("right", "left")),
)
"""Name, parent and child segment by the joints that carry them, sequence, names of its angles."""
