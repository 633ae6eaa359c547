import numpy as np
import pytest

from data.body import BODY_FILE, POINTS, SEGMENTS, load_bodies, pose_body, rest_joints
from kinpose.skeletons import HUMAN36M_KEYPOINTS

MM = 1e-2  # of float32 with coordinates up to 3000 mm
NAMES = list(SEGMENTS)
PARENTS = (0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)  # of the keypoints from 1 on
SHIFT = np.float32([1, 2, 3])


@pytest.fixture(scope="module")
def bodies():
    return load_bodies()


def random_rotations(rng, num):
    """(num, 3, 3) proper rotations, by QR."""
    q, r = np.linalg.qr(rng.normal(size=(num, 3, 3)))
    q *= np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    return q * np.sign(np.linalg.det(q))[:, None, None]


def test_a_dozen_adults_stand_upright_and_symmetric(bodies):
    assert len(bodies) == 12
    for body in bodies:
        assert 1500 < np.ptp(body.vertices[:, 1]) < 2000
        assert len(body.vertices) == 13718
        assert len(body.faces) == 27420
        left = body.points[[name.startswith("left") for name in POINTS]]
        right = body.points[[name.startswith("right") for name in POINTS]]
        np.testing.assert_allclose(left * [-1, 1, 1], right, atol=1)


def test_no_rotation_is_the_rest_pose(bodies):
    body = bodies[3]
    posed = pose_body(body, np.tile(np.eye(3), (len(NAMES), 1, 1)), SHIFT)
    np.testing.assert_allclose(posed.vertices, body.vertices + SHIFT, atol=MM)
    np.testing.assert_allclose(posed.joints, rest_joints(body) + SHIFT, atol=MM)


def test_skinning_is_the_weighted_mean_of_rigid_motions(bodies):
    body, rng = bodies[1], np.random.default_rng(1)
    rotations, root = random_rotations(rng, len(NAMES)), np.array([100.0, 900.0, -50.0])
    posed = pose_body(body, rotations, root)
    pivots = {"": root}
    for name, parent in SEGMENTS.items():  # the slow way: one pivot after the other
        i, j = NAMES.index(name), NAMES.index(parent) if parent else 0
        bone = body.points[i] - body.points[j]
        pivots[name] = pivots[parent] + (rotations[j] @ bone if parent else 0)
    for v in rng.integers(len(body.vertices), size=50):
        want = sum(
            body.weights[v, i] * (pivots[name] + rotations[i] @ (body.vertices[v] - body.points[i]))
            for i, name in enumerate(NAMES)
        )
        np.testing.assert_allclose(posed.vertices[v], want, atol=MM)


def test_bones_keep_their_lengths_in_any_pose(bodies):
    body, rng = bodies[0], np.random.default_rng(2)
    poses = [rest_joints(body)]
    for _ in range(20):
        poses.append(pose_body(body, random_rotations(rng, len(NAMES)), np.zeros(3)).joints)
    joints = np.stack(poses)
    lengths = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS], axis=-1)
    np.testing.assert_allclose(lengths, np.tile(lengths[0], (21, 1)), rtol=1e-5)


def test_left_joints_belong_to_the_left_skin(bodies):
    for body in bodies:
        joints = dict(zip(HUMAN36M_KEYPOINTS, rest_joints(body), strict=True))
        for side, sign in (("left", 1), ("right", -1)):
            hand = body.vertices[body.weights[:, NAMES.index(f"{side}_hand")] > 0.9]
            foot = body.vertices[body.weights[:, NAMES.index(f"{side}_foot")] > 0.9]
            for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
                assert sign * joints[f"{side}_{name}"][0] > 50
            assert np.linalg.norm(hand.mean(axis=0) - joints[f"{side}_wrist"]) < 180
            assert np.linalg.norm(foot.mean(axis=0) - joints[f"{side}_ankle"]) < 180
            assert foot.mean(axis=0)[2] > joints[f"{side}_ankle"][2]  # toes forward


def test_normals_point_outwards(bodies):
    for body in bodies[:2]:
        a, b, c = (body.vertices[body.faces[:, i]].astype(float) for i in range(3))
        assert np.einsum("fi,fi->", a, np.cross(b, c)) > 0  # six times the volume
        np.testing.assert_allclose(np.linalg.norm(body.normals, axis=1), 1, rtol=1e-4)


def arrays_with(**changes):
    """The bundled file's arrays, some of them changed or, for None, left out."""
    with np.load(BODY_FILE) as file:
        arrays = {name: file[name] for name in file.files} | changes
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faces": None}, "lacks faces"),
        ({"faces": np.full((5, 3), 20000)}, "faces has entries .* 0 to 13717"),
        ({"faces": np.full((5, 3), -1)}, "faces has entries"),
        (
            {"points": np.zeros((12, 3, 3))},
            r"\(12, 3, 3\) instead of \(12, 20, 3\)",
        ),
        ({"points": np.full((12, 20, 3), np.nan)}, "finite"),
        ({"vertex_steps": np.zeros(4, np.int16)}, "vertex_steps has shape"),
    ],
)
def test_a_body_file_with_wrong_arrays_is_named(tmp_path, changes, message):
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays_with(**changes))
    with pytest.raises(ValueError, match=rf"wrong\.npz: expected a body file.*{message}"):
        load_bodies(path)


@pytest.mark.parametrize("content", ["cut", "flipped", "text", "empty", "npy"])
def test_a_corrupt_body_file_is_named(tmp_path, content):
    path, data = tmp_path / "corrupt.npz", bytearray(BODY_FILE.read_bytes())
    data[len(data) // 2] ^= 0xFF
    if content == "npy":
        with open(path, "wb") as file:
            np.save(file, np.zeros(3))
    else:
        whole = BODY_FILE.read_bytes()
        path.write_bytes(
            {"cut": whole[:-5000], "flipped": data, "text": b"bodies", "empty": b""}[content]
        )
    with pytest.raises(ValueError, match=r"corrupt\.npz: expected a body file"):
        load_bodies(path)


def test_a_missing_body_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.npz: expected a body file"):
        load_bodies(tmp_path / "nowhere.npz")
