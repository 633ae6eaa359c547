"""Converts the motion clips of the PyPI package pybullet to the BVH files beside this script.

    python data/motions/convert_pybullet.py --pybullet_dir=.../pybullet_data

The skeleton is that of the package's humanoid.urdf, at the scale at which the package plays
the clips. Axes stay as they are: x forward, y up, z to the person's right. Metres become
centimetres, quaternions become angles, and a clip gets the uniform frame rate that it was
sampled at. README.md beside this script says more.
"""

import importlib.util
import json
import pathlib
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from absl import app, flags
from scipy.spatial.transform import Rotation, Slerp

from kinpose.builder import build_skeleton
from kinpose.io.bvh import save_bvh
from kinpose.skeleton import Joint, Skeleton, scale_skeleton

_PYBULLET_DIR = flags.DEFINE_string(
    "pybullet_dir", None, "directory of pybullet_data; by default that of the installed package."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", str(pathlib.Path(__file__).parent), "where the BVH files go."
)

CLIPS = {
    "cartwheel": "humanoid3d_cartwheel",
    "crawl": "humanoid3d_crawl",
    "dance_a": "humanoid3d_dance_a",
    "dance_b": "humanoid3d_dance_b",
    "getup_facedown": "humanoid3d_getup_facedown",
    "getup_faceup": "humanoid3d_getup_faceup",
    "jump": "humanoid3d_jump",
    "kick": "humanoid3d_kick",
    "punch": "humanoid3d_punch",
    "roll": "humanoid3d_roll",
    "run": "humanoid3d_run",
    "spinkick": "humanoid3d_spinkick",
    "walk": "humanoid3d_walk",
}
"""Our name of a clip, and the package's below data/motions/."""

TREE = (
    ("Hips", None, "root"),
    ("Chest", "Hips", "chest"),
    ("Neck", "Chest", "neck"),
    ("Head", "Neck", "head_top"),
    ("RightArm", "Chest", "right_shoulder"),
    ("RightForeArm", "RightArm", "right_elbow"),
    ("RightHand", "RightForeArm", "right_wrist"),
    ("LeftArm", "Chest", "left_shoulder"),
    ("LeftForeArm", "LeftArm", "left_elbow"),
    ("LeftHand", "LeftForeArm", "left_wrist"),
    ("RightUpLeg", "Hips", "right_hip"),
    ("RightLeg", "RightUpLeg", "right_knee"),
    ("RightFoot", "RightLeg", "right_ankle"),
    ("RightToe", "RightFoot", "right_toe"),
    ("LeftUpLeg", "Hips", "left_hip"),
    ("LeftLeg", "LeftUpLeg", "left_knee"),
    ("LeftFoot", "LeftLeg", "left_ankle"),
    ("LeftToe", "LeftFoot", "left_toe"),
)
"""Our joints, their parents, and their names in the package (head_top and toes: `_origins`)."""

FRAME = {
    "root": 4,
    "chest": 4,
    "neck": 4,
    "right_hip": 4,
    "right_knee": 1,
    "right_ankle": 4,
    "right_shoulder": 4,
    "right_elbow": 1,
    "left_hip": 4,
    "left_knee": 1,
    "left_ankle": 4,
    "left_shoulder": 4,
    "left_elbow": 1,
}
"""What follows duration and root position in a frame: quaternions w x y z, angles about z."""

_CM_PER_URDF_UNIT = 25.0  # the package loads the URDF with globalScaling=0.25 and in metres
_CM_PER_METRE = 100.0


class Clip(NamedTuple):
    """A motion sampled at a uniform rate.

    Attributes:
      rate_hz: frames per second.
      root_m: (T, 3) positions of the root.
      turns: T rotations of each joint against its parent, by the URDF's names.
    """

    rate_hz: int
    root_m: np.ndarray
    turns: dict[str, Rotation]


def humanoid_skeleton(urdf: pathlib.Path) -> Skeleton:
    """The person in centimetres: the URDF's joints, and the ends of its geometry."""
    text = urdf.read_text().rstrip("\0")  # the package's file ends with a NUL
    origins = _origins(ElementTree.fromstring(text))
    joints = [
        Joint(name, parent, origins[source], _motions(source)) for name, parent, source in TREE
    ]
    return scale_skeleton(build_skeleton(joints), _CM_PER_URDF_UNIT)


def read_clip(path: pathlib.Path) -> Clip:
    """Reads a clip; frames that the file's durations leave out are interpolated."""
    frames = np.array(json.loads(path.read_text())["Frames"])
    durations = frames[:-1, 0]
    rate_hz = round(1.0 / np.median(durations))
    times = np.concatenate([[0], np.cumsum(np.round(durations * rate_hz))])
    sizes = [3, *FRAME.values()]
    root_m, *columns = np.split(frames[:, 1:], np.cumsum(sizes)[:-1], axis=1)
    ticks = np.arange(times[-1] + 1)
    return Clip(
        rate_hz=rate_hz,
        root_m=np.stack([np.interp(ticks, times, x) for x in root_m.T], axis=1),
        turns={
            name: Slerp(times, _rotations(values))(ticks)
            for name, values in zip(FRAME, columns, strict=True)
        },
    )


def clip_params(clip: Clip, skeleton: Skeleton) -> np.ndarray:
    """(T, D) parameters of the skeleton, rounded to 0.001 cm and 0.0001 degrees."""
    root_cm = np.round(clip.root_m * _CM_PER_METRE, 3)
    columns = {f"Hips_t{axis}": root_cm[:, i] for i, axis in enumerate("xyz")}
    for name, _, source in TREE:
        if source in FRAME:
            angles = np.radians(np.round(continuous_angles_deg(clip.turns[source]), 4))
            columns |= {f"{name}_r{axis}": angles[:, i] for i, axis in enumerate("zxy")}
    return np.stack([columns[dof] for dof in skeleton.dof_names], axis=1)


def continuous_angles_deg(turns: Rotation) -> np.ndarray:
    """(T, 3) angles about z, x, y, applied in this order, each triple near the one before.

    A rotation has two triples, up to full turns: (z, x, y) and (z + 180, 180 - x, y + 180).
    """
    triples = turns.as_euler("ZXY", degrees=True)
    last, path = np.zeros(3), []
    for pair in np.stack([triples, triples * (1, -1, 1) + 180], axis=1):
        pair -= 360 * np.round((pair - last) / 360)
        last = pair[np.argmin(np.abs(pair - last).sum(axis=1))]
        path.append(last)
    return np.stack(path)


def _rotations(values: np.ndarray) -> Rotation:
    """Rotations of quaternions (T, 4), w first and of any length, or of angles (T, 1) about z."""
    if values.shape[1] == 1:
        return Rotation.from_euler("z", values)
    return Rotation.from_quat(values[:, [1, 2, 3, 0]])


def _motions(source: str) -> str:
    if source not in FRAME:
        return ""
    return "tx ty tz rz rx ry" if source == "root" else "rz rx ry"


def _origins(robot) -> dict[str, np.ndarray]:
    """Places of joints and end points in their parents' frames, in the URDF's unit."""
    origins = {joint.get("name"): _vector(joint, "origin") for joint in robot.iter("joint")}
    center, radius = _shape(robot, "neck", "sphere", "radius")
    origins["head_top"] = center + radius * [0.0, 1.0, 0.0]
    for side in ("right", "left"):
        center, size = _shape(robot, f"{side}_ankle", "box", "size")
        origins[f"{side}_toe"] = center + size * [0.5, -0.5, 0.0]  # front edge of the sole
    return origins


def _shape(robot, link: str, kind: str, size: str) -> tuple[np.ndarray, np.ndarray]:
    collision = robot.find(f"link[@name='{link}']/collision")
    return _vector(collision, "origin"), _vector(collision, f"geometry/{kind}", size)


def _vector(element, path: str, attribute: str = "xyz") -> np.ndarray:
    return np.array(element.find(path).get(attribute).split(), float)


def _package_dir() -> pathlib.Path:
    """Directory of the installed package, or of the flag."""
    if _PYBULLET_DIR.value:
        return pathlib.Path(_PYBULLET_DIR.value)
    spec = importlib.util.find_spec("pybullet_data")
    if spec is None:
        raise ValueError("pybullet_data is not installed; name its directory by --pybullet_dir.")
    return pathlib.Path(spec.origin).parent


def main(_) -> None:
    """Writes all clips."""
    package, output = _package_dir(), pathlib.Path(_OUTPUT_DIR.value)
    skeleton = humanoid_skeleton(package / "humanoid" / "humanoid.urdf")
    for name, source in CLIPS.items():
        clip = read_clip(package / "data" / "motions" / f"{source}.txt")
        params = clip_params(clip, skeleton)
        save_bvh(output / f"{name}.bvh", skeleton, params, 1.0 / clip.rate_hz)
        print(f"{name}: {len(params)} frames at {clip.rate_hz} Hz")


if __name__ == "__main__":
    app.run(main)
