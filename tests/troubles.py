"""Recordings of a person whose angles are known, each with one trouble of real ones."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kinpose import forward_kinematics
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

DOFS = human_17().dof_names
NAMES = HUMAN36M_KEYPOINTS
FPS = 30
LEGS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("knee", "ankle"))
_PLACE = jax.jit(jax.vmap(forward_kinematics, in_axes=(0, None)))


class Trouble(NamedTuple):
    """A recording.

    Attributes:
      points: (T, 17, 3) or (T, 17, 4), in the order of Human3.6M.
      truth: (T, D) rad and mm.
      hit: (T, 17) or (T,) what the trouble has struck, where it does so in part.
    """

    points: np.ndarray
    truth: np.ndarray
    hit: np.ndarray | None = None


def place(truth: np.ndarray) -> np.ndarray:
    """(T, 17, 3) float64 mm."""
    return np.asarray(_PLACE(jnp.asarray(truth, jnp.float32), human_17()), np.float64)


def column(name: str) -> int:
    return DOFS.index(name)


def exchanged(points: np.ndarray) -> np.ndarray:
    """Every left label on the right, and the other way round."""
    twin = {"left": "right", "right": "left"}
    parts = [name.split("_") for name in NAMES]
    return points[:, [NAMES.index("_".join(twin.get(x, x) for x in words)) for words in parts]]


def poses(frames: int, both_sides: dict, one: dict | None = None) -> np.ndarray:
    """(T, D) from degrees by dof; `both_sides` has the names of dofs without left and right."""
    truth = np.zeros((frames, len(DOFS)))
    truth[:, column("pelvis_ty")] = 920.0
    for name, degrees in both_sides.items():
        for side in ("left", "right"):
            truth[:, column(f"{side}_{name}")] = np.radians(degrees)
    for name, degrees in (one or {}).items():
        truth[:, column(name)] = np.radians(degrees)
    return truth


def walking(rng, frames: int = 60, knee: float = 30.0) -> np.ndarray:
    """A second a step, knees bent by `knee` give or take 25 degrees."""
    swing = 2 * np.pi * (np.arange(frames) / FPS + rng.random())
    steady = {"elbow_flexion": 30.0, "hip_abduction": 4.0}
    moving = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        moving[f"{side}_hip_flexion"] = sign * 25.0 * np.sin(swing)
        moving[f"{side}_knee_flexion"] = knee - sign * 25.0 * np.cos(swing)
        moving[f"{side}_shoulder_flexion"] = -sign * 20.0 * np.sin(swing)
    truth = poses(frames, steady, moving)
    truth[:, column("pelvis_tz")] = 1200.0 * np.arange(frames) / FPS
    return truth


def standing(frames: int = 90, knee: float = 3.0) -> np.ndarray:
    """Upright and still."""
    return poses(frames, {"knee_flexion": knee, "hip_abduction": 5.0, "elbow_flexion": 12.0})


def _noisy_standing(noise: float) -> Callable:
    def make(rng):
        truth = standing()
        return Trouble(place(truth) + rng.normal(0, noise, (len(truth), 17, 3)), truth)

    return make


def _straight(knee: float) -> Callable:
    return lambda rng: Trouble(place(standing(60, knee)), standing(60, knee))


def _changed(change: Callable, **walk) -> Callable:
    """A walk whose points are changed: (rng, points) -> points, or points and what was hit."""

    def make(rng):
        truth = walking(rng, **walk)
        found = change(rng, place(truth))
        points, hit = found if isinstance(found, tuple) else (found, None)
        return Trouble(points, truth, hit)

    return make


def _flicker(rng, points):
    hit = np.zeros(len(points), bool)
    start = rng.integers(5, 45)
    hit[start : start + 7] = True
    return np.where(hit[:, None, None], exchanged(points), points), hit


def _marked(value: float, share: float) -> Callable:
    def change(rng, points):
        hit = rng.random(points.shape[:2]) < share
        return np.where(hit[..., None], value, points), hit

    return change


def _thrown(rng, points):
    hit = rng.random(points.shape[:2]) < 0.02
    return points + np.where(hit[..., None], rng.normal(0, 3000, points.shape), 0.0), hit


def _unsure(rng, points):
    hit = rng.random(points.shape[:2]) < 0.05
    noise = rng.normal(0, 5, points.shape) + hit[..., None] * rng.normal(0, 800, points.shape)
    return np.dstack([points + noise, np.where(hit, 0.05, 0.9)]), hit


def _unseen(names, frames: slice) -> Callable:
    def change(rng, points):
        hit = np.zeros(points.shape[:2], bool)
        hit[frames, [NAMES.index(name) for name in names]] = True
        return np.where(hit[..., None], np.nan, points), hit

    return change


def _before_a_camera(down_deg: float) -> Callable:
    """Metres, x to the right, y down, z ahead of a camera that looks down."""
    tilt = np.radians(down_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    return lambda rng, points: points / 1000 * (1, -1, -1) @ turn.T


def _half_body(rng, points):
    points, hit = _unseen(LEGS, slice(None))(rng, points)
    return _before_a_camera(0)(rng, points), hit


TROUBLES = {
    "reference": _changed(lambda rng, points: points),
    **{f"knees_{back}_back": _straight(-back) for back in (1, 4, 8)},
    **{f"standing_{noise}_mm": _noisy_standing(noise) for noise in (5, 15, 30)},
    "gait_3_back": _changed(lambda rng, points: points, knee=22.0),
    "mirrored": _changed(lambda rng, points: points * (-1, 1, 1)),
    "left_right_swapped": _changed(lambda rng, points: exchanged(points)),
    "left_right_flicker": _changed(_flicker),
    "zero_filled": _changed(_marked(0.0, 0.1)),
    "sentinel": _changed(_marked(9999.0, 0.05)),
    "outliers": _changed(_thrown),
    "confidence_column": _changed(_unsure),
    "upper_body_y_down": _changed(_half_body),
    "camera_tilted_40": _changed(_before_a_camera(40)),
    "lying_on_the_side": _changed(lambda rng, points: points[..., [1, 0, 2]] * (1, -1, 1)),
    "cgspeed_unit": _changed(lambda rng, points: points / 56.444),
    "utm_metres": _changed(lambda rng, points: points / 1000 + (450000.0, 80.0, 5.4e6)),
    "gap": _changed(_unseen(NAMES, slice(20, 40))),
    "legs_come_late": _changed(_unseen(LEGS, slice(0, 20))),
}
"""What makes a recording out of a random generator, by the name of its trouble."""


def leg_bvh(frames_said: int, all_positions: bool) -> str:
    """A leg that swings, 5 frames: the header says how many, joints may have position channels."""
    turns, moves = "Zrotation Xrotation Yrotation", "Xposition Yposition Zposition"
    channels = f"6 {moves} {turns}" if all_positions else f"3 {turns}"
    bones = {"LeftUpLeg": (10, 0, 0), "LeftLeg": (0, -45, 0), "LeftFoot": (0, -42, 0)}
    lines = ["HIERARCHY", "ROOT Hips", "{", "OFFSET 0 90 0", f"CHANNELS 6 {moves} {turns}"]
    for name, bone in bones.items():
        lines += [f"JOINT {name}", "{", "OFFSET {} {} {}".format(*bone), f"CHANNELS {channels}"]
    lines += ["End Site", "{", "OFFSET 0 -5 12", "}", *["}"] * 4]
    lines += ["MOTION", f"Frames: {frames_said}", "Frame Time: 0.01"]
    for t in range(5):
        row = [0, 90, t, 0, 0, 0]
        for bone, bend in zip(bones.values(), (5 * t, -10 * t, 0), strict=True):
            row += [*(bone if all_positions else ()), 0, bend, 0]
        lines.append(" ".join(map(str, row)))
    return "\n".join(lines) + "\n"
