"""OpenSim's files of motion, .mot and .sto: a column per coordinate over time.

Shapes: T frames, D dofs.
"""

import os
import pathlib

import numpy as np

from kinpose.io.bvh_writer import check_positive
from kinpose.io.text import format_of, format_rows, format_times, unique_names, write_lines
from kinpose.skeleton import Skeleton

SUFFIXES = (".mot", ".sto")
"""Of files that hold motions."""


def save_motion(
    path: str | os.PathLike,
    skeleton: Skeleton,
    params: np.ndarray,
    frame_time_s: float,
    *,
    scale: float = 1.0,
    start_s: float = 0.0,
) -> None:
    """Writes a motion that OpenSim opens: angles in degrees, by the names of the dofs.

    Spaces in names, which OpenSim's have not, become "_".

    Args:
      path: the .mot or .sto file to write, whole or not at all; an existing one is replaced.
      skeleton: whose dofs they are.
      params: (T, D) rad and the skeleton's length unit; finite, as OpenSim reads no NaN.
      frame_time_s: time from one frame to the next.
      scale: multiplies lengths; 0.001 writes a skeleton in mm in OpenSim's metres.
      start_s: time of the first frame.

    Raises:
      ValueError: for params of another shape or not finite, a frame time or scale that is not
        positive, and another suffix.
    """
    params = np.asarray(params, np.float64)
    check_positive("frame_time_s", frame_time_s)
    check_positive("scale", scale)
    if pathlib.Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: a motion of OpenSim is a {' or '.join(SUFFIXES)} file.")
    if params.ndim != 2 or params.shape[1] != skeleton.num_dofs:
        raise ValueError(
            f"params must have shape (T, {skeleton.num_dofs}), but got {params.shape}."
        )
    if not np.isfinite(params).all():
        raise ValueError("params must be finite, but have NaN or infinity.")
    names = unique_names("_".join(name.split()) for name in skeleton.dof_names)
    values = np.where(skeleton.is_angle, np.degrees(params), scale * params)
    lines = [
        pathlib.Path(path).stem,
        "version=1",
        f"nRows={len(values)}",
        f"nColumns={1 + skeleton.num_dofs}",
        "inDegrees=yes",
        "endheader",
        "\t".join(["time", *names]),
    ]
    times = format_times(len(values), frame_time_s, start_s)
    rows = format_rows(format_of(values), "\t", values + 0.0)
    lines += [f"{time}\t{row}" for time, row in zip(times, rows, strict=True)]
    write_lines(path, lines)
