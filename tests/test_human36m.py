"""Laws of the Human3.6M builder, on a made-up tree in the official formats."""

import io
import json
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile

import numpy as np
import pytest

pytest.importorskip("cdflib", reason="reading Human3.6M needs kinpose[checkout-human36m]")
pytest.importorskip("av", reason="reading Human3.6M needs kinpose[checkout-human36m]")

from data.camera import Box, Camera, crop_camera, project, to_camera
from data.human36m import archives, boxes, report, scales, video
from data.human36m import views as views_module
from data.human36m.builder import REPORT, human36m_builder, prepare
from data.human36m.crop import to_crop_pixels
from data.human36m.files import MONO, WORLD, find_files
from data.human36m.lens import Lens, project_through
from data.human36m.metadata import read_metadata
from data.human36m.names import CAMERAS, KEYPOINTS_OF_32, SUBJECTS, View, clip_of
from data.human36m.plan import choose_frames
from data.human36m.poses import camera_joints, read_joints
from data.pipeline import open_samples
from tests import human36m_tree as made_up
from tests.conftest import ROOT
from tests.test_human import run as run_on_small_net

NUM_TRAIN = 4 * made_up.NUM_POSES * sum(len(made_up.CLIPS[s]) for s in SUBJECTS[:5])
NUM_TEST = 4 * made_up.NUM_POSES * sum(len(made_up.CLIPS[s]) for s in SUBJECTS[5:])


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return made_up.make_tree(tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def downloads(tree, tmp_path_factory):
    return made_up.archive(tree, tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def built(downloads, tmp_path_factory):
    """Data directory, report, and the samples of both splits; every frame, from archives."""
    data_dir = tmp_path_factory.mktemp("datasets")
    directory = build(downloads, data_dir, "paper_64")
    found = json.loads((directory / f"{REPORT}.json").read_text())
    splits = ("train", "test")
    return (
        data_dir,
        found,
        [open_samples("human36m/paper_64", s, data_dir=data_dir) for s in splits],
    )


@pytest.fixture
def own_tree(tree, tmp_path):
    """A tree to damage."""
    return shutil.copytree(tree, tmp_path / "own")


def build(manual_dir, data_dir, name="every5_64", **options):
    return prepare(
        human36m_builder(name, data_dir=data_dir, manual_dir=manual_dir, processes=1, **options)
    )


def cut(path: pathlib.Path):
    """Leaves half of a file."""
    os.truncate(path, path.stat().st_size // 2)


# What is built.


def test_every_frame_with_a_pose_is_a_sample(built):
    _, found, (train, test) = built
    assert len(train) == NUM_TRAIN
    assert len(test) == NUM_TEST - made_up.NUM_POSES  # one view is missing
    assert set(train.subject) == set(SUBJECTS[:5])
    assert set(test.subject) == set(SUBJECTS[5:])
    assert len({*train.keys, *test.keys}) == len(train) + len(test)
    assert max(test.frame) == made_up.NUM_POSES - 1  # longer videos are not read to their ends
    assert found["splits"]["test"]["all"]["all"][1:] == [len(test), len(test)]


def test_names_of_actions_are_the_protocol_s(built):
    _, _, (train, test) = built
    assert {"TakingPhoto", "WalkingDog", "WalkingTogether", "Sitting"} <= set(train.action)
    assert {"SittingDown", "TakingPhoto", "Directions"} <= set(test.action)
    assert "TakingPhoto" in set(train.clip[train.subject == "S1"])
    assert "TakingPhoto 2" in set(train.clip[train.subject == "S5"])


def test_joints_are_those_of_the_files_with_the_shift_undone(built):
    _, _, sets = built
    for samples in sets:
        for i in range(0, len(samples), 7):
            subject, clip, number = samples.subject[i], samples.clip[i], samples.camera[i]
            name = next(n for n in made_up.CLIPS[subject] if clip_of(n) == clip)
            world = made_up.poses(subject, name)[samples.frame[i]][list(KEYPOINTS_OF_32)]
            known = made_up.camera(subject, CAMERAS.index(number))
            np.testing.assert_allclose(samples.joints[i], to_camera(world, known), atol=0.01)


def test_the_person_is_where_the_joints_are(built):
    """Videos have a bright square at the pelvis, so the crop has one, too."""
    _, _, sets = built
    for samples in sets:
        images = samples.images(np.arange(len(samples))).astype(float).mean(axis=-1)
        i, j = np.rint(samples.pixels[:, 0, ::-1]).astype(int).T
        assert (images[np.arange(len(samples)), i, j] > 180).all()
        inside = (samples.pixels > -0.5) & (samples.pixels < 63.5)
        assert inside.all()


def test_a_crop_s_camera_sees_the_joints_at_their_pixels(built):
    """But for the lens: 0.2 of the 100 pixels at the most, twice that in the crop."""
    samples = built[2][1]
    for i in range(0, len(samples), 11):
        camera = Camera(None, None, samples.focal_px[i], samples.center_px[i])
        seen = project(samples.joints[i], camera)
        np.testing.assert_allclose(seen, samples.pixels[i], atol=1.0)


def test_the_report_names_every_known_case(built):
    data_dir, found, _ = built
    assert list(found["broken"]) == [" ".join(made_up.MISSING_VIDEO)]
    assert {name.rsplit(" ", 1)[0] for name in found["shifted"]} == {
        "S9 Greeting",
        "S9 SittingDown 1",
        "S9 Waiting 1",
    }
    longer = {tuple(name.rsplit(" ", 1)[0].split(" ", 1)): n for name, n in found["longer"].items()}
    assert {k: n[1] - n[0] for k, n in longer.items()} == made_up.EXTRA_FRAMES
    text = (data_dir / "human36m" / "paper_64" / "1.0.0" / f"{REPORT}.txt").read_text()
    assert "WARNING: train frames: 264 here, 1559752 published." in text
    assert found["splits"]["test"]["subject"]["S11"] == [48, 42, 42]
    assert found["splits"]["test"]["action"]["Greeting"] == [24, 24, 24]
    assert found["partial"] == []
    assert not any("px from" in warning for warning in found["warnings"])


def test_an_unpacked_tree_gives_the_same_bytes(built, tree, tmp_path):
    data_dir, _, _ = built
    directory = build(tree, tmp_path, "paper_64")
    other = data_dir / "human36m" / "paper_64" / "1.0.0"
    for path in directory.glob("*.array_record*"):
        assert path.read_bytes() == (other / path.name).read_bytes()


@pytest.fixture
def npz_tree(tree, tmp_path):
    """A function of the clips that VideoPose3D's file leaves out to videos with the file beside.

    It has world positions in metres.
    """

    def make(*omitted):
        own = tmp_path / "own"
        positions = {
            subject: {
                name: made_up.poses(subject, name) / 1000
                + [0.2 * ((subject, clip_of(name)) in made_up.SHIFTED_CLIPS), 0, 0]
                for name in names
                if (subject, name) not in omitted
            }
            for subject, names in made_up.CLIPS.items()
        }
        for subject in SUBJECTS:
            shutil.copytree(tree / subject / "Videos", own / subject / "Videos")
        shutil.copy(tree / "metadata.xml", own)
        np.savez(own / "data_3d_h36m.npz", positions_3d=np.array(positions, object))
        return own

    return make


def test_poses_of_videopose3d_are_the_same(built, npz_tree, tmp_path):
    build(npz_tree(), tmp_path / "datasets", "paper_64")
    samples = open_samples("human36m/paper_64", "test", data_dir=tmp_path / "datasets")
    assert samples.keys == built[2][1].keys
    np.testing.assert_allclose(samples.joints, built[2][1].joints, atol=0.1)


def test_the_clip_that_videopose3d_leaves_out_is_left_out_and_named(npz_tree, tmp_path):
    directory = build(npz_tree(("S11", "Directions")), tmp_path / "datasets", "every64_64")
    found = json.loads((directory / f"{REPORT}.json").read_text())
    why = "VideoPose3D's file leaves this clip out."
    assert found["broken"] == {f"S11 Directions {number}": why for number in CAMERAS}
    assert found["warnings"][3] == f"S11 Directions {CAMERAS[3]} is left out: {why}"
    assert found["partial"] == []
    assert [found["published"][f"test frames{x}"][0] for x in ("", ", every 64th")] == [
        543_344,
        8_724 - 4 * 29,
    ]


def test_other_clips_that_an_npz_lacks_are_refused(npz_tree, tmp_path):
    own = npz_tree(("S11", "Directions"), ("S9", "Directions"))
    with pytest.raises(ValueError, match="there are no poses") as caught:
        build(own, tmp_path / "datasets")
    _, *lines, _ = str(caught.value).splitlines()
    assert [line.strip() for line in lines] == [
        f"S9 Directions {number}: there are no poses." for number in CAMERAS
    ]


def test_a_clip_without_its_official_poses_is_refused(own_tree, tmp_path):
    for kind in ("D3_Positions_mono", "D3_Positions"):
        for path in (own_tree / "S11" / "MyPoseFeatures" / kind).glob("Directions*"):
            path.unlink()
    with pytest.raises(ValueError, match=f"S11 Directions {CAMERAS[1]}: there are no poses"):
        build(own_tree, tmp_path / "datasets")


def test_mono_files_agree_with_world_files_and_cameras(tree):
    lenses = read_metadata(tree / "metadata.xml").lenses
    for subject, clip in (("S1", "WalkingDog 1"), ("S9", "Waiting 1"), ("S11", "Directions")):
        for number in CAMERAS:
            place, lens = tree / subject / "MyPoseFeatures", lenses[subject, number]
            mono = camera_joints(place / MONO / f"{clip}.{number}.cdf", MONO, lens)
            world = camera_joints(place / WORLD / f"{clip}.cdf", WORLD, lens)
            assert np.abs(mono - world).max() < 0.1


@pytest.mark.parametrize("name", ["every5_64", "every64_64", "paper_test64_64"])
def test_frames_are_chosen_per_view(name, downloads, built, tmp_path):
    shutil.copytree(built[0] / "human36m" / "unpacked", tmp_path / "human36m" / "unpacked")
    build(downloads, tmp_path, name)
    test = open_samples(f"human36m/{name}", "test", data_dir=tmp_path)
    assert set(test.frame) == ({0, 5} if name == "every5_64" else {0})


def test_training_frames_at_random_are_as_many_as_asked_for():
    counts = {View("S1", f"Walking {i}", CAMERAS[0]): 10 * i + 1 for i in range(5)}
    chosen = choose_frames(counts, number=30, seed=1)
    assert sum(map(len, chosen.values())) == 30
    for view, frames in chosen.items():
        assert (np.diff(frames) > 0).all()
        assert set(frames) <= set(range(counts[view]))
    again, other = (choose_frames(counts, number=30, seed=s) for s in (1, 2))
    assert all(np.array_equal(chosen[v], again[v]) for v in counts)
    assert any(not np.array_equal(chosen[v], other[v]) for v in counts)


@pytest.mark.slow
def test_two_training_steps_and_an_evaluation(built, tmp_path):
    data_dir, _, (train, _) = built
    options = (f"--data_dir={data_dir}", "--dataset=human36m/paper_64")
    flags = ("--epochs=1", f"--batch_size={len(train) // 2}", "--methods=direct_joint")
    done = run_on_small_net("human", *options, *flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    predictions = tmp_path / "direct_joint_0" / "predictions.npz"
    done = run_on_small_net("evaluate", *options, f"--predictions={predictions}")
    assert done.returncode == 0, done.stderr
    assert "Zhou et al. [40]" in done.stdout


# The camera.


def test_a_lens_bends_as_the_data_set_s_own_code_does():
    """At X = (0.3, -0.2) / 1: r^2 = 0.13; tangential terms enter once, with OpenCV twice."""
    bare = Camera(np.eye(3), np.zeros(3), 1000.0, np.array([500.0, 510.0]))
    lens = Lens(
        bare, np.array([1000.0, 1100.0]), np.array([0.1, 0.01, 0.0]), np.array([0.02, 0.03])
    )
    factor = 1 + 0.1 * 0.13 + 0.01 * 0.13**2 + 0.02 * -0.2 + 0.03 * 0.3
    x = 1000 * (0.3 * factor + 0.03 * 0.13) + 500
    y = 1100 * (-0.2 * factor + 0.02 * 0.13) + 510
    np.testing.assert_allclose(project_through([600.0, -400.0, 2000.0], lens), [x, y], rtol=1e-12)
    opencv = 1000 * (0.3 * (factor + 0.02 * -0.2 + 0.03 * 0.3) + 0.03 * 0.13) + 500
    assert abs(opencv - x) > 1


def test_metadata_gives_back_the_cameras(tree):
    lenses = read_metadata(tree / "metadata.xml").lenses
    points = np.random.default_rng(0).normal([0, 0, 5000], 300, (20, 3))
    for index, number in enumerate(CAMERAS):
        lens = lenses["S8", number]
        np.testing.assert_allclose(
            lens.camera.rotation, made_up.camera("S8", index).rotation, atol=1e-9
        )
        np.testing.assert_allclose(
            project_through(points, lens), made_up.see(points, index), atol=1e-9
        )


def test_pixels_of_a_crop_are_the_crop_camera_s():
    camera = Camera(np.eye(3), np.zeros(3), 1145.0, np.array([512.0, 515.0]))
    box, points = Box(100.5, 200.25, 400.5, 500.25), np.array([[100.0, 50.0, 4000.0]])
    seen = project(points, crop_camera(camera, box, 224))
    np.testing.assert_allclose(to_crop_pixels(project(points, camera), box, 224), seen)


# Sizes of subjects.


def test_published_sums_give_the_published_scales():
    found, differences = scales.subject_scales({})
    assert differences == []
    published = (0.9886, 0.9536, 1.0373, 0.9704, 1.0074, 1.0312, 1.0116)
    assert [round(found[s], 4) for s in SUBJECTS] == list(published)


def test_measurements_that_differ_from_the_table_are_reported():
    found, differences = scales.subject_scales({s: np.full(16, 260.0) for s in SUBJECTS})
    assert set(found.values()) == {1.0}
    assert any("S5 sum to 4160.0 mm" in line for line in differences)
    assert any("mean length of hip-knee is 260.0 mm" in line for line in differences)


def test_published_counts_add_up():
    assert sum(report.TEST_FRAMES_OF_64.values()) == 8724


# What is missing or damaged.


def test_all_that_is_missing_is_listed_before_any_work(downloads, tmp_path):
    own = shutil.copytree(downloads, tmp_path / "own")
    for name in ("Videos_S7.tgz", "Videos_S11.tgz", "metadata.xml"):
        (own / name).unlink()
    for path in own.glob("Poses_D3*_S5.tgz"):
        path.unlink()
    with pytest.raises(ValueError, match="lacks") as caught:
        build(own, tmp_path / "datasets")
    for name in ("Videos_S7", "Videos_S11", "metadata.xml", "Poses_D3_Positions_mono_S5"):
        assert name in str(caught.value)
    assert not (tmp_path / "datasets").exists()
    with pytest.raises(ValueError, match=r"metadata.xml"):
        build(own, tmp_path / "datasets", allow_partial=True)
    with pytest.raises(ValueError, match="manual_dir must be the directory"):
        build(tmp_path / "nowhere", tmp_path / "datasets")


def test_what_is_there_is_built_where_that_is_allowed(own_tree, tmp_path):
    shutil.rmtree(own_tree / "S7")
    cut(own_tree / "S8" / "Videos" / f"Smoking 1.{CAMERAS[2]}.mp4")
    (own_tree / "S6" / "MyPoseFeatures" / MONO / f"Posing 2.{CAMERAS[0]}.cdf").write_bytes(b"CDF")
    data_dir = tmp_path / "datasets"
    directory = build(own_tree, data_dir, allow_partial=True)
    samples = open_samples("human36m/every5_64", "train", data_dir=data_dir)
    assert set(samples.subject) == {"S1", "S5", "S6", "S8"}
    found = json.loads((directory / f"{REPORT}.json").read_text())
    assert any("S7" in line for line in found["partial"])
    left_out = f"S8 Smoking 1 {CAMERAS[2]}", f"S6 Posing 2 {CAMERAS[0]}"
    assert set(left_out) <= found["broken"].keys()
    assert not {*left_out} & {key.replace("/", " ")[:-7] for key in samples.keys}
    with pytest.raises(ValueError, match="was built without"):
        build(own_tree, data_dir)


def test_a_split_of_which_nothing_is_there_is_left_out(own_tree, tmp_path):
    for subject in ("S9", "S11"):
        shutil.rmtree(own_tree / subject)
    directory = build(own_tree, tmp_path / "datasets", allow_partial=True)
    with pytest.raises(ValueError, match="has the splits train, but got 'test'"):
        open_samples("human36m/every5_64", "test", data_dir=tmp_path / "datasets")
    warnings = json.loads((directory / f"{REPORT}.json").read_text())["warnings"]
    assert [line for line in warnings if "left out" in line] == [
        f"{subject} is left out: there are no poses." for subject in ("S9", "S11")
    ]


def test_a_truncated_video_and_a_short_one_are_named(own_tree, tmp_path):
    place = own_tree / "S8" / "Videos"
    cut(place / f"Smoking 1.{CAMERAS[2]}.mp4")
    made_up.write_video(place / f"SittingDown.{CAMERAS[1]}.mp4", np.zeros((3, 2)), 0, 102)
    with pytest.raises(ValueError, match="cannot be used") as caught:
        build(own_tree, tmp_path / "datasets")
    assert f"Smoking 1.{CAMERAS[2]}.mp4" in str(caught.value)
    assert "must have a frame for each of 6 poses, but has 3" in str(caught.value)
    assert not (tmp_path / "datasets" / "human36m" / "every5_64" / "1.0.0").exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: made_up.write_cdf(path, np.zeros((3, 32, 2))),
        lambda path: made_up.write_cdf(path, np.zeros((made_up.NUM_POSES, 32, 3))),
        lambda path: path.write_bytes(b"x" * 500),
    ],
    ids=["short", "of 3D", "damaged"],
)
def test_a_view_is_not_compared_with_a_file_that_is_not_its_own(write, own_tree, tmp_path):
    path = own_tree / "S5" / "MyPoseFeatures" / "D2_Positions" / f"Photo 2.{CAMERAS[1]}.cdf"
    write(path)
    directory = build(own_tree, tmp_path / "datasets", "every64_64")
    found = json.loads((directory / f"{REPORT}.json").read_text())
    assert list(found["broken"]) == [" ".join(made_up.MISSING_VIDEO)]
    assert [line for line in found["warnings"] if "compared" in line] == [
        f"S5 TakingPhoto 2 {CAMERAS[1]}: joints in the image are not compared, as {path} is "
        "damaged or has not all of them."
    ]


@pytest.mark.parametrize(
    ("poses", "message"),
    [
        (np.zeros((made_up.NUM_POSES, 32, 2)), r"shape \(1, T, 96\), but have \(1, T, 64\)"),
        (np.full((made_up.NUM_POSES, 32, 3), np.nan), "must be finite .* those of frame 0 are not"),
        (np.zeros((made_up.NUM_POSES, 32, 3)), "in front of the camera, but those of frame 0"),
    ],
    ids=["2D", "NaN", "in the camera"],
)
def test_a_file_of_poses_that_are_none_is_named(poses, message, own_tree, tmp_path):
    path = own_tree / "S5" / "MyPoseFeatures" / MONO / f"Photo 2.{CAMERAS[1]}.cdf"
    made_up.write_cdf(path, poses)
    with pytest.raises(ValueError, match=rf"Photo 2\.{CAMERAS[1]}\.cdf: .*{message}"):
        build(own_tree, tmp_path / "datasets", "every64_64")


def test_a_frame_without_a_pose_is_named(tree):
    view = View("S5", "TakingPhoto 2", CAMERAS[1])
    lens = read_metadata(tree / "metadata.xml").lenses[view.subject, view.camera]
    path = str(tree / "S5" / "MyPoseFeatures" / MONO / f"Photo 2.{CAMERAS[1]}.cdf")
    job = views_module.Job(view, lens, path, MONO, "", None, None, np.array([0, 6]), 64)
    with pytest.raises(ValueError, match=r"Photo 2.*\.cdf must have frame 6, but has 6 poses"):
        views_module.find_truth(job)


def test_a_damaged_archive_is_named_and_leaves_nothing(downloads, tmp_path):
    own = shutil.copytree(downloads, tmp_path / "own")
    cut(own / "Videos_S5.tgz")
    with pytest.raises(ValueError, match=r"Videos_S5\.tgz is damaged"):
        build(own, tmp_path / "datasets")
    unpacked = tmp_path / "datasets" / "human36m" / "unpacked"
    assert not (unpacked / "S5" / "Videos").exists()
    assert (unpacked / "S1" / "Videos").exists()  # is not unpacked again
    with pytest.raises(ValueError, match="has no files in a directory Videos"):
        archives.unpack_archive(
            downloads / "Poses_D2_Positions_S1.tgz", "Videos", "S1", tmp_path / "x"
        )


def test_an_npz_that_runs_programs_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch evil",)

    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=np.array({"S1": Evil()}, object))
    with pytest.raises(ValueError, match=r"holds a .*system"):
        archives.unpack_npz(tmp_path / "data_3d_h36m.npz", "S1", tmp_path / "out")


def _packed(path, member, data=b""):
    with tarfile.open(path, "w:gz") as packed:
        packed.addfile(member, io.BytesIO(data))


def test_a_small_archive_cannot_fill_the_disk(tmp_path):
    size = 2**27
    member = tarfile.TarInfo("S1/Videos/Walking 1.54138969.mp4")
    member.size = size
    _packed(tmp_path / "Videos_S1.tgz", member, bytes(size))
    assert (tmp_path / "Videos_S1.tgz").stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"Videos_S1\.tgz grows beyond all measure"):
        archives.unpack_archive(tmp_path / "Videos_S1.tgz", "Videos", "S1", tmp_path / "out")
    assert not any((tmp_path / "out" / "S1").iterdir())


def test_a_sparse_file_is_not_unpacked(tmp_path):
    member = tarfile.TarInfo("S1/Videos/Walking 1.54138969.mp4")
    member.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(2**20)}
    member.size = 1
    _packed(tmp_path / "Videos_S1.tgz", member, b"x")
    with pytest.raises(ValueError, match=r"Videos_S1\.tgz grows beyond all measure"):
        archives.unpack_archive(tmp_path / "Videos_S1.tgz", "Videos", "S1", tmp_path / "out")


def test_a_cdf_file_that_counts_beyond_itself_is_refused_in_little_memory(tmp_path):
    """The value that stands for missing numbers says how many it has: a gigabyte, or 2."""
    path = tmp_path / "Photo.cdf"
    made_up.write_cdf(path, np.ones((3, 32, 3)))
    content = bytearray(path.read_bytes())
    name = content.index(b"Pose\0".ljust(20, b"\0"))
    place = name - 84  # of the variable's record; see the CDF's internal format, VDR
    content[place + 64 : place + 68] = (2**30).to_bytes(4)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Photo\.cdf: .*it counts 1073741824 things"):
        read_joints(path)


def test_a_cdf_file_of_version_2_that_counts_beyond_itself_is_refused(tmp_path):
    """Its variables would have a billion dimensions: cdflib would list them for hours."""
    path, count = tmp_path / "Photo.cdf", 2**30
    first = [312, 1, 320, 2, 7, *[0] * 73]  # of the file: where the next record is, version 2.7
    second = [64, 2, 0, 0, 0, 0, 0, 0, 0, count, *[0] * 6]  # of all variables
    words = [0xCDF26002, 0x0000FFFF, *first, *second]
    path.write_bytes(b"".join(word.to_bytes(4) for word in words))
    with pytest.raises(ValueError, match=r"Photo\.cdf: .*it counts 1073741824 things"):
        read_joints(path)


def test_a_cdf_file_whose_poses_are_text_is_refused(tmp_path):
    path = tmp_path / "Photo.cdf"
    made_up.write_cdf(path, np.ones((3, 32, 3)))
    content = bytearray(path.read_bytes())
    place = content.index(b"Pose\0".ljust(20, b"\0")) - 84
    content[place + 20 : place + 24] = (51).to_bytes(4)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Photo\.cdf: .*its poses are text"):
        read_joints(path)


def write_positions(path, pickled):
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    with zipfile.ZipFile(path, "w") as packed, packed.open("positions_3d.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickled)


def test_a_pickle_of_nested_keys_does_not_keep_the_reader_busy(tmp_path):
    deep = b")" + b"q\x00h\x00h\x00\x86" * 150  # 2 ** 150 tuples to hash
    write_positions(tmp_path / "x.npz", b"\x80\x02}" + deep + b"K\x01s.")
    with pytest.raises(ValueError, match="keys are not text"):
        archives.unpack_npz(tmp_path / "x.npz", "S1", tmp_path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_an_npz_in_any_protocol_that_numpy_has_used_is_read(protocol, tmp_path):
    positions = np.random.default_rng(0).normal(size=(4, 32, 3)).astype(np.float32)
    content = np.array({"S1": {"Walking 1": positions}}, object)
    write_positions(tmp_path / "x.npz", pickle.dumps(content, protocol))
    archives.unpack_npz(tmp_path / "x.npz", "S1", tmp_path)
    (path,) = (tmp_path / "S1" / WORLD).iterdir()
    np.testing.assert_array_equal(np.load(path), 1000 * positions.astype(np.float64))


def test_metadata_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "metadata.xml"
    for text, message in (
        ("<metadata>", "not an XML file"),
        ("<metadata/>", "must be a table headed by the subjects"),
        (made_up.metadata().replace("<w0>[", "<w0>[1 "), "300 numbers, but has 301"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_metadata(path)


def test_unknown_configurations_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"comes as paper_64, .* but got 'all'"):
        human36m_builder("all", data_dir=tmp_path, manual_dir=tmp_path)


def test_files_with_names_that_say_nothing_are_kept_apart(own_tree):
    odd = own_tree / "S1" / "Videos" / "Dancing.54138969.mp4"
    odd.write_bytes(b"")
    found = find_files([own_tree])
    assert found.unknown == [odd]
    assert len(found.files) == 4 * 3 * 18 + 18 - 1


# Interruptions.


def test_finished_views_are_not_made_again(downloads, tmp_path, monkeypatch):
    read, seen = video.read_frames, []

    def stop_after_nine(path, frames):
        seen.append(path)
        if len(seen) == 10:
            raise KeyboardInterrupt
        return read(path, frames)

    monkeypatch.setattr(views_module, "read_frames", stop_after_nine)
    with pytest.raises(KeyboardInterrupt):
        build(downloads, tmp_path)
    assert not (tmp_path / "human36m" / "every5_64" / "1.0.0").exists()
    directory = build(downloads, tmp_path)
    views = {*seen}
    assert len(seen) == len(views) + 1  # one that was interrupted
    assert directory.exists()
    assert not (directory.parent / "parts").exists()
    build(downloads, tmp_path)
    assert len(seen) == len(views) + 1


@pytest.mark.slow  # starts the program four times
def test_a_killed_build_goes_on(downloads, tmp_path):
    command = [
        *(sys.executable, "-m", "experiments.build_data", "--dataset=human36m/every5_64"),
        *(f"--manual_dir={downloads}", f"--data_dir={tmp_path}"),
    ]
    for stop in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        while not list(tmp_path.glob("human36m/every5_64/parts/*.zip")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(stop)
        assert process.wait(timeout=60) != 0
        assert not (tmp_path / "human36m" / "every5_64" / "1.0.0").exists()
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    assert len(open_samples("human36m/every5_64", "test", data_dir=tmp_path)) == 54


# The data set's own boxes.


def test_boxes_are_the_lit_parts_of_pictures(tmp_path):
    h5py = pytest.importorskip("h5py", reason="boxes need kinpose[checkout-human36m]")
    path = tmp_path / "Directions.54138969.mat"
    with h5py.File(path, "w") as file:
        cells = file.create_dataset("Masks", (2, 1), h5py.ref_dtype)
        for i, (left, top, right, bottom) in enumerate(((3, 5, 20, 30), (0, 2, 7, 9))):
            lit = np.zeros((40, 50), np.uint8)  # columns before rows
            lit[left : right + 1, top : bottom + 1] = 1
            cells[i, 0] = file.create_dataset(f"picture{i}", data=lit).ref
    assert boxes.read_boxes(path, [1, 0]) == [Box(0.0, 2.0, 7.0, 9.0), Box(3.0, 5.0, 20.0, 30.0)]
    with pytest.raises(ValueError, match="boxes cannot be read"):
        boxes.read_boxes(path, [2])
    with h5py.File(path, "a") as file:  # says that it has 10 GB, and has none
        vast = file.create_dataset("vast", (100_000, 100_000), np.uint8, chunks=(1000, 1000))
        file["Masks"][0, 0] = vast.ref
    with pytest.raises(ValueError, match=r"Directions.*\(100000, 100000\) is that of no picture"):
        boxes.read_boxes(path, [0])
