"""Recordings of people (BVH) as rotations of a body's segments.

Shapes: T frames, S segments (`data.body.SEGMENTS`), J joints of the recording.
"""

import os
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data.body import SEGMENTS
from kinpose.io.bvh import load_bvh
from kinpose.kinematics import joint_transforms
from kinpose.layouts import LAYOUTS, pick_keypoints
from kinpose.skeleton import Skeleton
from kinpose.skeletons import HUMAN36M_KEYPOINTS

MOTION_DIR = pathlib.Path(__file__).parent / "motions"
"""The bundled recordings."""


class BodyMotion(NamedTuple):
    """How the segments of some person move; axes as those of the body (x left, y up, z forward).

    Attributes:
      rotations: (T, S, 3, 3) float32 from the recording's rest pose, in the world.
      root: (T, 3) float32 position of the pelvis, in lengths of the leg.
      directions: (S, 3) unit vectors along the segments in the recording's rest pose.
      frame_time_s: time from one frame to the next.
    """

    rotations: np.ndarray
    root: np.ndarray
    directions: np.ndarray
    frame_time_s: float


def _drivers(trunk: str, limbs: str) -> dict[str, str]:
    """Segment -> the joint whose rotation moves it; a star stands for the side."""
    words = ("l", "r") if trunk.islower() else ("Left", "Right")
    names = ("clavicle", "upper_arm", "forearm", "hand", "thigh", "shank", "foot")
    middle = ("pelvis", "lower_trunk", "upper_trunk", "head")
    drivers = dict(zip(middle, trunk.split(), strict=True))
    for side, word in zip(("left", "right"), words, strict=True):
        joints = [joint.replace("*", word) for joint in limbs.split()]
        drivers |= {f"{side}_{name}": joint for name, joint in zip(names, joints, strict=True)}
    return drivers


DRIVERS = {
    "cmu": _drivers(
        "root lowerback thorax upperneck", "*clavicle *humerus *radius *hand *femur *tibia *foot"
    ),
    "cgspeed": _drivers(
        "Hips LowerBack Spine1 Neck1", "*Shoulder *Arm *ForeArm *FingerBase *UpLeg *Leg *Foot"
    ),
    "humanoid3d": _drivers(
        "Hips Hips Chest Neck", "Chest *Arm *ForeArm *ForeArm *UpLeg *Leg *Foot"
    ),
}
"""For each layout of `kinpose.layouts` that recordings may have: the joint that moves a segment.

The wrist of CMU's skeletons is the twist of the forearm, their hand bends the wrist.
"""

_WITHOUT_CLAVICLES = ("humanoid3d",)

_ALONG = {  # segment -> keypoints at its ends, in the recording's rest pose
    f"{side}_{segment}": (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for segment, start, end in (
        ("upper_arm", "shoulder", "elbow"),
        ("forearm", "elbow", "wrist"),
        ("hand", "elbow", "wrist"),
        ("thigh", "hip", "knee"),
        ("shank", "knee", "ankle"),
        ("foot", "knee", "ankle"),
    )
}
_LEG = (("hip", "knee"), ("knee", "ankle"))
_UP = np.array([0.0, 1.0, 0.0])
_CHUNK = 256  # frames at a time: one compiled program for recordings of all lengths
_THIRTY_DEG = np.radians(30)


def find_motions(directory: str | os.PathLike = MOTION_DIR) -> tuple[pathlib.Path, ...]:
    """The BVH files of a directory, by name.

    Args:
      directory: where they are.

    Returns:
      Their paths.

    Raises:
      ValueError: when there is no such directory, or no BVH file in it.
    """
    paths = tuple(sorted(pathlib.Path(directory).glob("*.bvh")))
    if not paths:
        what = "has none" if pathlib.Path(directory).is_dir() else "does not exist"
        raise ValueError(f"{os.fspath(directory)}: expected a directory with BVH files; it {what}.")
    return paths


def read_motion(path: str | os.PathLike) -> BodyMotion:
    """Reads a recording of a person.

    Args:
      path: a BVH file with the joint names of a layout in `DRIVERS`, standing upright in its
        rest pose (toes forward, arms down or to the sides), along any axes, in any unit.

    Returns:
      The motion.

    Raises:
      ValueError: for a malformed file, or one that has not the joints of any layout.
    """
    recording = load_bvh(path)
    skeleton = recording.skeleton
    if not len(recording.params):
        raise ValueError(f"{os.fspath(path)}: expected a recording of one frame or more, got none.")
    layout = _layout_of(path, skeleton)
    rotations, places = _transforms(recording.params, skeleton)
    _, at_rest = _transforms(np.zeros((1, skeleton.num_dofs)), skeleton)
    rest = {name: place[0] for name, place in _keypoints(at_rest, skeleton, layout).items()}
    axes = _rest_axes(path, rest)
    drivers = [skeleton.names.index(DRIVERS[layout][segment]) for segment in SEGMENTS]
    rotations = axes @ rotations[:, drivers] @ axes.T
    directions = limb_directions({name: axes @ place for name, place in rest.items()})
    if layout in _WITHOUT_CLAVICLES:
        rotations = _raise_clavicles(rotations, directions)
    root = _keypoints(places, skeleton, layout)["pelvis"]
    return BodyMotion(
        rotations.astype(np.float32),
        (root @ axes.T / leg_length(rest)).astype(np.float32),
        directions,
        recording.frame_time_s,
    )


def limb_directions(places) -> np.ndarray:
    """Directions of the segments of a resting person.

    Hands and feet go with the limbs before them; trunk, head and clavicles point up.

    Args:
      places: keypoint -> (3,) position.

    Returns:
      (S, 3) unit vectors.
    """
    ends = (_ALONG.get(segment) for segment in SEGMENTS)
    return np.stack([_unit(places[end[1]] - places[end[0]]) if end else _UP for end in ends])


def leg_length(places) -> float:
    """Hip to knee to ankle, the mean of both sides.

    Args:
      places: keypoint -> (3,) position.

    Returns:
      The length, in the unit of the positions.
    """
    bones = [(f"{s}_{a}", f"{s}_{b}") for s in ("left", "right") for a, b in _LEG]
    return sum(np.linalg.norm(places[a] - places[b]) for a, b in bones) / 2


_INDEX = {name: i for i, name in enumerate(SEGMENTS)}


def _layout_of(path, skeleton: Skeleton) -> str:
    """The layout whose joints the recording has."""
    names, lacking = set(skeleton.names), {}
    for layout, drivers in DRIVERS.items():
        points = [point for source in LAYOUTS[layout].sources.values() for point in source]
        lacking[layout] = sorted({*drivers.values(), *points} - names)
        if not lacking[layout]:
            return layout
    nearest = min(lacking, key=lambda layout: len(lacking[layout]))
    raise ValueError(
        f"{os.fspath(path)}: expected the joint names of one of the layouts {', '.join(DRIVERS)} "
        f"(kinpose.layouts), but for {nearest} it lacks {', '.join(lacking[nearest])}."
    )


_batch_transforms = jax.jit(jax.vmap(joint_transforms, in_axes=(0, None)))


def _transforms(params, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, J, 3, 3) and positions (T, J, 3) of all joints."""
    missing = -len(params) % _CHUNK
    padded = np.concatenate([params, np.zeros((missing, params.shape[1]))])
    parts = [
        jax.device_get(_batch_transforms(jnp.asarray(chunk, jnp.float32), skeleton))
        for chunk in np.split(padded, len(padded) // _CHUNK)
    ]
    rotations, places = (np.concatenate(x)[: len(params)] for x in zip(*parts, strict=True))
    return rotations.astype(np.float64), places.astype(np.float64)


def _keypoints(places, skeleton: Skeleton, layout: str) -> dict[str, np.ndarray]:
    """Keypoint -> positions (T, 3)."""
    points = pick_keypoints(places, skeleton.names, LAYOUTS[layout], HUMAN36M_KEYPOINTS)
    return dict(zip(HUMAN36M_KEYPOINTS, points.swapaxes(0, 1), strict=True))


def _rest_axes(path, rest) -> np.ndarray:
    """(3, 3) rows: the recording's axes that point left, up and forward in its rest pose."""
    left, up = (
        _nearest_axis(rest[end] - rest[start])
        for start, end in (("right_hip", "left_hip"), ("pelvis", "neck"))
    )
    axes = np.stack([left, up, np.cross(left, up)])
    across = [axes[2] @ _unit(rest[end] - rest[start]) for start, end in _ALONG.values()]
    if abs(left @ up) > 0 or np.abs(across).max() > 0.8:
        raise ValueError(
            f"{os.fspath(path)}: expected a rest pose that stands upright along its axes, with the "
            "arms down or to the sides, but hips, neck or limbs lie otherwise."
        )
    return axes


def _raise_clavicles(rotations, directions) -> np.ndarray:
    """Lets clavicles, which some recordings have not, rise with the arms.

    A fifth of the arm's elevation above 30 degrees, about the trunk's forward axis: a part of the
    shoulder blade's third (Inman et al., 1944), as our clavicles turn about the neck.
    """
    raised, trunk = rotations.copy(), rotations[:, _INDEX["upper_trunk"]]
    for side, sign in (("left", 1), ("right", -1)):
        arm = _INDEX[f"{side}_upper_arm"]
        along = np.einsum("tji,tjk,k->ti", trunk, rotations[:, arm], directions[arm])
        elevation = np.arccos(np.clip(-along[:, 1], -1, 1))
        angle = sign * np.maximum(elevation - _THIRTY_DEG, 0) / 5
        raised[:, _INDEX[f"{side}_clavicle"]] = trunk @ _about_forward(angle)
    return raised


def _about_forward(angles) -> np.ndarray:
    """(T, 3, 3) rotations about z."""
    turns = np.tile(np.eye(3), (len(angles), 1, 1))
    turns[:, 0, 0] = turns[:, 1, 1] = np.cos(angles)
    turns[:, 1, 0], turns[:, 0, 1] = np.sin(angles), -np.sin(angles)
    return turns


def _nearest_axis(vector) -> np.ndarray:
    axis = np.argmax(np.abs(vector))
    return np.sign(vector[axis]) * np.eye(3)[axis]


def _unit(vector) -> np.ndarray:
    return vector / np.linalg.norm(vector)
