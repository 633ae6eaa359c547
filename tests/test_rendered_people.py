"""Laws of the data set of rendered people: splits, bytes, interruptions, errors."""

import errno
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

from data import people
from data.camera import Camera, project
from data.motion import MOTION_DIR
from data.people import TEST_SUBJECTS, TRAIN_SUBJECTS, load_subjects, subject_scales
from data.pipeline import open_samples
from data.rendered_people import builder as builder_module
from data.rendered_people import mean_skeleton
from data.rendered_people import parts as parts_module
from data.rendered_people.builder import people_builder, prepare
from data.rendered_people.splits import coarse_action, held_out_performers, plan_parts
from kinpose import forward_kinematics
from kinpose.io.bvh import load_bvh
from kinpose.metrics import bone_lengths
from kinpose.skeletons import human_17
from tests.conftest import ROOT, contents

NAME = "rendered_people/tiny_64_clips"
CHILD, PARENT = np.array(human_17().bones).T


def builder_of(data_dir, motion_dir, processes=1):
    return people_builder("tiny_64", data_dir=data_dir, motion_dir=motion_dir, processes=processes)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A directory with two of the bundled recordings."""
    directory = tmp_path_factory.mktemp("motions") / "clips"
    directory.mkdir()
    for name in ("run", "jump"):
        shutil.copy(MOTION_DIR / f"{name}.bvh", directory)
    return directory


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, clips):
    directory = tmp_path_factory.mktemp("datasets")
    prepare(builder_of(directory, clips))
    return directory


@pytest.fixture(scope="module")
def splits(data_dir):
    return {split: open_samples(NAME, split, data_dir=data_dir) for split in ("train", "test")}


def numbered(directory, *names):
    directory.mkdir()
    for name in names:
        shutil.copy(MOTION_DIR / "run.bvh", directory / f"{name}.bvh")
    return sorted(directory.glob("*.bvh"))


def test_five_subjects_train_and_two_test_before_four_cameras(splits):
    assert set(splits["train"].subject) == set(TRAIN_SUBJECTS)
    assert set(splits["test"].subject) == set(TEST_SUBJECTS)
    for samples in splits.values():
        poses = {key.rpartition("/")[0].rpartition("/")[0] for key in samples.keys}
        assert poses == {f"{s}/{clip}" for s in set(samples.subject) for clip in ("run", "jump")}
        by_camera = [np.sum(samples.camera == name) for name in "0123"]
        assert len(set(by_camera)) == 1
        assert sum(by_camera) == len(samples)


def test_keys_are_disjoint(splits):
    keys = [key for samples in splits.values() for key in samples.keys]
    assert len(set(keys)) == len(keys) == sum(map(len, splits.values()))


def test_test_frames_come_after_a_gap_behind_the_training_frames(splits):
    for clip, num_frames in (("run", 25), ("jump", 107)):
        last, first = (
            f(samples.frame[samples.clip == clip])
            for f, samples in ((np.max, splits["train"]), (np.min, splits["test"]))
        )
        assert last < 0.7 * num_frames
        assert first >= 0.8 * num_frames


def test_bones_and_scale_of_a_subject_are_constant(splits):
    scales = subject_scales(load_subjects())
    for samples in splits.values():
        lengths = np.linalg.norm(samples.joints[:, CHILD] - samples.joints[:, PARENT], axis=-1)
        for subject in set(samples.subject):
            own = samples.subject == subject
            assert np.ptp(lengths[own], axis=0).max() < 0.01  # mm
            np.testing.assert_allclose(samples.scale[own], scales[subject], rtol=1e-6)


def test_joints_project_to_their_pixels_inside_the_picture(splits):
    samples = splits["test"]
    for i in range(len(samples)):
        camera = Camera(None, None, float(samples.focal_px[i]), samples.center_px[i])
        np.testing.assert_allclose(project(samples.joints[i], camera), samples.pixels[i], atol=1e-3)
    assert -0.5 < samples.pixels.min() < samples.pixels.max() < 63.5


def test_the_motion_parameters_are_the_recordings_own(data_dir, clips):
    source = builder_of(data_dir, clips).as_data_source("test")
    for row in (source[0], source[len(source) - 1]):
        recording = load_bvh(clips / f"{row['clip'].decode()}.bvh")
        own = recording.params[row["frame"]].astype(np.float32)
        np.testing.assert_array_equal(row["params"], own)


@pytest.mark.slow
def test_a_second_build_by_two_processes_is_equal_byte_by_byte(data_dir, clips, tmp_path):
    prepare(builder_of(tmp_path, clips, processes=2))
    assert contents(tmp_path) == contents(data_dir)


def test_an_interrupted_build_goes_on_and_gives_the_same_bytes(
    data_dir, clips, tmp_path, monkeypatch
):
    def interrupted(parts):
        yield from itertools.islice(parts, 5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(builder_of(tmp_path, clips), show=interrupted)
    with pytest.raises(ValueError, match="no built data set"):
        open_samples(NAME, "train", data_dir=tmp_path)
    rendered = []

    def render(part, size):
        rendered.append(part)
        return original(part, size)

    original = parts_module.render_part
    monkeypatch.setattr(parts_module, "render_part", render)
    prepare(builder_of(tmp_path, clips))
    assert len(rendered) == len(builder_of(tmp_path, clips).parts) - 5
    assert contents(tmp_path) == contents(data_dir)


def test_a_full_disk_while_rendering_leaves_no_part_of_a_file(clips, tmp_path, monkeypatch):
    def save(path, **columns):
        pathlib.Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", save)
    with pytest.raises(OSError, match="No space left"):
        prepare(builder_of(tmp_path, clips))
    assert not contents(tmp_path)


def test_a_full_disk_while_packing_leaves_no_data_set(data_dir, clips, tmp_path, monkeypatch):
    def read(part, directory):
        yield from itertools.islice(parts_module.read_part(part, directory), 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(builder_module, "read_part", read)
        with pytest.raises(OSError, match="No space left"):
            prepare(builder_of(tmp_path, clips))
    (configuration,) = (tmp_path / "rendered_people").glob("tiny_64_clips")
    assert [path.name[:6] for path in configuration.iterdir()] == ["parts-"]
    prepare(builder_of(tmp_path, clips))
    assert contents(tmp_path) == contents(data_dir)


def test_what_is_built_is_built_once(data_dir, clips, monkeypatch):
    monkeypatch.setattr(parts_module, "render_part", None)
    prepare(builder_of(data_dir, clips))


def test_other_recordings_under_the_same_name_are_refused(data_dir, tmp_path):
    (other,) = numbered(tmp_path / "clips", "run")
    with pytest.raises(ValueError, match="built from other recordings than those in"):
        prepare(builder_of(data_dir, other.parent))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "run.bvh").unlink(), r"expected a directory with BVH files; it has none"),
        (
            lambda d: (d / "run.bvh").write_text(
                (d / "run.bvh").read_text().replace("JOINT Chest\n", "JOINT Tail\n")
            ),
            r"run\.bvh: .* it lacks Chest",
        ),
        (lambda d: (d / "run.bvh").write_text("HIERARCHY\n"), r"run\.bvh"),
        (lambda d: (d / "manifest.csv").write_text("a,b\n1,2\n"), r"columns file and description"),
        (lambda d: (d / "manifest.csv").write_bytes(b"file,\xff\xff\n"), r"manifest\.csv"),
    ],
)
def test_an_unusable_recording_ends_before_anything_is_written(tmp_path, spoil, message):
    (path,) = numbered(tmp_path / "clips", "run")
    spoil(path.parent)
    data_dir = tmp_path / "datasets"
    with pytest.raises(ValueError, match=message):
        prepare(builder_of(data_dir, path.parent))
    assert not data_dir.exists()


def test_a_corrupt_body_file_ends_before_anything_is_written(tmp_path, clips, monkeypatch):
    body_file = tmp_path / "adults.npz"
    body_file.write_bytes(b"no archive")
    monkeypatch.setattr(load_subjects, "__defaults__", (body_file,))
    parts_module.subjects.cache_clear()
    with pytest.raises(ValueError, match=r"adults\.npz: expected a body file"):
        prepare(builder_of(tmp_path / "datasets", clips))
    assert not (tmp_path / "datasets").exists()


def test_unknown_names_and_directories_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"come as tiny_64, .*, but got 'tiny_65'"):
        people_builder("tiny_65", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"nowhere: expected a directory .* does not exist"):
        people_builder("tiny_64", data_dir=tmp_path, motion_dir=tmp_path / "nowhere")


def test_performers_of_test_recordings_do_not_train(tmp_path):
    names = [f"{who}_{trial:02d}" for who in ("02", "5", "131") for trial in (1, 2)]
    paths = numbered(tmp_path / "some", *names, "nobody")
    parts = plan_parts(paths, train_step_s=0.1, test_step_s=0.1)
    performed = {
        split: {part.clip for part in parts if part.split == split} for split in ("train", "test")
    }
    assert performed["test"] == {"02_01", "02_02"}
    assert performed["train"] == {"5_01", "5_02", "131_01", "131_02", "nobody"}


@pytest.mark.parametrize(
    ("clips", "testers"),
    [
        (["walk", "02_01"], ()),  # one performer cannot be split
        (["10_01", "9_01", "9_02"], ("9",)),
        ([f"{i}_01" for i in range(1, 13)], ("1", "6", "11")),
    ],
)
def test_every_fifth_performer_is_for_testing(clips, testers):
    assert held_out_performers(clips) == testers


@pytest.mark.parametrize("num_frames", [9, 10, 11, 13])
def test_short_recordings_are_divided_with_a_gap_or_refused(tmp_path, num_frames):
    text = (MOTION_DIR / "run.bvh").read_text().replace("Frames: 25", f"Frames: {num_frames}")
    lines = text.splitlines()
    path = tmp_path / "short.bvh"
    path.write_text("\n".join(lines[: len(lines) - 25 + num_frames]) + "\n")
    if num_frames < 10:
        with pytest.raises(ValueError, match=r"short\.bvh: expected 10 frames or more, .* has 9"):
            plan_parts([path], train_step_s=0.01, test_step_s=0.01)
        return
    parts = plan_parts([path], train_step_s=0.01, test_step_s=0.01)
    train, test = (
        {frame for part in parts if part.split == split for frame in part.frames}
        for split in ("train", "test")
    )
    assert max(train) + 1 < min(test)
    assert max(test) == num_frames - 1


def test_training_subjects_take_frames_of_their_own(clips):
    parts = plan_parts([clips / "jump.bvh"], train_step_s=0.2, test_step_s=0.2)
    train = [part.frames for part in parts if part.split == "train"]
    assert len(set(itertools.chain(*train))) == sum(map(len, train))
    steps = np.concatenate([np.diff(frames) for frames in train])
    assert set(steps) == {12}  # 0.2 s at 60 Hz


@pytest.mark.parametrize(
    ("description", "action"),
    [
        ("getup_faceup", "getup"),
        ("jump, balance", "jump"),
        ("basketball signal", "signal"),
        ("walk on uneven terrain", "terrain"),
        ("dance - cartwheel-like start", "dance"),
        ("Sitting 1", "sitting"),
        ("144_21", "motion"),
    ],
)
def test_descriptions_become_coarse_actions(description, action):
    assert coarse_action(description) == action


def test_a_manifest_says_what_is_done(tmp_path):
    (path,) = numbered(tmp_path / "some", "02_01")
    (path.parent / "manifest.csv").write_text("file,description\n02_01.bvh,punch/strike\n")
    parts = plan_parts([path], train_step_s=1, test_step_s=1)
    assert {part.action for part in parts} == {"punch"}


def test_the_mean_skeleton_has_the_subjects_mean_bones():
    skeleton = mean_skeleton()
    subjects = load_subjects()
    joints = jnp.stack([people.rest_joints(subject.body) for subject in subjects.values()])
    wanted = np.array(bone_lengths(joints, skeleton)).mean(axis=0)
    names = [skeleton.keypoint_names[i] for i in CHILD]
    torso, neck = names.index("torso"), names.index("neck")
    wanted[[torso, neck]] = wanted[[torso, neck]].mean()  # the model's torso is the midpoint
    rest = np.asarray(forward_kinematics(jnp.zeros(27), skeleton))
    np.testing.assert_allclose(bone_lengths(rest, skeleton), wanted, atol=0.01)  # left = right
    mean, at = np.asarray(joints).mean(axis=0), list(skeleton.keypoint_names).index
    for child, parent in (("left_shoulder", "neck"), ("nose", "neck"), ("head", "nose")):
        mine, theirs = (x[at(child)] - x[at(parent)] for x in (rest, mean))
        cosine = mine @ theirs / np.linalg.norm(mine) / np.linalg.norm(theirs)
        assert cosine > 0.9999, child


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_build_leaves_no_process_and_goes_on(data_dir, clips, tmp_path, signum):
    command = [sys.executable, "-m", "experiments.build_data", "--dataset=rendered_people/tiny_64"]
    command += [f"--motion_dir={clips}", f"--data_dir={tmp_path}"]
    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signum)
    _, log = first.communicate(timeout=120)  # ends when no process holds the pipe any more
    assert first.returncode != 0
    assert b"Traceback" not in log
    assert not list(tmp_path.rglob("dataset_info.json"))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert contents(tmp_path) == contents(data_dir)


def test_the_metadata_says_what_the_pictures_come_from(data_dir, clips):
    (path,) = data_dir.rglob("1.0.0/metadata.json")
    assert json.loads(path.read_text()) == {"source": builder_of(data_dir, clips).source}
