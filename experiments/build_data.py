"""Builds a data set of people.

  python -m experiments.build_data --dataset=rendered_people/small_64 --data_dir=datasets
  python -m experiments.build_data --dataset=human36m/paper_224 --manual_dir=downloads

Shows progress; interrupted, the same command goes on where it was. Human3.6M: docs/human36m.md.
"""

import textwrap

from absl import app, flags

from data.rendered_people import builder as rendered_people
from experiments.program import run_program
from experiments.progress import show_progress

_DATASET = flags.DEFINE_string(
    "dataset",
    "rendered_people/small_64",
    f"rendered_people/SIZE_PIXELS, with a size of {', '.join(rendered_people.STEPS_S)} or varied, "
    f"and pixels of {', '.join(map(str, rendered_people.IMAGE_SIZES))}; or "
    "human36m/FRAMES_PIXELS.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Where data sets are built.")
_MOTION_DIR = flags.DEFINE_string(
    "motion_dir",
    None,
    "Directory of BVH files; its name is added to the data set's. The bundled ones by default.",
)
_MANUAL_DIR = flags.DEFINE_string("manual_dir", None, "Where the files of Human3.6M are.")
_ALLOW_PARTIAL = flags.DEFINE_bool(
    "allow_partial", False, "Build what is there of Human3.6M where files are missing or damaged."
)
_WITH_BOXES = flags.DEFINE_bool(
    "with_boxes", False, "Crop by Human3.6M's own boxes instead of boxes around the joints."
)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    family, _, name = _DATASET.value.partition("/")
    if family not in _FAMILIES:
        names = " or ".join(f"{name}/" for name in _FAMILIES)
        raise ValueError(f"dataset must begin with {names}, but got {_DATASET.value!r}.")
    builder = _FAMILIES[family](name)
    splits = builder.info.splits.items()
    counts = " and ".join(f"{split.num_examples} {name}" for name, split in splits)
    print(f"{counts} images in {builder.data_dir}")


def build_rendered_people(name: str):
    """Builds rendered people and returns their builder."""
    data_dir, motion_dir = _DATA_DIR.value, _MOTION_DIR.value
    builder = rendered_people.people_builder(name, data_dir=data_dir, motion_dir=motion_dir)

    def show(parts):
        options = {"count": rendered_people.count_images, "total": builder.num_images}
        return show_progress(parts, name, unit="images", **options)

    rendered_people.prepare(builder, show=show)
    return builder


def build_human36m(name: str):
    """Builds Human3.6M from the user's files and returns its builder."""
    try:
        from data.human36m import builder as human36m
    except ImportError as error:
        raise ValueError(
            f"Human3.6M needs pip install 'kinpose[checkout-human36m]' ({error})."
        ) from error
    if _MANUAL_DIR.value is None:
        instructions = textwrap.dedent(human36m.Human36m.MANUAL_DOWNLOAD_INSTRUCTIONS)
        raise ValueError(f"give --manual_dir, where the files of Human3.6M are.\n{instructions}")
    builder = human36m.human36m_builder(
        name,
        data_dir=_DATA_DIR.value,
        manual_dir=_MANUAL_DIR.value,
        allow_partial=_ALLOW_PARTIAL.value,
        with_boxes=_WITH_BOXES.value,
    )
    human36m.prepare(builder, show=show_progress)
    print(f"report: {builder.data_dir}/{human36m.REPORT}.txt")
    return builder


_FAMILIES = {"rendered_people": build_rendered_people, "human36m": build_human36m}


if __name__ == "__main__":
    run_program(main)
