"""The methods of the human experiment by name; all of them work in units of the crop."""

import functools
from collections.abc import Callable

import numpy as np

from experiments.human_sets import People
from kinpose.methods import Method, direct_joint, direct_parameter, fitted_joint, kinematic_joint


def make_method(name: str, people: People) -> Method:
    """The method of a name, a key of `METHODS`."""
    return METHODS[name](people)


def _direct_joint(people: People):
    return direct_joint(people.mean_joints, 1.0)


def _kinematic_joint(people: People, **options):
    return kinematic_joint(people.skeleton, people.mean_params, _radians(people), 1.0, **options)


def _direct_parameter(people: People):
    return direct_parameter(people.skeleton, people.mean_params, _radians(people))


def _fitted_joint(people: People):
    return fitted_joint(people.skeleton, people.mean_joints, 1.0)


def _radians(people: People) -> np.ndarray:
    return np.ones(people.skeleton.num_dofs, np.float32)


METHODS: dict[str, Callable[[People], Method]] = {
    "direct_joint": _direct_joint,
    "kinematic_joint": _kinematic_joint,
    "direct_parameter": _direct_parameter,
    "fitted_joint": _fitted_joint,
    "kinematic_joint_cos_sin": functools.partial(_kinematic_joint, angles="cos_sin"),
}
