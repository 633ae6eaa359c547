"""The methods of the toy experiment by name."""

import functools
from collections.abc import Callable

import numpy as np

from data.toy import IMAGE_SIZE, ToyObject, ToySet, param_units, read_params
from kinpose import Skeleton
from kinpose.methods import Method, direct_joint, direct_parameter, fitted_joint, kinematic_joint

HALF_IMAGE = IMAGE_SIZE / 2
"""Joints are learnt in this unit: outputs and targets are in -1 to 1 (px)."""


def make_method(name: str, toy: ToyObject, train: ToySet) -> Method:
    """The method of a name, around the mean pose of the training set.

    Args:
      name: a key of `METHODS`.
      toy: the object.
      train: its training set.

    Returns:
      The method.
    """
    mean_joints, mean_params = (
        np.mean(x, axis=0, dtype=np.float64).astype(np.float32)
        for x in (train.joints, train.params)
    )
    return METHODS[name](toy.skeleton, mean_joints, mean_params)


def _direct_joint(skeleton, mean_joints, mean_params):
    return direct_joint(mean_joints, HALF_IMAGE)


def _kinematic_joint(skeleton, mean_joints, mean_params, **options):
    return kinematic_joint(skeleton, mean_params, param_units(skeleton), HALF_IMAGE, **options)


def _kinematic_joint_directions(skeleton, mean_joints, mean_params):
    return kinematic_joint(
        skeleton, mean_params, direction_units(skeleton), HALF_IMAGE, angles="cos_sin"
    )


def direction_units(skeleton: Skeleton) -> np.ndarray:
    """Parameters that the directions of single bones mean, each direction an output.

    The parameters turn a bone and all beyond it; an error of the first bends every limb. The
    directions, against the vertical, are sums of them.

    Args:
      skeleton: of `kinpose.skeletons.toy`. The one of 3 parameters has an angle for both its
        bones, which stays as it is.

    Returns:
      (D, D), a row per parameter, for `kinematic_joint`.
    """
    names = skeleton.dof_names
    if "orientation" not in names:
        return np.diag(param_units(skeleton))
    sums = np.zeros((len(names), len(names)), np.float32)
    sums[[0, 1], [0, 1]] = 1 / IMAGE_SIZE
    for row, side in ((3, 1), (2, -1)):
        for bone in range(row, len(names), 2):
            sums[bone, names.index("orientation")] = 1
            sums[bone, names.index("theta")] = side
            sums[bone, np.arange(row + 2, bone + 1, 2)] = 1
    return np.linalg.inv(sums)


def _direct_parameter(skeleton, mean_joints, mean_params):
    return direct_parameter(skeleton, mean_params, param_units(skeleton))


def _fitted_joint(skeleton, mean_joints, mean_params, **options):
    start = functools.partial(read_params, skeleton=skeleton)
    return fitted_joint(skeleton, mean_joints, HALF_IMAGE, start=start, **options)


METHODS: dict[str, Callable] = {
    "direct_joint": _direct_joint,
    "kinematic_joint": _kinematic_joint,
    "direct_parameter": _direct_parameter,
    "fitted_joint": _fitted_joint,
    "kinematic_joint_cos_sin": functools.partial(_kinematic_joint, angles="cos_sin"),
    "kinematic_joint_directions": _kinematic_joint_directions,
    "kinematic_joint_supervised": functools.partial(_kinematic_joint, parameter_weight=0.1),
}
