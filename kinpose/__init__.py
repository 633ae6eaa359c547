"""Differentiable articulated kinematics for pose learning, in JAX."""

import importlib

from kinpose import _command  # noqa: F401 - first
from kinpose.builder import build_skeleton, limit_skeleton
from kinpose.calibration import calibrate_skeleton
from kinpose.fitting import Fit, fit_params
from kinpose.inverse import inverse_kinematics
from kinpose.kinematics import forward_kinematics, joint_jacobian, joint_transforms
from kinpose.skeleton import (
    Joint,
    Motion,
    Skeleton,
    pose,
    pose_dict,
    rotate_skeleton,
    scale_skeleton,
)
from kinpose.tracking import fit_sequence

__version__ = "0.2.0"

__all__ = [
    "Fit",
    "Joint",
    "Motion",
    "Skeleton",
    "build_skeleton",
    "calibrate_skeleton",
    "fit_params",
    "fit_sequence",
    "forward_kinematics",
    "inverse_kinematics",
    "joint_jacobian",
    "joint_transforms",
    "limit_skeleton",
    "pose",
    "pose_dict",
    "rotate_skeleton",
    "scale_skeleton",
]


_MODULES = (
    "evaluation",
    "io",
    "isb",
    "layouts",
    "losses",
    "methods",
    "metrics",
    "models",
    "plot",
    "representations",
    "retargeting",
    "skeletons",
    "train",
)
"""Those that `import kinpose` gives as attributes, without importing them before they are used."""


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"kinpose.{name}")
    raise AttributeError(f"module 'kinpose' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
