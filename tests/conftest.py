"""Strict settings for every test: no silent broadcasting, promotion or warning.

Most tests compile longer than they run, so LLVM optimises nothing, and XLA writes kernels in the
way that takes it a third of the time; kernels that are made to be optimised are tested so by
`optimised_jit`.
"""

import functools
import gc
import mmap
import os
import pathlib
import sysconfig
import tempfile

import jax
import jaxlib
import pytest


def is_known(flag: str) -> bool:
    """Whether this XLA has a flag: it ends a program that sets another."""
    library = pathlib.Path(jaxlib.__file__).with_name("libjax_common.so")
    if not library.exists():
        return False
    with library.open() as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
        return code.find(b"\0" + flag.encode() + b"\0") > 0  # not a reserved name


QUICK, USUAL = "--xla_backend_optimization_level=0", {"xla_backend_optimization_level": 3}
if is_known("xla_cpu_use_fusion_emitters"):
    QUICK += " --xla_cpu_use_fusion_emitters=false"
    USUAL["xla_cpu_use_fusion_emitters"] = True
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=2 {QUICK}")

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# What programs under test compile, they find again; this process compiles most things once.
jax.config.update("jax_enable_compilation_cache", False)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

optimised_jit = functools.partial(jax.jit, compiler_options=USUAL)
"""As users compile."""

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_configure(config):
    """Files in the order below: pytest-xdist would begin with those of many tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config, items):
    """The file that takes longest first where several processes share the tests, file by file."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name != "test_tutorials.py")


@pytest.fixture(autouse=True, scope="module")
def what_is_compiled_is_not_searched_for_garbage():
    """Programs of earlier modules are millions of objects."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def cmu_dir():
    """CMU motion capture beside the repository; its terms keep it out of the repository."""
    path = ROOT.parent / "shared" / "data" / "cmu"
    if not path.is_dir():
        pytest.skip("the CMU recordings are not here (they may not be part of the repository)")
    return path


def robot_file(path):
    """A file of the package example-robot-data."""
    root = pathlib.Path(sysconfig.get_paths()["purelib"], "cmeel.prefix", "share")
    path = root / "example-robot-data" / "robots" / path
    if not path.exists():
        pytest.skip("example-robot-data is not installed")
    return path


def contents(directory):
    """The bytes of all files below a directory, by their paths in it."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
