"""A batch is a loop: what runs as one kernel gives what poses give one by one.

Single poses are held against Eq. 2 in tests/test_kinematics.py; here, too, the loop.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from test_kinematics import (
    FLOAT32,
    FLOAT64,
    HUMAN,
    close,
    every_object,
    every_object_most_slowly,
    random_params,
    with_offsets,
)

from data.motion import MOTION_DIR
from kinpose import Joint, build_skeleton, forward_kinematics, joint_jacobian, joint_transforms
from kinpose._kernels import over_batch
from kinpose._kinematics import loop, walk
from kinpose._kinematics.walk import structure_of
from kinpose.io.bvh import load_bvh
from tests.conftest import optimised_jit

BATCH = 60
BLOCKS = 301  # of small calls, the last one not full
MANY = 4099  # window reductions, in blocks, the last one not full

functions = pytest.mark.parametrize(
    "function", [forward_kinematics, joint_transforms, joint_jacobian]
)


def close_trees(found, expected, tolerance):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        close(a, b, tolerance)


def one_by_one(function, *args):
    return jax.jit(lambda args: jax.lax.map(lambda x: function(*x), args))(args)


def at_once(function, *args):
    return optimised_jit(jax.vmap(function))(*args)


HUMANS = jax.jit(lambda params: jax.lax.map(lambda p: forward_kinematics(p, HUMAN), params))


def humans_one_by_one(params):
    """Positions of up to 60 poses, by one program for any number."""
    return HUMANS(np.resize(params, (BATCH, 27)))[: len(params)]


@every_object
@functions
def test_values(x64, skeleton, function):
    params = random_params(skeleton, BATCH)
    of_pose = lambda p: function(p, skeleton)  # noqa: E731
    close_trees(at_once(of_pose, params), one_by_one(of_pose, params), FLOAT64)


@every_object_most_slowly
@pytest.mark.parametrize("quantity", ["positions", "frames", "hinges"])
def test_the_loop_gives_what_is_written_out(x64, skeleton, quantity):
    structure = structure_of(skeleton)
    random = np.random.default_rng(0)
    values = random.normal(size=len(skeleton.flat_motions))
    offsets = skeleton.offsets.ravel() + 0.1 * random.normal(size=skeleton.offsets.size)
    directions = random.normal(size=values.shape), random.normal(size=offsets.shape)

    def derivatives(form):
        function = functools.partial(getattr(form, quantity), structure)
        found, moved = jax.jvp(function, (values, offsets), directions)
        return found, moved, jax.vjp(function, values, offsets)[1](moved)

    found, expected = (jax.jit(lambda f=f: derivatives(f))() for f in (loop, walk))
    close_trees(found, expected, FLOAT64)


@every_object_most_slowly
def test_derivatives_in_both_modes(x64, skeleton):
    random = np.random.default_rng(1)
    weights = random.normal(size=(BATCH, skeleton.num_keypoints, skeleton.ndim))
    bones = skeleton.offsets + 0.1 * random.normal(size=(BATCH, *skeleton.offsets.shape))

    def derivatives(params, direction, bones, weights):
        def kinematics(params, bones):
            return forward_kinematics(params, with_offsets(skeleton, bones))

        moved = jax.jvp(kinematics, (params, bones), (direction, 0.5 * bones))
        only = jax.jvp(lambda p: kinematics(p, bones), (params,), (direction,))
        return moved, only, jax.vjp(kinematics, params, bones)[1](weights)

    args = random_params(skeleton, BATCH), random_params(skeleton, BATCH, seed=1), bones, weights
    close_trees(at_once(derivatives, *args), one_by_one(derivatives, *args), FLOAT64)


def test_a_recording_s_skeleton(x64):
    """57 dofs, most of them in joints of three."""
    recording = load_bvh(MOTION_DIR / "jump.bvh")
    skeleton, params = recording.skeleton, np.resize(recording.params, (300, 57))
    weights = np.random.default_rng(1).normal(size=(300, skeleton.num_keypoints, 3))

    def value_and_gradient(params, weights):
        return jax.value_and_grad(lambda p: jnp.vdot(forward_kinematics(p, skeleton), weights))(
            params
        )

    args = jnp.asarray(params, jnp.float64), weights
    close_trees(at_once(value_and_gradient, *args), one_by_one(value_and_gradient, *args), FLOAT64)


@every_object_most_slowly
def test_second_derivatives(x64, skeleton):
    def products(params, direction):
        def energy(params, bones):
            return jnp.sum(forward_kinematics(params, with_offsets(skeleton, bones)) ** 2)

        slope = jax.grad(energy, argnums=(0, 1))
        bones = jnp.asarray(skeleton.offsets)
        along = jax.jvp(slope, (params, bones), (direction, 0.1 * bones))[1]
        back = jax.grad(lambda p: jnp.vdot(slope(p, bones)[0], direction))(params)
        return along, back

    args = random_params(skeleton, BATCH), random_params(skeleton, BATCH, seed=1)
    close_trees(at_once(products, *args), one_by_one(products, *args), FLOAT64)


@every_object
def test_a_skeleton_that_all_poses_share_gets_the_sum_of_their_gradients(x64, skeleton):
    params = random_params(skeleton, BATCH)

    def gradient(params, kinematics):
        return jax.grad(lambda bones: jnp.sum(kinematics(params, bones) ** 2))(skeleton.offsets)

    def kinematics(params, bones):
        return forward_kinematics(params, with_offsets(skeleton, bones))

    batch = jax.jit(lambda p: gradient(p, jax.vmap(kinematics, in_axes=(0, None))))(params)
    close(batch, one_by_one(lambda p: gradient(p, kinematics), params).sum(axis=0), FLOAT64)


@pytest.mark.parametrize(
    "shape",
    [
        *((0,), (7, 9), (1, 1), (2 * 4096 + 50,)),
        *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((2, 3, 20), (4096,))),
    ],
)
def test_any_number_of_poses_in_any_number_of_dimensions(shape):
    params = random_params(HUMAN, *shape).astype(np.float32)
    function = lambda p: forward_kinematics(p, HUMAN)  # noqa: E731
    for _ in shape:
        function = jax.vmap(function)
    found = optimised_jit(function)(params)
    assert found.shape == (*shape, 17, 3)
    if params.size:
        expected = humans_one_by_one(params.reshape(-1, 27)[-BATCH:])
        close(found.reshape(-1, 17, 3)[-BATCH:], expected, FLOAT32)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_batch_may_be_any_axis(axis):
    params = random_params(HUMAN, BATCH).astype(np.float32)
    found = jax.vmap(forward_kinematics, (axis, None), axis)(np.moveaxis(params, 0, axis), HUMAN)
    expected = jax.vmap(forward_kinematics, (0, None))(params, HUMAN)
    np.testing.assert_array_equal(np.moveaxis(found, axis, 0), expected)


def test_a_skeleton_for_each_pose(x64):
    params = random_params(HUMAN, BATCH)
    scales = np.linspace(0.5, 2.0, BATCH)
    bones = scales[:, None, None] * HUMAN.offsets
    many = dataclasses.replace(HUMAN, offsets=bones)
    axes = (0, dataclasses.replace(HUMAN, offsets=0, limits=None))
    found = jax.jit(jax.vmap(forward_kinematics, axes))(params, many)
    one = lambda p, b: forward_kinematics(p, with_offsets(HUMAN, b))  # noqa: E731
    close(found, one_by_one(one, params, bones), FLOAT64)


@pytest.mark.parametrize("size", [BLOCKS, pytest.param(MANY, marks=pytest.mark.slow)])
def test_no_pose_changes_another(size):
    params = random_params(HUMAN, size).astype(np.float32)
    spoiled = params.copy()
    spoiled[[5, 17, 30]] = np.array([np.nan, np.inf, -np.inf])[:, None]
    others = np.setdiff1d(np.arange(size), [5, 17, 30])
    slopes = jax.grad(lambda p: jnp.sum(forward_kinematics(p, HUMAN) ** 2))
    for function in (lambda p: forward_kinematics(p, HUMAN), slopes):
        run = optimised_jit(jax.vmap(function))
        found, expected = run(spoiled), run(params)
        np.testing.assert_array_equal(found[others, :], expected[others, :])
        assert np.isnan(found[[5, 17, 30], 1:]).any(axis=-1).all()


@pytest.mark.parametrize("size", [1, BATCH, MANY])
def test_angles_of_ten_thousand_radians_keep_their_digits(size):
    params = np.random.default_rng(0).uniform(-1e4, 1e4, (size, 27)).astype(np.float32)
    params[:, :3] = 0.0
    expected = [reference.positions(pose, HUMAN) for pose in params[-BATCH:]]
    found = at_once(lambda p: forward_kinematics(p, HUMAN), params)
    close(found[-BATCH:], expected, 1e-5)


@pytest.mark.slow
def test_derivatives_of_many_poses():
    params = random_params(HUMAN, MANY).astype(np.float32)
    slope = jax.grad(lambda p: jnp.sum(forward_kinematics(p, HUMAN) ** 2))
    curve = lambda p: jax.jvp(slope, (p,), (jnp.cos(p),))[1]  # noqa: E731
    for function in (slope, curve):
        close(at_once(function, params)[-9:], one_by_one(function, params[-9:]), 5 * FLOAT32)


@pytest.mark.parametrize("joints", [47, pytest.param(80, marks=pytest.mark.slow), 512])
def test_long_chains(x64, joints):
    chain = build_skeleton(
        [
            Joint(f"{i}", f"{i - 1}" if i else None, (0.0, 0.1, 0.0), ("rx", "ry", "rz")[i % 3])
            for i in range(joints)
        ]
    )
    params = random_params(chain, BATCH)
    expected = [reference.positions(params[0], chain)] if joints < 100 else None
    found = jax.jit(jax.vmap(forward_kinematics, (0, None)))(params, chain)
    alone = jax.jit(forward_kinematics)(params[0], chain)
    close(found[0], alone, FLOAT64)
    if expected:
        close(alone, expected[0], FLOAT64)


@pytest.mark.parametrize("size", [BATCH, pytest.param(MANY - 1, marks=pytest.mark.slow)])
def test_two_devices_compute_what_one_does(size):
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    slope = jax.grad(lambda p: jnp.sum(jax.vmap(forward_kinematics, (0, None))(p, HUMAN) ** 2))
    params = random_params(HUMAN, size).astype(np.float32)
    found = optimised_jit(slope)(jax.device_put(params, sharding))
    assert found.sharding.is_equivalent_to(sharding, 2)
    close(found, jax.jit(slope)(params), FLOAT32)


@functions
def test_accelerators_get_plain_arithmetic(function):
    """No loop, no call to a library or to the host: XLA fuses the rest by itself."""
    exported = jax.export.export(jax.jit(jax.vmap(function, (0, None))), platforms=("cuda", "tpu"))(
        jnp.zeros((256, 27)), HUMAN
    )
    operations = exported.mlir_module()
    for word in ("stablehlo.while", "custom_call", "stablehlo.gather", "stablehlo.scatter"):
        assert word not in operations


def polar(point, scale):
    (radius, angle), (factor,) = point, scale
    return [factor * radius * jnp.cos(angle), factor * radius * jnp.sin(angle)], [radius], []


def test_a_program_may_have_several_rows_in_and_out(x64):
    points, scale = np.random.default_rng(0).normal(size=(BATCH, 2)), np.array([2.0])
    place, radius, nothing = at_once(lambda p: over_batch(polar, p, scale), points)
    x, y = 2 * points[:, 0] * np.cos(points[:, 1]), 2 * points[:, 0] * np.sin(points[:, 1])
    close(place, np.stack([x, y], axis=1), FLOAT64)
    close(radius, points[:, :1], FLOAT64)
    assert nothing.shape == (BATCH, 0)
    slope = jax.grad(
        lambda p, s: jnp.sum(jax.vmap(lambda p: over_batch(polar, p, s)[0])(p)), (0, 1)
    )
    by_points, by_scale = jax.jit(slope)(points, scale)
    radius, angle = points.T
    along = np.cos(angle) + np.sin(angle), radius * (np.cos(angle) - np.sin(angle))
    close(by_points, 2 * np.stack(along, axis=1), FLOAT64)
    close(by_scale, [np.sum((x + y) / 2)], FLOAT64)
