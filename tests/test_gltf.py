"""Laws of glTF files: other readers find the same places, and the Khronos validator no fault."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import reference
from scipy.spatial.transform import Rotation

from kinpose import Joint, build_skeleton, rotate_skeleton
from kinpose.frames import frames_of
from kinpose.io.bvh import load_bvh
from kinpose.io.gltf import save_glb
from kinpose.io.gltf_points import save_points_glb
from kinpose.io.points import Points
from kinpose.recordings import UP
from kinpose.skeletons import human_17, toy
from tests.conftest import ROOT

pygltflib = pytest.importorskip("pygltflib", reason="in the extra test")

CLOSE = 2e-6  # metres, of float32 in the file
KINDS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "motion.glb"


@pytest.fixture(scope="module")
def kick():
    return load_bvh(ROOT / "data" / "motions" / "kick.bvh")


def array_of(document, number):
    accessor = document.accessors[number]
    view = document.bufferViews[accessor.bufferView]
    dtype = {5126: np.float32, 5123: np.uint16}[accessor.componentType]
    data = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    return np.frombuffer(data, dtype).reshape(accessor.count, KINDS[accessor.type])


def places_of(document, frame=None):
    """Joint -> its (4, 4) frame in the scene, at rest or at a frame of the animation."""
    moved = {}
    if frame is not None:
        animation = document.animations[0]
        for channel in animation.channels:
            values = array_of(document, animation.samplers[channel.sampler].output)
            moved[channel.target.node, channel.target.path] = values[frame]
    found = {}

    def visit(number, above):
        node, own = document.nodes[number], np.eye(4)
        rotation = moved.get((number, "rotation"), node.rotation or [0, 0, 0, 1])
        own[:3, :3] = Rotation.from_quat(rotation).as_matrix()
        own[:3, 3] = moved.get((number, "translation"), node.translation or [0, 0, 0])
        found[node.name] = above @ own
        for child in node.children or []:
            visit(child, found[node.name])

    for number in document.scenes[0].nodes:
        visit(number, np.eye(4))
    return found


def check_places(path, skeleton, params, scale, axes=None):
    document = pygltflib.GLTF2().load(path)
    axes = np.eye(3) if axes is None else axes
    for frame in (0, len(params) // 2, len(params) - 1):
        found = places_of(document, frame)
        want = scale * reference.frames(params[frame], skeleton)[:, :3, 3] @ axes.T
        ours = [found[name][:3, 3] for name in skeleton.names]
        np.testing.assert_allclose(ours, want, atol=CLOSE * max(1, np.abs(want).max()))


def test_another_reader_finds_the_places_of_a_recording(path, kick):
    skeleton, params, frame_time_s = kick
    save_glb(path, skeleton, params, frame_time_s, scale=0.01)
    check_places(path, skeleton, params, 0.01)
    document = pygltflib.GLTF2().load(path)
    times = array_of(document, document.animations[0].samplers[0].input)[:, 0]
    np.testing.assert_allclose(times, np.arange(len(params)) * frame_time_s, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_another_reader_finds_the_places_of_any_skeleton(path, seed):
    rng = np.random.default_rng(seed)
    skeleton = reference.random_skeleton(rng, 3, 7)
    params = rng.normal(size=(6, skeleton.num_dofs)) * 2
    save_glb(path, skeleton, params, 0.1)
    check_places(path, skeleton, params, 1.0)


@pytest.mark.parametrize("up", UP)
def test_the_axis_that_points_up_becomes_y_for_skeletons_as_for_points(path, up):
    human = human_17()
    turned = rotate_skeleton(human, UP[up].T)
    params = np.random.default_rng(0).normal(size=(3, 27)) * 0.5
    save_glb(path, turned, params, 0.1, up=up, scale=0.001)
    check_places(path, human, params, 0.001)
    _, places = frames_of(params, turned)
    save_points_glb(path, Points(places, turned.names, 0.02, unit_mm=1.0, up=up))
    check_places(path, human, params, 0.001)


def test_what_blender_reads_has_the_axes_that_it_had_with_z_up(path):
    """Blender takes glTF's x, -z, y for its x, y, z."""
    skeleton = build_skeleton([Joint("a", None, (1.0, 2.0, 3.0), "tx")])
    save_glb(path, skeleton, np.zeros((1, 1)), 0.1, up="z")
    x, y, z = places_of(pygltflib.GLTF2().load(path))["a"][:3, 3]
    np.testing.assert_allclose([x, -z, y], [1, 2, 3], atol=CLOSE)


def test_neighbouring_quaternions_do_not_change_sides(path):
    params = np.zeros((200, 27))
    params[:, human_17().dof_index("pelvis_yaw")] = np.linspace(0, 20, 200)
    save_glb(path, human_17(), params, 0.01)
    document = pygltflib.GLTF2().load(path)
    turns = next(
        array_of(document, document.animations[0].samplers[channel.sampler].output)
        for channel in document.animations[0].channels
        if channel.target.path == "rotation"
    )
    assert (np.sum(turns[1:] * turns[:-1], axis=1) > 0.99).all()


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_the_skin_rests_where_the_bones_are(path, kick, seed):
    """Of motions with a bias, too, which turn and move what is at rest."""
    trimesh = pytest.importorskip("trimesh", reason="in the extra test")
    skeleton, params = kick.skeleton, kick.params
    if seed is not None:
        skeleton = reference.random_skeleton(np.random.default_rng(seed), 3, 7)
        params = np.ones((2, skeleton.num_dofs))
    save_glb(path, skeleton, params, 0.1, scale=0.01)
    document = pygltflib.GLTF2().load(path)
    rest = places_of(document)
    binds = array_of(document, document.skins[0].inverseBindMatrices).reshape(-1, 4, 4)
    for name, bind in zip(skeleton.names, binds.swapaxes(1, 2), strict=True):
        np.testing.assert_allclose(rest[name] @ bind, np.eye(4), atol=1e-6)
    mesh = trimesh.load(path).to_mesh()
    assert mesh.volume > 0  # its faces look outwards
    _, places = frames_of(np.zeros((1, skeleton.num_dofs)), skeleton)
    places = 0.01 * places[0]
    ours = [rest[name][:3, 3] for name in skeleton.names]
    np.testing.assert_allclose(ours, places, atol=1e-6)
    distances = np.linalg.norm(mesh.vertices[:, None] - places[None], axis=-1).min(axis=0)
    np.testing.assert_allclose(distances, 0, atol=1e-6)


VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)));
"""


def issues_of(path):
    """What the Khronos validator says; NODE_PATH says where the npm package gltf-validator is."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    done = subprocess.run([node, "-e", VALIDATE, str(path)], capture_output=True, text=True)
    if "Cannot find module" in done.stderr:
        pytest.skip(f"npm's gltf-validator is not on NODE_PATH={os.environ.get('NODE_PATH')}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("frames", [0, 1, 20])
def test_the_khronos_validator_finds_no_fault(path, frames):
    params = np.random.default_rng(0).normal(size=(frames, 27))
    save_glb(path, human_17(), params, 0.04, scale=0.001)
    issues = issues_of(path)
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues


@pytest.fixture
def marked():
    """Three points, z up, in mm, the middle one not seen in some frames; and two bones."""
    rng = np.random.default_rng(1)
    places = np.cumsum(rng.normal(0, 30, (20, 3, 3)), axis=0) + 300 * np.arange(9.0).reshape(3, 3)
    places[[0, 7, 8, 19], 1] = np.nan
    places[12, 2] = places[12, 0] + [0, -250, 0]  # from wherever to straight down: half a turn
    places[11, 2] = places[11, 0] + [0, 250, 0]
    bones = {"a-b": places[:, [0, 1]], "a-c": places[:, [0, 2]]}
    return Points(places, ("a", "b", "c"), 0.02, unit_mm=1.0, up="z"), bones


def frame_of(document, frame):
    """Node -> its (4, 4) frame, by the keys at or before and after a frame's time."""
    found = {}
    for number, node in enumerate(document.nodes):
        own = {"translation": node.translation, "rotation": node.rotation, "scale": node.scale}
        for channel in document.animations[0].channels:
            if channel.target.node == number:
                sampler = document.animations[0].samplers[channel.sampler]
                times, values = (array_of(document, x) for x in (sampler.input, sampler.output))
                own[channel.target.path] = [
                    np.interp(frame * 0.02, times[:, 0], column) for column in values.T
                ]
        found[node.name] = np.eye(4)
        turn = Rotation.from_quat(own["rotation"] or [0, 0, 0, 1]).as_matrix()
        found[node.name][:3] = np.c_[turn * own["scale"], own["translation"]]
    return found


def test_points_and_bones_are_where_they_were_recorded_and_hidden_where_they_were_not(path, marked):
    points, bones = marked
    save_points_glb(path, points, bones=bones)
    document = pygltflib.GLTF2().load(path)
    metres = 0.001 * points.positions @ UP["z"].T
    for t in range(20):
        found = frame_of(document, t)
        for n, name in enumerate("abc"):
            there = np.isfinite(metres[t, n]).all()
            assert (np.abs(found[name][:3, :3]).max() > 0.001) == there
            if there:
                np.testing.assert_allclose(found[name][:3, 3], metres[t, n], atol=CLOSE)
        for n, name in ((1, "a-b"), (2, "a-c")):
            start, tip = (found[name] @ [0, y, 0, 1] for y in (0, 1))
            if np.isfinite(metres[t, n]).all():
                np.testing.assert_allclose(start[:3], metres[t, 0], atol=CLOSE)
                np.testing.assert_allclose(tip[:3], metres[t, n], atol=CLOSE)
            else:
                np.testing.assert_allclose(found[name][:3, :3], 0, atol=CLOSE)


def test_turns_of_a_bone_have_no_jumps(path):
    angles = np.linspace(0, 6 * np.pi, 200)  # through straight down, again and again
    tip = np.stack([np.sin(angles), np.cos(angles), 0.3 * np.sin(angles / 7)], axis=-1)
    ends = np.stack([np.zeros_like(tip), tip], axis=1)
    points = Points(ends, ("a", "b"), 0.1, unit_mm=1000.0, up="y")
    save_points_glb(path, points, bones={"a-b": ends})
    document = pygltflib.GLTF2().load(path)
    (channel,) = [x for x in document.animations[0].channels if x.target.path == "rotation"]
    turns = array_of(document, document.animations[0].samplers[channel.sampler].output)
    assert np.abs(np.diff(turns, axis=0)).max() < 0.06


@pytest.mark.parametrize("frames", [1, 20])
def test_the_khronos_validator_finds_no_fault_with_points(path, marked, frames):
    points, bones = marked
    points = points._replace(positions=points.positions[-frames:])
    save_points_glb(path, points, bones={key: x[-frames:] for key, x in bones.items()})
    issues = issues_of(path)
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues
    save_points_glb(path, points)
    issues = issues_of(path)
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues


@pytest.mark.parametrize("count", [0, 3])
def test_bones_need_no_points(path, marked, count):
    points, bones = marked
    points = points._replace(positions=np.full((20, count, 3), np.nan), names=points.names[:count])
    save_points_glb(path, points, bones=bones)
    document = pygltflib.GLTF2().load(path)
    assert [node.name for node in document.nodes] == list(bones)
    assert {node.mesh for node in document.nodes} == {0}
    assert [mesh.name for mesh in document.meshes] == ["bone"]
    assert document.meshes[0].primitives[0].material == 0
    assert len(document.materials) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit_mm": None}, "unit_mm must say the points' unit"),
        ({"up": None}, "up must say the points' axis up"),
        ({"frame_time_s": None}, "frame_time_s must say the rate of 20 frames"),
        ({"positions": np.zeros((20, 3, 2))}, "must have 3 coordinates"),
        ({"positions": np.zeros((20, 3))}, "must have 3 coordinates"),
        ({"positions": np.full((20, 3, 3), 1e35)}, "within 1e[+]30 m"),
    ],
)
def test_points_that_gltf_cannot_hold_are_refused(path, marked, change, message):
    points, bones = marked
    with pytest.raises(ValueError, match=message):
        save_points_glb(path, points._replace(**change), bones=bones)
    with pytest.raises(ValueError, match="a-b must have 3 coordinates in 20 frames"):
        save_points_glb(path, points, bones={"a-b": bones["a-b"][:3]})
    assert not path.exists()


@pytest.mark.parametrize("shape", [(0, 2, 3), (1, 2, 3), (3, 2, 3), (3, 0, 3)])
def test_a_file_of_nothing_is_refused_and_not_written(path, shape):
    frames, count = shape[:2]
    points = Points(np.full(shape, np.nan), ("a", "b")[:count], 0.04, unit_mm=1.0, up="y")
    ends = {"a-b": np.full((frames, 2, 3), np.nan)}
    said = f"all {count} points and 1 bones are missing in all {frames} frames"
    with pytest.raises(ValueError, match=said):
        save_points_glb(path, points, bones=ends)
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skeleton": toy(3)}, "glTF holds one 3D skeleton"),
        ({"params": np.zeros((2, 3))}, r"params must have shape \(T, 27\).*\(2, 3\)"),
        ({"params": np.full((2, 27), np.nan)}, "params must be finite"),
        ({"params": np.full((2, 27), 1e40)}, "params must be finite"),
        ({"frame_time_s": 0.0}, "frame_time_s must be positive"),
        ({"scale": np.inf}, "scale must be positive"),
        ({"up": "w"}, "up must be one of"),
    ],
)
def test_what_gltf_cannot_hold_is_refused_and_nothing_is_written(path, change, message):
    path.write_text("before")
    given = {"skeleton": human_17(), "params": np.zeros((2, 27)), "frame_time_s": 0.1} | change
    with pytest.raises(ValueError, match=message):
        save_glb(path, **given)
    assert path.read_text() == "before"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
