"""Forward kinematics: motion parameters to joint positions (Eq. 2), and their derivatives.

Trees of tens of motions are written out and run as one kernel over a batch
(`kinpose._kinematics.walk`); larger ones go through a loop (`kinpose._kinematics.loop`).
"""

import functools
import math
from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kernels.thresholds import WALK_MOTIONS
from kinpose._kinematics import loop, walk
from kinpose._kinematics.scalars import at_least_float32
from kinpose._kinematics.walk import Structure, known_zeros, structure_of
from kinpose.skeleton import Skeleton


def forward_kinematics(params: jax.typing.ArrayLike, skeleton: Skeleton) -> jax.Array:
    """Positions of the keypoints: the function F of Eq. 1, by the product of Eq. 2.

    Pure; differentiable to any order in both modes, with respect to `params` and to
    `skeleton.offsets`. bfloat16 parameters are computed in float32 and rounded once at the
    end: with angles rounded to bfloat16, expect errors of about 1 % of the limb's length.
    Angles of up to 1e4 rad keep the digits that float32 gives them.

    A function that closes over the skeleton, rather than have `jax.jit` pass it in, runs and
    compiles faster: its offsets are then known when tracing, and their zeros cost nothing. (One
    with zeros in other places compiles anew.)

    Args:
      params: (..., D) one value per dof, rad or the skeleton's length unit.
      skeleton: the tree; its offsets may be (..., J, n), for bones of each pose's own.

    Returns:
      (..., K, n) positions in the skeleton's length unit, in the dtype of `params`.

    Raises:
      ValueError: for parameters of a wrong shape or not of floating point.

    Example:
      >>> from kinpose.skeletons import human_17
      >>> forward_kinematics(jnp.zeros(27), human_17()).shape
      (17, 3)
    """
    return _of_poses(_positions, params, skeleton)


def joint_transforms(
    params: jax.typing.ArrayLike, skeleton: Skeleton
) -> tuple[jax.Array, jax.Array]:
    """Orientation and position of every joint, helper joints included.

    Args:
      params: (..., D) one value per dof.
      skeleton: the tree; its offsets may be (..., J, n).

    Returns:
      rotations: (..., J, n, n) each joint's frame after its own motions; its columns are the
        frame's axes in the world.
      positions: (..., J, n) in the skeleton's length unit.

    Raises:
      ValueError: for parameters of a wrong shape or not of floating point.
    """
    return _of_poses(_transforms, params, skeleton)


def joint_jacobian(params: jax.typing.ArrayLike, skeleton: Skeleton) -> tuple[jax.Array, jax.Array]:
    """Keypoint positions and their analytic derivative with respect to the parameters.

    The geometric Jacobian: turning about an axis a through a point c moves what hangs
    below by a x (p - c), sliding along it by a.

    Args:
      params: (..., D) one value per dof.
      skeleton: the tree; its offsets may be (..., J, n).

    Returns:
      positions: (..., K, n) as `forward_kinematics` gives them.
      jacobian: (..., K, n, D).

    Raises:
      ValueError: for parameters of a wrong shape or not of floating point.
    """
    return _of_poses(_jacobian, params, skeleton)


def _of_poses(function: Callable, params, skeleton: Skeleton):
    """The gate, and a function of one pose over the leading dimensions of params and offsets."""
    check_skeleton(skeleton, params, "params")
    params = jnp.asarray(params)
    if params.shape[-1:] != (skeleton.num_dofs,):
        raise ValueError(
            f"params must have shape (..., {skeleton.num_dofs}), one value per degree of freedom, "
            f"but got {params.shape}."
        )
    offsets = jnp.asarray(skeleton.offsets, at_least_float32(params, "params").dtype)
    try:
        jnp.broadcast_shapes(params.shape[:-1], offsets.shape[:-2])
    except ValueError:
        raise ValueError(
            f"params {params.shape} and the skeleton's offsets {offsets.shape} have leading "
            "dimensions that do not broadcast."
        ) from None
    in_loop = len(skeleton.flat_motions) not in range(1, WALK_MOTIONS + 1)
    structure = structure_of(skeleton, () if in_loop else known_zeros(skeleton))
    return _over_leading(function, loop if in_loop else walk, structure, params, offsets)


def check_skeleton(skeleton: object, before: object, name: str) -> None:
    """Refuses what is no skeleton, perhaps as it was swapped with the argument before it."""
    if not isinstance(skeleton, Skeleton):
        swapped = f"; {name} come first" if isinstance(before, Skeleton) else ""
        raise ValueError(
            f"skeleton must be a Skeleton, but got {type(skeleton).__name__}{swapped}."
        )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _over_leading(function: Callable, way: ModuleType, structure: Structure, params, offsets):
    batch = jnp.broadcast_shapes(params.shape[:-1], offsets.shape[:-2])
    shared = offsets.ndim == 2

    def one(params, offsets):
        matrix, bias = _values_from_dofs(structure)
        values = params.astype(offsets.dtype)
        if matrix is not None:
            values = loop.constant_times(matrix, values) + bias.astype(values.dtype)
        found = function(way, structure, values, offsets.ravel())
        return jax.tree.map(lambda x: x.astype(params.dtype), found)

    def in_a_row(x, own):  # in one dimension, which fills the lanes of a TPU
        return jnp.broadcast_to(x, (*batch, *own)).reshape(math.prod(batch), *own)

    if not batch:
        return one(params, offsets)
    params = in_a_row(params, params.shape[-1:])
    offsets = offsets if shared else in_a_row(offsets, offsets.shape[-2:])
    found = jax.vmap(one, in_axes=(0, None if shared else 0))(params, offsets)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), found)


def _positions(way: ModuleType, structure: Structure, values, offsets):
    (positions,) = way.positions(structure, values, offsets)
    return positions.reshape(-1, structure.ndim)


def _transforms(way: ModuleType, structure: Structure, values, offsets):
    n = structure.ndim
    rotations, positions = way.frames(structure, values, offsets)
    return rotations.reshape(-1, n, n), positions.reshape(-1, n)


def _jacobian(way: ModuleType, structure: Structure, values, offsets):
    n = structure.ndim
    positions, axes, pivots = way.hinges(structure, values, offsets)
    positions, axes, pivots = positions.reshape(-1, n), axes.reshape(-1, 3), pivots.reshape(-1, 3)
    arms = jnp.pad(positions, ((0, 0), (0, 3 - n)))[:, None, :] - pivots[None, :, :]
    axes = jnp.broadcast_to(axes[None, :, :], arms.shape)
    turns = np.array([motion.kind == "r" for own in structure.motions for motion in own], bool)
    moved = jnp.where(turns[None, :, None], jnp.cross(axes, arms), axes)
    paths = loop.path_table(structure)
    moved = jnp.where(paths[:, :, None], moved, 0.0)[:, :, :n].swapaxes(-1, -2)
    matrix, _ = _values_from_dofs(structure)
    if matrix is not None:
        moved = jnp.matmul(moved, matrix.astype(moved.dtype), precision="highest")
    return positions, moved


@functools.lru_cache(maxsize=64)
def _values_from_dofs(structure: Structure) -> tuple[np.ndarray | None, np.ndarray]:
    """How the M motions' angles and distances follow from the dofs.

    Returns:
      (M, D) their derivative, None if they are the dofs; (M,) their values at zero.
    """
    motions = [motion for own in structure.motions for motion in own]
    index = {name: d for d, name in enumerate(structure.dof_names)}
    matrix = np.zeros((len(motions), len(index)))
    for m, motion in enumerate(motions):
        matrix[m, index[motion.dof]] = motion.multiplier
    bias = np.array([motion.bias for motion in motions])
    same = np.array_equal(matrix, np.eye(len(matrix))) and not bias.any()
    return (None if same else matrix), bias
