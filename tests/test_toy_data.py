import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.toy import (
    HALF_LINE,
    IMAGE_SIZE,
    MARGIN,
    load_toy,
    param_units,
    read_params,
    render,
    toy_object,
)
from kinpose import forward_kinematics, scale_skeleton
from kinpose.skeletons import toy
from tests import reference

OBJECTS = [(3, None), (6, None), (8, None), (10, None), (10, 45.0)]
EXACT = 1e-4  # px or rad, of float32 up to 128

read_all = jax.jit(jax.vmap(read_params, in_axes=(0, None)))
place_all = jax.jit(jax.vmap(forward_kinematics, in_axes=(0, None)))
draw = jax.jit(render)


@pytest.fixture(scope="module", params=OBJECTS, ids=str)
def case(request):
    """An object, and 400 samples of it in two sets."""
    num_params, bone_length = request.param
    sets = load_toy(num_params, bone_length=bone_length, num_train=300, num_test=100)
    return toy_object(num_params, bone_length), sets


def distances(joints, skeleton):
    """(128, 128) from pixel centres to the nearest bone: the slow way, in float64."""
    pixels = np.stack(np.meshgrid(*2 * [np.arange(IMAGE_SIZE)]), axis=-1).astype(np.float64)
    nearest = np.full(pixels.shape[:2], np.inf)
    for child, parent in skeleton.bones:
        a, b = np.float64(joints[parent]), np.float64(joints[child])
        to_ends = (np.linalg.norm(pixels - end, axis=-1) for end in (a, b))
        nearest = np.minimum(nearest, np.minimum(*to_ends))
        length = np.linalg.norm(b - a)
        if length > 0:
            along = (b - a) / length
            place = (pixels - a) @ along
            aside = np.abs((pixels - a) @ np.array([-along[1], along[0]]))
            beside = (place >= 0) & (place <= length)
            nearest = np.where(beside, np.minimum(nearest, aside), nearest)
    return nearest


def check_image(image, joints, skeleton):
    """As the slow way has it, save pixels whose centre lies on the very edge."""
    away = distances(joints, skeleton) - HALF_LINE
    clear = np.abs(away) > EXACT
    np.testing.assert_array_equal(np.asarray(image)[clear], (away <= 0)[clear])
    assert clear.mean() > 0.99


def test_sets_have_the_shapes_and_types_they_promise(case):
    thing, sets = case
    for samples, num in zip(sets, (300, 100), strict=True):
        want = {
            "images": ((num, IMAGE_SIZE, IMAGE_SIZE), np.uint8),
            "joints": ((num, thing.skeleton.num_keypoints, 2), np.float32),
            "params": ((num, thing.skeleton.num_dofs), np.float32),
        }
        assert {k: (x.shape, x.dtype) for k, x in samples._asdict().items()} == want
        assert set(np.unique(samples.images)) == {0, 1}


def test_joints_are_inside_the_image_and_its_border_is_dark(case):
    for samples in case[1]:
        assert samples.joints.min() > MARGIN - EXACT
        assert samples.joints.max() < IMAGE_SIZE - 1 - MARGIN + EXACT
        rim = np.ones((IMAGE_SIZE, IMAGE_SIZE), bool)
        rim[1:-1, 1:-1] = False
        assert not samples.images[:, rim].any()


def test_params_are_in_their_ranges_and_fill_them(case):
    thing, (samples, _) = case
    lowest, highest = thing.ranges.T
    assert (samples.params >= lowest - EXACT).all()
    assert (samples.params <= highest + EXACT).all()
    filled = np.ptp(samples.params, axis=0) / (highest - lowest)
    assert (filled[2:] > 0.9).all()
    assert (filled[:2] > 0.6).all()


def test_joints_are_those_of_the_params(case):
    thing, (samples, _) = case
    for params, joints in zip(samples.params[:20], samples.joints, strict=False):
        want = reference.positions(params.astype(np.float64), thing.skeleton)
        np.testing.assert_allclose(joints, want, atol=EXACT)


def test_images_are_those_of_the_joints(case):
    thing, (samples, _) = case
    for image, joints in zip(samples.images[:20], samples.joints, strict=False):
        check_image(image, joints, thing.skeleton)


def test_joints_tell_the_params_in_all_the_ranges(case):
    thing, _ = case
    lowest, highest = thing.ranges.T
    share = np.random.default_rng(0).uniform(size=(5_000, len(lowest)))
    # The corners, too: there the readings are closest to each other.
    share[:1_000] = np.rint(share[:1_000])
    params = (lowest + share * (highest - lowest)).astype(np.float32)
    read = read_all(place_all(params, thing.skeleton), thing.skeleton)
    np.testing.assert_allclose(read, params, atol=EXACT)


def test_params_are_read_off_joints_of_any_bone_length(case):
    thing, (_, samples) = case
    joints = place_all(samples.params, scale_skeleton(thing.skeleton, 0.3))
    np.testing.assert_allclose(read_all(joints, thing.skeleton), samples.params, atol=EXACT)


@pytest.mark.parametrize("theta", [-35, 0, 90, 135])
def test_theta_is_read_beyond_its_range(theta):
    params = np.float32([60, 70, np.radians(theta)])
    read = read_params(forward_kinematics(params, toy(3)), toy(3))
    np.testing.assert_allclose(read, params, atol=EXACT)


def test_only_limbs_longer_than_the_image_curl_up():
    bends = [toy_object(n, length).ranges[-1, 1] for n in (6, 8, 10) for length in (None, 45.0)]
    np.testing.assert_allclose(np.degrees(bends), [60, 60, 60, 120, 60, 120])


def test_the_limbs_of_no_sample_can_swap_sides(case):
    thing, (_, samples) = case
    names = list(thing.skeleton.keypoint_names)
    other = {"left": "right", "right": "left"}
    swapped = [n.replace(s, other[s]) for n in names for s in [n.split("_")[0]] if s in other]
    index = [0, *(names.index(name) for name in swapped)]
    read = np.asarray(read_all(samples.joints[:, index], thing.skeleton))
    lowest, highest = thing.ranges.T
    assert ((read < lowest - EXACT) | (read > highest + EXACT)).any(axis=1).all()


def test_the_first_samples_of_a_larger_set_are_the_smaller_one():
    large = load_toy(6, num_train=1_100, num_test=40)
    for larger, smaller in zip(large, load_toy(6, num_train=30, num_test=7), strict=True):
        for x, y in zip(larger, smaller, strict=True):
            np.testing.assert_array_equal(x[: len(y)], y)
    assert len(np.unique(large[0].params, axis=0)) == 1_100


def test_samples_depend_on_the_seed_alone(x64):
    def params(seed):
        return load_toy(10, seed=seed, num_train=5, num_test=0)[0].params

    with jax.enable_x64(False):
        narrow = params(3)
    np.testing.assert_array_equal(params(3), narrow)
    assert (params(4) != narrow).all()


def test_training_and_test_sets_have_nothing_in_common(case):
    _, (train, test) = case
    assert not np.isin(test.params[:, 2:], train.params[:, 2:]).all(axis=1).any()
    assert not {x.tobytes() for x in train.images} & {x.tobytes() for x in test.images}
    pairs = zip(train.params[:100].T, test.params.T, strict=True)
    assert max(abs(np.corrcoef(*pair)[0, 1]) for pair in pairs) < 0.4  # 4 standard deviations


def test_a_set_may_be_empty():
    train, test = load_toy(3, num_train=0, num_test=0)
    assert train.images.shape == test.images.shape == (0, IMAGE_SIZE, IMAGE_SIZE)


def test_pixel_of_row_i_and_column_j_has_its_centre_at_x_j_y_i():
    want = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
    want[49:52, 19:22] = True
    np.testing.assert_array_equal(draw(np.tile(np.float32([20, 50]), (3, 1)), toy(3)), want)


@pytest.mark.parametrize(
    ("mirror", "turn"),
    [
        (lambda joints: (127, 0) + joints * (-1, 1), lambda image: image[:, ::-1]),
        (lambda joints: (0, 127) + joints * (1, -1), lambda image: image[::-1]),
        (lambda joints: joints[:, ::-1], np.transpose),
        (lambda joints: joints[[0, 2, 1]], np.asarray),
    ],
    ids=["left-right", "up-down", "x-y", "limbs"],
)
def test_a_mirrored_object_has_a_mirrored_image(mirror, turn):
    joints = np.array([[40.5, 80.0], [20.25, 30.0], [100.0, 61.5]], np.float32)
    mirrored = np.asarray(mirror(joints), np.float32)
    np.testing.assert_array_equal(draw(mirrored, toy(3)), turn(draw(joints, toy(3))))


@pytest.mark.parametrize(
    "joints",
    [
        [[64.2, 64.7], [64.2, 64.7], [90.0, 30.0]],
        [[64.2, 64.7], [64.2, 64.7], [64.2, 64.7]],
        [[-30.3, 60.2], [200.1, 61.0], [-5.0, -8.0]],
        [[300.0, 300.0], [400.0, 300.0], [300.0, 400.0]],
    ],
    ids=["short", "point", "across", "outside"],
)
def test_any_joints_are_drawn(joints):
    joints = np.array(joints, np.float32)
    check_image(draw(joints, toy(3)), joints, toy(3))


def test_joints_that_are_not_numbers_leave_no_trace():
    assert not draw(jnp.full((3, 2), jnp.nan), toy(3)).any()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16], ids=str)
def test_half_precision_is_widened(dtype):
    joints = jnp.array([[64, 80], [32, 48], [96, 48]], dtype)
    np.testing.assert_array_equal(draw(joints, toy(3)), draw(joints.astype(jnp.float32), toy(3)))
    assert read_params(joints, toy(3)).dtype == jnp.float32


def test_units_make_places_fractions_of_the_image():
    np.testing.assert_array_equal(param_units(toy(6)), [IMAGE_SIZE, IMAGE_SIZE, 1, 1, 1, 1])
    assert param_units(toy(3)).dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_params": 5}, "but got 5"),
        ({"num_params": 3, "bone_length": 0.0}, "bone_length .* but got 0.0"),
        ({"num_params": 3, "bone_length": float("nan")}, "bone_length .* but got nan"),
        ({"num_params": 3, "num_train": -1}, "number of samples .* but got -1"),
        ({"num_params": 3, "num_test": -2}, "number of samples .* but got -2"),
        ({"num_params": 3, "bone_length": 500.0}, "bone_length .* bones of 500 px"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_toy(**{"num_train": 1, "num_test": 1} | arguments)


@pytest.mark.parametrize("function", [render, read_params])
def test_wrong_joints_are_refused(function):
    with pytest.raises(ValueError, match=r"joints must have shape \(3, 2\), but got \(5, 2\)\."):
        function(np.zeros((5, 2), np.float32), toy(3))
    with pytest.raises(ValueError, match=r"but got \(7, 3, 2\); use jax.vmap for a batch"):
        function(np.zeros((7, 3, 2), np.float32), toy(3))
    with pytest.raises(ValueError, match="joints must be floating point, but got int32"):
        function(np.zeros((3, 2), np.int32), toy(3))
