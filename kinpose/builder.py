"""Building a skeleton from a list of joints, and its limits: the gate."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from kinpose.skeleton import Joint, Motion, Skeleton

_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


def build_skeleton(
    joints: Sequence[Joint],
    *,
    keypoints: Sequence[str] | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Skeleton:
    """Checks a list of joints and builds the skeleton.

    Dofs are numbered in the order in which the motions first name them.

    Args:
      joints: the tree, the root first and every parent before its children.
      keypoints: names of the joints to report, in order; all joints by default.
      limits: (lowest, highest) for the dofs that have limits, by name; rad or length.

    Returns:
      The skeleton, with float64 NumPy leaves.

    Raises:
      ValueError: for names that are missing, repeated or out of order, for offsets of
        different or wrong dimension, and for unknown or unusable motions and limits.

    Example:
      >>> arm = build_skeleton([
      ...     Joint("shoulder", None, (0, 0), "rz"),
      ...     Joint("elbow", "shoulder", (1, 0), "rz"),
      ...     Joint("wrist", "elbow", (1, 0)),
      ... ])
      >>> arm.dof_names
      ('shoulder_rz', 'elbow_rz')
    """
    if not joints:
        raise ValueError("a skeleton needs at least one joint, but joints is empty.")
    ndim = np.size(joints[0].offset)
    index: dict[str, int] = {}
    parents, motions = [], []
    for joint in joints:
        if joint.name in index:
            raise ValueError(f"joint names must be unique, but {joint.name!r} occurs twice.")
        parents.append(_parent_index(joint, index))
        motions.append(_joint_motions(joint, ndim))
        index[joint.name] = len(index)
    dof_names = tuple(dict.fromkeys(m.dof for ms in motions for m in ms))
    reported = tuple(index) if keypoints is None else tuple(keypoints)
    for name in reported:
        if name not in index:
            raise ValueError(f"keypoint {name!r} is not a joint; the joints are {list(index)}.")
    if len(set(reported)) < len(reported):
        raise ValueError(f"keypoints must be unique, but got {list(reported)}.")
    return Skeleton(
        offsets=_offset_array(joints, ndim),
        limits=_limit_array(limits or {}, dof_names),
        names=tuple(index),
        parents=tuple(parents),
        motions=tuple(motions),
        dof_names=dof_names,
        keypoints=tuple(index[name] for name in reported),
    )


def limit_skeleton(
    skeleton: Skeleton, limits: Mapping[str, tuple[float, float]] | None
) -> Skeleton:
    """Replaces the limits of a skeleton.

    Args:
      skeleton: any skeleton.
      limits: (lowest, highest) by dof name, rad or length; dofs not named, or all of them
        for None, become unlimited.

    Returns:
      The skeleton with these limits.

    Raises:
      ValueError: for an unknown dof, or a lowest value that is not below the highest.
    """
    return dataclasses.replace(skeleton, limits=_limit_array(limits or {}, skeleton.dof_names))


def _parent_index(joint: Joint, index: Mapping[str, int]) -> int:
    if joint.parent is None:
        if index:
            raise ValueError(
                f"a skeleton has one root, but {joint.name!r} has no parent and comes after "
                f"the root {next(iter(index))!r}."
            )
        return -1
    if joint.parent not in index:
        raise ValueError(
            f"the parent of joint {joint.name!r} must be listed before it, but {joint.parent!r} "
            f"is not among {list(index)}."
        )
    return index[joint.parent]


def _joint_motions(joint: Joint, ndim: int) -> tuple[Motion, ...]:
    motions = joint.motions
    if isinstance(motions, str):
        motions = [Motion(word[:1], word[1:]) for word in motions.split()]
    if not isinstance(motions, Sequence) or not all(isinstance(m, Motion) for m in motions):
        raise ValueError(
            f"the motions of joint {joint.name!r} must be a string such as 'tx ty rz' or "
            f"a sequence of Motion, but got {motions!r}."
        )
    checked = tuple(_checked_motion(motion, joint.name, ndim) for motion in motions)
    unnamed = [new.dof for old, new in zip(motions, checked, strict=True) if not old.dof]
    for dof in unnamed:
        if unnamed.count(dof) > 1:
            raise ValueError(
                f"two motions of joint {joint.name!r} have the default name {dof!r} and would "
                "share one dof; give them names of their own by Motion(..., dof=...)."
            )
    return checked


def _checked_motion(motion: Motion, joint: str, ndim: int) -> Motion:
    """Gives a motion its default name and a unit axis of 3 numbers."""
    letter = motion.axis if isinstance(motion.axis, str) else ""
    axis = _AXES.get(letter, ()) if letter else tuple(np.ravel(motion.axis))
    axis = (*axis, 0.0) if ndim == 2 and motion.kind == "t" and len(axis) == 2 else axis
    is_vector = len(axis) == 3 and all(isinstance(a, int | float | np.number) for a in axis)
    norm = math.hypot(*axis) if is_vector else 0.0
    if motion.kind not in ("r", "t") or not 0 < norm < math.inf:
        raise ValueError(
            f"a motion of joint {joint!r} must be of kind 'r' or 't' about 'x', 'y', 'z' or a "
            f"vector other than zero, but got kind {motion.kind!r} and axis {motion.axis!r}."
        )
    axis = tuple(float(a) / norm for a in axis)
    in_plane = axis[2] == 0.0 if motion.kind == "t" else axis[:2] == (0.0, 0.0)
    if ndim == 2 and not in_plane:
        raise ValueError(
            f"a 2D joint rotates about 'z' and translates along 'x' and 'y', but joint {joint!r} "
            f"has kind {motion.kind!r} and axis {motion.axis!r}."
        )
    if not (math.isfinite(motion.multiplier) and math.isfinite(motion.bias)):
        raise ValueError(f"multiplier and bias must be finite, but joint {joint!r} has {motion}.")
    dof = motion.dof or f"{joint}_{motion.kind}{letter or 'a'}"
    return dataclasses.replace(
        motion,
        axis=axis,
        dof=dof,
        multiplier=float(motion.multiplier),
        bias=float(motion.bias),
    )


def _offset_array(joints: Sequence[Joint], ndim: int) -> np.ndarray:
    want = ndim if ndim in (2, 3) else "2 or 3"
    for joint in joints:
        try:
            offset = np.asarray(joint.offset, dtype=np.float64)
        except (TypeError, ValueError):
            offset = np.array(np.nan)
        if ndim not in (2, 3) or offset.shape != (ndim,) or not np.isfinite(offset).all():
            raise ValueError(
                f"the offset of joint {joint.name!r} must be {want} "
                f"finite numbers, but got {joint.offset!r}."
            )
    return _frozen(np.array([joint.offset for joint in joints], dtype=np.float64))


def _frozen(array: np.ndarray) -> np.ndarray:
    """The array, which nobody changes behind a skeleton's back any more."""
    array.flags.writeable = False
    return array


def _limit_array(limits: Mapping[str, tuple[float, float]], dof_names) -> np.ndarray:
    array = np.full((len(dof_names), 2), (-np.inf, np.inf))
    for name, bounds in limits.items():
        if name not in dof_names:
            raise ValueError(f"limits name the dof {name!r}, which is not in {list(dof_names)}.")
        if np.shape(bounds) != (2,) or not bounds[0] < bounds[1]:
            raise ValueError(f"the limits of {name!r} must be (low, high), but got {bounds!r}.")
        array[dof_names.index(name)] = bounds
    return _frozen(array)
