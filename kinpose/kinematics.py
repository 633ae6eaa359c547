"""Forward kinematics: motion parameters to joint positions (Eq. 2), and their derivatives.

Trees of tens of motions are written out and run as one kernel over a batch
(`kinpose._kinematics.walk`); larger ones go through a loop (`kinpose._kinematics.loop`).
"""

import contextlib
import contextvars
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose._kernels.thresholds import WALK_MOTIONS
from kinpose._kinematics import loop, walk
from kinpose._kinematics.scalars import at_least_float32
from kinpose._kinematics.walk import Structure, known_zeros, structure_of
from kinpose.skeleton import Skeleton

_IN_LOOPS = contextvars.ContextVar("in loops", default=False)


@contextlib.contextmanager
def in_loops() -> Iterator[None]:
    """What is traced within runs as loops, which compile in a fifth of the time of kernels.

    For few poses, which do not repay the compiler.
    """
    token = _IN_LOOPS.set(True)
    try:
        yield
    finally:
        _IN_LOOPS.reset(token)


def are_in_loops() -> bool:
    """Whether what is traced now runs as loops."""
    return _IN_LOOPS.get()


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
    return _over_leading(_positions, params, skeleton)


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
    return _over_leading(_transforms, params, skeleton)


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
    return _over_leading(_jacobian, params, skeleton)


def _over_leading(function: Callable, params, skeleton: Skeleton):
    """A function of one pose, over the leading dimensions of params and offsets."""
    params, skeleton, form = _checked(params, skeleton)
    if params.ndim == 1 and skeleton.offsets.ndim == 2:
        return function(form, params, skeleton)
    return _mapped(function, form, params, skeleton)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _mapped(function: Callable, form: "_Form", params, skeleton: Skeleton):
    offsets = skeleton.offsets
    batch = jnp.broadcast_shapes(params.shape[:-1], offsets.shape[:-2])
    size, own = math.prod(batch), offsets.shape[-2:]
    params = jnp.broadcast_to(params, (*batch, params.shape[-1])).reshape(size, params.shape[-1])
    shared = offsets.ndim == 2
    if not shared:
        offsets = jnp.broadcast_to(offsets, (*batch, *own)).reshape(size, *own)

    def one(params, offsets):
        return function(form, params, dataclasses.replace(skeleton, offsets=offsets))

    found = jax.vmap(one, in_axes=(0, None if shared else 0))(params, offsets)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), found)


def _checked(params, skeleton: Skeleton) -> tuple[jax.Array, Skeleton, "_Form"]:
    """The gate; the skeleton's numbers come out in the type to compute in."""
    if not isinstance(skeleton, Skeleton):
        swapped = "; params come first" if isinstance(params, Skeleton) else ""
        raise ValueError(
            f"skeleton must be a Skeleton, but got {type(skeleton).__name__}{swapped}."
        )
    params = jnp.asarray(params)
    if params.shape[-1:] != (skeleton.num_dofs,):
        raise ValueError(
            f"params must have shape (..., {skeleton.num_dofs}), one value per degree of freedom, "
            f"but got {params.shape}."
        )
    dtype = at_least_float32(params, "params").dtype
    offsets = jnp.asarray(skeleton.offsets, dtype)
    try:
        jnp.broadcast_shapes(params.shape[:-1], offsets.shape[:-2])
    except ValueError:
        raise ValueError(
            f"params {params.shape} and the skeleton's offsets {offsets.shape} have leading "
            "dimensions that do not broadcast."
        ) from None
    return params, dataclasses.replace(skeleton, offsets=offsets), _form_of(skeleton)


class _Form(NamedTuple):
    """How a tree is gone through: by a loop, or written out; and its structure."""

    is_loop: bool
    structure: Structure


def _form_of(skeleton: Skeleton) -> _Form:
    is_loop = _IN_LOOPS.get() or len(skeleton.flat_motions) not in range(1, WALK_MOTIONS + 1)
    zeros = () if is_loop else known_zeros(skeleton)
    return _Form(is_loop, structure_of(skeleton, zeros))


@functools.partial(jax.jit, static_argnums=0)
def _positions(form: _Form, params, skeleton: Skeleton):
    (positions,) = _run(walk.positions, loop.positions, form, params, skeleton)
    return positions.reshape(-1, skeleton.ndim).astype(params.dtype)


@functools.partial(jax.jit, static_argnums=0)
def _transforms(form: _Form, params, skeleton: Skeleton):
    n = skeleton.ndim
    rotations, positions = _run(walk.frames, loop.frames, form, params, skeleton)
    return (
        rotations.reshape(-1, n, n).astype(params.dtype),
        positions.reshape(-1, n).astype(params.dtype),
    )


@functools.partial(jax.jit, static_argnums=0)
def _jacobian(form: _Form, params, skeleton: Skeleton):
    n = skeleton.ndim
    positions, axes, pivots = _run(walk.hinges, loop.hinges, form, params, skeleton)
    positions, axes, pivots = (
        x.reshape(-1, m) for x, m in ((positions, n), (axes, 3), (pivots, 3))
    )
    arms = jnp.pad(positions, ((0, 0), (0, 3 - n)))[:, None, :] - pivots[None, :, :]
    axes = jnp.broadcast_to(axes[None, :, :], arms.shape)
    turns = np.array([motion.kind == "r" for motion in skeleton.flat_motions], bool)
    moved = jnp.where(turns[None, :, None], jnp.cross(axes, arms), axes)
    paths = loop.path_table(form.structure)
    moved = jnp.where(paths[:, :, None], moved, 0.0)[:, :, :n].swapaxes(-1, -2)
    matrix, _ = _values_from_dofs(skeleton.motions, skeleton.dof_names)
    if matrix is not None:
        moved = jnp.matmul(moved, matrix.astype(moved.dtype), precision="highest")
    return positions.astype(params.dtype), moved.astype(params.dtype)


def _run(
    written_out: Callable, looped: Callable, form: _Form, params, skeleton: Skeleton
) -> list[jax.Array]:
    """One of two functions of structure, values and offsets that give the same."""
    params, offsets = params.astype(skeleton.offsets.dtype), skeleton.offsets.ravel()
    matrix, bias = _values_from_dofs(skeleton.motions, skeleton.dof_names)
    values = params
    if matrix is not None:
        values = jnp.matmul(matrix.astype(params.dtype), params, precision="highest")
        values += bias.astype(params.dtype)
    return (looped if form.is_loop else written_out)(form.structure, values, offsets)


@functools.lru_cache(maxsize=64)
def _values_from_dofs(motions, dof_names) -> tuple[np.ndarray | None, np.ndarray]:
    """How the M motions' angles and distances follow from the dofs.

    Returns:
      (M, D) their derivative, None if they are the dofs; (M,) their values at zero.
    """
    flat = [motion for joint in motions for motion in joint]
    matrix, index = np.zeros((len(flat), len(dof_names))), {d: i for i, d in enumerate(dof_names)}
    for m, motion in enumerate(flat):
        matrix[m, index[motion.dof]] = motion.multiplier
    bias = np.array([motion.bias for motion in flat])
    same = matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))
    return (None if same and not bias.any() else matrix), bias
