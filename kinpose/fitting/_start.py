"""A closed-form start for model fitting: joints turn to their points, from the root outwards.

The best angle of one rotation has a closed form: with the rotation written as
A + cos(t) B + sin(t) C (Rodrigues), the agreement of model and data is a cosine of t.
2D objects live in the plane z = 0.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kinematics.scalars import rotation_parts
from kinpose._kinematics.walk import paths_of
from kinpose._varying import varying_like
from kinpose.angles import balls_of, cardan_angles
from kinpose.fitting._problem import bounds, into_bounds
from kinpose.kinematics import joint_transforms
from kinpose.skeleton import Motion, Skeleton

_DECAY = 0.03
"""Weight of a point, per dof between the joint and the point: nearer points decide first."""

_BEND = 0.7
"""Where joints of one angle start (rad): a straight limb does not tell its own twist."""

_SQUARINGS = 10
"""Of a matrix, to find its first eigenvector: the 1024th power."""

_TOO_FAR = 1.5
"""Distances of points in lengths of the bones between them: what no person can do."""

_LEVI_CIVITA = np.cross(np.eye(3)[:, None], np.eye(3)[None])

_SWEEPS, _SWEEPS_WITHIN = 3, 2
"""Rounds over the angles of one joint, first wherever they lead and then within the limits."""


def align_params(joints: jax.Array, weights: jax.Array, skeleton: Skeleton) -> jax.Array:
    """Parameters near the best fit, whichever way the object faces.

    A joint is placed on its own point where there is one. Its angles then maximise
    sum_k w_k t_k . R s_k over the points k below it: t_k is where the point lies, seen from
    the joint, and s_k where the model has it while the joints in between keep their start.
    Joints that turn freely do so without limits: of their triples of angles one may be within.
    Dofs that drive several motions stay at their start.

    Args:
      joints: (K, n) points; those of weight zero may be anything finite.
      weights: (K,) at least zero.
      skeleton: the tree.

    Returns:
      (D,) parameters; those of joints with fewer than three rotations are within the limits.
    """
    dtype, flat = joints.dtype, 3 - skeleton.ndim
    tables, num_loose, num_kinds = _tables(skeleton)
    start = varying_like(_start_params(skeleton, dtype), joints, weights, skeleton.offsets)
    rotations, positions = joint_transforms(start, skeleton)
    rotations = jnp.pad(rotations, ((0, 0), (0, flat), (0, flat)))
    rotations += np.diag([0.0, 0.0, flat]).astype(dtype)[None]
    positions, offsets, joints = (
        jnp.pad(jnp.asarray(x, dtype), ((0, 0), (0, flat)))
        for x in (positions, skeleton.offsets, joints)
    )
    center = joints.T @ (weights / jnp.maximum(jnp.sum(weights), 1e-12))
    ends = positions[np.array(skeleton.keypoints)]
    limits = None if skeleton.limits is None else bounds(skeleton, dtype)

    def place_joint(carry, row):
        params, frames, places = carry
        joint, parent, point, influence, slides, turns, kind, offset, rotation, position = row
        frame, place = frames[parent], places[parent] + frames[parent] @ offset
        own = jnp.where(parent < 0, center, place)
        own = jnp.where((point >= 0) & (weights[point] > 0), joints[point], own)

        def slide(params, place):
            for motion in slides:
                axis = frame @ motion.axis.astype(dtype)
                params = motion.set(params, jnp.dot(axis, own - place), limits)
                place = place + axis * motion.value(params)
            return params, place

        if slides:
            moves = jnp.any(jnp.stack([motion.free for motion in slides]))
            params, place = jax.lax.cond(moves, slide, lambda *same: same, params, place)
        place = jnp.where(point >= 0, own, place)

        def turn(how, params, frame):
            model = (ends - position[None]) @ rotation
            data = (joints - place[None]) @ frame
            covariance = data.T @ (model * (weights * influence)[:, None])
            params = how(params, limits, turns, covariance)
            for motion in turns:
                frame = frame @ motion.rotation(params)
            return params, frame

        ways = functools.partial(_in_turn, num_loose), _at_once
        ways = [lambda *same: same, *(functools.partial(turn, how) for how in ways)][:num_kinds]
        params, frame = jax.lax.switch(kind, ways, params, frame)
        return (params, frames.at[joint].set(frame), places.at[joint].set(place)), None

    frames = jnp.zeros((skeleton.num_joints + 1, 3, 3), dtype).at[-1].set(jnp.eye(3, dtype=dtype))
    places = jnp.zeros((skeleton.num_joints + 1, 3), dtype)
    frames, places = varying_like((frames, places), start)
    rows = jax.tree.map(lambda x: jnp.asarray(x, dtype if x.dtype == float else x.dtype), tables)
    rows = (*rows, offsets, rotations, positions)
    (params, _, _), _ = jax.lax.scan(place_joint, (start, frames, places), rows)
    return params


def _in_turn(num_turns: int, params, limits, turns: "Sequence[_Row]", covariance) -> jax.Array:
    """How joints with few angles turn: one after the other, without limits and then within."""
    identity, turns = jnp.eye(3, dtype=covariance.dtype), turns[:num_turns]

    def sweep(limits, params):
        for i, motion in enumerate(turns):
            matrices = [other.rotation(params) for other in turns]
            before = functools.reduce(jnp.matmul, matrices[:i], identity)
            after = functools.reduce(jnp.matmul, matrices[i + 1 :], identity)
            seen = before.T @ covariance @ after.T
            sine, cosine = jnp.sum(motion.sine * seen), jnp.sum(motion.cosine * seen)
            params = motion.set(params, jnp.arctan2(sine, cosine), limits)
        return params

    def sweeps(number, limits, params):
        return jax.lax.fori_loop(0, number, lambda _, params: sweep(limits, params), params)

    if num_turns < 2:
        return sweep(limits, params)
    params = sweeps(_SWEEPS, None, params)
    if limits is None:
        return params
    return sweeps(_SWEEPS_WITHIN, limits, jnp.clip(params, *limits))


def _at_once(params, limits, turns: "Sequence[_Row]", covariance) -> jax.Array:
    """How balls turn: to the rotation that maximises trace(R^T covariance), without limits."""
    del limits
    axes = jnp.stack([motion.axis.astype(covariance.dtype) for motion in turns[:3]])
    seen = jnp.matmul(axes, jnp.matmul(covariance, axes.T))
    angles = cardan_angles(_best_rotation(seen), jnp.zeros((), seen.dtype))
    hand = jnp.sign(jnp.dot(axes[0], jnp.cross(axes[1], axes[2])))
    for motion, angle in zip(turns[:3], angles, strict=True):
        params = motion.set(params, hand * angle)
    return params


def _best_rotation(covariance) -> jax.Array:
    """The rotation R that maximises trace(R^T covariance), near the identity where many do.

    Davenport's q-method: its quaternion is the first eigenvector of a matrix, found by
    squaring that.
    """
    covariance = covariance / jnp.maximum(jnp.max(jnp.abs(covariance)), 1e-30)
    size, trace = jnp.sqrt(jnp.sum(jnp.square(covariance))), jnp.trace(covariance)
    skew = jnp.sum(_LEVI_CIVITA.astype(size.dtype) * covariance[None], axis=(1, 2))
    rest = covariance + covariance.T - trace * jnp.eye(3, dtype=size.dtype)
    matrix = jnp.pad(rest, (1, 0)).at[0].set(jnp.append(trace, -skew)).at[1:, 0].set(-skew)
    matrix = matrix + 2.0 * size * jnp.eye(4, dtype=size.dtype)

    def square(_, matrix):
        matrix = matrix / jnp.maximum(jnp.trace(matrix), 1e-30)
        return jnp.sum(matrix[:, :, None] * matrix[None], axis=1)

    matrix = jax.lax.fori_loop(0, _SQUARINGS, square, matrix)
    largest = jnp.argmax(jnp.diagonal(matrix))
    near = matrix[0, 0] > 1e-3 * matrix[largest, largest]
    q = jnp.where(near, matrix[0], matrix[largest])
    q = q / jnp.maximum(jnp.linalg.norm(q), 1e-30)
    w, v = q[0], q[1:]
    across = jnp.sum(_LEVI_CIVITA.astype(q.dtype) * v[None, None, :], axis=-1)
    same = (w * w - jnp.dot(v, v)) * jnp.eye(3, dtype=q.dtype)
    return same + 2.0 * v[:, None] * v[None, :] - 2.0 * w * across


def plausible(joints: jax.Array, weights: jax.Array, skeleton: Skeleton) -> jax.Array:
    """Which points are not too far from most others for the bones between them.

    Where something slides, nothing is too far.

    Args:
      joints: (..., K, n) points; those of weight zero may be anything finite.
      weights: (..., K).
      skeleton: the tree.

    Returns:
      (..., K) bool.
    """
    paths = paths_of(skeleton.parents)[list(skeleton.keypoints)]
    between = paths[:, None] ^ paths[None]
    slides = np.array([any(m.kind == "t" for m in own) for own in skeleton.motions])
    endless = np.where((between & slides).any(axis=-1), np.inf, 0.0)
    lengths = jnp.linalg.norm(jnp.asarray(skeleton.offsets, joints.dtype), axis=-1)
    reach = between.astype(lengths.dtype) @ lengths + endless.astype(lengths.dtype)
    apart = jnp.linalg.norm(joints[..., :, None, :] - joints[..., None, :, :], axis=-1)
    seen = (weights > 0)[..., None, :]
    too_far = apart > jnp.broadcast_to(_TOO_FAR * reach, apart.shape)
    far = jnp.sum(seen & too_far, axis=-1)
    return 2 * far <= jnp.sum(seen, axis=-1)


class _Row(NamedTuple):
    """One motion of each joint, as arrays over the joints; all zero where there is none."""

    axis: np.ndarray  # (J, 3)
    fixed: np.ndarray  # (J, 3, 3) Rodrigues' A
    cosine: np.ndarray  # (J, 3, 3) B
    sine: np.ndarray  # (J, 3, 3) C
    dof: np.ndarray  # (J, D) one at the dof
    multiplier: np.ndarray  # (J,)
    bias: np.ndarray  # (J,)
    free: np.ndarray  # (J,) whether the dof drives this motion alone

    def value(self, params):
        return self.multiplier * jnp.dot(self.dof, params) + self.bias

    def rotation(self, params):
        angle = self.value(params)
        return self.fixed + jnp.cos(angle) * self.cosine + jnp.sin(angle) * self.sine

    def set(self, params, value, limits=None):
        """Puts the dof where the motion has this value, as far as limits allow."""
        value = (value - self.bias) / jnp.where(self.free, self.multiplier, 1.0)
        value = value if limits is None else jnp.clip(value, *limits)
        return jnp.where(self.free & (self.dof > 0), value, params)


def _rows(skeleton: Skeleton, kind: str) -> tuple[_Row, ...]:
    """The first, second, ... motion of each joint that is of one kind."""
    dofs = [motion.dof for motion in skeleton.flat_motions]
    per_joint = [[m for m in joint if m.kind == kind] for joint in skeleton.motions]
    nothing = Motion(kind, (0.0, 0.0, 0.0), multiplier=0.0)
    rows = []
    for i in range(max(map(len, per_joint))):
        motions = [ms[i] if i < len(ms) else nothing for ms in per_joint]
        axis = np.array([m.axis for m in motions])
        rows.append(
            _Row(
                axis,
                *rotation_parts(axis),
                np.array([[m.dof == dof for dof in skeleton.dof_names] for m in motions], float),
                np.array([m.multiplier for m in motions]),
                np.array([m.bias for m in motions]),
                np.array([m.multiplier != 0 and dofs.count(m.dof) == 1 for m in motions]),
            )
        )
    return tuple(rows)


def _tables(skeleton: Skeleton) -> tuple[tuple, int, int]:
    """Joints as arrays, most rotations of one that is no ball, and how many kinds there are."""
    order = {joint: k for k, joint in enumerate(skeleton.keypoints)}
    joints = np.arange(skeleton.num_joints, dtype=np.int32)
    points = np.array([order.get(joint, -1) for joint in joints], np.int32)
    parents = np.array(skeleton.parents, np.int32)
    slides, turns = _rows(skeleton, "t"), _rows(skeleton, "r")
    count = np.array([sum(m.kind == "r" for m in own) for own in skeleton.motions], np.int32)
    kinds = np.minimum(count, 1)
    kinds[[ball.joint for ball in balls_of(skeleton)]] = 2
    tables = joints, parents, points, _influence(skeleton), slides, turns, kinds
    return tables, int(count[kinds == 1].max(initial=0)), 1 + int(kinds.max())


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


def _start_params(skeleton: Skeleton, dtype) -> jax.Array:
    """Hinges bent, all else zero, within the limits."""
    start = np.zeros(skeleton.num_dofs)
    for motions in skeleton.motions:
        turns = [motion for motion in motions if motion.kind == "r"]
        if len(turns) == 1:
            start[skeleton.dof_names.index(turns[0].dof)] = _BEND
    return into_bounds(jnp.asarray(start, dtype), skeleton)
