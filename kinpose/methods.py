"""What a network's outputs mean and what its loss is: the methods that the paper compares.

A method is a value; training and evaluation never ask which one it is. Outputs are small
numbers: zero is the mean pose, one is a unit that the maker of the method is told.

Where samples see an object at different sizes, as crops of images do, `scale` is each sample's
length of the skeleton's unit in the unit of the targets: joints are scale * F(params). It is
part of the truth in training; a prediction is told what is known of it. None is 1.

Shapes: B batch, K keypoints, n space dimension, D dofs.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose.fitting import fit_params
from kinpose.kinematics import forward_kinematics
from kinpose.losses import joint_loss, parameter_loss
from kinpose.metrics import bone_lengths
from kinpose.representations import read_outputs
from kinpose.skeleton import Skeleton


class Targets(NamedTuple):
    """The truth about a batch.

    Attributes:
      joints: (B, K, n) in the targets' unit, which is the skeleton's where there is no scale.
      params: (B, D) rad or the skeleton's unit; None where no method in use asks for it.
      scale: (B,) see the module.
    """

    joints: jax.Array
    params: jax.Array | None = None
    scale: jax.Array | None = None


class Prediction(NamedTuple):
    """What a method makes of a batch of outputs.

    Attributes:
      joints: (B, K, n) in the unit of the targets.
      params: (B, D) rad or the skeleton's unit; None if the method knows no skeleton.
    """

    joints: jax.Array
    params: jax.Array | None = None


class Method(NamedTuple):
    """A way to learn poses.

    Attributes:
      num_outputs: length of the network's output vector.
      predict: from outputs (B, num_outputs) and a scale, (B,) or None, to a `Prediction`.
      loss: from outputs (B, num_outputs) and `Targets` to (B,) losses.
    """

    num_outputs: int
    predict: Callable[..., Prediction]
    loss: Callable[[jax.Array, Targets], jax.Array]


def direct_joint(mean_joints: jax.Array, unit: float, *, distance: Callable = joint_loss) -> Method:
    """The network gives joint coordinates; nothing keeps the bones (Sec. 3.2).

    Args:
      mean_joints: (K, n) the pose of zero outputs.
      unit: length that an output of one means; losses count in it.
      distance: `joint_loss`, or another loss of the same form.

    Returns:
      The method.
    """
    shape, mean_joints = jnp.shape(mean_joints), jnp.asarray(mean_joints)
    num = shape[0] * shape[1]

    def predict(outputs, scale=None):
        if jnp.shape(outputs)[1:] != (num,):
            raise ValueError(f"outputs must have shape (B, {num}), but got {jnp.shape(outputs)}.")
        offsets = jnp.reshape(outputs, (-1, *shape))
        return Prediction(mean_joints[None] + unit * offsets)

    def loss(outputs, targets):
        return distance(predict(outputs).joints / unit, targets.joints / unit)

    return Method(num, predict, loss)


def kinematic_joint(
    skeleton: Skeleton,
    mean_params: jax.Array,
    units: jax.Array,
    length_unit: float,
    *,
    angles: str = "plain",
    parameter_weight: float = 0.0,
    distance: Callable = joint_loss,
) -> Method:
    """The network gives motion parameters, the loss sits on their joints: Eq. 3 (Sec. 3.2).

    Joints alone say little of an angle whose limb is short, or of one among several that turn
    the same bone; where true parameters are known, a small part of `direct_parameter`'s loss
    beside Eq. 3 says more.

    Args:
      skeleton: maps parameters to joints.
      mean_params: (D,) the pose of zero outputs.
      units: see `read_outputs`.
      length_unit: of the targets; losses count in it.
      angles: see `read_outputs`.
      parameter_weight: factor of the squared angles between found and true parameters (rad);
        0 is the paper's.
      distance: of joints, `joint_loss` (Eq. 3), or another loss of the same form.

    Returns:
      The method. Its targets need `params` if they have a weight.
    """
    num_outputs, read = read_outputs(skeleton, mean_params, units, angles)

    def predict(outputs, scale=None):
        params = read(outputs)
        return Prediction(_joints(params, skeleton, scale), params)

    def loss(outputs, targets):
        found = predict(outputs, targets.scale)
        on_joints = distance(found.joints / length_unit, targets.joints / length_unit)
        if not parameter_weight:
            return on_joints
        wrong = _wrap(found.params - targets.params)[:, np.array(skeleton.is_angle)]
        return on_joints + parameter_weight * parameter_loss(wrong, jnp.zeros_like(wrong))

    return Method(num_outputs, predict, loss)


def direct_parameter(skeleton: Skeleton, mean_params: jax.Array, units: jax.Array) -> Method:
    """The network gives motion parameters, the loss sits on them (Sec. 3.2).

    Args:
      skeleton: maps parameters to joints.
      mean_params: (D,) the pose of zero outputs.
      units: (D,) parameters that an output of one means; losses count in them.

    Returns:
      The method. Its targets need `params`.
    """
    units = jnp.asarray(units)
    num_outputs, read = read_outputs(skeleton, mean_params, units)

    def predict(outputs, scale=None):
        params = read(outputs)
        return Prediction(_joints(params, skeleton, scale), params)

    def loss(outputs, targets):
        return parameter_loss(read(outputs) / units[None], targets.params / units[None])

    return Method(num_outputs, predict, loss)


def fitted_joint(
    skeleton: Skeleton,
    mean_joints: jax.Array,
    unit: float,
    *,
    start: Callable[[jax.Array], jax.Array] | None = None,
    max_iterations: int = 2,
    share: float = 0.5,
    own_scale: bool = False,
    distance: Callable = joint_loss,
) -> Method:
    """The network gives joints, the skeleton is fitted to them, the loss sits behind the fit.

    ModelFit end to end: outputs are as easy to learn as direct joint's, predictions are as
    valid as kinematic joint's. The fit passes no gradient to what it takes away, so a part of
    the loss stays before it.

    Args:
      skeleton: fitted to the joints.
      mean_joints: (K, n) the joints of zero outputs, before the fit.
      unit: length that an output of one means; losses count in it.
      start: from joints (K, n) to the parameters (D,) where the fit begins; None: the start
        that `fit_params` finds.
      max_iterations: steps of the fit.
      share: of the loss that sits behind the fit, from 0 to 1.
      own_scale: whether the scale is one more unknown of the fit, in place of what is told of it:
        the factor by which the fitted pose comes nearest to the network's joints. Bones are exact
        in proportion then.
      distance: see `direct_joint`.

    Returns:
      The method.
    """
    direct = direct_joint(mean_joints, unit, distance=distance)

    def predict(outputs, scale=None):
        joints = direct.predict(outputs).joints
        if own_scale:
            scale = _size(joints, skeleton)
        points = joints if scale is None else joints / scale[:, None, None]
        init = None if start is None else jax.lax.stop_gradient(jax.vmap(start)(points))
        fit = fit_params(points, skeleton, init=init, max_iterations=max_iterations)
        if own_scale:
            unscaled = _joints(fit.params, skeleton)
            scale = jnp.sum(joints * unscaled, axis=(1, 2)) / jnp.sum(unscaled**2, axis=(1, 2))
        return Prediction(_joints(fit.params, skeleton, scale), fit.params)

    def loss(outputs, targets):
        found = predict(outputs, targets.scale)
        behind = distance(found.joints / unit, targets.joints / unit)
        return share * behind + (1 - share) * direct.loss(outputs, targets)

    return Method(direct.num_outputs, predict, loss)


def _wrap(angles) -> jax.Array:
    """The same angles within half a turn of zero (rad)."""
    return (angles + jnp.pi) % (2 * jnp.pi) - jnp.pi


def _size(joints, skeleton: Skeleton) -> jax.Array:
    """(B,) the sum of the bones of joints (B, K, n) over the skeleton's."""
    rest = forward_kinematics(jnp.zeros(skeleton.num_dofs, joints.dtype), skeleton)
    return jnp.sum(bone_lengths(joints, skeleton), axis=1) / jnp.sum(bone_lengths(rest, skeleton))


def _joints(params, skeleton: Skeleton, scale=None) -> jax.Array:
    joints = jax.vmap(functools.partial(forward_kinematics, skeleton=skeleton))(params)
    return joints if scale is None else scale[:, None, None] * joints
