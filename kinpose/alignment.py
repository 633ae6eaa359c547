"""A closed-form start for model fitting: joints turn to their points, from the root outwards.

The best angle of one rotation has a closed form: with the rotation written as
A + cos(t) B + sin(t) C (Rodrigues), the agreement of model and data is a cosine of t.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.kinematics import joint_transforms, rotation_parts
from kinpose.skeleton import Motion, Skeleton

_DECAY = 0.03
"""Weight of a point, per dof between the joint and the point: nearer points decide first."""

_BEND = 0.7
"""Where joints of one angle start (rad): a straight limb does not tell its own twist."""

_SWEEPS = 3
"""Rounds over the angles of one joint; a single angle is exact at once."""


def align_params(joints: jax.Array, weights: jax.Array, skeleton: Skeleton) -> jax.Array:
    """Parameters near the best fit, whichever way the object faces.

    A joint is placed on its own point where there is one. Its angles then maximise
    sum_k w_k t_k . R s_k over the points k below it: t_k is where the point lies, seen from
    the joint, and s_k where the model has it while the joints in between keep their start.
    Dofs that drive several motions stay at their start.

    Args:
      joints: (K, n) points; those of weight zero may be anything finite.
      weights: (K,) at least zero.
      skeleton: the tree.

    Returns:
      (D,) parameters within the limits.
    """
    n, dtype = skeleton.ndim, joints.dtype
    params = _start_params(skeleton, dtype)
    rotations, positions = joint_transforms(params, skeleton)
    offsets = jnp.asarray(skeleton.offsets, dtype)
    center = joints.T @ (weights / jnp.maximum(jnp.sum(weights), 1e-12))
    influence = _influence(skeleton)
    frames, places = {-1: jnp.eye(n, dtype=dtype)}, {-1: jnp.zeros(n, dtype)}
    for joint, parent in enumerate(skeleton.parents):
        frame, place = frames[parent], places[parent] + frames[parent] @ offsets[joint]
        point = place if parent >= 0 else center
        if joint in skeleton.keypoints:
            k = skeleton.keypoints.index(joint)
            point = jnp.where(weights[k] > 0, joints[k], point)
        for motion in _motions(skeleton, joint, "t"):
            axis = frame @ jnp.asarray(motion.axis[:n], dtype)
            params = _set_amount(params, motion, jnp.dot(axis, point - place), skeleton)
            place = place + axis * _amount(params, motion, skeleton)
        place = point if joint in skeleton.keypoints else place
        turns = _motions(skeleton, joint, "r")
        below = np.flatnonzero(influence[joint])
        if turns and len(below):
            ends = positions[np.array(skeleton.keypoints)[below]]
            model = (ends - positions[joint][None]) @ rotations[joint]
            data = (joints[below] - place[None]) @ frame
            weight = weights[below] * jnp.asarray(influence[joint, below], dtype)
            params = _turn(params, turns, data.T @ (model * weight[:, None]), skeleton)
        frames[joint] = functools.reduce(
            jnp.matmul, [_rotation(params, motion, skeleton) for motion in turns], frame
        )
        places[joint] = place
    return params


def _turn(params, turns: list[Motion], covariance, skeleton: Skeleton) -> jax.Array:
    """Angles that maximise trace(R^T covariance), R the product of the rotations, in turn."""
    identity = jnp.eye(skeleton.ndim, dtype=covariance.dtype)
    for _ in range(_SWEEPS if len(turns) > 1 else 1):
        for i, motion in enumerate(turns):
            matrices = [_rotation(params, other, skeleton) for other in turns]
            before = functools.reduce(jnp.matmul, matrices[:i], identity)
            after = functools.reduce(jnp.matmul, matrices[i + 1 :], identity)
            seen = before.T @ covariance @ after.T
            _, cosine, sine = _parts(motion, skeleton, seen.dtype)
            angle = jnp.arctan2(jnp.sum(sine * seen), jnp.sum(cosine * seen))
            params = _set_amount(params, motion, angle, skeleton)
    return params


def _motions(skeleton: Skeleton, joint: int, kind: str) -> list[Motion]:
    return [motion for motion in skeleton.motions[joint] if motion.kind == kind]


def _amount(params, motion: Motion, skeleton: Skeleton) -> jax.Array:
    return motion.multiplier * params[skeleton.dof_names.index(motion.dof)] + motion.bias


def _set_amount(params, motion: Motion, amount, skeleton: Skeleton) -> jax.Array:
    """Sets the dof of a motion as far as its limits allow, if it drives that motion only."""
    shared = sum(other.dof == motion.dof for joint in skeleton.motions for other in joint) > 1
    if shared or not motion.multiplier:
        return params
    d = skeleton.dof_names.index(motion.dof)
    low, high = jnp.asarray(skeleton.limits, params.dtype)[d]
    return params.at[d].set(jnp.clip((amount - motion.bias) / motion.multiplier, low, high))


def _rotation(params, motion: Motion, skeleton: Skeleton) -> jax.Array:
    fixed, cosine, sine = _parts(motion, skeleton, params.dtype)
    angle = _amount(params, motion, skeleton)
    return fixed + jnp.cos(angle) * cosine + jnp.sin(angle) * sine


def _parts(motion: Motion, skeleton: Skeleton, dtype) -> list[jax.Array]:
    n = skeleton.ndim
    return [jnp.asarray(part[:n, :n], dtype) for part in rotation_parts(np.array(motion.axis))]


def _start_params(skeleton: Skeleton, dtype) -> jax.Array:
    """Hinges bent, all else zero, within the limits."""
    start = np.zeros(skeleton.num_dofs)
    for joint in range(skeleton.num_joints):
        turns = _motions(skeleton, joint, "r")
        if len(turns) == 1:
            start[skeleton.dof_names.index(turns[0].dof)] = _BEND
    low, high = jnp.asarray(skeleton.limits, dtype).T
    return jnp.clip(jnp.asarray(start, dtype), low, high)


def _influence(skeleton: Skeleton) -> np.ndarray:
    """(J, K) weight of each keypoint for the angles of each joint above it."""
    influence = np.zeros((skeleton.num_joints, skeleton.num_keypoints))
    for k, joint in enumerate(skeleton.keypoints):
        weight, joint = 1.0, skeleton.parents[joint]
        while joint >= 0:
            influence[joint, k] = weight
            weight *= _DECAY ** len(skeleton.motions[joint])
            joint = skeleton.parents[joint]
    return influence
