"""Laws of people who are varied in everything, and of the data set of them."""

import dataclasses
import itertools
import shutil

import numpy as np
import pytest

from data import varied
from data.bodies.thin_out import thin_out
from data.body import SEGMENTS, SHAPES_FILE, load_bodies, mix_bodies
from data.camera import Camera, draw_camera, project, roll_camera, to_camera
from data.motion import MOTION_DIR, read_motion
from data.people import TEST_SUBJECTS
from data.pipeline import open_samples
from data.poses import (
    between,
    collect_moments,
    draw_pose,
    exchange_parts,
    is_possible,
    mirror_pose,
)
from data.rendered_people.builder import RenderedPeople, people_builder, prepare
from data.rendered_people.splits import divide_recordings
from data.varied import draw_shot, load_crowd
from kinpose.skeletons import human_17
from tests.conftest import contents

NUM, SIZE = 12, 64
CLIPS = ("jump", "kick", "run")
CHILD, PARENT = np.array(human_17().bones).T


@pytest.fixture(scope="module")
def crowd():
    return load_crowd()


@pytest.fixture(scope="module")
def moments():
    motions = [read_motion(MOTION_DIR / f"{clip}.bvh") for clip in ("kick", "run")]
    return collect_moments(motions, ("kick", "run"))


@pytest.fixture(scope="module")
def shots(crowd, moments):
    return [draw_shot(crowd, moments, seed=(0, i), size=SIZE) for i in range(NUM)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    directory = tmp_path_factory.mktemp("motions") / "clips"
    directory.mkdir()
    for name in CLIPS:
        shutil.copy(MOTION_DIR / f"{name}.bvh", directory)
    return directory


def builder_of(data_dir, motion_dir, processes=1):
    """A small data set in parts of few pictures."""
    (config,) = (c for c in RenderedPeople.BUILDER_CONFIGS if c.name == "varied_64")
    few = dataclasses.replace(
        config, name="varied_64_few", num_varied=NUM, test_step_s=1.0, motion_dir=str(motion_dir)
    )
    return RenderedPeople(config=few, data_dir=str(data_dir), processes=processes)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, clips):
    directory = tmp_path_factory.mktemp("datasets")
    prepare(builder_of(directory, clips))
    return directory


@pytest.fixture(scope="module")
def splits(data_dir):
    name = "rendered_people/varied_64_few"
    return {split: open_samples(name, split, data_dir=data_dir) for split in ("train", "test")}


def random_pose(rng):
    """(18, 3, 3) proper rotations, by QR."""
    q, r = np.linalg.qr(rng.normal(size=(18, 3, 3)))
    q *= np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    return q * np.sign(np.linalg.det(q))[:, None, None]


def test_equal_seeds_give_equal_bytes_and_others_other_people(crowd, moments, shots):
    again = draw_shot(crowd, moments, seed=(0, 3), size=SIZE).photo
    np.testing.assert_array_equal(again.image, shots[3].photo.image)
    np.testing.assert_array_equal(again.joints, shots[3].photo.joints)
    other = draw_shot(crowd, moments, seed=(1, 3), size=SIZE).photo
    assert np.abs(other.joints - shots[3].photo.joints).max() > 10


def test_every_sample_has_a_body_a_camera_and_colours_of_its_own(shots):
    lengths = np.stack(
        [np.linalg.norm(s.photo.joints[CHILD] - s.photo.joints[PARENT], axis=-1) for s in shots]
    )
    for first, second in itertools.combinations(range(NUM), 2):
        assert np.abs(lengths[first] - lengths[second]).max() > 1  # mm
        photos = shots[first].photo, shots[second].photo
        assert np.abs(np.subtract(*(p.camera.rotation for p in photos))).max() > 1e-3
        assert np.mean(photos[0].image != photos[1].image) > 0.5


def test_joints_are_inside_the_picture_and_inside_the_person(shots):
    """The renderer's cover is drawn by the mesh alone; joints go by the skeleton."""
    inside = []
    for shot in shots:
        x, y = np.round(project(shot.photo.joints, shot.photo.camera)).astype(int).T
        assert min(x.min(), y.min()) >= 0
        assert max(x.max(), y.max()) < SIZE
        inside.append(shot.photo.cover[y, x] > 0)
    assert np.mean(inside) > 0.98  # of the nose's and the wrists' some are at the edge


def test_what_stands_in_front_changes_no_truth(crowd, moments, shots, monkeypatch):
    hidden = [shot for shot in shots if shot.hidden.any()]
    assert 0 < len(hidden) < NUM

    def none(rng, size):
        return np.zeros((size, size, 3), np.float32), np.zeros((size, size), bool)

    monkeypatch.setattr(varied, "draw_occluders", none)
    for i, shot in enumerate(shots):
        free = draw_shot(crowd, moments, seed=(0, i), size=SIZE).photo
        np.testing.assert_array_equal(free.joints, shot.photo.joints)
        assert free.box == shot.photo.box
        differs = (free.image != shot.photo.image).any(axis=-1)
        np.testing.assert_array_equal(differs & ~shot.hidden, False)


def test_bodies_reach_the_ends_of_the_range_and_mix_linearly(crowd):
    bodies = load_bodies(SHAPES_FILE)
    statures = [np.ptp(body.vertices[:, 1]) for body in bodies]
    assert min(statures) < 1450
    assert max(statures) > 2000
    shares = np.float32([0.2, 0.5, 0.3])
    mixed = mix_bodies(bodies[:3], shares)
    for name in ("vertices", "points"):
        want = sum(s * getattr(b, name) for s, b in zip(shares, bodies, strict=False))
        np.testing.assert_allclose(getattr(mixed, name), want, atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(mixed.normals, axis=1), 1, atol=1e-5)


def test_cameras_see_whom_they_aim_at_from_all_around():
    rng, target = np.random.default_rng(0), np.array([100.0, 900.0, -300.0])
    seen = [to_camera(target, draw_camera(rng, target)) for _ in range(300)]
    away = np.linalg.norm(seen, axis=1)
    assert away.min() < 3000 < 7500 < away.max() < 10_000
    assert (np.array(seen)[:, 2] > 0.9 * away).all()
    around = [draw_camera(rng, target).rotation[2, [0, 2]] for _ in range(300)]
    assert len({tuple(np.sign(x)) for x in around}) == 4


def test_a_rolled_camera_sees_the_same_turned_clockwise():
    camera = Camera(np.eye(3), np.zeros(3), 100.0, np.zeros(2))
    right = to_camera(np.array([1.0, 0.0, 5.0]), roll_camera(camera, np.pi / 2))
    np.testing.assert_allclose(right, [0, 1, 5], atol=1e-12)  # from right to down


def test_parts_keep_their_own_angles_and_legs_their_directions():
    rng = np.random.default_rng(0)
    whole, other = random_pose(rng), random_pose(rng)
    mixed = exchange_parts(whole, {"left_arm": other, "legs": other})
    at = {name: i for i, name in enumerate(SEGMENTS)}

    def against(pose, segment, parent):
        return pose[at[parent]].T @ pose[at[segment]]

    for segment, parent in (("left_clavicle", "upper_trunk"), ("left_hand", "left_forearm")):
        got, want = against(mixed, segment, parent), against(other, segment, parent)
        np.testing.assert_allclose(got, want, atol=1e-12)
    for name in ("pelvis", "head", "right_hand"):
        np.testing.assert_allclose(mixed[at[name]], whole[at[name]], atol=1e-12)
    legs = [at["left_thigh"], at["right_foot"]]
    np.testing.assert_allclose(mixed[legs][:, 1], other[legs][:, 1], atol=1e-12)  # heights
    np.testing.assert_allclose(np.linalg.det(mixed), 1)


def test_a_mirrored_pose_has_mirrored_joints_and_comes_back():
    pose = random_pose(np.random.default_rng(1))
    np.testing.assert_array_equal(mirror_pose(mirror_pose(pose)), pose)
    np.testing.assert_allclose(np.linalg.det(mirror_pose(pose)), 1)


def test_between_two_rotations_the_angle_is_shared():
    angles = np.array([0.2, 0.6])
    start, end = (
        np.array([[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]])
        for a in angles
    )
    middle = between(start, end, 0.5)[0]
    np.testing.assert_allclose(np.arctan2(middle[1, 0], middle[0, 0]), 0.4)
    np.testing.assert_allclose(middle @ middle.T, np.eye(3), atol=1e-12)


def test_hips_that_no_one_has_and_crossed_limbs_are_refused(crowd):
    body = crowd.bodies[4]
    standing = np.tile(np.eye(3), (18, 1, 1))
    assert is_possible(standing, body)
    backwards = standing.copy()
    backwards[[12, 13, 14]] = np.diag([1, -1, -1])  # the left leg points up behind
    assert not is_possible(backwards, body)


def test_poses_face_everywhere(crowd, moments):
    rng = np.random.default_rng(0)
    poses = [draw_pose(rng, moments, crowd.bodies[0]) for _ in range(60)]
    assert {number for _, number in poses} == {0, 1}
    quarters = {tuple(np.sign(pose[0, [0, 2], 2])) for pose, _ in poses}
    assert len(quarters) == 4
    np.testing.assert_allclose(np.linalg.det([pose for pose, _ in poses]), 1, atol=1e-5)


def test_test_clips_are_unseen_and_test_subjects_are_those_of_the_other_sets(splits):
    assert set(splits["test"].clip) == {"jump"}  # the first of every five
    assert "jump" not in set(splits["train"].clip)
    assert set(splits["test"].subject) == set(TEST_SUBJECTS)
    assert len(set(splits["train"].subject)) == len(splits["train"]) == NUM
    assert len(set(splits["train"].keys) | set(splits["test"].keys)) == sum(
        map(len, splits.values())
    )


def test_where_performers_are_known_theirs_are_held_out():
    train, test = divide_recordings(["02_01.bvh", "02_02.bvh", "05_01.bvh", "nobody.bvh"])
    assert test == ["02_01.bvh", "02_02.bvh"]
    assert train == ["05_01.bvh", "nobody.bvh"]
    with pytest.raises(ValueError, match=r"two recordings or more, .* got walk\.bvh"):
        divide_recordings(["walk.bvh"])


def test_joints_project_to_their_pixels(splits):
    samples = splits["train"]
    for i in range(NUM):
        camera = Camera(None, None, float(samples.focal_px[i]), samples.center_px[i])
        np.testing.assert_allclose(project(samples.joints[i], camera), samples.pixels[i], atol=1e-2)
    assert samples.scale.min() < 0.98 < 1.02 < samples.scale.max()


def test_an_interrupted_build_goes_on_and_gives_the_same_bytes(
    data_dir, clips, tmp_path, monkeypatch
):
    def interrupted(parts):
        yield from itertools.islice(parts, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(builder_of(tmp_path, clips), show=interrupted)
    assert len(list(tmp_path.rglob("train-varied-*.npz"))) == 1
    prepare(builder_of(tmp_path, clips))
    assert contents(tmp_path) == contents(data_dir)


def test_the_sets_of_64_and_128_px_have_sixty_thousand_samples(tmp_path):
    for name in ("varied_64", "varied_128"):
        config = people_builder(name, data_dir=tmp_path).builder_config
        assert config.num_varied >= 60_000
        assert name.endswith(f"_{config.image_size}")


def test_a_thinned_out_sphere_stays_closed_and_round():
    """Of an icosahedron's triangles, divided twice; two groups, whose border stays."""
    vertices, faces = sphere(3)
    groups = (vertices[:, 1] > 0).astype(int)
    kept, thin = thin_out(100 * vertices, faces, groups, len(vertices) // 2)
    assert len(kept) == len(vertices) // 2
    edges = np.sort(thin[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert set(counts) == {2}
    assert len(kept) - len(counts) + len(thin) == 2  # Euler
    a, b, c = vertices[kept][thin].swapaxes(0, 1)
    volume = np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6
    assert 0.93 < volume / (4 / 3 * np.pi) < 1


def sphere(times):
    """An icosahedron with its triangles divided into four, some times."""
    phi = (1 + 5**0.5) / 2
    points = [(0, s, t * phi) for s in (-1, 1) for t in (-1, 1)]
    points = np.array([np.roll(p, i) for i in range(3) for p in points]) / np.hypot(1, phi)
    near = np.abs(np.linalg.norm(points[:, None] - points, axis=-1) - 2 / np.hypot(1, phi)) < 1e-6
    faces = [f for f in itertools.combinations(range(12), 3) if near[np.ix_(f, f)].sum() == 6]
    points = list(points)
    for _ in range(times):
        middles, divided = {}, []
        for face in faces:
            ends = [
                tuple(sorted(pair))
                for pair in ((face[0], face[1]), (face[1], face[2]), (face[2], face[0]))
            ]
            for pair in ends:
                if pair not in middles:
                    middle = points[pair[0]] + points[pair[1]]
                    points.append(middle / np.linalg.norm(middle))
                    middles[pair] = len(points) - 1
            ab, bc, ca = (middles[pair] for pair in ends)
            a, b, c = face
            divided += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = divided
    points, faces = np.array(points), np.array(faces)
    a, b, c = points[faces].swapaxes(0, 1)
    inwards = np.einsum("fi,fi->f", a, np.cross(b, c)) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    return points, faces
