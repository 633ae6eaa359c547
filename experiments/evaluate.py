"""Scores of saved predictions of 3D poses, beside the paper's Table 1.

  python -m experiments.evaluate --predictions=runs/human/direct_joint_0/predictions.npz \
      --dataset=rendered_people/small_64 --data_dir=datasets

The predictions may be anybody's: see kinpose/io/predictions.py for the two forms of the file. No
network is needed, nor are pictures read.
"""

import pathlib
from collections.abc import Sequence

from absl import app, flags

from data.pipeline import open_samples
from experiments.human_sets import make_truth
from experiments.human_tables import format_table, published_rows
from experiments.program import run_program
from experiments.results import write_json
from kinpose.evaluation import PAPER, describe, evaluate
from kinpose.io.predictions import read_predictions

_PREDICTIONS = flags.DEFINE_list(
    "predictions", None, "Files (.npz), a row for each method; METHOD_SEED/.", required=True
)
_DATASET = flags.DEFINE_string(
    "dataset", None, "Data set and configuration that is predicted.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Where data sets are built.")
_SPLIT = flags.DEFINE_string("split", "test", "Of the data set.")
_SUBJECTS = flags.DEFINE_list("test_subjects", list(PAPER.test_subjects), "Whose samples count.")
_KEYPOINTS = flags.DEFINE_list("keypoints", list(PAPER.keypoints), "Joints that count.")
_EVERY = flags.DEFINE_integer("every", 1, "Frames whose number is a multiple of it count.", 1)
_ALIGNMENT = flags.DEFINE_enum("alignment", "root", ["root", "procrustes"], "Before the error.")
_AVERAGING = flags.DEFINE_enum("averaging", "actions", ["actions", "frames"], "Of the errors.")
_OUTPUT = flags.DEFINE_string("output", None, "All numbers, as a JSON file.")


def main(argv):
    """Prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}.")
    protocol = PAPER._replace(
        test_subjects=tuple(_SUBJECTS.value),
        keypoints=tuple(_KEYPOINTS.value),
        every=_EVERY.value,
        alignment=_ALIGNMENT.value,
        averaging=_AVERAGING.value,
    )
    samples = open_samples(_DATASET.value, _SPLIT.value, data_dir=_DATA_DIR.value, memory_bytes=0)
    truth = make_truth(samples)
    paths = list(map(pathlib.Path, _PREDICTIONS.value))
    scores = []
    for path, row in zip(paths, _name_rows(paths), strict=True):
        found = read_predictions(path, sorted(truth.keys))  # a data set's own order is shuffled
        scores.append(row | evaluate(found.keys, found.joints, truth, protocol))
    if _OUTPUT.value:
        write_json(pathlib.Path(_OUTPUT.value), {"protocol": protocol._asdict(), "scores": scores})
    published = published_rows(_DATASET.value) if protocol == PAPER else {}
    title = {"root": "MPJPE (mm)", "procrustes": "PA-MPJPE (mm)"}[protocol.alignment]
    print(f"{describe(protocol)}\n\n{format_table(scores, published, title)}")


def _name_rows(paths: Sequence[pathlib.Path]) -> list[dict]:
    """Method and seed of each file, by its directory; behind what differs where they are alike."""
    names = [_name(path) for path in paths]
    if len(set(names)) < len(names):
        above = [path.absolute().parents[path.stem == "predictions"].name for path in paths]
        names = [(f"{x} {method}", seed) for x, (method, seed) in zip(above, names, strict=True)]
    if len(set(names)) < len(names):
        raise ValueError(f"predictions of different runs must differ in name, but are {names}.")
    return [{"method": method, "seed": seed} for method, seed in names]


def _name(path: pathlib.Path) -> tuple[str, int]:
    method, _, seed = path.parent.name.rpartition("_")
    if path.stem != "predictions":  # of no run of ours
        return path.stem, 0
    return (method, int(seed)) if method and seed.isdecimal() else (path.parent.name, 0)


if __name__ == "__main__":
    run_program(main)
