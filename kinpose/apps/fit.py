"""Joint angles out of a recording: fits a skeleton to every frame (the paper's ModelFit).

  kinpose fit walk.c3d --output_dir=runs/walk

Writes angles.csv, fit.bvh, report.json and poses.png, and poses.gif on request. What recordings
have that is not as it should be, and what is done about it: docs/troubles.md.
"""

import importlib
import pathlib
from concurrent import futures

from absl import app, flags

from kinpose.apps._fit_recording import compile_ahead, fit_recording
from kinpose.apps._fit_results import check_output_dir, format_table, make_report, write_results
from kinpose.apps._reading import Settings, read_input
from kinpose.apps._understand import understand
from kinpose.layouts import LAYOUTS
from kinpose.recordings import UNITS_MM, UP

_NAMES = ("input", "output_dir", "overwrite", *Settings._fields, "animation")
"""Flags of this verb."""


def define_flags() -> None:
    """Of this verb; not at import, as those of others have the same names."""
    flags.DEFINE_string(
        "input",
        None,
        "A recording: .bvh, .c3d, .trc, .csv, .tsv of Qualisys, .npy, .npz, or a folder of "
        "OpenPose; may stand without the flag's name.",
    )
    flags.DEFINE_string("output_dir", "runs/model_fit", "Where to write the results.")
    flags.DEFINE_bool("overwrite", False, "Replace the results that are there.")
    flags.DEFINE_string(
        "skeleton", "human_17", "The model: human_17, or a .bvh file whose skeleton is fitted."
    )
    flags.DEFINE_string(
        "layout",
        "auto",
        "Which points stand for which keypoints: a name of "
        f"{', '.join(LAYOUTS)}; a .json file (keypoint: point or list of points, and 'order', the "
        "points' names, for arrays without names); auto: by the names of the points.",
    )
    flags.DEFINE_string(
        "unit",
        "auto",
        f"Unit of length: {', '.join(UNITS_MM)}, millimetres as a number, or auto, by a person's "
        "size.",
    )
    flags.DEFINE_enum("up", "auto", ["auto", *UP], "The input's axis that points up.")
    flags.DEFINE_float("fps", None, "Frames per second, in place of the input's.")
    flags.DEFINE_string(
        "columns", None, "A .json map of a table's columns; see kinpose/io/column_maps.py."
    )
    flags.DEFINE_string(
        "individual",
        None,
        "Whose points, where there are several: the name before those of the points, or the number "
        "of a person of OpenPose; the first by default.",
    )
    flags.DEFINE_bool("mirror", False, "Reflect the recording: its axes are left-handed.")
    flags.DEFINE_bool("swap_sides", False, "Exchange left and right in the names of the points.")
    flags.DEFINE_string(
        "missing",
        "auto",
        "What marks a missing point besides NaN: none; zeros; a number that all three coordinates "
        "have; several of these, with commas; auto: zeros, -1, 9999 and places that points jump "
        "to.",
    )
    flags.DEFINE_list("ignore", [], "Keypoints to leave out of the fit.")
    flags.DEFINE_enum(
        "lengths",
        "symmetric",
        ["symmetric", "scale", "bones", "none"],
        "What is found of the bone lengths: every bone (left as right), one scale, every bone, "
        "none.",
    )
    flags.DEFINE_bool("limits", True, "Hold human_17 within HUMAN_LIMITS.")
    flags.DEFINE_string(
        "robust",
        "auto",
        "Distance (input's unit) at which a point begins to lose its weight; 0: never.",
    )
    flags.DEFINE_enum(
        "fill",
        "none",
        ["none", "interpolate"],
        "What angles.csv has where points are missing: empty cells, or straight lines in time.",
    )
    flags.DEFINE_enum(
        "convention",
        "anatomical",
        ["anatomical", "isb"],
        "Angles in angles.csv: human_17's; isb: those of the International Society of Biomechanics "
        "beside them.",
    )
    flags.DEFINE_enum("animation", None, ["gif", "mp4"], "Also write poses.gif or .mp4.")


def main(argv: list[str]) -> None:
    """Reads, fits, writes."""
    given = {name: flags.FLAGS[name].value for name in _NAMES}
    inputs = [*argv[1:], *([given["input"]] if given["input"] else [])]
    if len(inputs) != 1:
        raise app.UsageError(f"give one recording to fit, not {inputs or 'none'}.")
    (given["input"],) = inputs
    output_dir = pathlib.Path(given["output_dir"])
    check_output_dir(output_dir, given["overwrite"])
    place = output_dir.resolve()  # also where it is the current directory, and is replaced
    settings = Settings(**{name: given[name] for name in Settings._fields})
    recording = understand(read_input(given["input"], settings), settings)
    unit = f"1 unit = {recording.unit.mm:g} mm" if recording.unit.mm else "unit unknown"
    print(
        f"{given['input']}: {len(recording.joints)} frames, layout {recording.layout}, "
        f"{recording.up.axis} up, {recording.fps:g} frames/s, {unit}"
    )
    print(f"up: {recording.up.reason}; unit: {recording.unit.reason}")
    for sentence in recording.warnings:
        print(f"warning: {sentence}")
    print("fitting ..." if settings.lengths == "none" else "finding the bone lengths ...")
    other = futures.ThreadPoolExecutor(1)  # for what comes later, beside the first fit
    other.submit(importlib.import_module, "kinpose.plot")  # meanwhile that fit is traced
    compiled = other.submit(compile_ahead, recording)
    other.shutdown(wait=False)  # an error need not wait for it
    fitted = fit_recording(recording, settings, compiled)
    report = make_report(recording, fitted, settings) | {"input": given["input"], "flags": given}
    print(format_table(report))
    for sentence in report["warnings"][len(recording.warnings) :]:
        print(f"warning: {sentence}")
    write_results(
        place,
        recording,
        fitted,
        report,
        given["animation"],
        with_isb=settings.convention == "isb",
    )
    print(f"written to {output_dir}: {', '.join(sorted(p.name for p in place.iterdir()))}")
