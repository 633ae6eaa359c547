"""Recordings as frames of joints, and back to angles: exact, in float64 NumPy, nothing compiled.

Shapes: T frames of time, J joints, D dofs.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from kinpose._kinematics.scalars import rotation_parts
from kinpose._kinematics.walk import paths_of
from kinpose.angles import other_triple
from kinpose.skeleton import Motion, Skeleton

_SWEEPS = 60
"""Rounds over the angles of a joint that cannot turn freely."""


def checked_params(params: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The gate of recordings (T, D) that have a frame."""
    params = np.asarray(params, np.float64)
    if params.ndim != 2 or params.shape[1] != skeleton.num_dofs or not len(params):
        raise ValueError(
            f"params must have shape (T, {skeleton.num_dofs}), one row per frame, but got "
            f"{params.shape}."
        )
    if not np.isfinite(params).all():
        raise ValueError("params must be finite, but some are not.")
    return params


def frames_of(params: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, J, n, n) and positions (T, J, n) of a skeleton's joints; nothing is compiled.

    Args:
      params: (T, D).
      skeleton: the tree.

    Returns:
      What `joint_transforms` gives.
    """
    (rotations, positions), n = _in_space(params, skeleton), skeleton.ndim
    return rotations[..., :n, :n], positions[..., :n]


def _in_space(params: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """The same in three dimensions: 2D objects live in the plane z = 0."""
    rotations, positions, offsets = [], [], _offsets(skeleton)
    for joint, parent in enumerate(skeleton.parents):
        turn, shift = local_frames(skeleton, joint, params)
        shift = shift + offsets[joint]
        if parent >= 0:
            shift = positions[parent] + np.einsum("tij,tj->ti", rotations[parent], shift)
            turn = rotations[parent] @ turn
        rotations.append(turn)
        positions.append(shift)
    return np.stack(rotations, axis=1), np.stack(positions, axis=1)


def _offsets(skeleton: Skeleton) -> np.ndarray:
    return np.pad(np.asarray(skeleton.offsets, np.float64), ((0, 0), (0, 3 - skeleton.ndim)))


def jacobian_of(
    params: np.ndarray, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (T, K, n) of keypoints, and their derivatives.

    Args:
      params: (T, D).
      skeleton: the tree.

    Returns:
      What `joint_jacobian` gives: positions, and derivatives by the dofs (T, K, n, D). Then those
      by the logarithms of the bones' lengths (T, K, n, J).
    """
    n, keypoints = skeleton.ndim, list(skeleton.keypoints)
    rotations, places = _in_space(params, skeleton)
    world = np.broadcast_to(np.eye(3), (len(params), 1, 3, 3))
    above = np.concatenate([rotations, world], axis=1)[:, list(skeleton.parents)]
    bones = np.einsum("tjab,jb->taj", above, _offsets(skeleton))
    ends, below = places[:, keypoints], paths_of(skeleton.parents)[keypoints]
    by_dof = np.zeros((*ends.shape, skeleton.num_dofs))
    for joint, parent in enumerate(skeleton.parents):
        frame = above[:, joint]
        place = bones[:, :, joint] + (places[:, parent] if parent >= 0 else 0.0)
        moved = below[:, joint, None]
        for motion in skeleton.motions[joint]:
            axis, value = frame @ motion.axis, values_of(motion, skeleton, params)
            if motion.kind == "t":
                way = np.broadcast_to(axis[:, None], ends.shape)
                place = place + value[:, None] * axis
            else:
                way = np.cross(axis[:, None], ends - place[:, None])
                frame = frame @ turn_about(motion.axis, value)
            dof = skeleton.dof_index(motion.dof)
            by_dof[..., dof] += np.where(moved, motion.multiplier * way, 0.0)
    by_length = below[:, None, :] * bones[:, None]
    return ends[..., :n], by_dof[:, :, :n], by_length[:, :, :n]


def local_frames(
    skeleton: Skeleton, joint: int, params: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 3, 3) and shifts (T, 3) by a joint's motions, along its parent's axes.

    Args:
      skeleton: the tree.
      joint: its index.
      params: (T, D).
    """
    rotations, shifts = np.tile(np.eye(3), (len(params), 1, 1)), np.zeros((len(params), 3))
    for motion in skeleton.motions[joint]:
        value = values_of(motion, skeleton, params)
        if motion.kind == "t":
            shifts += value[:, None] * (rotations @ motion.axis)
        else:
            rotations = rotations @ turn_about(motion.axis, value)
    return rotations, shifts


def values_of(motion: Motion, skeleton: Skeleton, params: np.ndarray) -> np.ndarray:
    """(T,) angles or distances of a motion."""
    return motion.multiplier * params[:, skeleton.dof_index(motion.dof)] + motion.bias


def slides_of(skeleton: Skeleton, ways: np.ndarray) -> np.ndarray:
    """(D,) where slides are that move their joints by these ways (J, 3); zero for angles."""
    amounts = np.zeros(skeleton.num_dofs)
    for way, own in zip(ways, skeleton.motions, strict=True):
        for motion in own:
            if motion.kind == "t" and motion.multiplier:
                amounts[skeleton.dof_index(motion.dof)] = way @ motion.axis / motion.multiplier
    return amounts


class Group(NamedTuple):
    """Joints that turn together: one that turns freely, or hinges one after another.

    Attributes:
      joint: the last of them, which has a place to turn to.
      above: joints before the first of them, which stay as they are.
      path: they.
    """

    joint: int
    above: tuple[int, ...]
    path: tuple[int, ...]


def groups_of(skeleton: Skeleton, goals: Collection[int]) -> list[Group]:
    """For each of some joints those that turn it, down from the group before.

    As many as have three rotations, or all of them.
    """
    groups, found = [], set()
    for goal in sorted(goals):
        path, joint = [], goal
        while joint >= 0 and joint not in found:
            path.insert(0, joint)
            joint = skeleton.parents[joint]
        found.update(path)
        counts = [len(turns_of(skeleton, j)) for j in path]
        first = len(path) - 1
        while sum(counts[first:]) < 3 and any(counts[:first]):
            first -= 1
        groups.append(Group(goal, tuple(path[:first]), tuple(path[first:])))
    return groups


def turns_of(skeleton: Skeleton, *joints: int) -> list[Motion]:
    """The rotations of joints, in order."""
    return [m for joint in joints for m in skeleton.motions[joint] if m.kind == "r"]


def params_from(
    rotations: np.ndarray,
    skeleton: Skeleton,
    goals: Collection[int] | None = None,
    rest: np.ndarray | None = None,
) -> np.ndarray:
    """Angles by which joints come nearest to rotations in the world, from the root outwards.

    Joints that turn about three axes at right angles, themselves or in a chain of hinges, get
    there, by angles that are continuous in time; what others leave over their children make up
    for as far as they can.

    Args:
      rotations: (T, J, 3, 3) of the joints.
      skeleton: the tree, 3D.
      goals: the joints that have rotations; by default all.
      rest: (D,) what dofs are that turn none of them; zeros by default.

    Returns:
      (T, D) parameters; a dof of several motions is as the first.
    """
    rest = np.zeros(skeleton.num_dofs) if rest is None else np.asarray(rest, np.float64)
    params = np.tile(rest, (len(rotations), 1))
    groups = groups_of(skeleton, range(skeleton.num_joints) if goals is None else goals)
    found, known = {-1: np.broadcast_to(np.eye(3), rotations[:, 0].shape)}, set()

    def pass_on(joint: int) -> None:
        frame = found[skeleton.parents[joint]]
        for motion in turns_of(skeleton, joint):
            frame = frame @ turn_about(motion.axis, values_of(motion, skeleton, params))
        found[joint] = frame

    for goal, above, path in groups:
        for joint in above:
            pass_on(joint)
        turns = turns_of(skeleton, *path)
        start = found[skeleton.parents[path[0]]]
        angles = _angles(start.swapaxes(1, 2) @ rotations[:, goal], turns)
        for motion, angle in zip(turns, angles, strict=True):
            dof = skeleton.dof_index(motion.dof)
            if dof not in known and motion.multiplier:
                params[:, dof] = (angle - motion.bias) / motion.multiplier
                known.add(dof)
        for joint in path:
            pass_on(joint)
    return params


def turn_about(axis: Sequence[float], angles: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations by angles (...) about unit vectors (3,) or (..., 3)."""
    along, cosine, sine = rotation_parts(np.asarray(axis, float))
    cos, sin = (f(angles)[..., None, None] for f in (np.cos, np.sin))
    return along + cos * cosine + sin * sine


def _angles(wanted: np.ndarray, turns: list[Motion]) -> np.ndarray:
    """Angles (M, T) of rotations about axes, one after another, that come nearest to (T, 3, 3)."""
    axes = np.array([motion.axis for motion in turns])
    if len(turns) == 3 and np.allclose(axes @ axes.T, np.eye(3), atol=1e-6):
        hand = np.sign(np.linalg.det(axes))
        return hand * _cardan(axes @ wanted @ axes.T).T
    angles = np.zeros((len(turns), len(wanted)))
    for _ in range(_SWEEPS if len(turns) > 1 else 1):
        for i, axis in enumerate(axes):
            before, after = (
                _chain(axes[part], angles[part]) for part in (slice(i), slice(i + 1, None))
            )
            seen = before.swapaxes(-1, -2) @ wanted @ after.swapaxes(-1, -2)
            _, cosine, sine = rotation_parts(axis)
            angles[i] = np.arctan2(np.sum(seen * sine, (-1, -2)), np.sum(seen * cosine, (-1, -2)))
    return np.unwrap(angles, axis=1)


def _chain(axes, angles) -> np.ndarray:
    product = np.eye(3)
    for axis, angle in zip(axes, angles, strict=True):
        product = product @ turn_about(axis, angle)
    return product


def _cardan(rotations: np.ndarray) -> np.ndarray:
    """(T, 3) angles of Rx(a) Ry(b) Rz(c), continuous in time."""
    r = rotations
    known = np.hypot(r[:, 1, 2], r[:, 2, 2]) > 1e-9
    a = np.arctan2(-r[:, 1, 2], r[:, 2, 2])
    last = np.maximum.accumulate(np.where(known, np.arange(len(r)), 0))
    a = np.where(known[last], a[last], 0.0)
    sin, cos = np.sin(a), np.cos(a)
    b = np.arctan2(r[:, 0, 2], cos * r[:, 2, 2] - sin * r[:, 1, 2])
    c = np.arctan2(cos * r[:, 1, 0] + sin * r[:, 2, 0], cos * r[:, 1, 1] + sin * r[:, 2, 1])
    one = np.stack([a, b, c], axis=1)
    other = np.stack(other_triple([a, b, c]), axis=1)
    near = np.zeros(3)
    for t, ways in enumerate(np.stack([one, other], axis=1)):
        ways = ways + 2 * np.pi * np.round((near - ways) / (2 * np.pi))
        near = one[t] = min(ways, key=lambda way: np.abs(way - near).sum())
    return one
