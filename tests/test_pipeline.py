"""Laws of reading built data sets: random access, order, parts of processes, prefetching."""

import shutil
import threading

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data import pipeline
from data.motion import MOTION_DIR
from data.pipeline import open_samples, prefetched
from data.rendered_people.builder import people_builder, prepare
from kinpose.train import batch_indices

NAME = "rendered_people/tiny_64_clips"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    clips = tmp_path_factory.mktemp("motions") / "clips"
    clips.mkdir()
    shutil.copy(MOTION_DIR / "run.bvh", clips)
    directory = tmp_path_factory.mktemp("datasets")
    prepare(people_builder("tiny_64", data_dir=directory, motion_dir=clips, processes=1))
    return directory


@pytest.fixture
def samples(data_dir):
    return open_samples(NAME, "train", data_dir=data_dir)


def test_samples_are_those_that_tensorflow_datasets_reads(samples, data_dir):
    (version,) = (data_dir / NAME).glob("*.*.*")
    rows = list(tfds.builder_from_directory(version).as_data_source("train"))
    assert len(rows) == len(samples) == len(samples.keys)
    images = samples.images(range(len(samples)))
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(images[i], row["image"])
        for name in ("joints", "pixels", "box", "focal_px", "center_px", "scale", "frame"):
            np.testing.assert_array_equal(getattr(samples, name)[i], row[name])
        who = [row[name].decode() for name in ("subject", "clip", "camera")]
        assert samples.keys[i] == "/".join(who) + f"/{row['frame']:06d}"
        assert samples.action[i] == row["action"].decode() == "run"


def test_pictures_read_on_demand_are_those_in_memory(samples, data_dir):
    on_demand = open_samples(NAME, "train", data_dir=data_dir, memory_bytes=0)
    index = np.array([3, 0, 3, len(samples) - 1])
    np.testing.assert_array_equal(on_demand.images(index), samples.images(index))
    assert on_demand.images([]).shape == samples.images([]).shape == (0, 64, 64, 3)
    assert on_demand.images(index).dtype == np.uint8


def test_batches_depend_on_seed_and_step_alone(samples, data_dir):
    def batch(samples, step, seed=5):
        return samples.images(batch_indices(len(samples), 8, step, seed))

    again = open_samples(NAME, "train", data_dir=data_dir, memory_bytes=0)
    for step in (7, 2):  # a resumed run begins anywhere
        np.testing.assert_array_equal(batch(samples, step), batch(again, step))
    assert (batch(samples, 2) != batch(samples, 2, seed=6)).any()


def test_processes_share_a_batch(samples, monkeypatch):
    whole = batch_indices(len(samples), 8, 3, 0)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    parts = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        parts.append(samples.images(batch_indices(len(samples), 8, 3, 0)))
    np.testing.assert_array_equal(np.concatenate(parts), samples.images(whole))


def test_prefetching_changes_no_batch_and_works_ahead():
    loaded = []
    ahead = threading.Event()

    def load_batch(step):
        loaded.append(step)
        if step == 12:
            ahead.set()
        return step**2

    load = prefetched(load_batch, ahead=2)
    assert load(10) == 100
    assert ahead.wait(10)
    assert [load(step) for step in (11, 12, 13, 50, 3)] == [121, 144, 169, 2500, 9]
    assert len(set(loaded)) == len(loaded)


def test_an_error_while_prefetching_is_that_of_its_step():
    def load_batch(step):
        if step == 1:
            raise OSError("torn")
        return step

    load = prefetched(load_batch)
    assert load(0) == 0
    with pytest.raises(OSError, match="torn"):
        load(1)
    assert load(2) == 2


def test_the_newest_version_is_read(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    versions = tmp_path / NAME
    for other in ("9.0.0", "10.0.0"):
        shutil.copytree(versions / "1.0.0", versions / other)
    (versions / "incomplete.ABC_11.0.0").mkdir()
    assert pipeline._newest_version(versions).name == "10.0.0"


def test_unknown_data_sets_and_splits_are_named(data_dir):
    with pytest.raises(ValueError, match=r"tiny_65 is no built data set; .*tiny_65. builds"):
        open_samples("rendered_people/tiny_65", "train", data_dir=data_dir)
    with pytest.raises(ValueError, match="has the splits test, train, but got 'dev'"):
        open_samples(NAME, "dev", data_dir=data_dir)


def test_a_torn_file_is_named(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    (file,) = (tmp_path / NAME).rglob("*train*")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"tiny_64_clips.* cannot be read"):
        open_samples(NAME, "train", data_dir=tmp_path)
