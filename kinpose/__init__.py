"""Differentiable articulated kinematics for pose learning, in JAX."""

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

__version__ = "0.1.0"

__all__ = [
    "Joint",
    "Motion",
    "Skeleton",
    "build_skeleton",
    "forward_kinematics",
    "joint_jacobian",
    "joint_transforms",
    "limit_skeleton",
    "rotate_skeleton",
    "scale_skeleton",
]
