"""Differentiable articulated kinematics for pose learning, in JAX."""

from kinpose.calibration import calibrate_skeleton
from kinpose.fitting import Fit, fit_params
from kinpose.kinematics import forward_kinematics, joint_jacobian, joint_transforms
from kinpose.skeleton import (
    Joint,
    Motion,
    Skeleton,
    build_skeleton,
    limit_skeleton,
    rotate_skeleton,
    scale_skeleton,
)
from kinpose.tracking import fit_sequence

__version__ = "0.1.0"

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
    "joint_jacobian",
    "joint_transforms",
    "limit_skeleton",
    "rotate_skeleton",
    "scale_skeleton",
]
