"""Eq. 2 as one loop over the motions: for trees of any size.

The elementary motions form a tree of their own. A node is the frame after one motion, node 0
is the world. The loop composes each frame with its parent's, so the program has the same
size for a finger and for a chain of 512 joints. Velocities come in closed form from the
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

from kinpose.rodrigues import rotation_parts
from kinpose.tree import Tree


def places(tree: Tree, amounts, offsets) -> list[jax.Array]:
    """Where a pose has what the tree asks for.

    Args:
      tree: the structure.
      amounts: (M,) angle or distance of each motion.
      offsets: (J * n,) bones in the rest pose.

    Returns:
      A flat array per quantity: (K * n,) positions; or (J * n * n,) rotations and (J * n,)
      positions; or (K * n,) positions, (3 * M,) axes and (3 * M,) pivots.
    """
    table = _table(tree)
    n, dtype = tree.ndim, amounts.dtype
    offsets = jnp.pad(offsets.reshape(-1, n), ((0, 0), (0, 3 - n)))
    bones = _constant_times(table.bones, offsets)
    nodes = _compose(tree, amounts, bones)
    everything = tree.details == "frames"
    joints = list(range(len(tree.parents)) if everything else tree.keypoints)
    carriers = nodes[table.tip[joints]]
    arms = _turned(carriers[:, :, :3], _constant_times(table.hang[joints], offsets))
    found = [(carriers[:, :, 3] + arms)[:, :n]]
    if everything:
        found.insert(0, carriers[:, :n, :n])
    if tree.details == "hinges":
        before = nodes[table.parent]
        axes = _turned(before[:, :, :3], table.axis.astype(dtype))
        found += [axes, before[:, :, 3] + _turned(before[:, :, :3], bones)]
    return [x.ravel() for x in found]


def velocities(tree: Tree, amounts, offsets, rates, stretches) -> list[jax.Array]:
    """How fast that changes: arrays like those of `places`.

    Args:
      tree: the structure.
      amounts: (M,) angle or distance of each motion.
      offsets: (J * n,) bones in the rest pose.
      rates: (M,) of the amounts.
      stretches: (J * n,) of the offsets.
    """
    along = functools.partial(places, tree)
    return jax.jvp(along, (amounts, offsets), (rates, stretches))[1]


class _Table(NamedTuple):
    """The static tree of M motions; node m + 1 is the frame after motion m, node 0 the world."""

    parent: np.ndarray  # (M,) the node that a motion starts from
    axis: np.ndarray  # (M, 3) its unit axis in that node's frame
    turns: np.ndarray  # (M,) whether it is a rotation
    bones: np.ndarray  # (M, J) which joints' offsets come between that node and the motion
    paths: np.ndarray  # (M + 1, M) which motions lead from the world to a node
    tip: np.ndarray  # (J,) the node that carries a joint
    hang: np.ndarray  # (J, J) which joints' offsets come between that node and the joint


def _table(tree: Tree) -> _Table:
    return _table_of(tree.parents, tree.motions)


@functools.lru_cache(maxsize=64)
def _table_of(parents, motions) -> _Table:
    flat = [motion for joint in motions for motion in joint]
    num_joints, num_motions = len(parents), len(flat)
    parent = np.zeros(num_motions, np.int32)
    bones, hang = np.zeros((num_motions, num_joints)), np.zeros((num_joints, num_joints))
    paths = np.zeros((num_motions + 1, num_motions))
    tip = np.zeros(num_joints, np.int32)
    m = 0
    for joint, above in enumerate(parents):
        node, between = (tip[above], hang[above].copy()) if above >= 0 else (0, hang[joint].copy())
        between[joint] = 1.0
        for _ in motions[joint]:
            parent[m], bones[m] = node, between
            paths[m + 1] = paths[node]
            paths[m + 1, m] = 1.0
            m += 1
            node, between = m, np.zeros(num_joints)
        tip[joint], hang[joint] = node, between
    return _Table(
        parent=parent,
        axis=np.array([motion.axis for motion in flat]).reshape(-1, 3),
        turns=np.array([motion.kind == "r" for motion in flat], bool),
        bones=bones,
        paths=paths,
        tip=tip,
        hang=hang,
    )


def path_table(tree: Tree) -> np.ndarray:
    """(K, M) bool: which motions lead to each keypoint."""
    table = _table(tree)
    return table.paths[table.tip[list(tree.keypoints)]] > 0


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _compose(tree: Tree, amounts, bones) -> jax.Array:
    """Eq. 2: frames (M + 1, 3, 4) of all nodes, each a rotation beside a position.

    Args:
      tree: the structure.
      amounts: (M,) angle or distance of each motion.
      bones: (M, 3) fixed bones before each motion.
    """
    table = _table(tree)
    num_motions = len(table.parent)
    world, last = jnp.eye(3, 4, dtype=bones.dtype), jnp.eye(4, dtype=bones.dtype)[None, 3]
    nodes = jnp.zeros((num_motions + 1, 3, 4), bones.dtype).at[0].set(world)
    if not num_motions:
        return nodes
    local = _local_frames(table, amounts, bones)
    parent = jnp.asarray(table.parent)

    def add_node(m, nodes):
        above = jax.lax.dynamic_index_in_dim(nodes, parent[m], keepdims=False)
        own = jax.lax.dynamic_index_in_dim(local, m, keepdims=False)
        frame = sum(above[:, k, None] * own[None, k] for k in range(3)) + above[:, 3, None] * last
        return jax.lax.dynamic_update_index_in_dim(nodes, frame, m + 1, axis=0)

    return jax.lax.fori_loop(0, num_motions, add_node, nodes)


@_compose.defjvp
def _compose_jvp(tree, primals, tangents):
    """Turning speeds and velocities, summed along the path from the root to each node."""
    table = _table(tree)
    nodes = _compose(tree, *primals)
    rotations, positions = nodes[:, :, :3], nodes[:, :, 3]
    arms = positions - positions[-1:]  # about a point of the body: the world's may be far
    axes = _turned(rotations[1:], table.axis) * tangents[0][:, None]
    spin = jnp.where(table.turns[:, None], axes, 0.0)
    slide = axes - spin + _turned(rotations[table.parent], tangents[1])
    slide = slide - jnp.cross(spin, arms[1:])
    spin, slide = _constant_times(table.paths, spin), _constant_times(table.paths, slide)
    turned = jnp.cross(jnp.broadcast_to(spin[:, :, None], rotations.shape), rotations, axis=1)
    moved = slide + jnp.cross(spin, arms)
    return nodes, jnp.concatenate([turned, moved[:, :, None]], axis=2)


def _local_frames(table: _Table, amounts, bones) -> jax.Array:
    """(M, 3, 4): a rotation by Rodrigues' formula, or a shift along the axis, after the bone."""
    dtype = bones.dtype
    along, across, turning = (part.astype(dtype) for part in rotation_parts(table.axis))
    angles = jnp.where(table.turns, amounts, 0.0)[:, None, None]
    rotations = along + jnp.cos(angles) * across + jnp.sin(angles) * turning
    slides = jnp.where(table.turns, 0.0, amounts)[:, None] * table.axis.astype(dtype)
    return jnp.concatenate([rotations, (bones + slides)[:, :, None]], axis=2)


def _turned(rotations, vectors) -> jax.Array:
    """(N, 3) vectors turned by (N, 3, 3) rotations."""
    return jnp.sum(rotations * jnp.asarray(vectors, rotations.dtype)[:, None, :], axis=-1)


def _constant_times(constant: np.ndarray, x) -> jax.Array:
    """Product at full precision: accelerators round factors to bfloat16 by default."""
    return jnp.matmul(constant.astype(x.dtype), x, precision="highest")
