"""Poses of people in pictures, by a network that `experiments.human` has trained.

  python -m experiments.predict --run=runs/human/fitted_joint_0 --input=photos --output_dir=poses

A picture shows one person. Where the person does not fill it, say where they are: --boxes names a
CSV file with the columns image, left, top, right, bottom (px), an image's file name or a video's
frame number in the first. Writes poses.npz; angles.csv where the method has angles; a picture
of pose and image per image; for a video poses.png and, with angles, poses.bvh.

Sizes are those of the mean person: no depth is known.
"""

import csv
import math
import pathlib
import shutil
import tempfile

import jax
import numpy as np
from absl import app, flags

from experiments.human_figures import draw_pose_beside
from experiments.human_methods import METHODS, make_method, make_network
from experiments.human_sets import People, plain_skeleton, read_people
from experiments.pictures import open_pictures, read_boxes, read_crops
from experiments.program import run_program
from experiments.progress import show_progress
from experiments.results import write_arrays
from kinpose import plot
from kinpose.checkpoint import Checkpoints
from kinpose.io.bvh_writer import save_bvh
from kinpose.io.files import read_json
from kinpose.mesh import make_mesh, replicated
from kinpose.methods import Prediction

_RUN = flags.DEFINE_string("run", None, "Directory of a trained network.", required=True)
_INPUT = flags.DEFINE_list(
    "input", None, "Pictures, or a directory of them, or a video.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "New directory for the results.", required=True
)
_BOXES = flags.DEFINE_string("boxes", None, "CSV file: image, left, top, right, bottom (px).")
_UNIT_MM = flags.DEFINE_float(
    "unit_mm",
    None,
    "Length that spans the crop at the person; the training's mean by default.",
    1.0,
)
flags.register_validator(
    _UNIT_MM, lambda length: length is None or math.isfinite(length), "must be a finite number"
)

_AT_ONCE = 32


def main(argv):
    """Reads, predicts, writes."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}.")
    output_dir, run = pathlib.Path(_OUTPUT_DIR.value), pathlib.Path(_RUN.value)
    if output_dir.exists():
        raise ValueError(f"{output_dir} exists; give another --output_dir.")
    boxes = read_boxes(_BOXES.value) if _BOXES.value else {}
    pictures = open_pictures([pathlib.Path(path) for path in _INPUT.value])
    people, predict = load_network(run)
    names, crops = read_crops(pictures, boxes, people.size)
    found = predict_all(predict, crops, _UNIT_MM.value or people.unit_mm)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
    try:
        write_all(made, names, crops, found, people, pictures.fps)
        made.chmod(0o755)
        made.rename(output_dir)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    print(f"{len(names)} poses are in {output_dir}")


def load_network(run: pathlib.Path):
    """A trained network by its directory.

    Args:
      run: a directory below the workdir of `experiments.human`.

    Returns:
      `People`, and the function from crops (B, size, size, 3) and scales (B,) to a `Prediction`
      in units of the crop.

    Raises:
      ValueError: for a directory that is of no trained network.
    """
    settings, known = run.parent / "flags.json", run.parent / "targets.npz"
    name = run.name.rpartition("_")[0]
    if name not in METHODS or not settings.exists() or not known.exists():
        raise ValueError(
            f"run must be the directory of a network below the workdir of experiments.human, "
            f"such as runs/human/direct_joint_0, but got {run}."
        )
    if not (run / "checkpoints").is_dir():
        raise ValueError(f"{run} has no checkpoints.")
    people, _ = read_people(known)
    method = make_method(name, people)
    recipe = read_json(settings)
    if not {"depth", "init_from"} <= recipe.keys():
        raise ValueError(f"{settings} is not of experiments.human: it has no depth or init_from.")
    model = make_network(method.num_outputs, recipe["depth"], recipe["init_from"])
    example = np.zeros((1, people.size, people.size, 3), np.uint8)
    init = jax.jit(model.init, out_shardings=replicated(make_mesh(jax.local_devices()[:1])))
    like = {"variables": init.eval_shape(jax.random.key(0), example)}
    saved = Checkpoints(run / "checkpoints").restore(like, part=True)
    if saved is None:
        raise ValueError(f"{run / 'checkpoints'} has no checkpoint that is whole.")
    variables = saved[1]["variables"]
    return people, jax.jit(
        lambda images, scale: method.predict(model.apply(variables, images), scale)
    )


def predict_all(predict, crops: np.ndarray, unit_mm: float) -> Prediction:
    """Predictions in mm for any number of crops (N, size, size, 3)."""
    size = min(_AT_ONCE, len(crops))
    rows, scale = [], np.full(size, 1 / unit_mm, np.float32)
    for start in show_progress(range(0, len(crops), size), "predicting", unit="batches"):
        index = np.minimum(np.arange(start, start + size), len(crops) - 1)
        rows.append(jax.device_get(predict(crops[index], scale)))
    found = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(crops)], *rows)
    return found._replace(joints=unit_mm * (found.joints - found.joints[:, :1]))


def write_all(made: pathlib.Path, names, crops, found: Prediction, people: People, fps):
    """All results, into a directory."""
    skeleton = people.skeleton
    arrays = {"keys": np.array(names), "joints": found.joints, "params": found.params}
    write_arrays(made / "poses.npz", arrays | {"dof_names": np.array(skeleton.dof_names)})
    if found.params is not None:
        with open(made / "angles.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", *(f"{dof}_deg" for dof in skeleton.dof_names)])
            for name, row in zip(names, np.degrees(found.params), strict=True):
                writer.writerow([name, *(f"{value:.4f}" for value in row)])
    if fps is None:
        rows = list(zip(names, crops, found.joints, strict=True))
        for name, image, joints in show_progress(rows, "drawing", unit="pictures"):
            draw_pose_beside(made / f"{pathlib.Path(name).stem}_pose.png", image, joints, skeleton)
        return
    upright = found.joints * np.float32([1, -1, -1])
    plain, sheet = plain_skeleton(skeleton), made / "poses.png"
    plot.plot_poses(upright, plain, path=sheet, frame_time_s=1 / fps)
    if found.params is not None:
        save_bvh(made / "poses.bvh", plain, found.params, 1 / fps)


if __name__ == "__main__":
    run_program(main)
