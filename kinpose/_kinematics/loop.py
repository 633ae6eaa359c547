"""Eq. 2 as one loop over the motions: for trees of any size, and for few poses.

The elementary motions form a tree of their own. A node is the frame after one motion, node 0
is the world. The loop composes each frame with its parent's, so the program has the same
size for a finger and for a chain of 10,000 joints. Velocities come in closed form from the
finished frames: a rotation about the axis a through the point c moves what hangs below by
a x (p - c), and what one motion does to a joint adds up along the path from the root.
2D objects live in the plane z = 0.

Shapes: J joints, K keypoints, M motions, n space dimension.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kernels.thresholds import TABLE_MOTIONS
from kinpose._kinematics.scalars import rotation_parts
from kinpose._kinematics.walk import Structure
from kinpose._varying import varying_like


def positions(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """What `kinpose._kinematics.walk.positions` gives."""
    nodes, offsets, _ = _nodes(structure, values, offsets)
    joints = np.array(structure.keypoints, np.int32)
    return [_joint_places(structure, nodes, offsets, joints).ravel()]


def frames(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """What `kinpose._kinematics.walk.frames` gives."""
    n, joints = structure.ndim, np.arange(len(structure.parents), dtype=np.int32)
    nodes, offsets, _ = _nodes(structure, values, offsets)
    rotations = nodes[_table(structure).tip[joints], :n, :n]
    return [rotations.ravel(), _joint_places(structure, nodes, offsets, joints).ravel()]


def hinges(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """What `kinpose._kinematics.walk.hinges` gives."""
    table = _table(structure)
    nodes, offsets, bones = _nodes(structure, values, offsets)
    joints = np.array(structure.keypoints, np.int32)
    before = nodes[table.parent]
    axes = _turned(before[:, :, :3], table.axis.astype(nodes.dtype))
    pivots = before[:, :, 3] + _turned(before[:, :, :3], bones)
    return [_joint_places(structure, nodes, offsets, joints).ravel(), axes.ravel(), pivots.ravel()]


def _nodes(structure: Structure, values, offsets) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Frames (M + 1, 3, 4) of all nodes, offsets (J, 3), and the bones (M, 3) before motions."""
    n = structure.ndim
    offsets = jnp.pad(offsets.reshape(-1, n), ((0, 0), (0, 3 - n)))
    bones = _sum_of(_table(structure).bones, offsets)
    return _compose(structure, values, bones), offsets, bones


def _joint_places(structure: Structure, nodes, offsets, joints: np.ndarray) -> jax.Array:
    """(len(joints), n) positions."""
    table = _table(structure)
    carriers = nodes[table.tip[joints]]
    arms = _sum_of(table.hang, offsets)[joints]
    return (carriers[:, :, 3] + _turned(carriers[:, :, :3], arms))[:, : structure.ndim]


class _Sums(NamedTuple):
    """Which offsets add up to which result: a sparse matrix of ones."""

    rows: np.ndarray
    columns: np.ndarray
    num_rows: int


class _Table(NamedTuple):
    """The static tree of M motions; node m + 1 is the frame after motion m, node 0 the world."""

    parent: np.ndarray  # (M,) the node that a motion starts from
    axis: np.ndarray  # (M, 3) its unit axis in that node's frame
    turns: np.ndarray  # (M,) whether it is a rotation
    tip: np.ndarray  # (J,) the node that carries a joint
    bones: _Sums  # (M, J) which joints' offsets come between that node and the motion
    hang: _Sums  # (J, J) which joints' offsets come between the carrying node and the joint


def _table(structure: Structure) -> _Table:
    return _table_of(structure.parents, structure.motions)


@functools.lru_cache(maxsize=64)
def _table_of(parents, motions) -> _Table:
    flat = [motion for joint in motions for motion in joint]
    parent, tip = np.zeros(len(flat), np.int32), np.zeros(len(parents), np.int32)
    bones: list[tuple[int, ...]] = []
    hang: list[tuple[int, ...]] = []
    for joint, above in enumerate(parents):
        node, between = (tip[above], hang[above]) if above >= 0 else (0, ())
        between = (*between, joint)
        for _ in motions[joint]:
            parent[len(bones)] = node
            bones.append(between)
            node, between = len(bones), ()
        tip[joint] = node
        hang.append(between)
    return _Table(
        parent=parent,
        axis=np.array([motion.axis for motion in flat]).reshape(-1, 3),
        turns=np.array([motion.kind == "r" for motion in flat], bool),
        tip=tip,
        bones=_sums(bones),
        hang=_sums(hang),
    )


def _sums(terms: list[tuple[int, ...]]) -> _Sums:
    rows = np.repeat(np.arange(len(terms), dtype=np.int32), [len(own) for own in terms])
    return _Sums(rows, np.array([i for own in terms for i in own], np.int32), len(terms))


def _sum_of(sums: _Sums, x) -> jax.Array:
    """(num_rows, 3) sums of the rows of x; by a matrix while that is small."""
    if max(sums.num_rows, len(x)) > TABLE_MOTIONS:
        return jnp.zeros((sums.num_rows, 3), x.dtype).at[sums.rows].add(x[sums.columns])
    matrix = np.zeros((sums.num_rows, len(x)))
    matrix[sums.rows, sums.columns] = 1.0
    return _constant_times(matrix, x)


def path_table(structure: Structure) -> np.ndarray:
    """(K, M) bool: which motions lead to each keypoint."""
    table = _table(structure)
    return _paths(table)[table.tip[list(structure.keypoints)]]


def _paths(table: _Table) -> np.ndarray:
    """(M + 1, M) bool: which motions lead from the world to a node."""
    paths = np.zeros((len(table.parent) + 1, len(table.parent)), bool)
    for m, node in enumerate(table.parent):
        paths[m + 1] = paths[node]
        paths[m + 1, m] = True
    return paths


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _compose(structure: Structure, values, bones) -> jax.Array:
    """Eq. 2: frames (M + 1, 3, 4) of all nodes, each a rotation beside a position.

    Args:
      structure: the tree.
      values: (M,) angle or distance of each motion.
      bones: (M, 3) fixed bones before each motion.
    """
    table = _table(structure)
    num_motions = len(table.parent)
    world, last = jnp.eye(3, 4, dtype=bones.dtype), jnp.eye(4, dtype=bones.dtype)[None, 3]
    if not num_motions:
        return world[None]
    local = _local_frames(table, values, bones)
    parent = jnp.asarray(table.parent)
    nodes = jnp.zeros((num_motions + 1, 3, 4), bones.dtype).at[0].set(world)

    def add_node(m, nodes):
        above = jax.lax.dynamic_index_in_dim(nodes, parent[m], keepdims=False)
        own = jax.lax.dynamic_index_in_dim(local, m, keepdims=False)
        frame = sum(above[:, k, None] * own[None, k] for k in range(3)) + above[:, 3, None] * last
        return jax.lax.dynamic_update_index_in_dim(nodes, frame, m + 1, axis=0)

    return jax.lax.fori_loop(0, num_motions, add_node, varying_like(nodes, local))


@_compose.defjvp
def _compose_jvp(structure, primals, tangents):
    """Turning speeds and velocities, summed along the path from the root to each node."""
    table = _table(structure)
    nodes = _compose(structure, *primals)
    rotations, positions = nodes[:, :, :3], nodes[:, :, 3]
    arms = positions - positions[-1:]  # about a point of the body: the world's may be far
    axes = _turned(rotations[1:], table.axis) * tangents[0][:, None]
    spin = jnp.where(table.turns[:, None], axes, 0.0)
    slide = axes - spin + _turned(rotations[table.parent], tangents[1])
    slide = slide - jnp.cross(spin, arms[1:])
    spin, slide = _sum_along_paths(table, spin), _sum_along_paths(table, slide)
    turned = jnp.cross(jnp.broadcast_to(spin[:, :, None], rotations.shape), rotations, axis=1)
    moved = slide + jnp.cross(spin, arms)
    return nodes, jnp.concatenate([turned, moved[:, :, None]], axis=2)


def _sum_along_paths(table: _Table, x) -> jax.Array:
    """(M + 1, 3) sums of (M, 3) over the motions that lead to a node; memory linear in M."""
    num_motions = len(table.parent)
    if num_motions <= TABLE_MOTIONS:
        return _constant_times(_paths(table), x)
    parent = jnp.asarray(table.parent)

    def add(m, sums):
        return sums.at[m + 1].set(sums[parent[m]] + x[m])

    sums = varying_like(jnp.zeros((num_motions + 1, 3), x.dtype), x)
    return jax.lax.fori_loop(0, num_motions, add, sums)


def _local_frames(table: _Table, values, bones) -> jax.Array:
    """(M, 3, 4): a rotation by Rodrigues' formula, or a shift along the axis, after the bone."""
    dtype = bones.dtype
    along, across, turning = (part.astype(dtype) for part in rotation_parts(table.axis))
    angles = jnp.where(table.turns, values, 0.0)[:, None, None]
    rotations = along + jnp.cos(angles) * across + jnp.sin(angles) * turning
    slides = jnp.where(table.turns, 0.0, values)[:, None] * table.axis.astype(dtype)
    return jnp.concatenate([rotations, (bones + slides)[:, :, None]], axis=2)


def _turned(rotations, vectors) -> jax.Array:
    """(N, 3) vectors turned by (N, 3, 3) rotations."""
    return jnp.sum(rotations * jnp.asarray(vectors, rotations.dtype)[:, None, :], axis=-1)


def _constant_times(constant: np.ndarray, x) -> jax.Array:
    """Product at full precision: accelerators round factors to bfloat16 by default."""
    return jnp.matmul(constant.astype(x.dtype), x, precision="highest")
