"""Laws of the toy's network: the layers of [41], the same on every platform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy.signal import correlate2d

from data.toy import load_toy
from kinpose.mesh import make_mesh
from kinpose.models import ToyNet
from kinpose.models.convolution import by_convolution, by_matrix_product, convolve_and_pool

# Sums of up to 288 products of normal numbers, in another order.
TOLERANCE = 1e-3

# side, channels, kernel, pool: the network's three, and windows that hang over by more.
LAYERS = [(128, 1, 5, 4), (31, 8, 5, 2), (14, 8, 3, 1), (13, 2, 3, 3), (12, 3, 1, 5)]


by_lit_windows = functools.partial(by_matrix_product, dark=True)


def draw_layer(side, channels, kernel, batch=2):
    rng = np.random.default_rng(0)
    shapes = (batch, side, side, channels), (kernel, kernel, channels, 8), (8,)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def slow_layer(images, kernel, bias, pool):
    """Window by window, in float64."""
    images, kernel = images.astype(float), kernel.astype(float)
    convolved = np.stack(
        [
            [
                sum(
                    correlate2d(image[..., c], kernel[..., c, d], mode="valid")
                    for c in range(kernel.shape[2])
                )
                + bias[d]
                for d in range(kernel.shape[3])
            ]
            for image in images
        ]
    )
    side = convolved.shape[-1]
    starts = range(0, side, pool)
    pooled = [
        [convolved[:, :, i : i + pool, j : j + pool].max((2, 3)) for j in starts] for i in starts
    ]
    return np.maximum(np.array(pooled).transpose(2, 0, 1, 3), 0)


@pytest.mark.parametrize(
    "layer", [by_convolution, by_matrix_product, by_lit_windows, convolve_and_pool]
)
@pytest.mark.parametrize(("side", "channels", "kernel", "pool"), LAYERS)
def test_a_layer_is_convolution_bias_relu_and_pooling(layer, side, channels, kernel, pool):
    inputs = draw_layer(side, channels, kernel)
    found = layer(*inputs, pool=pool)
    np.testing.assert_allclose(found, slow_layer(*inputs, pool), atol=TOLERANCE)


@pytest.mark.parametrize("layer", [by_matrix_product, by_lit_windows, convolve_and_pool])
def test_a_layer_of_no_images_is_empty(layer):
    images, kernel, bias = draw_layer(13, 2, 3, batch=0)
    assert layer(images, kernel, bias, pool=3).shape == (0, 4, 4, 8)
    for gradient in gradients(layer, (images, kernel, bias), 3):
        assert not np.any(gradient)


def gradients(layer, inputs, pool):
    outputs = jax.eval_shape(functools.partial(layer, pool=pool), *inputs)
    weights = np.random.default_rng(1).normal(size=outputs.shape).astype(np.float32)
    loss = lambda *inputs: jnp.sum(weights * layer(*inputs, pool=pool))  # noqa: E731
    return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*inputs)


def assert_close(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * np.abs(b).max())


@pytest.mark.parametrize(("side", "channels", "kernel", "pool"), LAYERS)
@pytest.mark.parametrize(
    ("layer", "lit"), [(by_matrix_product, 1), (by_lit_windows, 1), (by_lit_windows, 0.2)]
)
def test_all_forms_have_the_same_gradients(layer, lit, side, channels, kernel, pool):
    images, *weights = draw_layer(side, channels, kernel, batch=3)
    rows = np.arange(side) < lit * side
    inputs = np.where(rows[None, :, None, None], images, 0), *weights
    assert_close(gradients(layer, inputs, pool), gradients(by_convolution, inputs, pool))


def test_gradients_agree_where_a_binary_image_makes_places_equal():
    images = load_toy(10, num_train=4, num_test=0)[0].images[..., None].astype(np.float32)
    # Sums of small whole numbers have no rounding: equal places are equal in both forms.
    kernel = np.random.default_rng(2).integers(-2, 3, size=(5, 5, 1, 8)).astype(np.float32)
    inputs = images, kernel, np.full(8, 0.5, np.float32)
    wanted = gradients(by_convolution, inputs, 4)
    for layer in (by_matrix_product, by_lit_windows):
        assert_close(gradients(layer, inputs, 4), wanted)


def init(num_outputs=18):
    net = ToyNet(num_outputs)
    return net, net.init(jax.random.key(0), jnp.zeros((1, 128, 128)))


def test_layers_have_the_sizes_of_the_paper():
    _, variables = init()
    shapes = jax.tree.map(jnp.shape, variables["params"])
    kernels = {name: layer["kernel"] for name, layer in shapes.items()}
    assert kernels == {
        "conv1": (5, 5, 1, 8),
        "conv2": (5, 5, 8, 8),
        "conv3": (3, 3, 8, 8),
        "dense1": (1152, 1024),
        "dense2": (1024, 1024),
        "output": (1024, 18),
    }


def test_weights_begin_as_in_the_paper():
    params = init()[1]["params"]
    for name, inputs in (("conv1", 25), ("conv2", 200), ("conv3", 72), ("dense1", 1152)):
        bound = np.sqrt(3 / inputs)  # Caffe's Xavier: uniform, by the number of inputs
        assert 0.9 * bound < np.abs(params[name]["kernel"]).max() <= bound
    for name in ("dense2", "output"):
        assert np.std(params[name]["kernel"]) == pytest.approx(0.001, rel=0.05)
    assert all(not layer["bias"].any() for layer in params.values())


def test_units_are_dropped_in_training_only():
    net, variables = init()
    images = jnp.asarray(load_toy(3, num_train=0, num_test=2)[1].images)
    still = net.apply(variables, images)
    np.testing.assert_array_equal(still, net.apply(variables, images))
    first, second = (
        net.apply(variables, images, train=True, rngs={"dropout": jax.random.key(i)})
        for i in range(2)
    )
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, still)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
def test_images_may_have_any_dtype(dtype):
    net, variables = init()
    images = load_toy(3, num_train=0, num_test=2)[1].images
    found = net.apply(variables, jnp.asarray(images.astype(dtype)))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, net.apply(variables, jnp.asarray(images)))


def test_no_images_have_no_outputs():
    net, variables = init()
    assert net.apply(variables, jnp.zeros((0, 128, 128))).shape == (0, 18)


@pytest.mark.parametrize("shape", [(128, 128), (2, 64, 64), (2, 128, 128, 1)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"images must have shape \(B, 128, 128\), but got"):
        ToyNet(3).init(jax.random.key(0), jnp.zeros(shape))


def test_a_batch_over_two_devices_gives_what_one_gives():
    net, variables = init()
    images = load_toy(10, num_train=0, num_test=8)[1].images
    split = NamedSharding(make_mesh(), PartitionSpec("batch"))
    apply = jax.jit(net.apply)
    found = apply(variables, jax.device_put(images, split))
    np.testing.assert_allclose(found, apply(variables, images), atol=1e-6)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_accelerators_get_their_own_convolution(platform):
    inputs = draw_layer(31, 8, 5)
    layer = jax.jit(functools.partial(convolve_and_pool, pool=2))
    lowered = layer.trace(*inputs).lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.convolution" in lowered
    assert "dot_general" not in lowered


def test_parameters_are_float32_whatever_the_precision(x64):
    images = np.zeros((1, 128, 128), np.float32)
    outputs, variables = ToyNet(6).init_with_output(jax.random.key(0), images)
    assert {x.dtype for x in jax.tree.leaves((outputs, variables))} == {np.dtype(np.float32)}
