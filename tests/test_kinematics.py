import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from experiments import peers
from kinpose import (
    Joint,
    build_skeleton,
    forward_kinematics,
    joint_jacobian,
    joint_transforms,
    rotate_skeleton,
    scale_skeleton,
)
from kinpose.skeletons import human_17, toy

# All relative to the largest expected number.
FLOAT64 = 1e-9  # rounding of some hundred operations, with a thousandfold margin
FLOAT32 = 2e-6  # eps is 1.2e-7; a human's chain has up to 15 motions
DIFFERENCES = 1e-7  # central differences in float64, step 1e-5: step^2 and eps / step

HUMAN = human_17()
OBJECTS = {
    "human_17": HUMAN,
    "toy_10": toy(10),
    "random_2d": reference.random_skeleton(np.random.default_rng(3), 2, 5),
    "random_3d_a": reference.random_skeleton(np.random.default_rng(0), 3, 5),
    "random_3d_b": reference.random_skeleton(np.random.default_rng(1), 3, 7),
}


def slow_but_for(*fast):
    """Every object: these fast, and the rest, which compile for long, with the slow tests."""
    return pytest.mark.parametrize(
        "skeleton",
        [
            pytest.param(skeleton, id=name, marks=() if name in fast else pytest.mark.slow)
            for name, skeleton in OBJECTS.items()
        ],
    )


every_object = slow_but_for("human_17", "toy_10", "random_2d", "random_3d_a")
every_object_most_slowly = slow_but_for("random_2d", "random_3d_a")
batched_kinematics = jax.vmap(forward_kinematics, in_axes=(0, None))


def random_params(skeleton, *batch, seed=0):
    return np.random.default_rng(seed).normal(size=(*batch, skeleton.num_dofs))


def close(actual, expected, tolerance):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def differences(function, x, step=1e-5):
    """Derivative of `function` by central differences, x's entries on a new last axis."""
    shifts = step * np.eye(x.size).reshape(-1, *x.shape)
    return np.stack([(function(x + s) - function(x - s)) / (2 * step) for s in shifts], axis=-1)


def with_offsets(skeleton, offsets):
    return dataclasses.replace(skeleton, offsets=offsets)


def distances(points):
    return np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)


# The product of Eq. 2.


@every_object
def test_positions_are_the_product_of_eq_2(x64, skeleton):
    for params in random_params(skeleton, 3):
        expected = reference.positions(params, skeleton)
        close(forward_kinematics(params, skeleton), expected, FLOAT64)


@every_object
def test_positions_are_the_product_of_eq_2_in_float32(skeleton):
    params = random_params(skeleton).astype(np.float32)
    close(forward_kinematics(params, skeleton), reference.positions(params, skeleton), FLOAT32)


@every_object
def test_joint_transforms_are_the_frames_of_eq_2(x64, skeleton):
    params, n = random_params(skeleton), skeleton.ndim
    rotations, positions = joint_transforms(params, skeleton)
    expected = reference.frames(params, skeleton)
    close(rotations, expected[:, :n, :n], FLOAT64)
    close(positions, expected[:, :n, n], FLOAT64)


@every_object
def test_joint_transforms_at_the_keypoints_are_forward_kinematics(skeleton):
    params = random_params(skeleton)
    _, positions = joint_transforms(params, skeleton)
    close(positions[list(skeleton.keypoints), :], forward_kinematics(params, skeleton), FLOAT32)


@every_object
def test_rotations_are_proper(x64, skeleton):
    rotations, _ = joint_transforms(10 * random_params(skeleton), skeleton)
    eye = np.broadcast_to(np.eye(skeleton.ndim), rotations.shape)
    close(rotations @ rotations.mT, eye, FLOAT64)
    close(jnp.linalg.det(rotations), np.ones(skeleton.num_joints), FLOAT64)


def test_angles_of_ten_thousand_radians_keep_their_digits():
    params = np.random.default_rng(0).uniform(-1e4, 1e4, 27).astype(np.float32)
    params[:3] = 0.0
    close(forward_kinematics(params, HUMAN), reference.positions(params, HUMAN), 1e-5)


# Derivatives.


@every_object
def test_joint_jacobian_is_the_paper_s_derivative(x64, skeleton):
    params = random_params(skeleton)
    positions, jacobian = joint_jacobian(params, skeleton)
    close(positions, reference.positions(params, skeleton), FLOAT64)
    close(jacobian, reference.jacobian(params, skeleton), FLOAT64)


@every_object
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_automatic_derivative_is_the_paper_s(x64, skeleton, mode):
    params = random_params(skeleton)
    derivative = jax.jit(mode(forward_kinematics))(params, skeleton)
    close(derivative, reference.jacobian(params, skeleton), FLOAT64)


def test_derivatives_agree_in_float32_far_from_the_origin():
    params = random_params(HUMAN).astype(np.float32)
    params[:3] = 100.0, 5000.0, -8000.0
    expected = reference.jacobian(params, HUMAN)
    close(joint_jacobian(params, HUMAN)[1], expected, FLOAT32)
    close(jax.jacrev(forward_kinematics)(params, HUMAN), expected, FLOAT32)


@every_object
def test_derivative_is_the_limit_of_differences(x64, skeleton):
    params = random_params(skeleton)
    expected = differences(lambda p: forward_kinematics(p, skeleton), params)
    close(joint_jacobian(params, skeleton)[1], expected, DIFFERENCES)


@every_object_most_slowly
def test_second_derivative_is_the_limit_of_differences(x64, skeleton):
    params = random_params(skeleton)
    expected = differences(lambda p: joint_jacobian(p, skeleton)[1], params)
    for derivative in (
        jax.hessian(forward_kinematics),
        jax.jacfwd(lambda p, s: joint_jacobian(p, s)[1]),
    ):
        close(jax.jit(derivative)(params, skeleton), expected, DIFFERENCES)


def test_third_derivative_is_the_limit_of_differences(x64):
    skeleton = OBJECTS["random_3d_a"]
    params, direction = random_params(skeleton, 2)

    def path(time):
        return forward_kinematics(params + time * direction, skeleton)

    acceleration = jax.jit(jax.jacfwd(jax.jacfwd(path)))
    jerk = jax.jit(jax.jacfwd(jax.jacfwd(jax.jacfwd(path))))
    expected = differences(lambda time: acceleration(time[0]), np.zeros(1))[..., 0]
    close(jerk(0.0), expected, DIFFERENCES)


@every_object_most_slowly
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivative_by_bones_is_the_limit_of_differences(x64, skeleton, mode):
    params = random_params(skeleton)
    positions = jax.jit(lambda offsets: forward_kinematics(params, with_offsets(skeleton, offsets)))
    expected = differences(positions, skeleton.offsets)
    derivative = jax.jit(mode(forward_kinematics, argnums=1))(params, skeleton).offsets
    close(derivative.reshape(expected.shape), expected, DIFFERENCES)


@every_object_most_slowly
def test_mixed_derivative_is_the_limit_of_differences(x64, skeleton):
    params = random_params(skeleton)
    slopes = jax.jit(lambda offsets: joint_jacobian(params, with_offsets(skeleton, offsets))[1])
    expected = differences(slopes, skeleton.offsets)
    for derivative in (
        jax.jacfwd(jax.jacrev(forward_kinematics), argnums=1),
        jax.jacrev(lambda p, s: joint_jacobian(p, s)[1], argnums=1),
    ):
        mixed = jax.jit(derivative)(params, skeleton).offsets
        close(mixed.reshape(expected.shape), expected, DIFFERENCES)


@every_object_most_slowly
def test_forward_and_reverse_mode_are_transposed(x64, skeleton):
    @jax.jit
    def products(params, direction, bones, stretch, weights):
        def kinematics(params, offsets):
            return forward_kinematics(params, with_offsets(skeleton, offsets))

        _, moved = jax.jvp(kinematics, (params, bones), (direction, stretch))
        by_params, by_bones = jax.vjp(kinematics, params, bones)[1](weights)
        return jnp.sum(weights * moved), by_params @ direction + jnp.sum(by_bones * stretch)

    random = np.random.default_rng(1)
    stretch = random.normal(size=skeleton.offsets.shape)
    weights = random.normal(size=(skeleton.num_keypoints, skeleton.ndim))
    forward, reverse = products(*random_params(skeleton, 2), skeleton.offsets, stretch, weights)
    close(forward, reverse, FLOAT64)


@every_object_most_slowly
def test_first_and_second_derivatives_are_never_nan(skeleton):
    def energy(value, offsets):
        params = jnp.full(skeleton.num_dofs, value)
        return jnp.sum(forward_kinematics(params, with_offsets(skeleton, offsets)) ** 2)

    values = jnp.array([0.0, np.pi / 2, np.pi, -np.pi, 1e4])
    bones = jnp.asarray(skeleton.offsets, jnp.float32)
    derivatives = jax.jit(jax.vmap(jax.jacfwd(jax.value_and_grad(energy, (0, 1))), (0, None)))
    for offsets in (bones, 0.0 * bones):
        for derivative in jax.tree.leaves(derivatives(values, offsets)):
            assert np.isfinite(derivative).all()


# Mechanics.


@pytest.mark.parametrize(("skeleton", "num_root"), [(HUMAN, 6), (toy(10), 3)])
def test_the_root_s_dofs_move_the_whole_rigidly(x64, skeleton, num_root):
    params = random_params(skeleton, 4)
    params[:, num_root:] = params[0, num_root:]
    points = batched_kinematics(params, skeleton)
    close(distances(points), np.stack([distances(points[0])] * 4), FLOAT64)


@pytest.mark.parametrize("skeleton", [HUMAN, toy(10)], ids=["human", "toy"])
def test_no_parameter_changes_a_bone_s_length(x64, skeleton):
    child, parent = np.transpose(skeleton.bones)
    params = random_params(skeleton, 4)
    params[0] = 0.0
    points = batched_kinematics(params, skeleton)
    lengths = np.linalg.norm(points[:, child] - points[:, parent], axis=-1)
    close(lengths, np.stack([lengths[0]] * 4), FLOAT64)


def test_a_joint_s_own_rotations_do_not_move_it(x64):
    params = random_params(HUMAN)
    _, positions = joint_transforms(params, HUMAN)
    for j, motions in enumerate(HUMAN.motions):
        own = [HUMAN.dof_names.index(motion.dof) for motion in motions if motion.kind == "r"]
        turned = params.copy()
        turned[own] += 1.0
        moved = np.linalg.norm(joint_transforms(turned, HUMAN)[1] - positions, axis=-1)
        assert moved[j] < FLOAT64
        assert not own or moved.max() > 1.0


def test_a_skeleton_without_motions_is_its_rest_pose():
    skeleton = build_skeleton([Joint("root", None, (1, 2)), Joint("tip", "root", (3, 4))])
    positions, jacobian = joint_jacobian(jnp.zeros(0), skeleton)
    np.testing.assert_array_equal(positions, [[1, 2], [4, 6]])
    assert jacobian.shape == (2, 2, 0)
    by_bones = jax.jacrev(forward_kinematics, argnums=1)(jnp.zeros(0), skeleton).offsets
    np.testing.assert_array_equal(by_bones.sum((1, 3)), [[2, 0], [2, 2]])


@every_object
def test_scale_skeleton_scales_every_bone(x64, skeleton):
    params = np.zeros(skeleton.num_dofs)
    scaled = scale_skeleton(skeleton, 1.25)
    rest = with_offsets(skeleton, 0 * skeleton.offsets)
    fixed = forward_kinematics(params, rest)  # what translations with a bias contribute
    bones = forward_kinematics(params, skeleton) - fixed
    close(forward_kinematics(params, scaled), 1.25 * bones + fixed, FLOAT64)


def test_scale_is_differentiable(x64):
    params = random_params(HUMAN)
    params[:3] = 0.0
    derivative = jax.jacfwd(lambda s: forward_kinematics(params, scale_skeleton(HUMAN, s)))(2.0)
    close(derivative, forward_kinematics(params, HUMAN), FLOAT64)


@every_object
def test_rotate_skeleton_turns_every_pose(x64, skeleton):
    n = skeleton.ndim
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))
    turn *= np.linalg.det(turn) if n == 3 else np.array([1.0, np.linalg.det(turn)])
    params = random_params(skeleton)
    expected = forward_kinematics(params, skeleton) @ turn.T
    close(forward_kinematics(params, rotate_skeleton(skeleton, turn)), expected, FLOAT64)


# Independent packages: the same tree, built motion by motion.


@every_object
@pytest.mark.parametrize(
    ("package", "engine"),
    [("mujoco", peers.mujoco_engine), ("pinocchio", peers.pinocchio_engine)],
    ids=["mujoco", "pinocchio"],
)
def test_independent_packages_agree(x64, skeleton, package, engine):
    pytest.importorskip(package, reason=f"parity with {package} needs it installed (extra bench)")
    params, n, tree = random_params(skeleton), skeleton.ndim, peers.motion_tree(skeleton)
    expected, by_amounts = engine(skeleton).jacobian(tree.amounts(params))
    positions, jacobian = joint_jacobian(params, skeleton)
    close(positions, expected[:, :n], FLOAT64)
    close(jacobian, by_amounts[:, :n] @ tree.matrix, FLOAT64)


# Batches, compilation, devices, number formats.


@every_object
def test_vmap_is_a_loop(skeleton):
    params = random_params(skeleton, 5).astype(np.float32)
    expected = np.stack([forward_kinematics(p, skeleton) for p in params])
    close(batched_kinematics(params, skeleton), expected, FLOAT32)


def test_vmap_takes_one_skeleton_per_pose():
    params, scales = random_params(HUMAN, 3).astype(np.float32), np.array([0.9, 1.0, 1.2])
    people = with_offsets(HUMAN, scales[:, None, None] * HUMAN.offsets)
    axes = dataclasses.replace(HUMAN, offsets=0, limits=None)
    expected = [
        forward_kinematics(p, scale_skeleton(HUMAN, s)) for p, s in zip(params, scales, strict=True)
    ]
    close(jax.vmap(forward_kinematics, (0, axes))(params, people), np.stack(expected), FLOAT32)


def test_an_equal_skeleton_does_not_compile_again():
    traces = []

    @jax.jit
    def traced(params, skeleton):
        traces.append(skeleton)
        return forward_kinematics(params, skeleton)

    for skeleton in (human_17(), human_17(), scale_skeleton(human_17(), 2.0)):
        traced(jnp.zeros(27), skeleton)
    assert len(traces) == 1


@pytest.mark.parametrize(
    "function",
    [
        forward_kinematics,
        *(pytest.param(f, marks=pytest.mark.slow) for f in (joint_transforms, joint_jacobian)),
    ],
)
def test_a_skeleton_known_when_tracing_gives_what_one_passed_in_does(x64, function):
    params = random_params(HUMAN, 3)

    def results(params, skeleton):
        found = jax.vmap(function, in_axes=(0, None))
        weighted = lambda p: sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(found(p, skeleton)))  # noqa: E731
        return found(params, skeleton), jax.grad(weighted)(params)

    known, passed = jax.jit(lambda p: results(p, HUMAN))(params), jax.jit(results)(params, HUMAN)
    for actual, expected in zip(*map(jax.tree.leaves, (known, passed)), strict=True):
        close(actual, expected, FLOAT64)


def test_zeros_known_when_tracing_cost_nothing():
    params = jnp.zeros(HUMAN.num_dofs)
    known = jax.make_jaxpr(lambda p: forward_kinematics(p, HUMAN))(params)
    passed = jax.make_jaxpr(forward_kinematics)(params, HUMAN)
    moved = with_offsets(HUMAN, HUMAN.offsets + 1.0)
    dense = jax.make_jaxpr(lambda p: forward_kinematics(p, moved))(params)
    counts = [int(re.search(r"(\d+) operations", str(x))[1]) for x in (known, passed, dense)]
    assert counts[0] < 0.8 * counts[1]
    assert counts[2] == counts[1]


def test_a_skeleton_passes_through_transformations_unharmed():
    arrays = jax.tree.map(jnp.asarray, HUMAN)
    donated = jax.tree.map(jnp.array, arrays)
    for result in (
        jax.tree.map(lambda leaf: leaf, HUMAN),
        jax.jit(lambda s: s)(arrays),
        jax.jit(lambda s: s, donate_argnums=0)(donated),
    ):
        assert jax.tree.structure(result) == jax.tree.structure(HUMAN)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7), result, HUMAN)


def test_two_devices_compute_what_one_does():
    def gradient(params):
        return jax.grad(lambda p: jnp.mean(batched_kinematics(p, HUMAN) ** 2))(params)

    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    params = random_params(HUMAN, 4).astype(np.float32)
    sharded = jax.device_put(params, sharding)
    for function in (lambda p: batched_kinematics(p, HUMAN), gradient):
        result = jax.jit(function)(sharded)
        assert result.sharding.is_equivalent_to(sharding, result.ndim)
        close(result, jax.jit(function)(params), FLOAT32)


def test_a_nan_pose_changes_no_other_pose():
    params = random_params(HUMAN, 4).astype(np.float32)
    spoiled = params.copy()
    spoiled[2] = np.nan
    others = [0, 1, 3]
    slopes = jax.vmap(jax.grad(lambda p: jnp.sum(forward_kinematics(p, HUMAN) ** 2)))
    for function in (lambda p: batched_kinematics(p, HUMAN), slopes):
        np.testing.assert_array_equal(function(spoiled)[others, :], function(params)[others, :])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_results_have_the_dtype_of_params(x64, dtype):
    params = jnp.zeros(27, dtype)
    for function in (forward_kinematics, joint_transforms, joint_jacobian):
        for result in jax.tree.leaves(jax.eval_shape(function, params, HUMAN)):
            assert result.dtype == dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_are_finite_in_half_precision(dtype):
    params = jnp.asarray(random_params(HUMAN), dtype)
    gradient = jax.grad(lambda p: jnp.sum(forward_kinematics(p, HUMAN)))(params)
    assert gradient.dtype == dtype
    assert jnp.isfinite(gradient).all()


def test_bfloat16_is_within_one_percent_of_the_limb():
    params = random_params(HUMAN, 64).astype(np.float32)
    params[:, :3] = 0.0
    rounded = batched_kinematics(jnp.asarray(params, jnp.bfloat16), HUMAN)
    error = rounded.astype(jnp.float32) - batched_kinematics(params, HUMAN)
    limb = np.zeros(HUMAN.num_joints)  # the way along the bones from the root
    for j, parent in enumerate(HUMAN.parents[1:], start=1):
        limb[j] = limb[parent] + np.linalg.norm(HUMAN.offsets[j])
    share = np.linalg.norm(error[:, 1:], axis=-1) / limb[list(HUMAN.keypoints[1:])]
    assert share.max() < 0.01


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (np.zeros(26), r"shape \(\.\.\., 27\), one value per degree of.*, but got \(26,\)\.$"),
        (np.zeros((27, 256)), r"\(\.\.\., 27\).* but got \(27, 256\)"),
        (0.0, r"\(\.\.\., 27\).* but got \(\)"),
        (np.zeros(27, int), "floating point, but got int"),
        ([0] * 27, "floating point, but got int"),
        (np.zeros(27, bool), "floating point, but got bool"),
        (np.zeros(27, complex), "floating point, but got complex"),
    ],
)
@pytest.mark.parametrize("function", [forward_kinematics, joint_transforms, joint_jacobian])
def test_params_of_wrong_shape_or_type_are_refused(function, params, message):
    with pytest.raises(ValueError, match=message):
        function(params, HUMAN)


# Leading dimensions


def test_leading_dimensions_are_a_batch_with_bones_of_its_own(x64):
    human, random = OBJECTS["human_17"], np.random.default_rng(0)
    params = random.normal(size=(2, 3, human.num_dofs))
    offsets = human.offsets * random.uniform(0.5, 2.0, (3, human.num_joints, 1))
    people = dataclasses.replace(human, offsets=offsets)
    for function in (forward_kinematics, joint_transforms, joint_jacobian):
        shared, own = jax.tree.leaves(function(params, human)), function(params, people)
        own = jax.tree.leaves(own)
        for i, j in np.ndindex(2, 3):
            person = dataclasses.replace(human, offsets=offsets[j])
            for batch, one in zip(
                shared, jax.tree.leaves(function(params[i, j], human)), strict=True
            ):
                close(batch[i, j], one, FLOAT64)
            for batch, one in zip(
                own, jax.tree.leaves(function(params[i, j], person)), strict=True
            ):
                close(batch[i, j], one, FLOAT64)


def test_one_pose_of_many_people(x64):
    human = OBJECTS["human_17"]
    people = dataclasses.replace(human, offsets=np.stack([human.offsets, 2 * human.offsets]))
    one, two = forward_kinematics(np.zeros(human.num_dofs), people)
    close(2 * one, two, FLOAT64)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((human_17(), np.zeros(27)), "skeleton must be a Skeleton, but got ndarray; params come"),
        ((np.zeros((2, 26)), human_17()), r"\(..., 27\), one value.*\(2, 26\)"),
        (
            (
                np.zeros((2, 27)),
                dataclasses.replace(human_17(), offsets=np.zeros((3, 19, 3))),
            ),
            r"\(2, 27\).*\(3, 19, 3\).*do not broadcast",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(args, message):
    for function in (forward_kinematics, joint_transforms, joint_jacobian):
        with pytest.raises(ValueError, match=message):
            function(*args)
