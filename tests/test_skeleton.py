import dataclasses
import functools
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kinpose
from kinpose import (
    Joint,
    Motion,
    build_skeleton,
    forward_kinematics,
    limit_skeleton,
    pose,
    pose_dict,
    rotate_skeleton,
    scale_skeleton,
)
from kinpose.skeleton import remove_dofs
from kinpose.skeletons import HUMAN_LIMITS, human_17


def chain(*motions, ndim=3):
    """Root and tip, the root with these motions."""
    bones = np.eye(2, ndim)
    return [Joint("root", None, bones[0], *motions), Joint("tip", "root", bones[1])]


def test_the_example_is_numbered_in_order_of_writing():
    skeleton = build_skeleton(
        [
            Joint("hip", None, (0, 0, 1), "tx rz"),
            Joint("knee", "hip", (0, -2, 0), [Motion("r", "x", "bend", 0.5, 0.1)]),
            Joint("helper", "hip", motions=[Motion("r", (0, 3, 4), "bend"), Motion("r", "y")]),
            Joint("foot", "helper", (0, -3, 0)),
        ],
        keypoints=["foot", "hip", "knee"],
        limits={"bend": (-1, 2)},
    )
    assert skeleton.names == ("hip", "knee", "helper", "foot")
    assert skeleton.parents == (-1, 0, 0, 2)
    assert skeleton.dof_names == ("hip_tx", "hip_rz", "bend", "helper_ry")
    assert skeleton.motions[1] == (Motion("r", (1.0, 0.0, 0.0), "bend", 0.5, 0.1),)
    assert skeleton.motions[2][0].axis == (0.0, 0.6, 0.8)
    assert (skeleton.num_joints, skeleton.num_dofs, skeleton.num_keypoints) == (4, 4, 3)
    assert skeleton.ndim == 3
    assert skeleton.keypoint_names == ("foot", "hip", "knee")
    np.testing.assert_array_equal(skeleton.offsets[1], [0, -2, 0])
    inf = math.inf
    np.testing.assert_array_equal(skeleton.limits, [[-inf, inf], [-inf, inf], [-1, 2], [-inf, inf]])


def test_all_joints_are_keypoints_by_default():
    assert build_skeleton(chain("rx")).keypoint_names == ("root", "tip")


def test_bones_skip_helper_joints_and_reach_no_further_than_the_first_keypoint():
    names = "abcdefg"  # a chain, of which b, c and e are reported, in another order
    joints = [Joint(name, names[j - 1] if j else None) for j, name in enumerate(names)]
    skeleton = build_skeleton([*joints, Joint("h", "a")], keypoints=["e", "c", "h", "b"])
    assert skeleton.bones == ((0, 1), (1, 3))


def test_a_skeleton_in_the_plane_moves_in_it():
    motions = [Motion("t", (3, 4)), Motion("r", (0, 0, -2), "turn")]
    skeleton = build_skeleton(chain(motions, ndim=2))
    assert skeleton.ndim == 2
    assert [motion.axis for motion in skeleton.motions[0]] == [(0.6, 0.8, 0), (0, 0, -1)]


def test_equal_structures_are_equal_and_hash_alike():
    one, other = (jax.tree.structure(build_skeleton(chain("rx ty"))) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != jax.tree.structure(build_skeleton(chain("rx tz")))
    assert one != jax.tree.structure(build_skeleton(chain("rx ty"), keypoints=["tip"]))


def test_numbers_are_leaves():
    skeleton = build_skeleton(chain("rx ty"), limits={"root_rx": (0, 1)})
    offsets, limits = jax.tree.leaves(skeleton)
    np.testing.assert_array_equal(offsets, skeleton.offsets)
    np.testing.assert_array_equal(limits, skeleton.limits)


def test_a_skeleton_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        build_skeleton(chain()).names = ()


def test_limit_skeleton_replaces_all_limits():
    skeleton = build_skeleton(chain("rx ty"), limits={"root_rx": (0, 1)})
    limited = limit_skeleton(skeleton, {"root_ty": (2, 3)})
    np.testing.assert_array_equal(limited.limits, [[-math.inf, math.inf], [2, 3]])
    assert np.isinf(limit_skeleton(limited, None).limits).all()
    np.testing.assert_array_equal(skeleton.limits[0], [0, 1])


def test_scale_skeleton_keeps_dofs_and_limits():
    skeleton = build_skeleton(chain("rx ty"), limits={"root_rx": (0, 1)})
    scaled = scale_skeleton(skeleton, 3)
    np.testing.assert_array_equal(scaled.offsets, 3 * skeleton.offsets)
    np.testing.assert_array_equal(scaled.limits, skeleton.limits)
    assert jax.tree.structure(scaled) == jax.tree.structure(skeleton)


@pytest.mark.parametrize(
    "rotation", [np.eye(2), -np.eye(3), 2 * np.eye(3), np.diag([1, 1, np.nan]), np.zeros((3, 3))]
)
def test_only_proper_rotations_rotate(rotation):
    with pytest.raises(ValueError, match="rotation must be a proper 3 x 3 rotation, but got"):
        rotate_skeleton(build_skeleton(chain("rx")), rotation)


def one_motion(*args):
    return chain([Motion(*args)])


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        ([], "at least one joint, but joints is empty"),
        ([Joint("a"), Joint("b", "a"), Joint("b", "a")], "unique, but 'b' occurs twice"),
        ([Joint("a"), Joint("b", "c")], r"parent of joint 'b' .* 'c' is not among \['a'\]"),
        ([Joint("b", "a"), Joint("a")], r"parent of joint 'b' .* 'a' is not among \[\]"),
        ([Joint("a"), Joint("b", "b")], r"parent of joint 'b' .* 'b' is not among \['a'\]"),
        ([Joint("a"), Joint("b", 0)], r"parent of joint 'b' .* 0 is not among \['a'\]"),
        ([Joint("a"), Joint("b")], "one root, but 'b' has no parent .* the root 'a'"),
    ],
)
def test_what_is_no_tree_of_joints_is_refused(joints, message):
    with pytest.raises(ValueError, match=message):
        build_skeleton(joints)


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        ((1, 2), r"offset of joint 'b' must be 3 finite numbers, but got \(1, 2\)"),
        ((1, 2, math.nan), r"offset of joint 'b' must be 3 finite numbers, but got \(1, 2, nan\)"),
        ((1, math.inf, 3), r"offset of joint 'b' must be 3 finite numbers, but got \(1, inf, 3\)"),
        (None, "offset of joint 'b' must be 3 finite numbers, but got None"),
        (1.0, r"offset of joint 'b' must be 3 finite numbers, but got 1\.0"),
    ],
)
def test_offsets_that_are_not_n_numbers_are_refused(offset, message):
    with pytest.raises(ValueError, match=message):
        build_skeleton([Joint("a"), Joint("b", "a", offset)])


@pytest.mark.parametrize("offset", [(), (1,), (1, 2, 3, 4), None, 1.0])
def test_the_root_s_offset_has_two_or_three_numbers(offset):
    with pytest.raises(ValueError, match="offset of joint 'a' must be 2 or 3 finite numbers, but"):
        build_skeleton([Joint("a", None, offset)])


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (one_motion("r", "w"), "joint 'root' .* 'x', 'y', 'z' .* but got kind 'r' and axis 'w'"),
        (one_motion("r", (0, 0, 0)), r"a vector other than zero, but got .* axis \(0, 0, 0\)"),
        (one_motion("r", (1, 0)), r"but got kind 'r' and axis \(1, 0\)"),
        (one_motion("r", (math.nan, 0, 1)), r"but got kind 'r' and axis \(nan, 0, 1\)"),
        (one_motion("r", 2), "joint 'root' .* but got kind 'r' and axis 2"),
        (one_motion("r", None), "joint 'root' .* but got kind 'r' and axis None"),
        (one_motion("s", "x"), "of kind 'r' or 't' .* but got kind 's' and axis 'x'"),
        (one_motion("r", "x", "d", math.inf), "multiplier and bias must be finite, .*'root'.*inf"),
        (
            one_motion("r", "x", "d", 1, math.nan),
            "multiplier and bias must be finite, .*'root'.*nan",
        ),
        (chain("rq"), "joint 'root' .* but got kind 'r' and axis 'q'"),
        (chain("RX"), "joint 'root' .* but got kind 'R' and axis 'X'"),
        (chain("tx,ty"), "joint 'root' .* but got kind 't' and axis 'x,ty'"),
        (chain(["rx", "ry"]), "joint 'root' .*'rx'"),
        (chain([("r", "x")]), r"joint 'root' .*\('r', 'x'\)"),
        (chain(None), "joint 'root' .*None"),
        (chain(Motion("r", "x")), "joint 'root' .*Motion"),
        (chain("rx", ndim=2), "2D joint rotates about 'z' .* 'root' has kind 'r' and axis 'x'"),
        (chain("tz", ndim=2), "2D joint .* 'root' has kind 't' and axis 'z'"),
    ],
)
def test_unusable_motions_are_refused(joints, message):
    with pytest.raises(ValueError, match=message):
        build_skeleton(joints)


@pytest.mark.parametrize("motions", ["rz rx rz", [Motion("r", (1, 1, 0)), Motion("r", (0, 1, 1))]])
def test_default_names_never_make_two_motions_share_a_dof(motions):
    with pytest.raises(ValueError, match=r"'root_r[za]'"):
        build_skeleton(chain(motions))


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        (["tip", "toe"], r"keypoint 'toe' is not a joint; the joints are \['root', 'tip'\]"),
        ([0], r"keypoint 0 is not a joint; the joints are \['root', 'tip'\]"),
        (["tip", "root", "tip"], r"unique, but got \['tip', 'root', 'tip'\]"),
    ],
)
def test_unusable_keypoints_are_refused(keypoints, message):
    with pytest.raises(ValueError, match=message):
        build_skeleton(chain("rx"), keypoints=keypoints)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"root_ry": (0, 1)}, r"the dof 'root_ry', which is not in \['root_rx'\]"),
        ({"root_rx": (1, 1)}, r"limits of 'root_rx' must be \(low, high\), but got \(1, 1\)"),
        ({"root_rx": (2, 1)}, r"limits of 'root_rx' must be \(low, high\), but got \(2, 1\)"),
        ({"root_rx": (0, math.nan)}, r"limits of 'root_rx' .* but got \(0, nan\)"),
        ({"root_rx": 3}, r"limits of 'root_rx' must be \(low, high\), but got 3"),
        ({"root_rx": (0, 1, 2)}, r"limits of 'root_rx' .* but got \(0, 1, 2\)"),
    ],
)
def test_unusable_limits_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        build_skeleton(chain("rx"), limits=limits)
    with pytest.raises(ValueError, match=message):
        limit_skeleton(build_skeleton(chain("rx")), limits)


def test_a_dof_that_is_removed_stays_at_zero():
    whole = limit_skeleton(human_17(), HUMAN_LIMITS)
    names = ("pelvis_ty", "left_hip_rotation")
    less = remove_dofs(whole, names)
    kept = [i for i, name in enumerate(whole.dof_names) if name not in names]
    assert less.dof_names == tuple(whole.dof_names[i] for i in kept)
    np.testing.assert_array_equal(less.limits, whole.limits[kept])
    params = np.random.default_rng(0).uniform(-1, 1, 25).astype(np.float32)
    all_params = np.zeros(27, np.float32)
    all_params[kept] = params
    np.testing.assert_allclose(
        forward_kinematics(params, less), forward_kinematics(all_params, whole), atol=1e-3
    )


def test_a_dof_that_cannot_be_removed_is_named():
    with pytest.raises(ValueError, match="'tail'"):
        remove_dofs(human_17(), ["tail"])
    bent = build_skeleton(chain([Motion("r", "z", "turn", bias=0.1)]))
    with pytest.raises(ValueError, match="'turn'"):
        remove_dofs(bent, ["turn"])


# As a value


def test_equal_skeletons_are_one_static_argument():
    traced = []

    @functools.partial(jax.jit, static_argnums=1)
    def place(params, skeleton):
        traced.append(skeleton)
        return forward_kinematics(params, skeleton)

    for skeleton in (human_17(), human_17(), scale_skeleton(human_17(), 2.0)):
        place(np.zeros(27, np.float32), skeleton)
    assert len(traced) == 2
    assert len({human_17(), human_17(), limit_skeleton(human_17(), HUMAN_LIMITS)}) == 2
    assert human_17() != "human"


def test_a_skeleton_prints_in_a_line_and_its_dofs_in_a_table():
    skeleton = limit_skeleton(human_17(), HUMAN_LIMITS)
    assert repr(skeleton) == "<Skeleton 'pelvis': 19 joints, 17 keypoints, 27 dofs, 3D>"
    head, *rows = skeleton.table().splitlines()[1:]
    assert head.split() == ["dof", "joint", "moves", "limits", "unit"]
    assert [row.split()[0] for row in rows] == list(skeleton.dof_names)
    row = rows[skeleton.dof_index("left_knee_flexion")]
    assert row.split()[1:] == ["left_knee", *["turns", "about", "x", "-15", "to", "160", "deg"]]


def test_a_skeleton_of_other_leaves_prints():
    for leaf in (jnp.shape, lambda x: 0, np.max):
        assert repr(jax.tree.map(leaf, human_17())).startswith("<Skeleton 'pelvis': 19 joints")


def test_leaves_of_a_built_skeleton_are_read_only():
    for leaf in (human_17().offsets, human_17().limits):
        with pytest.raises(ValueError, match="read-only"):
            leaf[0] = 1.0


def test_motions_in_a_row_are_those_of_the_joints():
    skeleton = human_17()
    assert skeleton.flat_motions == sum(skeleton.motions, ())


def test_poses_by_name_and_back():
    skeleton = human_17()
    params = pose(skeleton, left_knee_flexion=0.5, pelvis_ty=900)
    assert params[skeleton.dof_index("left_knee_flexion")] == 0.5
    assert np.count_nonzero(params) == 2
    assert pose(skeleton, **pose_dict(params, skeleton)).tolist() == params.tolist()
    many = pose_dict(np.stack([params, 2 * params]), skeleton)
    assert many["pelvis_ty"].tolist() == [900, 1800]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: pose(s, left_nee_flexion=1), "'left_nee_flexion' is no dof.*left_knee_flexion"),
        (lambda s: pose(s, pelvis_tx=[1, 2]), r"pelvis_tx must be a number, but is \[1, 2\]"),
        (lambda s: pose_dict(np.zeros(3), s), r"\(..., 27\), but have \(3,\)"),
        (lambda s: scale_skeleton(s, [1.0, 2.0]), r"scalar array, but has shape \(2,\)"),
    ],
)
def test_what_means_no_pose_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(human_17())


def test_modules_are_attributes_that_wait_to_be_used():
    program = (
        "import sys, kinpose; assert 'matplotlib' not in sys.modules and 'flax' not in sys.modules;"
        "print(kinpose.metrics.__name__, kinpose.skeletons.human_17().num_dofs)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.split() == ["kinpose.metrics", "27"], run.stderr
    with pytest.raises(AttributeError, match="no attribute 'metric'"):
        kinpose.metric  # noqa: B018
