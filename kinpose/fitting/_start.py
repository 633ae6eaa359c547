"""A closed-form start for model fitting: joints turn to their points, from the root outwards.

The best angle of one rotation has a closed form: with the rotation written as
A + cos(t) B + sin(t) C (Rodrigues), the agreement of model and data is a cosine of t.
2D objects live in the plane z = 0.
"""

import functools
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

_PAIRS = np.einsum("ki,lj->klij", np.eye(3), np.eye(3))

_BY_QUATERNION = np.zeros((4, 4, 3, 3))
"""The rotation of a unit quaternion q, real part first: q' _BY_QUATERNION q."""
_BY_QUATERNION[0, 0] = np.eye(3)
_BY_QUATERNION[0, 1:] = _BY_QUATERNION[1:, 0] = np.cross(np.eye(3)[None], np.eye(3)[:, None])
_BY_QUATERNION[1:, 1:] = _PAIRS + _PAIRS.swapaxes(0, 1) - _PAIRS.swapaxes(1, 2)

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
    *tables, num_loose, num_kinds = _tables(skeleton)
    start = varying_like(_start_params(skeleton, dtype), joints, weights, skeleton.offsets)
    rotations, positions = joint_transforms(start, skeleton)
    rotations = jnp.pad(rotations, ((0, 0), (0, flat), (0, flat)))
    rotations += np.diag([0, 0, flat]).astype(dtype)[None]
    positions, offsets, joints = (
        jnp.pad(jnp.asarray(x, dtype), ((0, 0), (0, flat)))
        for x in (positions, skeleton.offsets, joints)
    )
    center = joints.T @ (weights / jnp.maximum(jnp.sum(weights), 1e-12))
    ends = positions[np.array(skeleton.keypoints)]
    limits = None if skeleton.limits is None else bounds(skeleton, dtype)

    def place_joint(carry, row):
        params, frames = carry
        (joint, parent, point, kind), influence, slides, turns, offset, rest = row
        above = frames[parent]
        frame, place = above[:, :3], above @ jnp.append(offset, 1.0)
        own = jnp.where(parent < 0, center, place)
        own = jnp.where((point >= 0) & (weights[point] > 0), joints[point], own)

        def slide(carry, motion):
            params, place = carry
            motion = _unpacked(motion)
            axis = frame @ motion.axis
            params = motion.set(params, jnp.dot(axis, own - place), limits)
            return (params, place + axis * motion.value(params)), None

        if slides is not None:
            moves = jnp.any(_unpacked(slides).free > 0)
            ways = lambda *carry: jax.lax.scan(slide, carry, slides)[0], lambda *same: same
            params, place = jax.lax.cond(moves, *ways, params, place)
        place = jnp.where(point >= 0, own, place)

        def turn(params, frame):
            model = (ends - rest[None, :, 3]) @ rest[:, :3]
            data = (joints - place[None]) @ frame
            args = limits, _unpacked(turns), data.T @ (model * (weights * influence)[:, None])
            ways = functools.partial(_in_turn, num_loose), _at_once
            params = jax.lax.switch(kind - 1, ways[: num_kinds - 1], params, *args)
            return params, functools.reduce(jnp.matmul, args[1].rotation(params), frame)

        if turns is not None:
            params, frame = jax.lax.cond(kind > 0, turn, lambda *same: same, params, frame)
        mine = jnp.concatenate([frame, place[:, None]], axis=1)
        return (params, frames.at[joint].set(mine)), None

    frames = np.zeros((skeleton.num_joints + 1, 3, 4), dtype)
    frames[-1, :, :3] = np.eye(3)
    tables = jax.tree.map(lambda x: jnp.asarray(x, dtype if x.dtype == float else x.dtype), tables)
    rows = (*tables, offsets, jnp.concatenate([rotations, positions[:, :, None]], axis=2))
    first = start, varying_like(jnp.asarray(frames), start)
    return jax.lax.scan(place_joint, first, rows)[0][0]


def _in_turn(num_turns: int, params, limits, turns: "_Rows", covariance) -> jax.Array:
    """How joints with few angles turn: one after the other, without limits and then within."""

    def sweep(number, params):
        ends = limits
        if limits is not None and num_turns > 1:
            free = number < _SWEEPS
            ends = jnp.where(free, -jnp.inf, limits[0]), jnp.where(free, jnp.inf, limits[1])
            params = jnp.clip(params, *ends)
        for i in range(num_turns):
            motion, seen = jax.tree.map(lambda x: x[i], turns), covariance  # noqa: B023
            matrices = list(turns.rotation(params))[:num_turns]
            for before in matrices[:i]:
                seen = before.T @ seen
            for after in matrices[:i:-1]:
                seen = seen @ after.T
            sine, cosine = jnp.sum(motion.sine * seen), jnp.sum(motion.cosine * seen)
            params = motion.set(params, jnp.arctan2(sine, cosine), ends)
        return params

    if num_turns < 2:
        return sweep(0, params)
    count = _SWEEPS + (0 if limits is None else _SWEEPS_WITHIN)
    return jax.lax.fori_loop(0, count, sweep, params)


def _at_once(params, limits, turns: "_Rows", covariance) -> jax.Array:
    """How balls turn: to the rotation that maximises trace(R^T covariance), without limits."""
    del limits
    axes, dofs = turns.axis[:3], turns.dof[:3]
    seen = jnp.matmul(axes, jnp.matmul(covariance, axes.T))
    angles = jnp.stack(cardan_angles(_best_rotation(seen), jnp.zeros((), seen.dtype)))
    hand = jnp.sign(jnp.dot(axes[0], jnp.cross(axes[1], axes[2])))
    return jnp.where(jnp.sum(dofs, axis=0) > 0, hand * angles @ dofs, params)


def _best_rotation(covariance) -> jax.Array:
    """The rotation R that maximises trace(R^T covariance), near the identity where many do.

    Davenport's q-method: its quaternion is the first eigenvector of a matrix, found by
    squaring that.
    """
    covariance = covariance / jnp.maximum(jnp.max(jnp.abs(covariance)), 1e-30)
    table = _BY_QUATERNION.reshape(16, 9).astype(covariance.dtype)
    matrix = (table @ covariance.ravel()).reshape(4, 4)
    positive = 2.0 * jnp.sqrt(jnp.sum(jnp.square(covariance)))
    matrix = matrix + positive * jnp.eye(4, dtype=covariance.dtype)

    def square(_, matrix):
        matrix = matrix / jnp.maximum(jnp.max(matrix), 1e-30)
        return jnp.sum(matrix[:, :, None] * matrix[None], axis=1)

    matrix = jax.lax.fori_loop(0, _SQUARINGS, square, matrix)
    q = matrix[jnp.argmax(jnp.diagonal(matrix) * np.array([1e3, 1, 1, 1], matrix.dtype))]
    q = q / jnp.maximum(jnp.linalg.norm(q), 1e-30)
    return (jnp.outer(q, q).ravel() @ table).reshape(3, 3)


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


class _Rows(NamedTuple):
    """Motions of one kind, of a joint or several, M of each; zero where there are fewer."""

    axis: jax.Array  # (..., M, 3)
    fixed: jax.Array  # (..., M, 3, 3) Rodrigues' A
    cosine: jax.Array  # (..., M, 3, 3) B
    sine: jax.Array  # (..., M, 3, 3) C
    multiplier: jax.Array  # (..., M)
    bias: jax.Array  # (..., M)
    free: jax.Array  # (..., M) one where the dof drives this motion alone
    dof: jax.Array  # (..., M, D) one at the dof

    def value(self, params):
        return self.multiplier * (self.dof @ params) + self.bias

    def rotation(self, params):
        """Of all motions of a joint."""
        angle = self.value(params)[:, None, None]
        return self.fixed + jnp.cos(angle) * self.cosine + jnp.sin(angle) * self.sine

    def set(self, params, value, limits=None):
        """Puts the dof where the one motion has this value, as far as limits allow."""
        value = (value - self.bias) / jnp.where(self.free > 0, self.multiplier, 1.0)
        value = value if limits is None else jnp.clip(value, *limits)
        return jnp.where(self.free * self.dof > 0, value, params)


def _packed(skeleton: Skeleton, kind: str) -> np.ndarray | None:
    """(J, M, F) motions of one kind; None for a skeleton without any.

    One array: each that a loop reads is a kernel to compile.
    """
    dofs = [motion.dof for motion in skeleton.flat_motions]
    per_joint = [[m for m in joint if m.kind == kind] for joint in skeleton.motions]
    most, nothing = max(map(len, per_joint)), Motion(kind, (0.0, 0.0, 0.0), multiplier=0.0)
    if not most:
        return None

    def numbers(m):
        matrices = (part.ravel() for part in rotation_parts(np.array([m.axis])))
        alone = m.multiplier != 0 and dofs.count(m.dof) == 1
        names = [m.dof == dof for dof in skeleton.dof_names]
        return np.concatenate([m.axis, *matrices, [m.multiplier, m.bias, alone], names])

    rows = ([*own, *[nothing] * (most - len(own))] for own in per_joint)
    return np.array([[numbers(m) for m in row] for row in rows])


def _unpacked(rows) -> _Rows:
    axis, *parts, dof = jnp.split(rows, (3, 12, 21, 30, 31, 32, 33), axis=-1)
    matrices = (x.reshape(*x.shape[:-1], 3, 3) for x in parts[:3])
    return _Rows(axis, *matrices, *(x[..., 0] for x in parts[3:]), dof)


def _tables(skeleton: Skeleton) -> tuple:
    """Joints as arrays, most rotations of one that is no ball, and how many kinds there are."""
    points = np.full(skeleton.num_joints, -1)
    points[list(skeleton.keypoints)] = np.arange(skeleton.num_keypoints)
    count = np.array([sum(m.kind == "r" for m in own) for own in skeleton.motions])
    kinds = np.minimum(count, 1)
    kinds[[ball.joint for ball in balls_of(skeleton)]] = 2
    numbers = np.array([np.arange(len(points)), skeleton.parents, points, kinds], np.int32).T
    tables = _influence(skeleton), _packed(skeleton, "t"), _packed(skeleton, "r")
    return numbers, *tables, int(count[kinds == 1].max(initial=0)), 1 + int(kinds.max())


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
