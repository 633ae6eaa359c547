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
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kernels.thresholds import TABLE_MOTIONS
from kinpose._kinematics.scalars import rotation_parts
from kinpose._kinematics.walk import Structure, paths_of
from kinpose._varying import varying_like


def positions(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """What `kinpose._kinematics.walk.positions` gives."""
    _, _, places = _go_through(structure, values, offsets)
    return [places[np.array(structure.keypoints, np.int32)].ravel()]


def frames(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """What `kinpose._kinematics.walk.frames` gives."""
    n = structure.ndim
    nodes, _, places = _go_through(structure, values, offsets)
    return [nodes[_table(structure).tip, :n, :n].ravel(), places.ravel()]


def hinges(structure: Structure, values: jax.Array, offsets: jax.Array) -> list[jax.Array]:
    """What `kinpose._kinematics.walk.hinges` gives."""
    table = _table(structure)
    nodes, bones, places = _go_through(structure, values, offsets)
    before = nodes[table.parent]
    axes = _turned(before[:, :, :3], table.axis)
    pivots = before[:, :, 3] + _turned(before[:, :, :3], bones)
    return [places[np.array(structure.keypoints, np.int32)].ravel(), axes.ravel(), pivots.ravel()]


def path_table(structure: Structure) -> np.ndarray:
    """(K, M) bool: which motions lead to each keypoint."""
    table = _table(structure)
    return paths_of([-1, *table.parent])[table.tip[list(structure.keypoints)], 1:]


def constant_times(constant: np.ndarray, x) -> jax.Array:
    """Product at full precision: accelerators round factors to bfloat16 by default."""
    return jnp.matmul(constant.astype(x.dtype), x, precision="highest")


def _go_through(structure: Structure, values, offsets) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Frames (M + 1, 3, 4) of all nodes, the bones (M, 3) before motions, and joints (J, n)."""
    n, table = structure.ndim, _table(structure)
    offsets = jnp.pad(offsets.reshape(-1, n), ((0, 0), (0, 3 - n)))
    bones = _sum_of(table.bones, offsets)
    nodes = _compose(structure, values, bones)
    tips = nodes[table.tip]
    places = tips[:, :, 3] + _turned(tips[:, :, :3], _sum_of(table.hang, offsets))
    return nodes, bones, places[:, :n]


class _Table(NamedTuple):
    """The static tree of M motions; node m + 1 is the frame after motion m, node 0 the world."""

    parent: np.ndarray  # (M,) the node that a motion starts from
    axis: np.ndarray  # (M, 3) its unit axis in that node's frame
    turns: np.ndarray  # (M,) whether it is a rotation
    tip: np.ndarray  # (J,) the node that carries a joint
    bones: list[tuple[int, ...]]  # M joints whose offsets come between that node and the motion
    hang: list[tuple[int, ...]]  # J joints whose offsets come between the carrying node and it


@functools.lru_cache(maxsize=64)
def _table(structure: Structure) -> _Table:
    flat = [motion for joint in structure.motions for motion in joint]
    parent, tip, bones, hang = [], [], [], []
    for joint, above in enumerate(structure.parents):
        node, between = (tip[above], hang[above]) if above >= 0 else (0, ())
        between = (*between, joint)
        for _ in structure.motions[joint]:
            parent.append(node)
            bones.append(between)
            node, between = len(bones), ()
        tip.append(node)
        hang.append(between)
    return _Table(
        parent=np.array(parent, np.int32),
        axis=np.array([motion.axis for motion in flat]).reshape(-1, 3),
        turns=np.array([motion.kind == "r" for motion in flat], bool),
        tip=np.array(tip, np.int32),
        bones=bones,
        hang=hang,
    )


def _sum_of(terms: list[tuple[int, ...]], x) -> jax.Array:
    """(len(terms), 3) sums of the rows of x that are named; by a matrix while that is small."""
    rows = np.repeat(np.arange(len(terms), dtype=np.int32), [len(own) for own in terms])
    columns = np.array([i for own in terms for i in own], np.int32)
    if max(len(terms), len(x)) > TABLE_MOTIONS:
        return jnp.zeros((len(terms), 3), x.dtype).at[rows].add(x[columns])
    matrix = np.zeros((len(terms), len(x)))
    matrix[rows, columns] = 1.0
    return constant_times(matrix, x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _compose(structure: Structure, values, bones) -> jax.Array:
    """Eq. 2: frames (M + 1, 3, 4) of all nodes, each a rotation beside a position.

    A motion (M,) is a rotation by Rodrigues' formula, or a shift along its axis, after the bone.
    """
    table, dtype = _table(structure), bones.dtype
    along, across, turning = (part.astype(dtype) for part in rotation_parts(table.axis))
    angles = jnp.where(table.turns, values, 0.0)[:, None, None]
    rotations = along + jnp.cos(angles) * across + jnp.sin(angles) * turning
    slides = jnp.where(table.turns, 0.0, values)[:, None] * table.axis.astype(dtype)
    local = jnp.concatenate([rotations, (bones + slides)[:, :, None]], axis=2)
    last = jnp.eye(4, dtype=dtype)[None, 3]

    def product(above, own):
        return sum(above[:, k, None] * own[None, k] for k in range(3)) + above[:, 3, None] * last

    return _from_root(table, product, jnp.eye(3, 4, dtype=dtype), local)


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
    if len(x) <= TABLE_MOTIONS:
        return constant_times(paths_of([-1, *table.parent])[:, 1:], x)
    return _from_root(table, jax.lax.add, jnp.zeros(3, x.dtype), x)


def _from_root(table: _Table, combine: Callable, first, own) -> jax.Array:
    """The world's value and, of each node, what its parent's and its motion's own combine to."""
    if not len(own):
        return first[None]
    parent = jnp.asarray(table.parent)
    nodes = jnp.concatenate([first[None], jnp.zeros((len(own), *first.shape), own.dtype)])

    def add_node(m, nodes):
        above = jax.lax.dynamic_index_in_dim(nodes, parent[m], keepdims=False)
        mine = jax.lax.dynamic_index_in_dim(own, m, keepdims=False)
        return jax.lax.dynamic_update_index_in_dim(nodes, combine(above, mine), m + 1, axis=0)

    return jax.lax.fori_loop(0, len(own), add_node, varying_like(nodes, own))


def _turned(rotations, vectors) -> jax.Array:
    """(N, 3) vectors turned by (N, 3, 3) rotations."""
    return jnp.sum(rotations * jnp.asarray(vectors, rotations.dtype)[:, None, :], axis=-1)
