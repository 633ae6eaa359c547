"""Laws of the residual networks: the layers of He et al., the same in every form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from experiments.benchmark_resnet import random_variables, torch_images, torch_resnet
from kinpose.mesh import make_mesh, replicated, split
from kinpose.models import ResNet, resnet
from kinpose.models.resnet_layers import by_convolution, by_patches, convolve, max_pool

# Sums of up to a thousand products, in another order, beside the largest of them.
TOLERANCE = 1e-5

# height, width, channels in and out, size, stride: each form that a platform may take.
LAYERS = [
    (8, 6, 4, 6, 3, 1),
    (7, 5, 4, 6, 3, 1),
    (1, 1, 4, 6, 3, 1),
    (5, 4, 128, 129, 3, 1),
    (8, 6, 4, 6, 3, 2),
    (7, 5, 4, 6, 3, 2),
    (2, 2, 4, 6, 3, 2),
    (1, 3, 4, 6, 3, 2),
    (16, 17, 3, 8, 7, 2),
    (7, 6, 4, 8, 1, 2),
    (4, 4, 8, 4, 1, 1),
]

# From torchvision's documentation, without their 1000 classes.
NUM_PARAMS = {18: 11689512, 34: 21797672, 50: 25557032, 101: 44549160, 152: 60192808}


def with_derivatives(function, *inputs):
    @jax.jit
    def both(*inputs):
        outputs, pull_back = jax.vjp(function, *inputs)
        weights = np.random.default_rng(1).normal(size=outputs.shape)
        return outputs, *pull_back(jnp.asarray(weights, outputs.dtype))

    return both(*inputs)


def assert_close(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE * np.abs(b).max())


@pytest.mark.parametrize("form", [convolve, by_patches])
@pytest.mark.parametrize(("height", "width", "inputs", "outputs", "size", "stride"), LAYERS)
def test_all_forms_are_the_same_convolution(form, height, width, inputs, outputs, size, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, height, width, inputs)).astype(np.float32)
    kernel = rng.normal(size=(size, size, inputs, outputs)).astype(np.float32)
    found = with_derivatives(lambda x, kernel: form(x, kernel, stride=stride), x, kernel)
    wanted = with_derivatives(lambda x, kernel: by_convolution(x, kernel, stride=stride), x, kernel)
    assert_close(found, wanted)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (7, 2), (1, 1)])
def test_a_convolution_of_no_images_is_empty(size, stride):
    x, kernel = np.zeros((0, 8, 6, 4), np.float32), np.ones((size, size, 4, 5), np.float32)
    found = with_derivatives(lambda x, kernel: convolve(x, kernel, stride=stride), x, kernel)
    assert found[0].shape == (0, -(-8 // stride), -(-6 // stride), 5)
    assert not np.any(found[2])


@pytest.mark.parametrize("shape", [(8, 6), (7, 5), (1, 1)])
def test_pooling_takes_the_maximum_and_its_first_place_the_gradient(shape):
    # Small whole numbers: most windows have equals.
    x = np.random.default_rng(0).integers(0, 3, size=(2, *shape, 4)).astype(np.float32)

    def pool(x):
        window, stride, margins = (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)]
        return lax.reduce_window(x, -jnp.inf, lax.max, window, stride, margins)

    assert_close(with_derivatives(max_pool, x), with_derivatives(pool, x))


def draw_images(batch=4, side=32):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, size=(batch, side, side, 3)).astype(np.uint8)


NET = ResNet(18, num_outputs=5)


@jax.jit
def evaluate(variables, images):
    return NET.apply(variables, images)


@jax.jit
def train(variables, images):
    return NET.apply(variables, images, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("stride_in_1x1", [False, True])
@pytest.mark.parametrize("depth", NUM_PARAMS)
def test_networks_are_as_large_as_the_published_ones(depth, stride_in_1x1):
    net = ResNet(depth, 1000, stride_in_1x1=stride_in_1x1)
    shapes = jax.eval_shape(net.init, jax.random.key(0), draw_images(1))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == NUM_PARAMS[depth]


@pytest.mark.parametrize(("stride_in_1x1", "side"), [(False, 16), (True, 8)])
def test_a_block_halves_the_image_where_it_is_told_to(stride_in_1x1, side):
    net, images = ResNet(50, 5, stride_in_1x1=stride_in_1x1), draw_images(1, side=64)
    _, seen = jax.eval_shape(
        lambda key: net.init_with_output(key, images, capture_intermediates=True, mutable=True),
        jax.random.key(0),
    )
    block = seen["intermediates"]["layer2_0"]
    assert block["conv1"]["__call__"][0].shape == (1, side, side, 128)
    assert block["conv2"]["__call__"][0].shape == (1, 8, 8, 128)


def test_pixels_are_normalised_as_those_of_imagenet():
    variables = random_variables(NET)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images = np.float32(draw_images())
    as_is = {"mean": np.zeros(3, np.float32), "std": np.ones(3, np.float32)}
    statistics = {**variables["batch_stats"], "input": as_is}
    normal = np.float32((images / 255 - mean) / std)
    wanted = evaluate({**variables, "batch_stats": statistics}, normal)
    found = evaluate(variables, images)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.slow
def test_training_normalises_by_the_whole_batch_on_any_number_of_devices():
    variables, images = random_variables(NET), draw_images()
    shardings = replicated(make_mesh()), split(make_mesh())
    assert len(jax.devices()) == 2
    one = train(variables, images)
    two = jax.jit(train.__wrapped__, in_shardings=shardings)(variables, images)
    for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(a).max())
    others = np.concatenate([images[:2], images[:2]])
    assert np.abs(one[0][:2] - train(variables, others)[0][:2]).max() > 0.01


def test_running_statistics_move_by_a_tenth():
    variables, images = random_variables(NET), draw_images()
    normal = np.float32((images - np.array(resnet.MEAN)) / np.array(resnet.STD))
    seen = by_convolution(normal, variables["params"]["conv1"]["kernel"], stride=2)
    seen = np.asarray(seen, float)
    _, updates = train(variables, images)
    before, after = variables["batch_stats"]["bn1"], updates["batch_stats"]["bn1"]
    for name, value in {"mean": seen.mean((0, 1, 2)), "var": seen.var((0, 1, 2))}.items():
        wanted = 0.9 * before[name] + 0.1 * value
        np.testing.assert_allclose(after[name], wanted, atol=1e-4 * np.abs(wanted).max())
    before, after = variables["batch_stats"], updates["batch_stats"]
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert jax.tree.all(jax.tree.map(np.allclose, before["input"], after["input"]))


def test_bfloat16_computes_roughly_the_same_with_float32_weights():
    variables, images = random_variables(NET), draw_images()
    wanted = evaluate(variables, np.float32(images))
    rough = NET.clone(dtype=jnp.bfloat16)
    found = jax.jit(rough.apply)(variables, images)
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    begun = jax.eval_shape(rough.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(begun)} == {jnp.dtype("float32")}


def test_networks_begin_with_the_statistics_of_imagenet_and_near_zero():
    images = draw_images()
    variables = jax.jit(NET.init)(jax.random.key(0), images)
    known = random_variables(NET)["batch_stats"]["input"]
    assert jax.tree.all(jax.tree.map(np.allclose, variables["batch_stats"]["input"], known))
    outputs, _ = train(variables, images)
    assert 0 < np.abs(outputs).max() < 0.2


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 32, 32, 1), (1, 31, 32, 3)])
def test_images_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must have shape \(B, H, W, 3\).*but got \("):
        jax.eval_shape(ResNet(18, 5).init, jax.random.key(0), np.zeros(shape, np.uint8))


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match=r"one of \[18, 34, 50, 101, 152\], but got 20"):
        jax.eval_shape(ResNet(20, 5).init, jax.random.key(0), draw_images(1))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 50])
def test_outputs_are_those_of_the_same_network_in_torch(depth):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra bench)")
    net, images = ResNet(depth, 5), draw_images(2, side=64)
    variables = random_variables(net)
    theirs = torch_resnet(net, variables).eval()
    with torch.no_grad():
        wanted = theirs(torch_images(images)).numpy()
    found = jax.jit(net.apply)(variables, images)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_parameters_and_statistics_are_float32_whatever_the_precision(x64):
    shapes = jax.eval_shape(ResNet(18, 5).init, jax.random.key(0), np.zeros((1, 64, 64, 3), "u1"))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}
