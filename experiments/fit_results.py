"""What `experiments.model_fit` leaves behind: a report, a table, and files."""

import csv
import json
import pathlib
import shutil
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from kinpose import Fit, Skeleton, forward_kinematics, plot
from kinpose.io.bvh import save_bvh

_WEAK_MM = 20.0
"""Observability (mm per rad) below which 1 mm of noise turns a dof by more than 3 degrees."""

_FILES = {"angles.csv", "fit.bvh", "report.json", "poses.png", "poses.gif", "poses.mp4"}


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


def make_report(fit: Fit, skeleton: Skeleton, model: Skeleton, unit_mm: float) -> dict:
    """Residuals (input's unit and mm), lengths, and the dofs that the points do not hold."""
    rest = forward_kinematics(jnp.zeros(skeleton.num_dofs, jnp.float32), skeleton)
    rest = np.asarray(rest, np.float64)
    names = skeleton.keypoint_names
    weak = (fit.observability * unit_mm < _WEAK_MM).mean(axis=0)
    lengths = np.linalg.norm(np.asarray(skeleton.offsets), axis=-1).sum()
    return {
        "frames": len(fit.params),
        "unit_mm": unit_mm,
        "scale": float(lengths * unit_mm / np.linalg.norm(model.offsets, axis=-1).sum()),
        "residual": {
            key: _statistics(values, unit_mm)
            for key, values in [*zip(names, fit.residuals.T, strict=True), ("all", fit.residuals)]
        },
        "bone_lengths_mm": {
            f"{names[b]}-{names[a]}": float(np.linalg.norm(rest[a] - rest[b]) * unit_mm)
            for a, b in skeleton.bones
        },
        "unobservable": {
            dof: float(share)
            for dof, share, turns in zip(skeleton.dof_names, weak, skeleton.is_angle, strict=True)
            if turns and share > 0
        },
        "frames_not_converged": int((~fit.converged).sum()),
    }


def _statistics(values, unit_mm: float) -> dict:
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size:
        return {"missing": True}
    figures = {
        "mean": values.mean(),
        "median": np.median(values),
        "p95": np.percentile(values, 95),
        "worst": values.max(),
    }
    in_mm = {f"{key}_mm": value * unit_mm for key, value in figures.items()}
    return {key: float(value) for key, value in (figures | in_mm).items()}


def format_table(report: dict) -> str:
    """The report for a person."""
    lines = [f"{'residual (mm)':16} {'mean':>8} {'median':>8} {'p95':>8} {'worst':>8}"]
    for name, row in report["residual"].items():
        cells = [f"{row[f'{k}_mm']:8.1f}" for k in ("mean", "median", "p95", "worst") if k in row]
        lines.append(f"{name:16} " + (" ".join(cells) or "  missing"))
    lines.append(f"scale {report['scale']:.4f}")
    often = {dof: share for dof, share in report["unobservable"].items() if share > 0.05}
    if often:
        listed = ", ".join(f"{dof} {share:.0%}" for dof, share in often.items())
        lines.append(f"hardly observable (below {_WEAK_MM:g} mm/rad), share of frames: {listed}")
    return "\n".join(lines)


def write_results(
    output_dir: pathlib.Path,
    joints,
    fit: Fit,
    skeleton: Skeleton,
    fps: float,
    report: dict,
    animation: str | None,
):
    """All files or none: they are made in a directory of their own, which is then renamed."""
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
    try:
        _write_angles(made / "angles.csv", fit, skeleton, fps)
        save_bvh(made / "fit.bvh", skeleton, fit.params, 1.0 / fps)
        (made / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        place = jax.jit(jax.vmap(forward_kinematics, in_axes=(0, None)))
        fitted = np.asarray(place(jnp.asarray(fit.params), skeleton))
        title = f"{pathlib.Path(report['input']).name}: data (dots) and model (bones)"
        shown = {"points": joints, "frame_time_s": 1.0 / fps}
        plot.plot_poses(made / "poses.png", fitted, skeleton, title=title, **shown)
        if animation:
            path = made / f"poses.{animation}"
            plot.animate_poses(path, fitted, skeleton, 1.0 / fps, points=joints)
        made.chmod(0o755)
        if output_dir.exists():
            shutil.rmtree(output_dir)
        made.rename(output_dir)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_angles(path, fit: Fit, skeleton: Skeleton, fps: float):
    """One row per frame: time, angles in degrees, lengths in the input's unit."""
    dofs = list(zip(skeleton.dof_names, skeleton.is_angle, strict=True))
    values = np.where(skeleton.is_angle, np.degrees(fit.params), fit.params)
    units = [f"{dof}_deg" if turns else dof for dof, turns in dofs]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time_s", *units])
        for t, row in enumerate(values):
            writer.writerow([f"{t / fps:.6f}", *(f"{value:.4f}" for value in row)])
