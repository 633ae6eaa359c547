"""Laws of pretrained weights: all of a file arrives where it belongs, or nothing does."""

import re
import subprocess
import sys

import h5py
import jax
import numpy as np
import pytest
import safetensors.numpy

from experiments.benchmark_resnet import random_variables, torch_state
from kinpose.models import ResNet
from kinpose.models.pretrained import load_pretrained
from tests.torch_writer import whole, write_zip

NET = ResNet(18, num_outputs=5)


@pytest.fixture(scope="module")
def variables():
    return random_variables(NET)


@pytest.fixture(scope="module")
def others():
    return random_variables(NET, seed=1)


def save(path, arrays):
    if path.suffix == ".safetensors":
        safetensors.numpy.save_file(arrays, path)
    else:
        write_zip(path, {name: whole(x) for name, x in arrays.items()})


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", ["pth", "pth.tar", "pt", "safetensors"])
def test_a_state_dict_is_read_back_as_the_variables_it_was(
    kind, prefix, variables, others, tmp_path
):
    arrays = {prefix + name: x for name, x in torch_state(variables).items()}
    arrays[prefix + "bn1.num_batches_tracked"] = np.array(3)
    save(tmp_path / f"x.{kind}", arrays)
    found = load_pretrained(tmp_path / f"x.{kind}", others)
    jax.tree.map(np.testing.assert_array_equal, found, variables)


@pytest.mark.parametrize("num_outputs", [None, 1000])
def test_an_output_layer_of_another_length_stays_as_it_was(
    num_outputs, variables, others, tmp_path
):
    arrays = torch_state(variables)
    for name in ("fc.weight", "fc.bias"):
        theirs = arrays.pop(name)
        if num_outputs:
            arrays[name] = np.resize(theirs, (num_outputs, *theirs.shape[1:]))
    save(tmp_path / "x.safetensors", arrays)
    found = load_pretrained(tmp_path / "x.safetensors", others)
    jax.tree.map(np.testing.assert_array_equal, found["params"]["fc"], others["params"]["fc"])
    kernel = found["params"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, variables["params"]["conv1"]["kernel"])


def test_whatever_does_not_fit_is_listed(variables, tmp_path):
    arrays = torch_state(variables)
    del arrays["layer2.0.downsample.0.weight"]
    arrays["layer9.0.conv1.weight"] = arrays["conv1.weight"]
    arrays["bn1.bias"] = np.zeros(65, np.float32)
    arrays["bn1.running_var"] = np.full(64, np.nan, np.float32)
    save(tmp_path / "x.safetensors", arrays)
    with pytest.raises(ValueError, match=r"x\.safetensors does not fit the network: ") as error:
        load_pretrained(tmp_path / "x.safetensors", variables)
    for problem in (
        "params/layer2_0/downsample_conv/kernel is missing",
        "params/layer9_0/conv1/kernel is not in the network",
        "params/bn1/bias has shape (65,), not (64,)",
        "batch_stats/bn1/var is not finite",
    ):
        assert problem in str(error.value)


def test_a_deeper_network_is_refused_in_a_few_lines(variables, tmp_path):
    save(tmp_path / "x.safetensors", torch_state(random_variables(ResNet(34, 5))))
    with pytest.raises(ValueError, match=r"layer1_2/.*; and \d+ more\.$") as error:
        load_pretrained(tmp_path / "x.safetensors", variables)
    assert len(str(error.value)) < 1500


def test_a_file_must_be_there_and_of_a_known_kind(variables, tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*x\.pth"):
        load_pretrained(tmp_path / "x.pth", variables)
    with pytest.raises(ValueError, match=r"one of \['\.pth', .*but got x\.onnx"):
        load_pretrained("x.onnx", variables)


@pytest.mark.parametrize("kind", ["pth", "safetensors", "h5"])
def test_a_file_that_is_not_what_it_is_called_is_refused(kind, variables, tmp_path):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(b"not weights at all")
    with pytest.raises(ValueError, match=rf"x\.{kind} cannot be read as"):
        load_pretrained(path, variables)


def test_a_keras_file_without_names_or_with_its_numbers_elsewhere_is_refused(variables, tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="has no layer conv1_conv"):
        load_pretrained(path, variables)
    with h5py.File(path, "w") as file:
        elsewhere = [(str(tmp_path / "secret"), 0, 12)]
        file.create_dataset("conv1_conv/kernel", (3,), np.float32, external=elsewhere)
    with pytest.raises(ValueError, match="conv1_conv/kernel is in another file"):
        load_pretrained(path, variables)
    with h5py.File(path, "w") as file:
        file["conv1_conv/kernel"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
    with pytest.raises(ValueError, match="has no layer conv1_conv"):
        load_pretrained(path, variables)


def test_a_keras_file_whose_groups_go_in_a_circle_is_refused(variables, tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = np.zeros(3, np.float32)
        file["a/a"] = file["a"]
    with pytest.raises(ValueError, match=r"x\.h5 cannot be read as weights"):
        load_pretrained(path, variables)


def test_a_keras_file_whose_tables_go_in_a_circle_is_read(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = np.zeros(3, np.float32)
    content = bytearray(path.read_bytes())
    for node in re.finditer(b"TREE", content):  # whose next one is itself: HDF5 counts for ever
        content[node.start() + 16 : node.start() + 24] = node.start().to_bytes(8, "little")
    path.write_bytes(content)
    command = f"from kinpose.models.pretrained import _read_keras as read; read({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, timeout=60)
    assert b"has no layer conv1_conv" in done.stderr


def draw_images(side=96):
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.uint8)


def features(path, net: ResNet):
    """What is before the output layer, which is made to pass it on."""
    images = draw_images()
    variables = load_pretrained(path, random_variables(net))
    size = net.num_outputs
    variables["params"]["fc"] = {"kernel": np.eye(size, dtype=np.float32), "bias": np.zeros(size)}
    return np.asarray(jax.jit(net.apply)(variables, images))


def assert_same_features(found, wanted):
    assert found.shape == wanted.shape
    assert wanted.std() > 0.1 * abs(wanted).mean()
    difference = np.abs(found - wanted).max() / np.abs(wanted).max()
    print(f"largest difference of features {difference:.1e} of the largest")
    assert difference < 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_features_are_those_of_the_same_weights_in_transformers(kind, depth, tmp_path):
    torch = pytest.importorskip("torch", reason="needs pip install torch transformers")
    transformers = pytest.importorskip("transformers", reason="needs pip install transformers")
    from safetensors.torch import save_file

    stages = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}[depth]
    factor = 1 if depth < 50 else 4
    config = transformers.ResNetConfig(
        depths=stages,
        layer_type="basic" if depth < 50 else "bottleneck",
        hidden_sizes=[factor * width for width in (64, 128, 256, 512)],
    )
    torch.manual_seed(0)
    theirs = transformers.ResNetModel(config).eval()
    for name, tensor in theirs.state_dict().items():
        if "normalization" in name and tensor.dtype == torch.float32:
            tensor.uniform_(0.5, 1.0)
    state = {torchvision_name(name): x for name, x in theirs.state_dict().items()}
    path = tmp_path / f"x.{kind}"
    torch.save(state, path) if kind == "pth" else save_file(state, path)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((torch.from_numpy(draw_images()) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        wanted = theirs(images).pooler_output.flatten(1).numpy()
    assert_same_features(features(path, ResNet(depth, 512 * factor)), wanted)


def torchvision_name(name: str) -> str:
    """Of a parameter of `transformers`."""
    name = re.sub(r"^embedder\.embedder\.convolution", "conv1", name)
    name = re.sub(r"^embedder\.embedder\.normalization", "bn1", name)
    stages = r"^encoder\.stages\.(\d)\.layers\.(\d+)\.(?:layer\.)?(shortcut|\d)\.(\w+)"

    def rename(match):
        stage, block, place, kind = match.groups()
        if place == "shortcut":
            module = f"downsample.{int(kind == 'normalization')}"
        else:
            module = f"{'bn' if kind == 'normalization' else 'conv'}{int(place) + 1}"
        return f"layer{int(stage) + 1}.{block}.{module}"

    return re.sub(stages, rename, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("whole_model", [False, True])
def test_features_are_those_of_the_same_weights_in_keras(whole_model, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("torch", reason="needs pip install torch keras")
    keras = pytest.importorskip("keras", reason="needs pip install keras")

    shape = draw_images().shape[1:]
    theirs = keras.applications.ResNet50(
        weights=None, include_top=False, pooling="avg", input_shape=shape
    )
    rng = np.random.default_rng(0)
    for variable in theirs.variables:
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.5, 1.0, variable.shape))
    path = tmp_path / "x.h5"
    if whole_model:
        theirs.save(path)
    else:
        write_weights(path, theirs)
    pixels = keras.applications.resnet.preprocess_input(draw_images().astype(np.float32))
    wanted = keras.ops.convert_to_numpy(theirs(pixels, training=False))
    assert_same_features(features(path, ResNet(50, 2048, stride_in_1x1=True)), wanted)


def write_weights(path, model):
    """Weights alone as Keras 2 has written them, whose files are those one can download."""
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            for variable in layer.variables:
                name = f"{layer.name}/{layer.name}/{variable.name}:0"
                file[name] = np.asarray(variable.numpy())
