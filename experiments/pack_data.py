"""Packs a built data set into one file, for a machine that has NumPy and little else.

  python -m experiments.pack_data --dataset=rendered_people/varied_64 --data_dir=datasets \
      --output_dir=packed --num_train=6000 --num_test=800

Evenly spread samples of each split; all that reads data sets finds them by the same name under
`--data_dir=packed`. The file is `packed/rendered_people/varied_64.npz`, of some 58 MB.
"""

import dataclasses
import pathlib

import numpy as np
from absl import app, flags

from data.packed import PACKED, write_packed
from data.pipeline import Samples, open_samples
from experiments.program import run_program

_DATASET = flags.DEFINE_string("dataset", None, "Name and configuration.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Where data sets are built.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "packed", "Where the file goes.")
_NUM = {
    "train": flags.DEFINE_integer("num_train", 6000, "Training samples, at most.", 1),
    "test": flags.DEFINE_integer("num_test", 800, "Test samples, at most.", 1),
}


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    path = pathlib.Path(_OUTPUT_DIR.value, f"{_DATASET.value}{PACKED}")
    splits = {}
    for split, num in _NUM.items():
        samples = open_samples(_DATASET.value, split, data_dir=_DATA_DIR.value)
        index = np.unique(np.linspace(0, len(samples) - 1, num.value).astype(int))
        splits[split] = columns_of(samples, index), samples.images(index)
    write_packed(path, splits)
    counts = " and ".join(f"{len(images)} {split}" for split, (_, images) in splits.items())
    print(f"{counts} images in {path}, {path.stat().st_size / 1e6:.1f} MB")


def columns_of(samples: Samples, index: np.ndarray) -> dict[str, np.ndarray]:
    """All but the pictures of some samples (B,)."""
    names = {field.name for field in dataclasses.fields(Samples)} - {"size", "images"}
    return {name: getattr(samples, name)[index] for name in sorted(names)}


if __name__ == "__main__":
    run_program(main)
