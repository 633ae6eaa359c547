"""Scores of predicted poses, and the quantities that they are made of.

Every score (`mpjpe`, `n_mpjpe`, `pa_mpjpe`, `pck`, `auc`) is a mean over an array (..., K) with
one value per pose and joint. Which mean is said as in `jnp.mean`:

  axis: -1, over the joints of each pose (default); None, over everything; 0 or (0, 1), over
    the batch, so one value per joint; (), no mean at all, the array (..., K) itself.
  where: booleans that broadcast to (..., K); a joint where it is False is missing: it enters
    neither mean nor alignment, and `true` may be NaN there. A mean over nothing is NaN.

Poses are (..., K, n), with any leading dimensions and n = 2 or 3, in any length unit. Results
have the dtype of `pred`; sums and products are computed in float32 at least. Gradients are
finite, also where a distance is zero: the gradient of a distance is taken as zero there.
A prediction that is NaN scores NaN in a distance and a miss in PCK and AUC.

Shapes: K keypoints, n space dimension, D dofs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from kinpose._kinematics.scalars import at_least_float32
from kinpose.procrustes import move_onto, optimal_scale
from kinpose.skeleton import Skeleton

PCK_THRESHOLD_MM = 150.0
"""Usual threshold of PCK in 3D: about half a head (Mehta et al., 2017)."""

AUC_THRESHOLDS_MM = tuple(range(0, 151, 5))
"""The 31 thresholds of the AUC of MPI-INF-3DHP (Mehta et al., 2017)."""


def mpjpe(
    pred: ArrayLike,
    true: ArrayLike,
    *,
    root: int | None = None,
    where: ArrayLike = True,
    axis: int | Sequence[int] | None = -1,
) -> jax.Array:
    """Mean per-joint position error: the mean distance between joints (Ionescu et al., 2014).

    Args:
      pred: (..., K, n) predicted joints.
      true: (..., K, n) true joints, in the same unit.
      root: static index of the joint that both poses are shifted to, which is the paper's
        protocol; it stays among the K joints, with error zero, and a pose of which it is not
        there does not count. None: as they are.
      where: joints that are there; see the module.
      axis: what the mean is over; see the module.

    Returns:
      (...,) by default, in the poses' unit.

    Raises:
      ValueError: for poses of different or wrong shapes, or not of floating point, for a root
        that is no joint, and for `where` of a wrong shape.

    Example:
      >>> true = jnp.zeros((5, 17, 3))
      >>> pred = true.at[:, 0, 0].set(34.0)
      >>> mpjpe(pred, true).shape, mpjpe(pred, true, axis=0).shape
      ((5,), (17,))
      >>> print(mpjpe(pred, true, axis=None))
      2.0
    """
    poses = _poses(pred, true, where, root)
    return _mean(_distances(poses), poses, axis)


def n_mpjpe(
    pred: ArrayLike,
    true: ArrayLike,
    *,
    root: int | None = None,
    where: ArrayLike = True,
    axis: int | Sequence[int] | None = -1,
) -> jax.Array:
    """MPJPE after each pose is scaled by its least-squares factor (Rhodin et al., CVPR 2018).

    The factor <pred, true> / <pred, pred> scales about the origin, so give a `root` unless
    the poses are root-relative. It is negative where the two point apart, and zero for a
    prediction that is zero.

    Args:
      pred: (..., K, n) predicted joints.
      true: (..., K, n) true joints.
      root: joint that both poses are shifted to first; see `mpjpe`.
      where: joints that are there; see the module.
      axis: what the mean is over; see the module.

    Returns:
      (...,) by default, in the unit of `true`.

    Raises:
      ValueError: as `mpjpe`.
    """
    poses = _poses(pred, true, where, root)
    scale = optimal_scale(poses.pred, poses.true, poses.where)
    return _mean(_distances(poses._replace(pred=scale * poses.pred)), poses, axis)


def pa_mpjpe(
    pred: ArrayLike,
    true: ArrayLike,
    *,
    where: ArrayLike = True,
    axis: int | Sequence[int] | None = -1,
) -> jax.Array:
    """MPJPE after `procrustes_align` with scale, pose by pose: the reconstruction error.

    Mostly, not always, below the MPJPE: the alignment minimises squared distances.

    Args:
      pred: (..., K, n) predicted joints.
      true: (..., K, n) true joints.
      where: joints that are there; see the module.
      axis: what the mean is over; see the module.

    Returns:
      (...,) by default, in the unit of `true`.

    Raises:
      ValueError: as `mpjpe`.
    """
    poses = _poses(pred, true, where)
    moved = move_onto(poses.pred, poses.true, poses.where, scale=True)
    return _mean(_distances(poses._replace(pred=moved)), poses, axis)


def procrustes_align(
    pred: ArrayLike, true: ArrayLike, *, scale: bool = True, where: ArrayLike = True
) -> jax.Array:
    """Moves `pred` onto `true` by the similarity of least squared distance (Umeyama, 1991).

    The rotation is proper: a mirrored pose is turned, never mirrored back. Where several
    rotations are best (collinear joints in 3D; all joints in one place), one of them is taken
    and the gradient leaves out the turn that changes nothing, so both stay finite. A
    prediction in one place becomes the centroid of `true`.

    Args:
      pred: (..., K, n) predicted joints.
      true: (..., K, n) true joints.
      scale: static; whether to scale besides turning and shifting.
      where: joints that are there; the others are moved along, but do not count.

    Returns:
      (..., K, n) the moved prediction, in the unit of `true` (of both, without scale).

    Raises:
      ValueError: as `mpjpe`.
    """
    poses = _poses(pred, true, where)
    moved = move_onto(poses.pred, poses.true, poses.where, scale=scale)
    return moved.astype(poses.dtype)


def pck(
    pred: ArrayLike,
    true: ArrayLike,
    threshold: ArrayLike = PCK_THRESHOLD_MM,
    *,
    root: int | None = None,
    where: ArrayLike = True,
    axis: int | Sequence[int] | None = -1,
) -> jax.Array:
    """Share of correct keypoints: error below the threshold (Mehta et al., 3DV 2017).

    Args:
      pred: (..., K, n) predicted joints.
      true: (..., K, n) true joints.
      threshold: in the poses' unit. An error equal to it is a miss, as in the evaluation that
        comes with MPI-INF-3DHP.
      root: joint that both poses are shifted to first; see `mpjpe`.
      where: joints that are there; see the module.
      axis: what the mean is over; see the module.

    Returns:
      (...,) by default, in 0..1.

    Raises:
      ValueError: as `mpjpe`.
    """
    return auc(pred, true, (threshold,), root=root, where=where, axis=axis)


def auc(
    pred: ArrayLike,
    true: ArrayLike,
    thresholds: ArrayLike = AUC_THRESHOLDS_MM,
    *,
    root: int | None = None,
    where: ArrayLike = True,
    axis: int | Sequence[int] | None = -1,
) -> jax.Array:
    """Area under the curve of PCK: its mean over the thresholds (Mehta et al., 3DV 2017).

    With the usual thresholds, perfect poses score 30/31: no error is below the first one, 0.

    Args:
      pred: (..., K, n) predicted joints.
      true: (..., K, n) true joints.
      thresholds: a sequence of numbers in the poses' unit.
      root: joint that both poses are shifted to first; see `mpjpe`.
      where: joints that are there; see the module.
      axis: what the mean is over; see the module.

    Returns:
      (...,) by default, in 0..1.

    Raises:
      ValueError: as `mpjpe`.
    """
    poses = _poses(pred, true, where, root)
    errors = _distances(poses)
    hits = jax.vmap(lambda threshold: errors < threshold)(jnp.asarray(thresholds, errors.dtype))
    return _mean(jnp.mean(hits, axis=0, dtype=errors.dtype), poses, axis)


def bone_lengths(joints: ArrayLike, skeleton: Skeleton) -> jax.Array:
    """Lengths of the bones between the keypoints of a pose, no mean.

    Args:
      joints: (..., K, n) keypoints as `forward_kinematics` gives them.
      skeleton: says which keypoints a bone joins.

    Returns:
      (..., number of bones) in the unit of `joints`, in the order of `skeleton.bones`.

    Raises:
      ValueError: for joints that are not those of the skeleton.
    """
    joints, shape = jnp.asarray(joints), (skeleton.num_keypoints, skeleton.ndim)
    if joints.shape[-2:] != shape:
        raise ValueError(
            f"joints must have shape (..., {shape[0]}, {shape[1]}), the skeleton's keypoints, "
            f"but got {joints.shape}."
        )
    ends, starts = np.array(skeleton.bones, int).reshape(-1, 2).T
    wide = at_least_float32(joints, "joints")
    return _norm(wide[..., ends, :] - wide[..., starts, :]).astype(joints.dtype)


def angle_error(pred: ArrayLike, true: ArrayLike) -> jax.Array:
    """Absolute difference of angles, the short way around the circle, no mean.

    Args:
      pred: angles (rad), any shape; of parameters, only the dofs that are angles.
      true: angles (rad), the same shape.

    Returns:
      The errors (rad) in [0, pi], in that shape: `angle_error(pred, true).mean()` is the mean,
      `.mean(0)` over a batch (B, D) that of each dof.

    Raises:
      ValueError: for angles of different shapes, or not of floating point.
    """
    pred, true = jnp.asarray(pred), jnp.asarray(true)
    if pred.shape != true.shape:
        raise ValueError(
            f"pred and true must have the same shape, but got {pred.shape} and {true.shape}."
        )
    wide = at_least_float32(pred, "pred"), at_least_float32(true, "true")
    apart = wide[0] - wide[1]
    error = jnp.abs(jnp.where(apart == 0, 0, apart)) % (2 * np.pi)  # slope 0 at 0
    return jnp.minimum(error, 2 * np.pi - error).astype(pred.dtype)


class _Poses(NamedTuple):
    pred: jax.Array  # (..., K, n)
    true: jax.Array  # (..., K, n), zero where a joint is missing
    where: jax.Array  # (..., K)
    dtype: np.dtype  # of the results


def _poses(pred, true, where, root=None) -> _Poses:
    """The gate of all scores: checked, widened and relative to the root."""
    pred, true = jnp.asarray(pred), jnp.asarray(true)
    if pred.shape != true.shape or pred.ndim < 2:
        raise ValueError(
            f"pred and true must have the same shape (..., K, n), but got {pred.shape} and "
            f"{true.shape}."
        )
    where = jnp.broadcast_to(jnp.asarray(where, bool), pred.shape[:-1])
    dtype = pred.dtype
    if root is not None:
        _check_root(root, where.shape[-1])
        where &= where[..., root, None]
    pred = _relative(at_least_float32(pred, "pred"), root)
    true = _relative(at_least_float32(true, "true"), root)
    return _Poses(pred, jnp.where(where[..., None], true, 0.0), where, dtype)


def _check_root(root: int, num_joints: int):
    whole = hasattr(root, "__index__") and not isinstance(root, bool | np.bool_)
    if not whole or not -num_joints <= root < num_joints:
        raise ValueError(f"root must be the index of one of {num_joints} joints, but got {root!r}.")


def _relative(joints, root: int | None) -> jax.Array:
    return joints if root is None else joints - joints[..., root, None, :]


def _mean(values, poses: _Poses, axis) -> jax.Array:
    return jnp.mean(values, axis=axis, where=poses.where).astype(poses.dtype)


def _distances(poses: _Poses) -> jax.Array:
    """(..., K), zero for missing joints."""
    return _norm(jnp.where(poses.where[..., None], poses.pred - poses.true, 0.0))


def _norm(vectors) -> jax.Array:
    """Length along the last axis, with gradient zero, not NaN, for the zero vector."""
    squares = jnp.sum(vectors * vectors, axis=-1)
    is_zero = squares == 0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squares)))
