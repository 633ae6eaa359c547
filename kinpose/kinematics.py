"""Forward kinematics: motion parameters to joint positions (Eq. 2), and their derivatives.

The elementary motions form a tree of their own. A node is the frame after one motion,
node 0 is the world. One loop over the nodes composes each frame with its parent's, so the
program has the same size for a finger and for a chain of 512 joints. Derivatives come in
closed form from the finished frames: a rotation about the axis a through the point c moves
what hangs below by a x (p - c), and what one motion does to a joint adds up along the path
from the root. 2D objects live in the plane z = 0.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.dtypes import at_least_float32
from kinpose.skeleton import Skeleton


def forward_kinematics(params: jax.Array, skeleton: Skeleton) -> jax.Array:
    """Positions of the keypoints: the function F of Eq. 1, by the product of Eq. 2.

    Pure; differentiable to any order in both modes, with respect to `params` and to
    `skeleton.offsets`. bfloat16 parameters are computed in float32 and rounded once at the
    end: with angles rounded to bfloat16, expect errors of about 1 % of the limb's length.

    Args:
      params: (D,) one value per dof, rad or the skeleton's length unit. For a batch:
        `jax.vmap(forward_kinematics, in_axes=(0, None))`.
      skeleton: the tree.

    Returns:
      (K, n) positions in the skeleton's length unit, in the dtype of `params`.

    Raises:
      ValueError: for parameters of a wrong shape or not of floating point.

    Example:
      >>> from kinpose.skeletons import human_17
      >>> forward_kinematics(jnp.zeros(27), human_17()).shape
      (17, 3)
    """
    params = _checked_params(params, skeleton)
    return _positions(params, skeleton)


def joint_transforms(params: jax.Array, skeleton: Skeleton) -> tuple[jax.Array, jax.Array]:
    """Orientation and position of every joint, helper joints included.

    Args:
      params: (D,) one value per dof.
      skeleton: the tree.

    Returns:
      rotations: (J, n, n) each joint's frame after its own motions; its columns are the
        frame's axes in the world.
      positions: (J, n) in the skeleton's length unit.

    Raises:
      ValueError: for parameters of a wrong shape or not of floating point.
    """
    return _transforms(_checked_params(params, skeleton), skeleton)


def joint_jacobian(params: jax.Array, skeleton: Skeleton) -> tuple[jax.Array, jax.Array]:
    """Keypoint positions and their analytic derivative with respect to the parameters.

    The geometric Jacobian: turning about an axis a through a point c moves what hangs
    below by a x (p - c), sliding along it by a.

    Args:
      params: (D,) one value per dof.
      skeleton: the tree.

    Returns:
      positions: (K, n) as `forward_kinematics` gives them.
      jacobian: (K, n, D).

    Raises:
      ValueError: for parameters of a wrong shape or not of floating point.
    """
    return _jacobian(_checked_params(params, skeleton), skeleton)


def _checked_params(params, skeleton: Skeleton) -> jax.Array:
    params = jnp.asarray(params)
    if params.shape != (skeleton.num_dofs,):
        hint = "; use jax.vmap for a batch" if params.ndim > 1 else ""
        raise ValueError(
            f"params must have shape ({skeleton.num_dofs},), one value per degree of freedom, "
            f"but got {params.shape}{hint}."
        )
    return params


@jax.jit
def _positions(params, skeleton):
    _, positions = _joint_frames(params, skeleton, skeleton.keypoints)
    return positions[:, : skeleton.ndim].astype(params.dtype)


@jax.jit
def _transforms(params, skeleton):
    n = skeleton.ndim
    rotations, positions = _joint_frames(params, skeleton, range(skeleton.num_joints))
    return rotations[:, :n, :n].astype(params.dtype), positions[:, :n].astype(params.dtype)


@jax.jit
def _jacobian(params, skeleton):
    tree, n = _tree(_structure(skeleton)), skeleton.ndim
    nodes = _nodes(params, skeleton)
    _, positions = _hang_joints(nodes, skeleton, skeleton.keypoints)
    axes, pivots = _turned(nodes[1:, :, :3], tree.axis), nodes[1:, :, 3]
    arms = positions[:, None, :] - pivots[None, :, :]
    axes = jnp.broadcast_to(axes[None, :, :], arms.shape)
    moved = jnp.where(tree.turns[None, :, None], jnp.cross(axes, arms), axes)
    on_path = tree.paths[tree.tip[list(skeleton.keypoints)]]
    moved = jnp.where(on_path[:, :, None] > 0, moved, 0.0)[:, :, :n]
    jacobian = _times_constant(moved.swapaxes(-1, -2), tree.dofs)
    return positions[:, :n].astype(params.dtype), jacobian.astype(params.dtype)


class _Tree(NamedTuple):
    """The static tree of M motions; node m + 1 is the frame after motion m, node 0 the world."""

    parent: np.ndarray  # (M,) the node that a motion starts from
    axis: np.ndarray  # (M, 3) its unit axis in that node's frame
    turns: np.ndarray  # (M,) whether it is a rotation
    dofs: np.ndarray  # (M, D) derivative of its amount with respect to the parameters
    bias: np.ndarray  # (M,) its amount where the parameters are zero
    bones: np.ndarray  # (M, J) which joints' offsets come between that node and the motion
    paths: np.ndarray  # (M + 1, M) which motions lead from the world to a node
    tip: np.ndarray  # (J,) the node that carries a joint
    hang: np.ndarray  # (J, J) which joints' offsets come between that node and the joint


def _structure(skeleton: Skeleton) -> tuple:
    return skeleton.parents, skeleton.motions, skeleton.dof_names


@functools.lru_cache(maxsize=64)
def _tree(structure: tuple) -> _Tree:
    parents, motions, dof_names = structure
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
    dofs = np.zeros((num_motions, len(dof_names)))
    for m, motion in enumerate(flat):
        dofs[m, dof_names.index(motion.dof)] = motion.multiplier
    return _Tree(
        parent=parent,
        axis=np.array([motion.axis for motion in flat]).reshape(-1, 3),
        turns=np.array([motion.kind == "r" for motion in flat], bool),
        dofs=dofs,
        bias=np.array([motion.bias for motion in flat]),
        bones=bones,
        paths=paths,
        tip=tip,
        hang=hang,
    )


def _joint_frames(params, skeleton: Skeleton, joints) -> tuple[jax.Array, jax.Array]:
    """Rotations (N, 3, 3) and positions (N, 3) of the given joints."""
    return _hang_joints(_nodes(params, skeleton), skeleton, joints)


def _nodes(params, skeleton: Skeleton) -> jax.Array:
    """Frames (M + 1, 3, 4) after every motion, in float32 at least."""
    tree = _tree(_structure(skeleton))
    params = at_least_float32(params, "params")
    amounts = _constant_times(tree.dofs, params) + tree.bias.astype(params.dtype)
    bones = _constant_times(tree.bones, _offsets(skeleton, params.dtype))
    return _compose(_structure(skeleton), amounts, bones)


def _hang_joints(nodes, skeleton: Skeleton, joints) -> tuple[jax.Array, jax.Array]:
    """The joints' frames, from those of the nodes that carry them."""
    tree, joints = _tree(_structure(skeleton)), list(joints)
    carriers = nodes[tree.tip[joints]]
    bones = _constant_times(tree.hang[joints], _offsets(skeleton, nodes.dtype))
    return carriers[:, :, :3], carriers[:, :, 3] + _turned(carriers[:, :, :3], bones)


def _offsets(skeleton: Skeleton, dtype) -> jax.Array:
    """Offsets in space: (J, 3), also in 2D."""
    return jnp.pad(jnp.asarray(skeleton.offsets, dtype), ((0, 0), (0, 3 - skeleton.ndim)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _compose(structure: tuple, amounts: jax.Array, bones: jax.Array) -> jax.Array:
    """Eq. 2: frames (M + 1, 3, 4) of all nodes, each a rotation beside a position.

    Args:
      structure: what `_tree` reads.
      amounts: (M,) angle or distance of each motion.
      bones: (M, 3) fixed bones before each motion.
    """
    tree = _tree(structure)
    num_motions = len(tree.parent)
    local = _local_frames(tree, amounts, bones)
    parent = jnp.asarray(tree.parent)
    world, last = jnp.eye(3, 4, dtype=amounts.dtype), jnp.eye(4, dtype=amounts.dtype)[None, 3]
    nodes = jnp.zeros((num_motions + 1, 3, 4), amounts.dtype).at[0].set(world)

    if not num_motions:
        return nodes

    def add_node(m, nodes):
        above = jax.lax.dynamic_index_in_dim(nodes, parent[m], keepdims=False)
        own = jax.lax.dynamic_index_in_dim(local, m, keepdims=False)
        frame = sum(above[:, k, None] * own[None, k] for k in range(3)) + above[:, 3, None] * last
        return jax.lax.dynamic_update_index_in_dim(nodes, frame, m + 1, axis=0)

    return jax.lax.fori_loop(0, num_motions, add_node, nodes)


@_compose.defjvp
def _compose_jvp(structure, primals, tangents):
    """Turning speeds and velocities, summed along the path from the root to each node."""
    tree = _tree(structure)
    nodes = _compose(structure, *primals)
    rotations, positions = nodes[:, :, :3], nodes[:, :, 3]
    arms = positions - positions[-1:]  # about a point of the body: the world's may be far
    axes = _turned(rotations[1:], tree.axis) * tangents[0][:, None]
    spin = jnp.where(tree.turns[:, None], axes, 0.0)
    slide = axes - spin + _turned(rotations[tree.parent], tangents[1])
    slide = slide - jnp.cross(spin, arms[1:])
    spin, slide = _constant_times(tree.paths, spin), _constant_times(tree.paths, slide)
    turned = jnp.cross(jnp.broadcast_to(spin[:, :, None], rotations.shape), rotations, axis=1)
    moved = slide + jnp.cross(spin, arms)
    return nodes, jnp.concatenate([turned, moved[:, :, None]], axis=2)


def _local_frames(tree: _Tree, amounts, bones) -> jax.Array:
    """(M, 3, 4): a rotation by Rodrigues' formula, or a shift along the axis, after the bone."""
    dtype = amounts.dtype
    along, across, turning = (part.astype(dtype) for part in rotation_parts(tree.axis))
    angles = jnp.where(tree.turns, amounts, 0.0)[:, None, None]
    rotations = along + jnp.cos(angles) * across + jnp.sin(angles) * turning
    slides = jnp.where(tree.turns, 0.0, amounts)[:, None] * tree.axis.astype(dtype)
    return jnp.concatenate([rotations, (bones + slides)[:, :, None]], axis=2)


def rotation_parts(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rodrigues' formula: the rotation by t about an axis is A + cos(t) B + sin(t) C.

    Args:
      axis: (..., 3) unit vectors.

    Returns:
      A, B, C, each (..., 3, 3).
    """
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    along = axis[..., :, None] * axis[..., None, :]
    turning = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    return along, np.eye(3) - along, np.moveaxis(turning, (0, 1), (-2, -1))


def _turned(rotations, vectors) -> jax.Array:
    """(N, 3) vectors turned by (N, 3, 3) rotations."""
    return jnp.sum(rotations * jnp.asarray(vectors, rotations.dtype)[:, None, :], axis=-1)


def _constant_times(constant: np.ndarray, x) -> jax.Array:
    """Product at full precision: accelerators round factors to bfloat16 by default."""
    return jnp.matmul(constant.astype(x.dtype), x, precision="highest")


def _times_constant(x, constant: np.ndarray) -> jax.Array:
    return jnp.matmul(x, constant.astype(x.dtype), precision="highest")
