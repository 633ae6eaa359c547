"""angles.csv of `experiments.model_fit`."""

import csv

import numpy as np

from experiments.fit_recording import Fitted
from kinpose.isb import isb_angles, near_singularity


def write_angles(path, fitted: Fitted, fps: float, *, with_isb: bool = False):
    """One row per frame: time, angles in degrees, lengths in the input's unit.

    Cells that the points do not tell are empty. Where some are interpolated, a last column names
    the angles of the row that are. With ISB's angles, named "isb_...", another column names those
    of the row that are near the singularity of their three angles.
    """
    skeleton = fitted.skeleton
    names = [
        f"{dof}_deg" if turns else dof
        for dof, turns in zip(skeleton.dof_names, skeleton.is_angle, strict=True)
    ]
    values = np.where(skeleton.is_angle, np.degrees(fitted.params), fitted.params)
    shown = fitted.known | fitted.filled
    marks = {}
    if with_isb:
        isb = isb_angles(fitted.params, skeleton)
        told = np.stack([_told(name, shown, skeleton) for name in isb.names], axis=1)
        names += [f"isb_{name}_deg" for name in isb.names]
        values = np.concatenate([values, np.degrees(isb.values)], axis=1)
        near = near_singularity(fitted.params, skeleton), isb.near_singularity
        shown = np.concatenate([shown, told], axis=1)
        marks["near_singularity"] = shown & np.concatenate(near, axis=1)
    if fitted.filled.any():
        marks["interpolated"] = fitted.filled
    plain = np.array([name.removesuffix("_deg") for name in names])
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time_s", *names, *marks])
        for t, row in enumerate(values):
            cells = [f"{x:.4f}" if there else "" for x, there in zip(row, shown[t], strict=True)]
            marked = [" ".join(plain[: mark.shape[1]][mark[t]]) for mark in marks.values()]
            writer.writerow([f"{t / fps:.6f}", *cells, *marked])


def _told(name: str, shown: np.ndarray, skeleton) -> np.ndarray:
    """(T,) whether the dofs of an angle's joint are there."""
    if name.endswith(("knee_flexion", "elbow_flexion")):
        own = [name]
    else:
        joint = next(x for x in ("hip", "shoulder", "spine", "neck") if x in name)
        start = name[: name.index(joint) + len(joint)] + "_"
        own = [dof for dof in skeleton.dof_names if dof.startswith(start)]
    return shown[:, [skeleton.dof_names.index(dof) for dof in own]].all(axis=1)
