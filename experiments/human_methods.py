"""The network and the methods of the human experiment; all of them work in units of the crop."""

import functools
from collections.abc import Callable

import numpy as np

from experiments.human_sets import People
from kinpose import limit_skeleton
from kinpose.losses import absolute_joint_loss
from kinpose.methods import Method, direct_joint, direct_parameter, fitted_joint, kinematic_joint
from kinpose.models import ResNet
from kinpose.skeletons import HUMAN_LIMITS


def make_network(num_outputs: int, depth: int, init_from: str | None) -> ResNet:
    """The ResNet that pretrained weights, if any, are for: Keras has its stride in the 1x1."""
    in_1x1 = init_from is not None and init_from.endswith(".h5")
    return ResNet(depth, num_outputs, stride_in_1x1=in_1x1)


def make_method(name: str, people: People) -> Method:
    """The method of a name, a key of `METHODS`."""
    return METHODS[name](people)


def _direct_joint(people: People, **options):
    return direct_joint(people.mean_joints, 1.0, **options)


def _kinematic_joint(people: People, **options):
    skeleton = limit_skeleton(people.skeleton, HUMAN_LIMITS)  # which the bounded form reads
    return kinematic_joint(skeleton, people.mean_params, _radians(people), 1.0, **options)


def _direct_parameter(people: People):
    return direct_parameter(people.skeleton, people.mean_params, _radians(people))


def _fitted_joint(people: People, **options):
    return fitted_joint(people.skeleton, people.mean_joints, 1.0, max_iterations=4, **options)


def _radians(people: People) -> np.ndarray:
    return np.ones(people.skeleton.num_dofs, np.float32)


METHODS: dict[str, Callable[[People], Method]] = {
    "direct_joint": _direct_joint,
    "kinematic_joint": _kinematic_joint,
    "direct_parameter": _direct_parameter,
    "fitted_joint": _fitted_joint,
    "kinematic_joint_6d": functools.partial(_kinematic_joint, angles="rotation_6d"),
    "kinematic_joint_bounded": functools.partial(_kinematic_joint, angles="bounded"),
    "kinematic_joint_l1": functools.partial(_kinematic_joint, distance=absolute_joint_loss),
    "kinematic_joint_6d_l1": functools.partial(
        _kinematic_joint, angles="rotation_6d", distance=absolute_joint_loss
    ),
    "direct_joint_l1": functools.partial(_direct_joint, distance=absolute_joint_loss),
    "fitted_joint_l1": functools.partial(_fitted_joint, distance=absolute_joint_loss),
    "fitted_joint_scale_l1": functools.partial(
        _fitted_joint, own_scale=True, distance=absolute_joint_loss
    ),
}
"""The paper's and ours; then variants, one change each or two."""
