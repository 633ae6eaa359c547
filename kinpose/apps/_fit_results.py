"""What `kinpose fit` leaves behind: a report, a table, and files."""

import json
import pathlib
import shutil
import tempfile

import numpy as np

from kinpose import Skeleton
from kinpose.apps._fit_recording import LEFT_OUT, Fitted
from kinpose.apps._fit_tables import BEYOND, range_margin, write_angles
from kinpose.apps._reading import Settings
from kinpose.apps._understand import Recording
from kinpose.calibration import guess_scale
from kinpose.fitting import STATUS, units
from kinpose.frames import frames_of
from kinpose.io.bvh import channel_values, save_bvh
from kinpose.io.opensim import save_motion
from kinpose.isb import near_singularity
from kinpose.layouts import DISPLAY_NAMES
from kinpose.sides import Sides

_WEAK_MM = 20.0
"""Observability (mm per rad) below which 1 mm of noise turns a dof by more than 3 degrees."""

_FAR, _NOISES = 0.25, 3.0
"""A point that is usually further from the model than this part of its size (about 60 mm of a
person), and than so many times the noise, is told."""

_MOST_CURVES = 300
"""Angles that fit into one picture."""

_OFTEN = {"unobservable": 0.05}
"""Least share of frames that the table mentions."""

_SAID = {
    "outside_range": "angles beyond people's range",
    "at_limit": "angles at the end of people's range",
    "near_singularity": "near the singularity of their three angles, where two trade",
    "undetermined": "angles that too few points tell",
    "unobservable": f"hardly observable (below {_WEAK_MM:g} mm/rad)",
}

_FILES = {"angles.csv", "angles.mot", "angles.png", "fit.bvh", "report.json"}
_FILES |= {f"poses.{suffix}" for suffix in ("png", "gif", "mp4")}


def check_output_dir(output_dir: pathlib.Path, overwrite: bool):
    """Refuses a directory that exists, or whose replacement would lose a file not of ours."""
    if not output_dir.exists():
        return
    if not overwrite:
        raise ValueError(f"{output_dir} exists; give --overwrite or another --output_dir.")
    if not output_dir.is_dir():
        raise ValueError(f"{output_dir} is a file; give another --output_dir.")
    others = sorted({path.name for path in output_dir.iterdir()} - _FILES)
    if others:
        raise ValueError(
            f"{output_dir} also holds {others}, which replacing it would lose; give another "
            "--output_dir."
        )


def make_report(recording: Recording, fitted: Fitted, settings: Settings) -> dict:
    """Residuals, lengths, what the points do not tell, and what is to be said of the recording."""
    fit, skeleton, mm = fitted.fit, fitted.skeleton, recording.unit.mm
    names, seen = skeleton.keypoint_names, recording.seen
    residuals = np.where(seen, fit.residuals, np.nan)
    length = _mean_person_length(recording, fitted, settings)
    weak = fitted.known & (fit.observability * length < _WEAK_MM)
    statistics = {
        key: _statistics(values, mm)
        for key, values in [*zip(names, residuals.T, strict=True), ("all", residuals)]
    }
    return {
        "frames": len(fit.params),
        "layout": recording.layout,
        "keypoint_names": DISPLAY_NAMES if settings.is_human else {},
        "up": recording.up.axis,
        "up_reason": recording.up.reason,
        "fps": recording.fps,
        "start_s": recording.start_s,
        "unit_mm": mm,
        "unit_reason": recording.unit.reason,
        "noise": recording.noise,
        **_lengths(recording, skeleton, settings),
        "residual": statistics,
        "missing": {
            "marks": recording.missing,
            "share": dict(zip(names, (1 - seen.mean(axis=0)).tolist(), strict=True)),
            "frames_without_points": int((~seen.any(axis=1)).sum()),
        },
        "sides": _sides(recording.sides),
        "cost_of_scale": fitted.cost_of_scale,
        "robust": fitted.robust,
        "share_down_weighted": float((fit.trust[seen] < 0.25).mean()) if seen.any() else 0.0,
        "share_left_out": float((fit.trust[seen] < LEFT_OUT).mean()) if seen.any() else 0.0,
        "status": {name: int((fit.status == i).sum()) for i, name in enumerate(STATUS)},
        "frames_not_converged": int((fit.status == STATUS.index("out of steps")).sum()),
        "unobservable": _shares(weak, skeleton),
        "undetermined": _shares(~fitted.known & seen.any(axis=1)[:, None], skeleton),
        "cells_empty": int((~fitted.known & ~fitted.filled).sum()),
        "cells_interpolated": int(fitted.filled.sum()),
        "near_singularity": _shares(
            fitted.known & near_singularity(fitted.params, skeleton), skeleton
        ),
        **_ranges(fitted, settings),
        "warnings": [*recording.warnings, *_far_points(statistics, recording, skeleton)],
    }


def _far_points(statistics: dict, recording: Recording, skeleton: Skeleton) -> list[str]:
    """Which keypoints the model does not reach, as when two markers are exchanged throughout."""
    far = max(_FAR * float(units(skeleton, np.float32)[0]), _NOISES * recording.noise)
    key, unit = ("median_mm", "mm") if recording.unit.mm else ("median", "units")
    listed = [
        f"{DISPLAY_NAMES.get(name, name)} ({statistics[name][key]:.3g} {unit})"
        for name in skeleton.keypoint_names
        if statistics[name].get("median", 0.0) > far
    ]
    if not listed:
        return []
    return [
        f"the model does not reach {', '.join(listed)} in half of the frames: are points "
        "exchanged, or named otherwise than --layout says?"
    ]


def _sides(sides: Sides | None) -> dict | None:
    if sides is None:
        return None
    counts = map(int, sides.exchanged.sum(axis=0))
    return {
        "wrong": sides.are_wrong,
        "share_of_frames_contradicting": sides.contradicting,
        "frames_exchanged_back": dict(zip(("legs", "arms"), counts, strict=True)),
    }


def _mean_person_length(recording: Recording, fitted: Fitted, settings: Settings) -> float:
    """Millimetres per unit, if only for the bounds in this file."""
    if recording.unit.mm or not settings.is_human:
        return recording.unit.mm or 1.0
    return 1.0 / guess_scale(recording.joints, recording.model)


def _shares(where: np.ndarray, skeleton: Skeleton) -> dict:
    """Share of frames of each angle for which something holds at all."""
    shares = zip(skeleton.dof_names, where.mean(axis=0), skeleton.is_angle, strict=True)
    return {dof: float(share) for dof, share, turns in shares if turns and share > 0}


def _ranges(fitted: Fitted, settings: Settings) -> dict:
    """Angles outside of people's range and, where limits hold them, at its ends."""
    if not settings.is_human:
        return {}
    skeleton, margin = fitted.skeleton, range_margin(fitted.params, fitted.skeleton)
    found = {"outside_range": _shares(fitted.known & (margin < -BEYOND), skeleton)}
    if settings.limits:
        found["at_limit"] = _shares(fitted.known & (np.abs(margin) <= BEYOND), skeleton)
    return found


def _lengths(recording: Recording, skeleton: Skeleton, settings: Settings) -> dict:
    """Bone lengths; what they are against the model's, if that was looked for."""
    rest, names = _poses(np.zeros((1, skeleton.num_dofs)), skeleton)[0], skeleton.keypoint_names
    lengths = {
        f"{names[b]}-{names[a]}": float(np.linalg.norm(rest[a] - rest[b]))
        for a, b in skeleton.bones
    }
    found = {"bone_lengths": lengths}
    mm = recording.unit.mm
    if mm:
        found["bone_lengths_mm"] = {bone: length * mm for bone, length in lengths.items()}
    if settings.lengths != "none" and (mm or not settings.is_human):
        totals = [
            np.linalg.norm(np.asarray(x.offsets), axis=-1).sum()
            for x in (skeleton, recording.model)
        ]
        found["scale"] = float(totals[0] / totals[1] * (mm if settings.is_human else 1.0))
    return found


def _poses(params: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T, K, 3) keypoints; nothing is compiled."""
    _, places = frames_of(np.asarray(params, np.float64), skeleton)
    return places[:, list(skeleton.keypoints)]


def _statistics(values, mm: float | None) -> dict:
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size:
        return {"missing": True}
    figures = {
        "mean": values.mean(),
        "median": np.median(values),
        "p95": np.percentile(values, 95),
        "worst": values.max(),
    }
    in_mm = {f"{key}_mm": value * mm for key, value in figures.items()} if mm else {}
    return {key: float(value) for key, value in (figures | in_mm).items()}


def format_table(report: dict) -> str:
    """The report for a person."""
    suffix, unit = ("_mm", "mm") if report["unit_mm"] else ("", "units")
    missing = report["missing"]["share"]
    columns = ("mean", "median", "p95", "worst")
    lines = [f"{f'residual ({unit})':24}" + "".join(f" {x:>8}" for x in (*columns, "missing"))]
    for name, row in report["residual"].items():
        cells = "".join(
            f" {row[x + suffix]:8.4g}" if x + suffix in row else " " * 9 for x in columns
        )
        share = f" {missing[name]:8.0%}" if missing.get(name) else ""
        lines.append(f"{report['keypoint_names'].get(name, name):24}{cells}{share}".rstrip())
    if "scale" in report:
        lines.append(f"scale {report['scale']:.4f}")
    if report.get("cost_of_scale"):
        lines.append(_cost_line(report["cost_of_scale"], unit))
    marks = ", ".join(f"{mark} {x['count']}" for mark, x in report["missing"]["marks"].items())
    lines += [f"taken as missing points: {marks}"] if marks else []
    gaps = report["missing"]["frames_without_points"]
    lines += [f"frames without any point: {gaps}"] if gaps else []
    empty, filled = report["cells_empty"], report["cells_interpolated"]
    if empty or filled:
        held = " (angles.mot and fit.bvh hold the last angle)" if empty else ""
        lines.append(f"cells of angles.csv that are empty: {empty}{held}, interpolated: {filled}")
    share, left_out = report["share_down_weighted"], report["share_left_out"]
    if share > 0:
        lines.append(
            f"points far off: {share:.2%} lose weight (beyond {report['robust']:.4g}), "
            f"{left_out:.2%} are left out"
        )
    for key, text in _SAID.items():
        often = {dof: x for dof, x in report.get(key, {}).items() if x >= _OFTEN.get(key, 0.0)}
        listed = ", ".join(f"{dof} {share:.1%}" for dof, share in often.items())
        lines += [f"{text}, share of frames: {listed}"] if often else []
    return "\n".join(lines)


def _cost_line(cost: dict, unit: str) -> str:
    one, own, apart = cost.values()
    angles = "" if apart is None else f", and angles of limbs are {apart:.1f} degrees apart"
    return (
        f"one scale for all bones: mean residual {one:.4g} {unit} against {own:.4g} with "
        f"--lengths=symmetric{angles}"
    )


def _curves(recording: Recording, fitted: Fitted):
    """Angles for a picture, with how far the recording's noise turns each."""
    from kinpose.curves import Curves

    told = np.where(fitted.known | fitted.filled, fitted.params, np.nan)
    turns = np.array(fitted.skeleton.is_angle)
    names = tuple(np.array(fitted.skeleton.dof_names)[turns].tolist())
    observability = np.asarray(fitted.fit.observability, np.float64)[:, turns]
    spread = np.degrees(recording.noise / np.maximum(observability, 1e-30))
    spread = np.minimum(spread, 180.0)
    times = recording.start_s + np.arange(len(told)) / recording.fps
    return Curves(times, names, np.degrees(told[:, turns]), spread)


def write_results(
    output_dir: pathlib.Path,
    recording: Recording,
    fitted: Fitted,
    report: dict,
    animation: str | None,
    *,
    with_isb: bool = False,
):
    """All files or none: they are made in a directory of their own, which is then renamed."""
    from kinpose import plot  # takes a second to import, which an error need not wait for

    skeleton, fps = fitted.skeleton, recording.fps
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
    try:
        start_s = recording.start_s
        write_angles(made / "angles.csv", fitted, fps, start_s, with_isb=with_isb)
        save_bvh(made / "fit.bvh", skeleton, fitted.params, 1.0 / fps)
        metres = (recording.unit.mm or 1000.0) / 1000.0
        motion = skeleton, channel_values(fitted.params, skeleton), 1.0 / fps
        save_motion(made / "angles.mot", *motion, scale=metres, start_s=start_s)
        (made / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        poses = _poses(fitted.fit.params, skeleton)
        poses = np.where(recording.seen.any(axis=1)[:, None, None], poses, np.nan)
        title = f"{pathlib.Path(report['input']).name}: data (dots) and model (bones)"
        shown = {"points": recording.joints, "frame_time_s": 1.0 / fps}
        plot.plot_poses(poses, skeleton, path=made / "poses.png", title=title, **shown)
        name = pathlib.Path(report["input"]).name
        curves = _curves(recording, fitted)
        if np.isfinite(curves.degrees).any() and len(curves.names) <= _MOST_CURVES:
            plot.plot_angles(curves, path=made / "angles.png", title=name)
        if animation:
            path = made / f"poses.{animation}"
            plot.animate_poses(path, poses, skeleton, 1.0 / fps, points=recording.joints)
        made.chmod(0o755)
        former = made.with_name(f"{made.name}.former")
        if output_dir.exists():
            output_dir.rename(former)
        made.rename(output_dir)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)
