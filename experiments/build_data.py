"""Builds a data set of people.

  python -m experiments.build_data --dataset=rendered_people/small_64 --data_dir=datasets

Shows progress; interrupted, the same command goes on where it was.
"""

import sys

from absl import app, flags

from data.rendered_people.builder import (
    IMAGE_SIZES,
    STEPS_S,
    count_images,
    people_builder,
    prepare,
)
from experiments.program import run_program
from experiments.progress import show_progress

_DATASET = flags.DEFINE_string(
    "dataset",
    "rendered_people/small_64",
    f"rendered_people/SIZE_PIXELS, with a size of {', '.join(STEPS_S)} and pixels of "
    f"{', '.join(map(str, IMAGE_SIZES))}.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Where data sets are built.")
_MOTION_DIR = flags.DEFINE_string(
    "motion_dir",
    None,
    "Directory of BVH files; its name is added to the data set's. The bundled ones by default.",
)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    family, _, name = _DATASET.value.partition("/")
    if family != "rendered_people":
        raise ValueError(f"dataset must begin with rendered_people/, but got {_DATASET.value!r}.")
    builder = people_builder(name, data_dir=_DATA_DIR.value, motion_dir=_MOTION_DIR.value)

    def show(parts):
        total = builder.num_images
        return show_progress(parts, name, unit="images", count=count_images, total=total)

    try:
        prepare(builder, show=show)
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from there")
    splits = builder.info.splits
    counts = " and ".join(f"{splits[name].num_examples} {name}" for name in ("train", "test"))
    print(f"{counts} images in {builder.data_dir}")


if __name__ == "__main__":
    run_program(main)
