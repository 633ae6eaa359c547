"""Joint angles out of a recording: fits a skeleton to every frame (the paper's ModelFit).

  python -m experiments.model_fit --input=data/motions/walk.bvh --output_dir=runs/walk

Writes angles.csv, fit.bvh, report.json and poses.png, and poses.gif on request.
"""

import math
import pathlib

import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments.fit_results import check_output_dir, format_table, make_report, write_results
from experiments.program import run_program
from experiments.progress import show_progress
from kinpose import (
    Skeleton,
    calibrate_skeleton,
    fit_sequence,
    limit_skeleton,
    scale_skeleton,
)
from kinpose.calibration import guess_scale
from kinpose.fitting import Fit
from kinpose.io.bvh import load_bvh
from kinpose.io.points import load_points
from kinpose.layouts import LAYOUTS, Layout, find_layout, load_layout, pick_keypoints
from kinpose.skeletons import HUMAN_LIMITS, human_17

_CHUNK = 512
"""Frames fitted between two signs of progress."""

_MM = {"mm": 1.0, "cm": 10.0, "inch": 25.4, "m": 1000.0}

_UP = {  # rotations that turn the axis up into y
    "y": np.eye(3),
    "-y": np.diag([1.0, -1.0, -1.0]),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "-z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "-x": np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}

_INPUT = flags.DEFINE_string("input", "data/motions/walk.bvh", "A .bvh, .npy or .npz recording.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs/model_fit", "Where to write the results.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the results that are there.")
_SKELETON = flags.DEFINE_string(
    "skeleton", "human_17", "The model: human_17, or a .bvh file whose skeleton is fitted."
)
_LAYOUT = flags.DEFINE_string(
    "layout",
    "auto",
    "Which points stand for which keypoints: a name of "
    f"{', '.join(LAYOUTS)}; a .json file (keypoint: point or list of points, and 'order', the "
    "points' names, for arrays without names); auto: by the names of the points.",
)
_UNIT = flags.DEFINE_string(
    "unit", "auto", "Unit of length: mm, cm, m, inch, millimetres as a number, or auto."
)
_UP_AXIS = flags.DEFINE_enum("up", "auto", ["auto", *_UP], "The input's axis that points up.")
_FPS = flags.DEFINE_float("fps", None, "Frames per second, where the input does not say.")
_LENGTHS = flags.DEFINE_enum(
    "lengths",
    "scale",
    ["scale", "symmetric", "bones", "none"],
    "What is found of the bone lengths: one scale, every bone (left as right), every bone, none.",
)
_LIMITS = flags.DEFINE_bool("limits", True, "Hold human_17 within HUMAN_LIMITS.")
_IGNORE = flags.DEFINE_list("ignore", [], "Keypoints to leave out of the fit.")
_ANIMATION = flags.DEFINE_enum("animation", None, ["gif", "mp4"], "Also write poses.gif or .mp4.")


def main(argv):
    """Reads, fits, writes."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}; give --input=FILE.")
    output_dir = pathlib.Path(_OUTPUT_DIR.value)
    check_output_dir(output_dir, _OVERWRITE.value)
    points = load_points(_INPUT.value)
    model = human_17() if _SKELETON.value == "human_17" else load_bvh(_SKELETON.value).skeleton
    name, layout = _find_layout(points.names, model)
    names = points.names or layout.order
    if len(names) != points.positions.shape[1]:
        raise ValueError(
            f"{_INPUT.value}: {points.positions.shape[1]} points do not fit the {len(names)} names "
            f"of layout {name}; give --layout."
        )
    joints = pick_keypoints(points.positions, names, layout, model.keypoint_names)
    for keypoint in _IGNORE.value:
        if keypoint not in model.keypoint_names:
            raise ValueError(f"--ignore={keypoint} is none of {list(model.keypoint_names)}.")
        joints[:, model.keypoint_names.index(keypoint)] = np.nan
    up = _find_up(joints, model) if _UP_AXIS.value == "auto" else _UP_AXIS.value
    joints = joints @ _UP[up].T
    unit_mm = _find_unit_mm(joints, model)
    fps = _FPS.value or (1.0 / points.frame_time_s if points.frame_time_s else 30.0)
    print(
        f"{_INPUT.value}: {len(joints)} frames, layout {name}, {up} up, {fps:g} frames/s, 1 unit = "
        f"{unit_mm:g} mm"
    )
    skeleton = _calibrated(joints, model, unit_mm)
    fit = _fit_all(joints, skeleton)
    report = make_report(fit, skeleton, model, unit_mm) | {
        "input": _INPUT.value,
        "layout": name,
        "up": up,
        "fps": fps,
        "flags": _own_flags(),
    }
    print(format_table(report))
    write_results(output_dir, joints, fit, skeleton, fps, report, _ANIMATION.value)
    print(f"written to {output_dir}: {', '.join(sorted(p.name for p in output_dir.iterdir()))}")


def _own_flags() -> dict:
    module = flags.FLAGS.flags_by_module_dict()
    return {flag.name: flag.value for flag in module.get(__name__, module.get("__main__", []))}


def _find_layout(names, model: Skeleton) -> tuple[str, Layout]:
    wanted = _LAYOUT.value
    if wanted in LAYOUTS:
        return wanted, LAYOUTS[wanted]
    if wanted != "auto":
        if not wanted.endswith(".json"):
            raise ValueError(f"--layout must be auto, {list(LAYOUTS)} or a .json file: {wanted}.")
        return wanted, load_layout(wanted)
    if not names:
        raise ValueError(f"{_INPUT.value} has no names; say by --layout what its points are.")
    shared = [name for name in model.keypoint_names if name in names]
    if _SKELETON.value != "human_17" or len(shared) == model.num_keypoints:
        if len(shared) < 3:
            raise ValueError(
                f"{_SKELETON.value} and {_INPUT.value} share the names {shared}: too few; give a "
                "name map by --layout=FILE.json."
            )
        return "shared names", Layout({name: (name,) for name in shared})
    name = find_layout(names)
    return name, LAYOUTS[name]


def _find_up(joints, model: Skeleton) -> str:
    """The axis from the feet to the head or neck on average, if one stands out."""
    names = [name.lower() for name in model.keypoint_names]
    top = [i for i, name in enumerate(names) if "head" in name or "neck" in name]
    feet = [i for i, name in enumerate(names) if "ankle" in name or "foot" in name]
    with np.errstate(invalid="ignore"):
        rise = np.nanmean(joints[:, top], axis=1) - np.nanmean(joints[:, feet], axis=1)
    rise = np.nanmedian(rise, axis=0) if top and feet else np.array([0.0, 1.0, 0.0])
    axis = int(np.argmax(np.abs(rise)))
    if not np.isfinite(rise).all() or np.abs(rise[axis]) < 0.8 * np.linalg.norm(rise):
        return "y"
    return ("-" if rise[axis] < 0 else "") + "xyz"[axis]


def _find_unit_mm(joints, model: Skeleton) -> float:
    """Millimetres per unit of the input."""
    unit = _UNIT.value
    if unit in _MM:
        return _MM[unit]
    if unit != "auto":
        try:
            value = float(unit)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"--unit must be auto, {list(_MM)} or a positive number: {unit}.")
        return value
    if _SKELETON.value != "human_17":
        raise ValueError("the unit is guessed from the size of a human; give --unit as well.")
    guess = 1.0 / guess_scale(joints, model)
    return min(_MM.values(), key=lambda mm: abs(math.log(mm / guess)))


def _calibrated(joints, model: Skeleton, unit_mm: float) -> Skeleton:
    """The model in the input's unit, with this person's lengths."""
    is_human = _SKELETON.value == "human_17"
    if is_human and _LIMITS.value:
        model = limit_skeleton(model, HUMAN_LIMITS)
    if _LENGTHS.value == "none":
        return scale_skeleton(model, 1.0 / unit_mm) if is_human else model
    print("finding the bone lengths ...")
    return calibrate_skeleton(joints.astype(np.float32), model, lengths=_LENGTHS.value)


def _fit_all(joints, skeleton: Skeleton) -> Fit:
    """Fits the recording piece by piece, each continuing the one before."""
    pieces, last = [], None
    starts = range(0, len(joints), _CHUNK)
    for start in show_progress(
        starts,
        "fitting",
        unit="frames",
        count=lambda start: min(_CHUNK, len(joints) - start),
        total=len(joints),
    ):
        piece = joints[start : start + _CHUNK].astype(np.float32)
        size = len(piece)
        missing = np.full((_CHUNK - size, *piece.shape[1:]), np.nan, np.float32)
        piece = np.concatenate([piece, missing])  # one shape, one compilation
        fit = fit_sequence(piece, skeleton, init=last)
        pieces.append(Fit(*(np.asarray(field)[:size] for field in fit)))
        last = jnp.asarray(pieces[-1].params[-1])
    return Fit(*map(np.concatenate, zip(*pieces, strict=True)))


if __name__ == "__main__":
    run_program(main)
