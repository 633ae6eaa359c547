"""angles.csv of `kinpose fit`."""

import csv
import math

import numpy as np

from kinpose.apps._fit_recording import Fitted
from kinpose.io.bvh import channel_values
from kinpose.isb import isb_angles, near_singularity
from kinpose.skeleton import Skeleton
from kinpose.skeletons import HUMAN_LIMITS

BEYOND = math.radians(0.5)
"""Angles this near the end of their range are at it."""


def write_angles(path, fitted: Fitted, fps: float, start_s: float, *, with_isb: bool = False):
    """One row per frame: time, angles in degrees, lengths in the input's unit.

    Cells that the points do not tell are empty. Last come columns that name the angles of the row
    of which something is to be said, where there are any in the recording: those that are
    interpolated, beyond people's range, or near the singularity of their three angles.
    """
    skeleton = fitted.skeleton
    names = [
        f"{dof}_deg" if turns else dof
        for dof, turns in zip(skeleton.dof_names, skeleton.is_angle, strict=True)
    ]
    values = channel_values(fitted.params, skeleton)
    values = np.where(skeleton.is_angle, np.degrees(values), values)
    shown = fitted.known | fitted.filled
    near, filled = near_singularity(fitted.params, skeleton), fitted.filled
    marks = {"beyond_range": shown & (range_margin(fitted.params, skeleton) < -BEYOND)}
    if with_isb:
        isb = isb_angles(fitted.params, skeleton)
        parts = np.stack([_whose(name, skeleton) for name in isb.names], axis=1)
        told = np.stack([shown[:, part].all(axis=1) for part in parts.T], axis=1)
        names += [f"isb_{name}_deg" for name in isb.names]
        values = np.concatenate([values, np.degrees(isb.values)], axis=1)
        near = np.concatenate([near, isb.near_singularity], axis=1)
        shown = np.concatenate([shown, told], axis=1)
        filled = np.concatenate([filled, (filled[:, :, None] & parts[None]).any(axis=1)], axis=1)
    marks |= {"near_singularity": shown & near, "interpolated": filled}
    marks = {key: where for key, where in marks.items() if where.any()}
    plain = np.array([name.removesuffix("_deg") for name in names])
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time_s", *names, *marks])
        for t, row in enumerate(values):
            cells = [f"{x:.4f}" if there else "" for x, there in zip(row, shown[t], strict=True)]
            marked = [" ".join(plain[: mark.shape[1]][mark[t]]) for mark in marks.values()]
            writer.writerow([f"{start_s + t / fps:.6f}", *cells, *marked])


def range_margin(params: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """How far (rad) angles (T, D) are within people's range; infinite for dofs that have none."""
    bounds = [HUMAN_LIMITS.get(dof, (-math.inf, math.inf)) for dof in skeleton.dof_names]
    low, high = np.array(bounds).T
    return np.minimum(params - low, high - params)


def _whose(name: str, skeleton: Skeleton) -> np.ndarray:
    """(D,) which dofs an angle of ISB's is made of: those of its joint."""
    if name.endswith(("knee_flexion", "elbow_flexion")):
        own = [name]
    else:
        joint = next(x for x in ("hip", "shoulder", "spine", "neck") if x in name)
        start = name[: name.index(joint) + len(joint)] + "_"
        own = [dof for dof in skeleton.dof_names if dof.startswith(start)]
    return np.isin(skeleton.dof_names, own)
