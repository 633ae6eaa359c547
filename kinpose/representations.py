"""How a network's outputs become motion parameters.

Every form has zero outputs for the mean pose. Angles come back as angles, whatever form they
are learnt in, so all that follows knows one flat vector of parameters.

Shapes: B batch, D dofs.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from kinpose._kinematics.scalars import at_least_float32
from kinpose._varying import in_auto_axes
from kinpose.angles import (
    Ball,
    balls_of,
    cardan_angles,
    handed,
    orientation_of,
    side_by_side,
)
from kinpose.skeleton import Skeleton

_SHORT = 1e-12
"""Square of a length below which a column says no direction."""

_UNIT_SOFTPLUS = math.log(math.e - 1)
_ITS_SLOPE = 1 - 1 / math.e
"""Where softplus is 1, and its slope there."""


def quaternion_to_params(quaternions: ArrayLike, skeleton: Skeleton, joint: str) -> jax.Array:
    """The angles by which a joint turns as a quaternion says.

    Args:
      quaternions: (..., 4) w, x, y, z, of any length but zero: the rotation of the joint by its
        own motions, along the axes of the rest pose, which are the world's.
      skeleton: any 3D skeleton.
      joint: name of one that turns, last of all, about three axes at right angles, each its own
        dof.

    Returns:
      (..., 3) rad, the joint's last three motions in order, each from -pi to pi. Where two of the
      axes lie along each other the first is zero.

    Raises:
      ValueError: for a joint that is none of these, for a wrong shape, and for quaternions that
        are zero or not finite.

    Example:
      >>> from kinpose.skeletons import human_17
      >>> about_x = jnp.array([1.0, 1.0, 0.0, 0.0])  # a quarter turn
      >>> yaw, pitch, roll = quaternion_to_params(about_x, human_17(), "pelvis")
      >>> round(float(pitch), 3)
      1.571
    """
    ball = _ball(skeleton, joint)
    quaternions = at_least_float32(jnp.asarray(quaternions), "quaternions")
    if quaternions.shape[-1:] != (4,):
        raise ValueError(f"quaternions must have shape (..., 4), but got {quaternions.shape}.")
    square = jnp.sum(jnp.square(quaternions), axis=-1, keepdims=True)
    if not isinstance(square, jax.core.Tracer) and not ((square > 0) & (square < jnp.inf)).all():
        raise ValueError("quaternions must be finite and not zero, but some are.")
    w, v = quaternions[..., :1] * jax.lax.rsqrt(square), quaternions[..., 1:]
    axes = jnp.asarray(ball.axes, quaternions.dtype)
    x, y, z = jnp.moveaxis(
        ball.hand * jnp.matmul(v * jax.lax.rsqrt(square), axes.T, precision="highest"), -1, 0
    )
    w = w[..., 0]
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return ball.hand * jnp.stack(cardan_angles(rows, jnp.zeros_like(w)), axis=-1)


def params_to_quaternion(params: ArrayLike, skeleton: Skeleton, joint: str) -> jax.Array:
    """The rotation of a joint by its own motions as a quaternion.

    Args:
      params: (..., D) of the skeleton.
      skeleton: any 3D skeleton.
      joint: as in `quaternion_to_params`.

    Returns:
      (..., 4) unit quaternions w, x, y, z, along the axes of the rest pose.

    Raises:
      ValueError: for another joint, or parameters of a wrong shape.
    """
    ball = _ball(skeleton, joint)
    params = at_least_float32(jnp.asarray(params), "params")
    if params.shape[-1:] != (skeleton.num_dofs,):
        raise ValueError(
            f"params must have shape (..., {skeleton.num_dofs}), but have {params.shape}."
        )
    (a, b, c), (p, q, r) = (
        jnp.moveaxis(f(0.5 * params[..., np.array(ball.dofs)]), -1, 0) for f in (jnp.cos, jnp.sin)
    )
    # The product of the three; of left-handed axes the vectors' product is the negative one.
    hand = ball.hand
    own = jnp.stack(
        [
            p * b * c + hand * (a * q * r),
            a * q * c - hand * (p * b * r),
            a * b * r + hand * (p * q * c),
        ],
        axis=-1,
    )
    axes = jnp.asarray(ball.axes, params.dtype)
    vector = jnp.matmul(own, axes, precision="highest")
    return jnp.concatenate([(a * b * c - hand * (p * q * r))[..., None], vector], axis=-1)


def _ball(skeleton: Skeleton, joint: str) -> Ball:
    for ball in balls_of(skeleton):
        if skeleton.names[ball.joint] == joint:
            return ball
    known = [skeleton.names[ball.joint] for ball in balls_of(skeleton)]
    raise ValueError(
        f"joint must turn freely, about three axes at right angles, but got {joint!r}; these do: "
        f"{known}."
    )


def read_outputs(
    skeleton: Skeleton,
    mean_params: ArrayLike,
    units: ArrayLike,
    angles: str = "plain",
) -> tuple[int, Callable[[jax.Array], jax.Array]]:
    """How outputs become motion parameters.

    Args:
      skeleton: says which dofs are angles, which have limits, and which turn one joint.
      mean_params: (D,) the parameters of zero outputs.
      units: (D,) parameters that an output of one means, or (D, D), a row per parameter, for
        outputs that are mixtures.
      angles: "plain", an output per dof; "cos_sin", two outputs per angle, a vector whose
        direction is the angle and whose length is free: no wrap, and where the network is not
        sure it gives a short vector, not a wrong angle; "rotation_6d", for a joint that turns
        freely (`kinpose.angles.balls_of`) six outputs, two columns of a matrix (Zhou et al., CVPR
        2019), for all else one per dof;
        "bounded", an output per dof, through a sigmoid where the dof has limits, or a softplus
        where it has one.

    Returns:
      The number of outputs, and the function from outputs (B, .) to parameters (B, D), which are
      float32 where outputs have half precision.

    Raises:
      ValueError: for shapes that do not suit the skeleton, for a mean at a limit or beyond in
        the bounded form, and for other `angles`.
    """
    known = mean_params if isinstance(mean_params, jax.core.Tracer) else np.asarray(mean_params)
    mean_params, units = jnp.asarray(mean_params), jnp.asarray(units)
    num = skeleton.num_dofs
    if mean_params.shape != (num,):
        raise ValueError(f"mean_params must have shape ({num},), but got {mean_params.shape}.")
    if units.shape not in ((num,), (num, num)):
        raise ValueError(
            f"units must have shape ({num},) or ({num}, {num}), but got {units.shape}."
        )
    if angles not in _FORMS:
        raise ValueError(f"angles must be one of {list(_FORMS)}, but got {angles!r}.")
    matrix = jnp.diag(units) if units.ndim == 1 else units

    def plain(outputs):
        moves = jnp.matmul(outputs, matrix.T.astype(outputs.dtype), precision="highest")
        return mean_params[None].astype(outputs.dtype) + moves

    num_outputs, read = _FORMS[angles](plain, skeleton, known)

    def read_checked(outputs: ArrayLike) -> jax.Array:
        outputs = at_least_float32(jnp.asarray(outputs), "outputs")
        if outputs.shape != (*outputs.shape[:1], num_outputs):
            raise ValueError(
                f"outputs must have shape (B, {num_outputs}), but got {outputs.shape}."
            )
        return in_auto_axes(read, outputs)(outputs)

    return num_outputs, read_checked


def _plain(plain, skeleton: Skeleton, mean_params):
    return skeleton.num_dofs, plain


def _cos_sin(plain, skeleton: Skeleton, mean_params):
    num, is_angle = skeleton.num_dofs, jnp.asarray(skeleton.is_angle)

    def read(outputs):
        sines, cosines = outputs[:, :num], 1.0 + outputs[:, num:]
        return plain(jnp.where(is_angle[None], jnp.arctan2(sines, cosines), sines))

    return 2 * num, read


def _bounded(plain, skeleton: Skeleton, mean_params):
    low, high = np.asarray(skeleton.limits, np.float32).T
    if isinstance(mean_params, jax.core.Tracer):
        raise ValueError("mean_params of bounded outputs must be known, but are being traced.")
    outside = np.flatnonzero((mean_params <= low) | (mean_params >= high))
    if len(outside):
        raise ValueError(
            f"mean_params must be within the limits, but got {mean_params[outside[0]]:g} for "
            f"{skeleton.dof_names[outside[0]]!r}."
        )
    has_low, has_high = np.isfinite(low), np.isfinite(high)
    both, one = has_low & has_high, has_low ^ has_high
    base, width = np.where(both, low, 0), np.where(both, high - low, 1)
    middle = np.where(both, (mean_params - base) / width, 0.5)
    middle = np.log(middle / (1 - middle)).astype(np.float32)
    end = np.where(one, np.where(has_low, low, high), 0)
    gap = np.where(one, mean_params - end, 1).astype(np.float32)  # negative below a highest value

    def read(outputs):
        params = plain(outputs)
        moves = params - mean_params[None].astype(params.dtype)
        within = jax.nn.sigmoid(middle[None] + 4 * moves / width[None])  # slope 1 in the middle
        beside = jax.nn.softplus(_UNIT_SOFTPLUS + moves / gap[None] / _ITS_SLOPE)  # 1 at 0
        params = jnp.where(both[None], base[None] + width[None] * within, params)
        return jnp.where(one[None], end[None] + gap[None] * beside, params)

    return skeleton.num_dofs, read


def _rotation_6d(plain, skeleton: Skeleton, mean_params):
    balls = side_by_side(skeleton)
    turned, count = balls.dofs.T.reshape(-1), len(balls.joints)
    others = np.setdiff1d(np.arange(skeleton.num_dofs), turned)
    order = np.argsort([*others, *turned])
    mean = handed(mean_params, balls)
    rest = jnp.array(orientation_of(list(mean)))  # (3, 3, balls)

    def read(outputs):
        still = jnp.zeros((len(outputs), len(turned)), outputs.dtype)
        moves = jnp.concatenate([outputs[:, : len(others)], still], axis=1)[:, order]
        params = plain(moves)[:, others]
        six = outputs[:, len(others) :].reshape(len(outputs), count, 2, 3)
        columns = jnp.moveaxis(rest[:, :2], 0, -1).swapaxes(0, 1)[None].astype(six.dtype) + six
        rows = jnp.moveaxis(_orthonormal(columns), (2, 3), (0, 1))
        near = jnp.broadcast_to(mean[0].astype(six.dtype), rows.shape[2:])
        angles = jnp.stack(cardan_angles(rows, near), axis=-1)
        angles = angles * balls.hand.astype(six.dtype)[None, :, None]
        angles = angles.reshape(len(six), len(turned))
        return jnp.concatenate([params, angles], axis=1)[:, order]

    return len(others) + 6 * count, read


def _orthonormal(columns) -> jax.Array:
    """(..., 3, 3) rotations whose first two columns are nearest to (..., 2, 3), the first first.

    Columns that vanish, or lie along each other, leave some freedom; any rotation will do then.
    """
    first, second = columns[..., 0, :], columns[..., 1, :]
    axes = jnp.eye(3, dtype=columns.dtype)
    first = _unit(first, axes[0])
    aside = jnp.cross(first, axes[jnp.argmin(jnp.abs(first), axis=-1)])
    aside = aside * jax.lax.rsqrt(jnp.sum(aside**2, axis=-1, keepdims=True))
    second = _unit(second - jnp.sum(first * second, axis=-1, keepdims=True) * first, aside)
    return jnp.stack([first, second, jnp.cross(first, second)], axis=-1)


def _unit(vectors, otherwise) -> jax.Array:
    """Vectors of length 1; another one for those that nearly vanish."""
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    short = square < _SHORT
    scaled = vectors * jax.lax.rsqrt(jnp.where(short, 1.0, square))
    return jnp.where(short, jax.lax.stop_gradient(otherwise), scaled)


_FORMS = {"plain": _plain, "cos_sin": _cos_sin, "rotation_6d": _rotation_6d, "bounded": _bounded}
