"""Data sets of `movement`: xarray objects of poses, of DeepLabCut, SLEAP, Anipose and others.

See https://movement.neuroinformatics.dev: variables `position` and `confidence`, dimensions time,
space, keypoints and individuals. Shapes: T frames, N points, n 2 or 3 dimensions.
"""

from typing import Any

import numpy as np

from kinpose.io._times import timed
from kinpose.io.points import Points, checked_points
from kinpose.io.text import unique_names


def points_of_dataset(dataset: Any, individual: str | None = None) -> Points:
    """Takes the points from a data set of `movement`.

    Args:
      dataset: an `xarray.Dataset`.
      individual: whose; may be left out where there is one.

    Returns:
      The points (T, N, n); rate by `time_unit` and `fps`, confidence where it is there.

    Raises:
      ValueError: for a data set without positions, and where an individual is to be named.
    """
    name = "the data set"
    if "position" not in dataset or not {"time", "space"} <= set(dataset["position"].dims):
        raise ValueError(
            f"{name} must have a variable 'position' along time and space, as movement's have, but "
            f"has {sorted(map(str, dataset))}."
        )
    dims = {dim: _dimension(dataset, dim) for dim in ("keypoints", "individuals")}
    if dims["individuals"]:
        everybody = dataset[dims["individuals"]].values.astype(str).tolist()
        individual = everybody[0] if individual is None and len(everybody) == 1 else individual
        if individual not in everybody:
            raise ValueError(f"individual must be one of {everybody}, but is {individual}.")
        dataset = dataset.isel({dims["individuals"]: everybody.index(individual)})
    keypoints = dims["keypoints"]
    position = dataset["position"]
    if keypoints:
        names = unique_names(position[keypoints].values.astype(str))
    else:
        names, keypoints = ["centre"], "keypoints"
        dataset = dataset.expand_dims(keypoints)
    positions = dataset["position"].transpose("time", keypoints, "space").values
    confidence = None
    if "confidence" in dataset:
        found = dataset["confidence"].transpose("time", keypoints).values.astype(np.float64)
        confidence = None if np.isnan(found).all() else np.nan_to_num(found)
    fps = dataset.attrs.get("fps")
    times = dataset["time"].values if "time" in dataset.coords else np.zeros(0)
    seconds = dataset.attrs.get("time_unit") == "seconds"
    frame_time_s = 1.0 / fps if fps else None
    points = checked_points(name, positions.astype(np.float64), names, frame_time_s, confidence)
    return timed(name, points, times.astype(np.float64), None) if seconds else points


def _dimension(dataset, name: str) -> str | None:
    """A dimension by its name, of one or of several."""
    dims = dataset["position"].dims
    return next((dim for dim in (name, name.removesuffix("s")) if dim in dims), None)
