"""The skeletons and poses of the benchmark of forward kinematics."""

import dataclasses

import numpy as np

from kinpose import Joint, Skeleton, build_skeleton
from kinpose.skeletons import human_17, toy

_MOST_NUMBERS = 2**27
"""In the frames or Jacobians of a workload, half a gigabyte; larger ones are left out."""

MEASURES = ("forward", "value and gradient", "Jacobian")


def hand_31() -> Skeleton:
    """A wrist and five fingers: 31 keypoints, 36 dofs, in mm."""
    joints = [Joint("wrist", None, (0, 0, 0), "tx ty tz rz rx ry")]
    for finger in range(5):
        spread = 20.0 * (finger - 2)
        for bone, (length, motions) in enumerate(
            ((35, "rx"), (60, "rz rx ry"), (40, "rx"), (25, "rx"), (12, ""), (10, ""))
        ):
            parent = f"finger_{finger}_{bone - 1}" if bone else "wrist"
            offset = (0.0 if bone else spread, length, 0.0)
            joints.append(Joint(f"finger_{finger}_{bone}", parent, offset, motions))
    return build_skeleton(joints)


def chain(num_joints: int) -> Skeleton:
    """Joints in a row that turn about x, y and z in turn; 5 more dofs place the root."""
    joints = [Joint("joint_0", None, (0, 0, 0), "tx ty tz rz rx ry")]
    for j in range(1, num_joints):
        joints.append(Joint(f"joint_{j}", f"joint_{j - 1}", (0, 1, 0), f"r{'xyz'[j % 3]}"))
    return build_skeleton(joints)


SKELETONS = {
    "human_17": human_17(),
    "toy_10": toy(10),
    "hand_31": hand_31(),
    "chain_64": chain(64),
    "chain_512": chain(512),
}


@dataclasses.dataclass(frozen=True)
class Work:
    """Poses to measure something of.

    Attributes:
      skeleton: of all poses.
      measure: one of `MEASURES`.
      params: (B, D).
      targets: (B, K, n) of the value, 0.5 times the squared distances summed over the batch.
    """

    skeleton: Skeleton
    measure: str
    params: np.ndarray
    targets: np.ndarray

    def __getitem__(self, rows):
        """The same for some of the poses."""
        return dataclasses.replace(self, params=self.params[rows], targets=self.targets[rows])


def draw(batch: int) -> dict[str, Work]:
    """Angles normal with 0.5 rad, roots within a few bones, targets as far from the poses."""
    works = {}
    for name, skeleton in SKELETONS.items():
        fitting = [m for m in MEASURES if batch * count_numbers(skeleton, m) <= _MOST_NUMBERS]
        if fitting:
            poses = draw_poses(batch, skeleton)
            works |= {f"{name} {m}": Work(skeleton, m, *poses) for m in fitting}
    return works


def count_numbers(skeleton: Skeleton, measure: str) -> int:
    """In the frames of a pose, or in its Jacobian."""
    points = skeleton.num_keypoints * skeleton.ndim
    return (points if measure == "Jacobian" else 12) * skeleton.num_dofs


def draw_poses(batch: int, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (B, D) and targets (B, K, n) in float32."""
    rng = np.random.default_rng(0)
    bone = np.linalg.norm(skeleton.offsets, axis=-1).max()
    scales = np.where(skeleton.is_angle, 0.5, 2 * bone).astype(np.float32)
    params = scales * rng.standard_normal((batch, skeleton.num_dofs), np.float32)
    shape = (batch, skeleton.num_keypoints, skeleton.ndim)
    return params, np.float32(2 * bone) * rng.standard_normal(shape, np.float32)
