"""The paper's toy problem (Sec. 4.1): binary images of a 2D object and its motion parameters.

The paper gives the image size, the bone length (45 px) and the number of samples, not the
ranges of the parameters. Ours are such that joints tell the parameters:

  orientation  within +-60 degrees; the object of 3 parameters has none
  theta        20 to 80 degrees. Above zero, the limbs cannot swap sides; below 90, with an
               orientation below 90 either way, neither can the other reading of the same
               bones, 180 degrees - theta with the orientation turned by 180 degrees
  the others   within +-60 degrees, so that no bone folds back upon the one before it; see
               `toy_object` for bones too long for that
  x, y         such that all joints are `MARGIN` inside the image

Angles are drawn uniformly and drawn again if no position of the root keeps the object inside
the image; then the position is drawn uniformly from those that do.

    parameters           3     6     8    10   |    3     6     8    10
    bones (px)          45    32    25    20   |   45    45    45    45
    bends (deg)          -    60    60    60   |    -    60   120   120
    draws that fit       1  0.99  0.87  0.81   |    1  0.58  0.29  0.09
    limbs cross (%)      0   0.4   2.5   5.2   |    0   0.5    35    71
    have a twin (%)      0     0   0.1   0.2   |    0     0   0.2   0.5

An image nearly always tells its joints: bones are straight and equally long, so they can be
followed through a crossing. A twin, another object in the ranges that shares 4 of 5 lit
pixels, comes about where two joints touch and the tails behind them can be exchanged. Twins
were counted by retracing the bones through joints less than 3 px apart; there may be others
where bones lie on each other.

Pixel (row i, column j) has its centre at (x, y) = (j, i); y points down, as image rows do.

Shapes: N samples, D parameters, K keypoints.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose import skeletons
from kinpose._kinematics.scalars import at_least_float32
from kinpose.kinematics import forward_kinematics
from kinpose.skeleton import Skeleton

IMAGE_SIZE = 128
"""Rows and columns of an image (px)."""

HALF_LINE = 1.5
"""A pixel is lit when its centre is at most this far from a bone (px)."""

MARGIN = HALF_LINE + 1.0
"""Joints keep this distance from the outermost pixel centres (px): the border stays dark."""

# The largest object has 4 times the bones of the smallest in the same image. These lengths
# let most poses fit and leave most roots 40 px and more to move in, both ways.
_BONE_LENGTHS = {3: 45.0, 6: 32.0, 8: 25.0, 10: 20.0}

_THETA = (math.radians(20), math.radians(80))
_ORIENTATION = (-math.radians(60), math.radians(60))

# Every run draws whole chunks of this size: a compiled program of another shape may round
# otherwise, and samples must not depend on their number.
_CHUNK = 1000
_MAX_DRAWS = 1000


class ToyObject(NamedTuple):
    """What is drawn.

    Attributes:
      skeleton: from `kinpose.skeletons.toy`.
      ranges: (D, 2) lowest and highest value of each parameter (px, rad).
    """

    skeleton: Skeleton
    ranges: np.ndarray


class ToySet(NamedTuple):
    """Samples, as NumPy arrays.

    Attributes:
      images: (N, 128, 128) uint8, 1 on the object and 0 beside it.
      joints: (N, K, 2) float32 (px), x before y.
      params: (N, D) float32 (px, rad).
    """

    images: np.ndarray
    joints: np.ndarray
    params: np.ndarray


def load_toy(
    num_params: int,
    *,
    bone_length: float | None = None,
    seed: int = 0,
    num_train: int = 16_000,
    num_test: int = 1_000,
) -> tuple[ToySet, ToySet]:
    """Draws and renders the two sets; seconds, no files.

    Sample i of a set depends on nothing but the object, the seed, the set and i: the first
    samples of a larger set are the smaller one.

    Args:
      num_params: 3, 6, 8 or 10.
      bone_length: see `toy_object`.
      seed: of both sets, which are independent of each other.
      num_train: number of training samples; the paper's by default.
      num_test: number of test samples; the paper's by default.

    Returns:
      The training set and the test set.

    Raises:
      ValueError: for a number of parameters or a bone length that `toy_object` refuses, for a
        negative number of samples, and for bones so long that hardly any pose fits.
    """
    toy = toy_object(num_params, bone_length)
    train, test = jax.random.split(jax.random.key(seed, impl="threefry2x32"))
    return _toy_set(train, num_train, toy), _toy_set(test, num_test, toy)


def toy_object(num_params: int, bone_length: float | None = None) -> ToyObject:
    """The object with its ranges; see the module.

    Args:
      num_params: 3, 6, 8 or 10.
      bone_length: of every bone (px). None: 45, 32, 25 or 20, so that most poses fit the
        image; 45 is the paper's. If a limb of this length is longer than the image, it has
        to curl up, and its bends are drawn within +-120 degrees: within +-60, 0.3 % of the
        poses with 10 parameters and 45 px would fit, and leave the position 6 px.

    Returns:
      The object.

    Raises:
      ValueError: for another number of parameters, and for a length that is not positive.
    """
    if bone_length is None:
        bone_length = _BONE_LENGTHS.get(num_params, 45.0)
    if not 0 < bone_length < math.inf:
        raise ValueError(f"bone_length must be a positive number of pixels, but got {bone_length}.")
    skeleton = skeletons.toy(num_params, bone_length)
    limb = len(skeleton.bones) // 2 * bone_length
    bend = math.radians(60 if limb <= IMAGE_SIZE else 120)
    inside = (MARGIN, IMAGE_SIZE - 1 - MARGIN)
    known = {"x": inside, "y": inside, "orientation": _ORIENTATION, "theta": _THETA}
    ranges = [known.get(name, (-bend, bend)) for name in skeleton.dof_names]
    return ToyObject(skeleton, np.array(ranges))


def render(joints: jax.Array, skeleton: Skeleton) -> jax.Array:
    """The binary image: lit where a pixel's centre is within `HALF_LINE` of a bone.

    Pure; for a batch `jax.vmap(render, in_axes=(0, None))`.

    Args:
      joints: (K, 2) keypoints (px); any, also such as no pose of the skeleton has.
      skeleton: says which keypoints a bone joins.

    Returns:
      (128, 128) bool, rows before columns.

    Raises:
      ValueError: for joints of a wrong shape or not of floating point.
    """
    joints = _checked_joints(joints, skeleton)
    x, y = jnp.meshgrid(*2 * [jnp.arange(IMAGE_SIZE, dtype=joints.dtype)])
    lit = jnp.zeros(x.shape, bool)
    for child, parent in skeleton.bones:
        (start_x, start_y), (along_x, along_y) = joints[parent], joints[child] - joints[parent]
        square = along_x**2 + along_y**2
        right, down = x - start_x, y - start_y
        # Place along the bone, 0 to 1; a bone without length is a point, and any place does.
        place = (right * along_x + down * along_y) / jnp.where(square > 0, square, 1)
        place = jnp.clip(place, 0, 1)
        aside = (right - place * along_x) ** 2 + (down - place * along_y) ** 2
        lit |= aside <= HALF_LINE**2
    return lit


def read_params(joints: jax.Array, skeleton: Skeleton) -> jax.Array:
    """The motion parameters read off joints: "directly computed from the triangle" (Sec. 4.1).

    The bones' directions give the angles, their lengths are not looked at. For joints of
    `forward_kinematics` with parameters in the ranges this is its inverse. Pure; for a batch
    `jax.vmap(read_params, in_axes=(0, None))`.

    Args:
      joints: (K, 2) keypoints (px), for example those that a network gives directly.
      skeleton: of `kinpose.skeletons.toy`.

    Returns:
      (D,) parameters (px, rad). The bones at the root leave two readings, half a turn apart
      in both theta and orientation: theta is the one in -40 to 140 degrees, around the
      middle of its range. Orientation and bends are in -180 to 180 degrees.

    Raises:
      ValueError: for joints of a wrong shape or not of floating point.
    """
    joints = _checked_joints(joints, skeleton)
    child, parent = np.array(skeleton.bones).T
    bones = joints[child] - joints[parent]
    directions = jnp.arctan2(bones[:, 0], -bones[:, 1])  # from the vertical, positive to the right
    left, right = directions[0], directions[1]
    theta = _wrapped(right - left, around=sum(_THETA)) / 2
    turn = [_wrapped(left + theta)] if "orientation" in skeleton.dof_names else []
    bends = _wrapped(directions[2:] - directions[:-2])
    return jnp.concatenate([joints[0], jnp.stack([*turn, theta]), bends])


def param_units(skeleton: Skeleton) -> np.ndarray:
    """What to divide parameters by: x, y become fractions of the image, angles stay in rad.

    Args:
      skeleton: of `kinpose.skeletons.toy`.

    Returns:
      (D,) float32.
    """
    is_place = [name in ("x", "y") for name in skeleton.dof_names]
    return np.where(is_place, IMAGE_SIZE, 1).astype(np.float32)


def _toy_set(key, num: int, toy: ToyObject) -> ToySet:
    if num < 0:
        raise ValueError(f"the number of samples must be 0 or more, but got {num}.")
    chunks = []
    for start in range(0, max(num, 1), _CHUNK):
        chunks.append(jax.device_get(_draw_chunk(key, start, toy)))
        if np.isnan(chunks[-1].params).any():
            length = np.abs(toy.skeleton.offsets).max()
            raise ValueError(
                f"bone_length must let the object fit the image of {IMAGE_SIZE} px, but none of "
                f"{_MAX_DRAWS} poses with bones of {length:g} px does; give a shorter one."
            )
    return ToySet(*(np.concatenate(parts)[:num] for parts in zip(*chunks, strict=True)))


@jax.jit
def _draw_chunk(key, start, toy: ToyObject) -> ToySet:
    """The `_CHUNK` samples from `start` on; NaN where no draw fits."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(start + jnp.arange(_CHUNK))
    params = jax.vmap(_draw_params, in_axes=(0, None))(keys, toy)
    joints = jax.vmap(forward_kinematics, in_axes=(0, None))(params, toy.skeleton)
    images = jax.vmap(render, in_axes=(0, None))(joints, toy.skeleton)
    return ToySet(images.astype(jnp.uint8), joints, params)


def _draw_params(key, toy: ToyObject):
    """(D,) the first of a sample's draws that fits; NaN if none does."""
    lowest, highest = jnp.asarray(toy.ranges, jnp.float32).T

    def draw(state):
        _, count = state
        key_of_draw = jax.random.fold_in(key, count)
        share = jax.random.uniform(key_of_draw, lowest.shape, dtype=jnp.float32)
        angles = (lowest + share * (highest - lowest)).at[:2].set(0.0)
        around = forward_kinematics(angles, toy.skeleton)
        least, most = lowest[:2] - around.min(axis=0), highest[:2] - around.max(axis=0)
        params = angles.at[:2].set(least + share[:2] * (most - least))
        return jnp.where(jnp.all(least <= most), params, jnp.nan), count + 1

    def goes_on(state):
        return jnp.isnan(state[0][0]) & (state[1] < _MAX_DRAWS)

    nothing = jnp.full_like(lowest, jnp.nan)
    return jax.lax.while_loop(goes_on, draw, (nothing, jnp.array(0, jnp.int32)))[0]


def _checked_joints(joints, skeleton: Skeleton) -> jax.Array:
    joints, shape = jnp.asarray(joints), (skeleton.num_keypoints, 2)
    if joints.shape != shape:
        hint = "; use jax.vmap for a batch" if joints.ndim > 2 else ""
        raise ValueError(f"joints must have shape {shape}, but got {joints.shape}{hint}.")
    return at_least_float32(joints, "joints")


def _wrapped(angles, around: float = 0.0) -> jax.Array:
    """The same angles (rad) within half a turn of `around`."""
    return around + (angles - around + math.pi) % (2 * math.pi) - math.pi
