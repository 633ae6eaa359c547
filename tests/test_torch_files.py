"""Laws of reading what torch has saved: exact tensors, and nothing else is ever built."""

import os
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from kinpose.io.torch_files import read_torch_file
from tests.torch_writer import STORAGES, Tensor, whole, write_old, write_zip

WRITERS = pytest.mark.parametrize("write", [write_zip, write_old])


def draw(dtype="float32", shape=(3, 4)):
    numbers = np.random.default_rng(0).integers(0, 2, shape)
    return np.asarray(numbers, jnp.dtype(dtype))


@WRITERS
@pytest.mark.parametrize("dtype", STORAGES)
def test_tensors_of_all_types_are_read_as_they_were(write, dtype, tmp_path):
    arrays = {"a": draw(dtype), "scalar": draw(dtype, ()), "none": draw(dtype, (0, 2))}
    write(tmp_path / "x.pth", {name: whole(x) for name, x in arrays.items()})
    found = read_torch_file(tmp_path / "x.pth")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@WRITERS
def test_views_share_a_storage(write, tmp_path):
    numbers = np.arange(24, dtype=np.float32)
    views = {"turned": Tensor(numbers, 0, (6, 4), (1, 6)), "part": Tensor(numbers, 5, (3,), (7,))}
    write(tmp_path / "x.pth", views)
    found = read_torch_file(tmp_path / "x.pth")
    np.testing.assert_array_equal(found["turned"], numbers.reshape(4, 6).T)
    np.testing.assert_array_equal(found["part"], [5, 12, 19])


@pytest.mark.parametrize("entry", ["state_dict", "model"])
def test_a_state_dict_may_be_an_entry_among_others(entry, tmp_path):
    content = {"epoch": 3, "arch": "resnet18", entry: {"a": whole(draw()), "note": "kept out"}}
    write_zip(tmp_path / "x.pth", content)
    assert read_torch_file(tmp_path / "x.pth").keys() == {"a"}


class Call:
    """What a pickle can do: call a function of its choice."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@WRITERS
@pytest.mark.parametrize("where", [lambda x: x, lambda x: {"a": whole(draw()), "more": [x]}])
@pytest.mark.parametrize("function", [os.mkdir, eval])
def test_a_file_that_calls_anything_is_refused_before_it_does(write, where, function, tmp_path):
    target = tmp_path / "made"
    argument = str(target) if function is os.mkdir else f"__import__('os').mkdir({str(target)!r})"
    write(tmp_path / "x.pth", where(Call(function, argument)))
    with pytest.raises(ValueError, match=rf"it asks for \w+\.{function.__name__}, which is not"):
        read_torch_file(tmp_path / "x.pth")
    assert not target.exists()


@WRITERS
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (13,), (1,)),
        (5, (8,), (1,)),
        (0, (4, 4), (1, 3)),
        (-1, (2,), (1,)),
        (3, (2,), (-1,)),
        (0, (10**6, 10**6), (0, 0)),
        (0, (2, 2), (1,)),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(write, offset, shape, strides, tmp_path):
    write(tmp_path / "x.pth", {"a": Tensor(draw().reshape(-1), offset, shape, strides)})
    with pytest.raises(ValueError, match=r"x\.pth cannot be read"):
        read_torch_file(tmp_path / "x.pth")


@WRITERS
def test_a_torn_file_is_refused_wherever_it_ends(write, tmp_path):
    path = tmp_path / "x.pth"
    write(path, {"a": whole(draw())})
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"x\.pth cannot be read"):
            read_torch_file(path)


@pytest.mark.parametrize("content", [{}, [1], {"a": 3}, {1: whole(np.zeros(2))}])
def test_a_file_without_a_state_dict_is_refused(content, tmp_path):
    write_zip(tmp_path / "x.pth", content)
    with pytest.raises(ValueError, match="it has no state dict"):
        read_torch_file(tmp_path / "x.pth")


def test_a_compressed_file_cannot_grow_in_memory(tmp_path):
    write_zip(tmp_path / "x.pth", {"a": whole(draw())}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="must be in it, not compressed"):
        read_torch_file(tmp_path / "x.pth")


@pytest.mark.slow
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("dtype", STORAGES)
def test_what_torch_itself_has_saved_is_read_as_it_was(new, dtype, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra bench)")
    numbers = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
    state = {"a": numbers, "turned": numbers.T, "part": numbers[1:, ::2], "scalar": numbers[1, 1]}
    if numbers.is_floating_point():
        state["parameter"] = torch.nn.Parameter(numbers)
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    found = read_torch_file(tmp_path / "x.pth")
    for name, tensor in state.items():
        assert found[name].dtype.name == dtype
        wanted = tensor.detach().double().numpy()
        np.testing.assert_array_equal(found[name].astype(float), wanted)


def pickled(*opcodes):
    return b"\x80\x02" + b"".join(opcodes) + b"."


DEEP = [b")"] + [b"q\x00h\x00h\x00\x86"] * 150
"""Tuples of two of the tuple before: 2 ** 150 of them to walk through."""


@pytest.mark.parametrize(
    "data",
    [
        pickled(b"}", *DEEP, b"K\x01s"),
        pickled(*DEEP, b"Q"),
        pickled(b"ctorch._utils\n_rebuild_tensor_v2\n", *DEEP, b"R"),
        pickled(b"ccollections\nOrderedDict\n", *DEEP, b"\x85R"),
        pickled(b")" + b"\x85" * 100_000),
        pickled(b"]" * 100_000 + b"a" * 99_999),
        pickled(b"(" + b"K\x02" * 600_000 + b"t"),
    ],
)
def test_no_pickle_keeps_the_reader_busy(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("archive/data.pkl", data)
    with pytest.raises(ValueError, match=r"x\.pth cannot be read"):
        read_torch_file(tmp_path / "x.pth")


@WRITERS
def test_a_tensor_of_too_many_dimensions_is_refused(write, tmp_path):
    write(tmp_path / "x.pth", {"a": Tensor(draw().reshape(-1), 0, (1,) * 9, (1,) * 9)})
    with pytest.raises(ValueError, match="at most 8"):
        read_torch_file(tmp_path / "x.pth")


@WRITERS
def test_small_storages_cannot_grow_in_memory(write, tmp_path):
    view = Tensor(np.zeros(2**17, np.float32), 0, (2**17,), (1,))
    write(tmp_path / "x.pth", {f"a{i}": view for i in range(600)})
    with pytest.raises(ValueError, match="its tensors have 314572800 bytes"):
        read_torch_file(tmp_path / "x.pth")


@WRITERS
@pytest.mark.parametrize("entry", ["state_dict", "model"])
def test_a_tensor_beside_the_state_dict_is_passed_over(write, entry, tmp_path):
    best = whole(np.float32([71.3]))
    write(tmp_path / "x.pth", {entry: {"a": whole(draw())}, "best_acc1": best})
    assert read_torch_file(tmp_path / "x.pth").keys() == {"a"}


@WRITERS
def test_numbers_of_numpy_beside_the_tensors_are_passed_over(write, tmp_path):
    write(tmp_path / "x.pth", {"state_dict": {"a": whole(draw())}, "best": np.float64(0.5)})
    np.testing.assert_array_equal(read_torch_file(tmp_path / "x.pth")["a"], draw())
