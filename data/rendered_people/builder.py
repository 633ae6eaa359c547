"""The data set as tensorflow-datasets stores it (array_record; TensorFlow is not needed)."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterator

import tensorflow_datasets as tfds

from data.body import BODY_FILE, SHAPES_FILE, load_bodies
from data.motion import MOTION_DIR, find_motions
from data.rendered_people.parts import (
    RECORDINGS,
    AnyPart,
    count_images,
    read_part,
    render_parts,
    subjects,
)
from data.rendered_people.splits import (
    MANIFEST,
    divide_recordings,
    plan_parts,
    plan_tests,
    plan_varied,
)
from data.rendered_people.varied import SEED, write_recordings
from data.sample import JPEG, sample_features, write_data_set

IMAGE_SIZES = (64, 96, 128, 224)
"""Rows and columns of the crops to choose from (px)."""

NUM_VARIED = 60_000
"""Training pictures of `varied`, each with a body, a pose, a camera and all else of its own."""

STEPS_S = {"tiny": (1.5, 1.5), "small": (0.2, 0.25), "full": (1 / 30, 0.25)}
"""Time between two frames of a subject in a recording, in training and in testing."""

_VARIED_TEST_S = STEPS_S["small"][1]  # so that both test with the same pictures


@dataclasses.dataclass(kw_only=True)
class PeopleConfig(tfds.core.BuilderConfig):
    """What a data set consists of.

    Attributes:
      image_size: rows and columns of the crops (px).
      train_step_s: time between two training frames of a subject in a recording; None: varied.
      test_step_s: the same for testing.
      motion_dir: directory of BVH files.
      num_varied: training pictures that are varied in everything, where no subject performs.
    """

    image_size: int
    train_step_s: float | None
    test_step_s: float
    motion_dir: str
    num_varied: int = 0


class RenderedPeople(tfds.core.GeneratorBasedBuilder):
    """Rendered people under Human3.6M's protocol.

    Pictures are rendered into files beside the data set first, so that an interrupted build
    goes on where it was; they are removed when the data set is whole.
    """

    VERSION = tfds.core.Version("1.0.0")  # a change of the pictures or the plan needs a new one
    BUILDER_CONFIGS = [
        PeopleConfig(
            name=f"{size}_{image_size}",
            image_size=image_size,
            train_step_s=train_step_s,
            test_step_s=test_step_s,
            motion_dir=os.fspath(MOTION_DIR),
        )
        for size, (train_step_s, test_step_s) in STEPS_S.items()
        for image_size in IMAGE_SIZES
    ] + [
        PeopleConfig(
            name=f"varied_{image_size}",
            image_size=image_size,
            train_step_s=None,
            test_step_s=_VARIED_TEST_S,
            motion_dir=os.fspath(MOTION_DIR),
            num_varied=NUM_VARIED,
        )
        for image_size in IMAGE_SIZES
    ]

    def __init__(self, *, processes: int | None = None, **kwargs):
        """As any builder of tensorflow-datasets.

        Args:
          processes: that render at the same time; the number of cores by default.
          **kwargs: `config` and `data_dir` above all.
        """
        self._processes = processes
        super().__init__(file_format="array_record", **kwargs)

    @functools.cached_property
    def parts(self) -> list[AnyPart]:
        """What is rendered; reads all recordings.

        Raises:
          ValueError: for a directory without recordings, or one that cannot be used.
        """
        config = self.builder_config
        if config.num_varied:
            tests = plan_tests(self.recordings[1], test_step_s=config.test_step_s)
            return plan_varied(config.num_varied) + tests
        return plan_parts(
            find_motions(config.motion_dir),
            train_step_s=config.train_step_s,
            test_step_s=config.test_step_s,
        )

    @functools.cached_property
    def recordings(self) -> tuple[list, list]:
        """Paths of those that varied pictures take poses from, and of those that test.

        The bundled recordings train, too, but those of which the directory has one by this name.
        """
        given = find_motions(self.builder_config.motion_dir)
        train, test = divide_recordings(given)
        names = {path.stem for path in given}
        return [*train, *(path for path in find_motions() if path.stem not in names)], test

    @functools.cached_property
    def source(self) -> str:
        """A digest of what the pictures depend on."""
        config = self.builder_config
        steps = (config.image_size, config.train_step_s, config.test_step_s)
        found = hashlib.sha256(repr((self.VERSION, steps, JPEG)).encode())
        manifest = pathlib.Path(config.motion_dir) / MANIFEST
        paths = [BODY_FILE, *find_motions(config.motion_dir), manifest]
        if config.num_varied:
            found.update(repr((config.num_varied, SEED)).encode())
            paths += [SHAPES_FILE, *find_motions()]
        for path in paths:
            if path.exists():
                found.update(path.stem.encode() + hashlib.sha256(path.read_bytes()).digest())
        return found.hexdigest()[:16]

    @property
    def num_images(self) -> int:
        """In all parts."""
        return sum(map(count_images, self.parts))

    def render(self) -> Iterator[AnyPart]:
        """Renders what is not rendered yet, and yields each part when it is there."""
        if self.builder_config.num_varied:
            write_recordings(self.parts_dir / RECORDINGS, self.recordings[0])
        return render_parts(
            self.parts,
            self.parts_dir,
            self.builder_config.image_size,
            processes=self._processes,
        )

    @property
    def parts_dir(self) -> pathlib.Path:
        """Where rendered parts wait for the others."""
        return pathlib.Path(self.data_dir).parent / f"parts-{self.source}"

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Rendered people under Human3.6M's protocol.",
            features=sample_features(self.builder_config.image_size),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        for _ in self.render():
            pass
        self.info.metadata["source"] = self.source
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str):
        for part in self.parts:
            if part.split == split:
                yield from read_part(part, self.parts_dir)


def people_builder(
    name: str, *, data_dir, motion_dir=None, processes: int | None = None
) -> RenderedPeople:
    """A builder by the name of its configuration.

    Args:
      name: a key of `STEPS_S` or varied, and one of `IMAGE_SIZES`, such as small_64.
      data_dir: where data sets are built.
      motion_dir: directory of BVH files, whose own name is added to that of the configuration,
        such as small_64_cmu; the bundled recordings by default.
      processes: see `RenderedPeople`.

    Returns:
      The builder.

    Raises:
      ValueError: for an unknown name, or a directory without recordings.
    """
    configs = {config.name: config for config in RenderedPeople.BUILDER_CONFIGS}
    if name not in configs:
        raise ValueError(f"rendered people come as {', '.join(configs)}, but got {name!r}.")
    config = name
    if motion_dir is not None:
        find_motions(motion_dir)
        source = pathlib.Path(motion_dir).resolve()
        config = dataclasses.replace(
            configs[name], name=f"{name}_{source.name}", motion_dir=os.fspath(source)
        )
    return RenderedPeople(config=config, data_dir=os.fspath(data_dir), processes=processes)


def prepare(builder: RenderedPeople, *, show=iter) -> pathlib.Path:
    """Builds the data set, or finds it built.

    Args:
      builder: says what and where.
      show: passes the rendered parts on, and may show how far the work has come.

    Returns:
      Its directory.

    Raises:
      ValueError: for recordings or bodies that cannot be used, and for a data set of this name
        that was built from others.
      OSError: when writing fails. What was rendered stays, for the next time.
    """
    directory = pathlib.Path(builder.data_dir)
    if directory.exists():
        there = (builder.info.metadata or {}).get("source")
        if there != builder.source:
            raise ValueError(
                f"{directory} was built from other recordings than those in "
                f"{builder.builder_config.motion_dir} now; give another data_dir or remove it."
            )
        return directory
    subjects()  # a body file that cannot be used is reported before anything is written
    if builder.builder_config.num_varied:
        load_bodies(SHAPES_FILE)
    for stale in directory.parent.glob("incomplete.*"):
        shutil.rmtree(stale)
    for _ in show(builder.render()):
        pass
    write_data_set(builder)
    for rendered in directory.parent.glob("parts-*"):
        shutil.rmtree(rendered)
    return directory
