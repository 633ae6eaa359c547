"""Traced programs for a CPU, kept from process to process beside what JAX keeps of compiled ones.

JAX finds a compiled program by the text of the traced one. To write that text again takes a fit
longer than all else: 2.5 s, and a tenth of that to read it. So where JAX has a folder for
compiled programs, texts are kept in it, too, under all that they depend on; without flatbuffers,
which writes them, they are not.
"""

import contextlib
import contextvars
import functools
import gc
import hashlib
import importlib.util
import os
import pathlib
import pickle
import tempfile
import threading
import zlib
from collections.abc import Callable

import jax
from jax import export

from kinpose._kernels import KERNELS

_ON_CPU = contextvars.ContextVar("on_cpu", default=False)

_ONE_AT_A_TIME = threading.RLock()
"""Two that are traced at once take turns: the first is done as late as the second."""


def by_platform(*args, cpu: Callable, default: Callable):
    """`jax.lax.platform_dependent`; what is traced for a CPU alone has no other branch."""
    if _ON_CPU.get():
        return cpu(*args)
    return jax.lax.platform_dependent(*args, cpu=cpu, default=default)


def kept(function: Callable) -> Callable:
    """The same function, for `jax.jit` on one CPU alone: its program is read where there is one.

    Args:
      function: of this package; its arrays come as arguments, all else as keywords.
    """

    @functools.wraps(function)
    def read(*args, **static):
        folder = _folder()
        if folder is None or not jax.sharding.get_abstract_mesh().empty:  # which would be kept, too
            with _tracing():
                return function(*args, **static)
        leaves, tree = jax.tree.flatten(args)
        kinds = [_kind(jax.typeof(x)) for x in leaves]
        path = folder / _key(function, static, tree, kinds)

        def flat(*leaves):
            return function(*jax.tree.unflatten(tree, leaves), **static)

        program = _read(path)
        if program is None:
            with _tracing():
                program = export.export(jax.jit(flat), platforms=["cpu"])(*kinds)
            _write(path, program)
        return program.call(*leaves)

    return read


@contextlib.contextmanager
def _tracing():
    """For a CPU alone, and without a search for garbage, which a trace does not make."""
    with _ONE_AT_A_TIME:
        token, collects = _ON_CPU.set(True), gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            _ON_CPU.reset(token)
            if collects:
                gc.enable()


def _kind(array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, weak_type=array.weak_type)


def _folder() -> pathlib.Path | None:
    folder = jax.config.jax_compilation_cache_dir
    on = folder and jax.config.jax_enable_compilation_cache and not jax.config.jax_disable_jit
    local = on and "://" not in folder
    return pathlib.Path(folder) / "kinpose" if local and _can_write() else None


@functools.cache
def _can_write() -> bool:
    return importlib.util.find_spec("flatbuffers") is not None


def _key(function: Callable, static: dict, tree, kinds: list) -> str:
    """A name that no other program has."""
    numbers = jax.config.jax_enable_x64, str(jax.config.jax_default_matmul_precision)
    switches = KERNELS, numbers
    name = function.__module__, function.__qualname__, sorted(static.items())
    parts = _source(), jax.__version__, jax.lib.__version__, name, switches, str(kinds)
    return hashlib.sha256(repr(parts).encode() + pickle.dumps(tree)).hexdigest()


@functools.cache
def _source() -> str:
    """Tells any change of this package."""
    found = hashlib.sha256()
    for path in sorted(pathlib.Path(__file__).parents[1].rglob("*.py")):
        found.update(str(path).encode() + path.read_bytes())
    return found.hexdigest()


def _read(path: pathlib.Path) -> export.Exported | None:
    with contextlib.suppress(OSError, zlib.error):  # none, or one that a crash damaged
        return export.deserialize(bytearray(zlib.decompress(path.read_bytes())))
    return None


def _write(path: pathlib.Path, program: export.Exported):
    with contextlib.suppress(OSError):  # of a folder that is full or read-only: the next run traces
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as own:  # nothing of half a file stays
            whole = pathlib.Path(own, path.name)
            whole.write_bytes(zlib.compress(program.serialize(), 1))
            os.replace(whole, path)
