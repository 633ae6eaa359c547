"""The data set as tensorflow-datasets stores it (array_record; TensorFlow is not needed)."""

import dataclasses
import functools
import os
import pathlib
import shutil

import tensorflow_datasets as tfds
from absl import logging

from data.human36m.metadata import read_metadata
from data.human36m.names import BROKEN_VIEW, View, split_of
from data.human36m.plan import (
    Show,
    Source,
    choose_frames,
    find_sources,
    gather_files,
    listing,
    quietly,
)
from data.human36m.report import REPORT, Report, make_report, write_report
from data.human36m.scales import subject_scales
from data.human36m.views import Job, make_part, part_path, read_part
from data.processes import run_in_processes
from data.sample import sample_features, sample_key, write_data_set
from kinpose.io.files import read_json

FRAMES = {
    "paper": {"num_train": 800_000},
    "paper_test64": {"num_train": 800_000, "test_every": 64},
    "every5": {"train_every": 5, "test_every": 5},
    "every64": {"train_every": 64, "test_every": 64},
}
"""The paper's 800,000 training frames at random, with all test frames or every 64th of a view; or
every 5th or 64th frame of all."""

IMAGE_SIZES = (64, 128, 224)
"""Rows and columns of the crops to choose from (px)."""


@dataclasses.dataclass(kw_only=True)
class Human36mConfig(tfds.core.BuilderConfig):
    """What the data set consists of.

    Attributes:
      image_size: rows and columns of the crops (px).
      train_every: takes training frame 0 of a view and every so many from there on.
      test_every: the same for testing.
      num_train: takes so many of the training frames at random. None: all.
      seed: of this choice.
      with_boxes: takes the data set's own boxes instead of boxes around the joints.
    """

    image_size: int
    train_every: int = 1
    test_every: int = 1
    num_train: int | None = None
    seed: int = 0
    with_boxes: bool = False


class Human36m(tfds.core.GeneratorBasedBuilder):
    """Human3.6M, cropped to the person.

    Views are made into files beside the data set first, so that an interrupted build goes on
    where it was; they are removed when the data set is whole.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        Human36mConfig(name=f"{name}_{size}", image_size=size, **frames)
        for name, frames in FRAMES.items()
        for size in IMAGE_SIZES
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Register at http://vision.imar.ro/human3.6m and fetch, for each of the subjects S1, S5, S6, S7,
    S8, S9 and S11, from "by subject":

      Poses_D3_Positions_mono_S1.tgz   (or Poses_D3_Positions_S1.tgz)
      Videos_S1.tgz
      Poses_D2_Positions_S1.tgz        (not needed; compared with the cameras)
      Segments_mat_gt_bb_S1.tgz        (only to take the data set's own boxes)

    and the code (code-v1.2.zip), which has metadata.xml. Put the archives and metadata.xml, as
    they are, into one directory, the manual_dir. An unpacked tree (S1/Videos/..., with or without
    archives beside it) or VideoPose3D's data_3d_h36m.npz in place of the poses do as well.
    """

    def __init__(
        self,
        *,
        manual_dir: str | os.PathLike,
        allow_partial: bool = False,
        processes: int | None = None,
        **kwargs,
    ):
        """As any builder of tensorflow-datasets.

        Args:
          manual_dir: where Human3.6M's files are.
          allow_partial: builds what is there instead of refusing when something is missing.
          processes: that work at the same time; the number of cores by default.
          **kwargs: `config` and `data_dir` above all.
        """
        self._manual_dir, self._processes, self._report = manual_dir, processes, None
        self.allow_partial = allow_partial
        super().__init__(file_format="array_record", **kwargs)

    def make_parts(self, show: Show) -> Report:
        """Makes the files of all views that are not made yet; hours.

        Args:
          show: shows how far the work has come.

        Returns:
          What will be in the data set.

        Raises:
          ValueError: listing what is missing or damaged. What was made stays, for the next time.
        """
        config, place = self.builder_config, self.parts_dir
        options = {"with_boxes": config.with_boxes, "allow_partial": self.allow_partial}
        found, problems = gather_files(
            self._manual_dir,
            place.parent.parent / "unpacked",
            processes=self._processes,
            show=show,
            **options,
        )
        metadata = read_metadata(found.metadata)
        sources, broken = find_sources(found, metadata, **options)
        jobs = _plan_jobs(sources, metadata, config)
        place.mkdir(parents=True, exist_ok=True)
        make = functools.partial(make_part, directory=place)
        missing = [job for job in jobs if not part_path(job, place).exists()]
        done = show(
            run_in_processes(make, missing, self._processes),
            "decoding",
            unit="frames",
            count=lambda item: _num_decoded(item[0]),
            total=sum(map(_num_decoded, missing)),
        )
        failed = {job.view: str(found) for job, found in done if isinstance(found, ValueError)}
        serious = [f"{view}: {why}" for view, why in failed.items() if view != BROKEN_VIEW]
        if serious and not self.allow_partial:
            raise ValueError(listing("these views cannot be used:", serious))
        self._jobs = [job for job in jobs if job.view not in failed]
        self._scales, differences = subject_scales(metadata.bone_lengths)
        self._report = make_report(
            config.name,
            sources=sources,
            broken=broken | failed,
            written={job.view: len(job.frames) for job in self._jobs},
            poses_in_metadata=metadata.num_poses,
            problems=problems,
            scales=self._scales,
            scale_differences=differences,
            disagreement_px={job.view: make_part(job, place) for job in self._jobs},
            steps={
                "train": None if config.num_train else config.train_every,
                "test": config.test_every,
            },
        )
        return self._report

    @property
    def parts_dir(self) -> pathlib.Path:
        """Where the files of views wait for the others."""
        return pathlib.Path(self.data_dir).parent / "parts"

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Human3.6M, cropped to the person.",
            homepage="http://vision.imar.ro/human3.6m",
            features=sample_features(self.builder_config.image_size),
        )

    def _split_generators(self, dl_manager):
        report = self._report or self.make_parts(quietly)
        # This directory takes its place among the data sets when all is written.
        write_report(report, self.data_dir)
        here = {split_of(job.view.subject) for job in self._jobs}
        return {split: self._generate_examples(split) for split in sorted(here, reverse=True)}

    def _generate_examples(self, split: str):
        for job in self._jobs:
            view = job.view
            if split_of(view.subject) == split:
                names = {**view._asdict(), "action": view.action}
                names["scale"] = self._scales[view.subject]
                for row in read_part(part_path(job, self.parts_dir)):
                    yield sample_key(*view, int(row["frame"])), row | names | {"params": []}


def human36m_builder(name: str, *, data_dir, with_boxes: bool = False, **options) -> Human36m:
    """A builder by the name of its configuration.

    Args:
      name: a key of `FRAMES` and one of `IMAGE_SIZES`, such as paper_224.
      data_dir: where data sets are built.
      with_boxes: takes the data set's own boxes instead of boxes around the joints, and adds
        _boxes to the name.
      **options: see `Human36m`.

    Returns:
      The builder.

    Raises:
      ValueError: for an unknown name.
    """
    configs = {config.name: config for config in Human36m.BUILDER_CONFIGS}
    if name not in configs:
        raise ValueError(f"Human3.6M comes as {', '.join(configs)}, but got {name!r}.")
    config = configs[name]
    if with_boxes:
        config = dataclasses.replace(config, name=f"{name}_boxes", with_boxes=True)
    return Human36m(config=config, data_dir=os.fspath(data_dir), **options)


def prepare(builder: Human36m, *, show: Show = quietly) -> pathlib.Path:
    """Builds the data set, or finds it built.

    Args:
      builder: says what, where and from which files.
      show: shows how far the work has come, see `data.human36m.plan.Show`.

    Returns:
      Its directory, with the build report.

    Raises:
      ValueError: listing what is missing or damaged, and for a data set of this name that is there
        and lacks something, when that is not allowed.
      OSError: when writing fails. What was made stays, for the next time.
    """
    directory = pathlib.Path(builder.data_dir)
    if directory.exists():
        partial = read_json(directory / f"{REPORT}.json").get("partial")
        if partial and not builder.allow_partial:
            raise ValueError(f"{directory} was built without {'; '.join(partial)}; remove it.")
        return directory
    for stale in directory.parent.glob("incomplete.*"):
        shutil.rmtree(stale)
    report = builder.make_parts(show)
    for warning in report.warnings:
        logging.warning("%s", warning)
    write_data_set(builder)
    shutil.rmtree(builder.parts_dir)
    return directory


def _plan_jobs(sources: dict[View, Source], metadata, config: Human36mConfig) -> list[Job]:
    jobs = []
    for split, every, number in (
        ("train", config.train_every, config.num_train),
        ("test", config.test_every, None),
    ):
        counts = {v: x.num_poses for v, x in sources.items() if split_of(v.subject) == split}
        chosen = choose_frames(counts, every=every, number=number, seed=config.seed)
        for view, frames in chosen.items():
            source = sources[view]
            jobs.append(
                Job(
                    view=view,
                    lens=metadata.lenses[view.subject, view.camera],
                    poses=source.poses,
                    pose_kind=source.pose_kind,
                    video=source.video,
                    pixels=source.pixels,
                    boxes=source.boxes,
                    frames=frames,
                    size=config.image_size,
                )
            )
    return [job for job in jobs if len(job.frames)]


def _num_decoded(job: Job) -> int:
    """Frames up to the last that is wanted."""
    return int(job.frames[-1]) + 1
