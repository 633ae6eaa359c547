"""Laws of the repository: what imports what, and what the README shows."""

import ast
import configparser
import graphlib
import re
import subprocess
import sys

import pytest

from kinpose._kernels import thresholds
from kinpose.apps.main import VERBS
from tests.conftest import ROOT

DRAWS = {"kinpose.plot", "kinpose.drawing", "kinpose.diagram", "kinpose.curves"}
TRAINS = {"train", "checkpoint", "workdir", "optimisers", "progress"}
READS_WEIGHTS = {"kinpose.models.pretrained", "kinpose.models._keras_file"}
FILES = sorted((ROOT / "kinpose").rglob("*.py"))


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path):
    """Modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


MODULES = {module_name(path): imported(path) for path in FILES}


def reachable(name, stop):
    """What a module needs of the library, itself included, but for what begins with `stop`."""
    found, todo = set(), [name]
    while todo:
        name = todo.pop()
        if name in MODULES and name not in found and not name.startswith(stop):
            found.add(name)
            todo += MODULES[name]
    return found


def lines_of(names):
    paths = (path for path in FILES if module_name(path) in names)
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_library_needs_only_jax_and_numpy_but_for_some_modules(path):
    name = module_name(path)
    allowed = {"jax", "numpy", "kinpose", *sys.stdlib_module_names}
    if name in DRAWS:
        allowed |= {"matplotlib", "mpl_toolkits", "PIL"}
    if name.startswith("kinpose.models"):
        allowed |= {"flax"}
    if name.split(".")[1:2] and name.split(".")[1] in TRAINS:
        allowed |= {"flax", "optax", "orbax", "absl", "tensorboardX", "tqdm"}
    if name == "kinpose.io.mujoco_reader":
        allowed |= {"mujoco"}
    if name in READS_WEIGHTS:
        allowed |= {"h5py", "safetensors"}
    if name.startswith("kinpose.apps"):
        allowed |= {"absl", "tqdm"}
    if name == "kinpose.apps.video":
        allowed |= {"av", "mediapipe"}
    if name == "kinpose.apps._viewer":
        allowed |= {"PIL", "viser"}
    assert {name.split(".")[0] for name in MODULES[name]} <= allowed


NEEDS = {
    "plot": (["matplotlib"], ["plot", "drawing", "diagram", "curves"]),
    "train": (
        ["absl", "flax", "optax"],
        ["train", "optimisers", "models", "models.pretrained", "checkpoint", "workdir"],
    ),
    "view": (["viser"], ["apps._viewer"]),
    "tool": (["absl"], ["apps.fit", "apps.program"]),
}
"""Extras, packages that they bring, and modules that need them."""


@pytest.mark.parametrize("extra", NEEDS)
def test_who_lacks_a_package_is_told_the_extra_that_has_it(extra):
    packages, modules = NEEDS[extra]
    code = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({packages}))
for module in {modules}:
    try:
        importlib.import_module("kinpose." + module)
    except ModuleNotFoundError as error:
        print(module, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == modules, run.stderr
    for line in lines:
        assert f"pip install 'kinpose[{extra}]'" in line


def test_imports_only_go_down():
    graphlib.TopologicalSorter(
        {
            name: {other for other in others if other in MODULES and other != name}
            for name, others in MODULES.items()
        }
    ).prepare()


def test_kinematics_is_read_in_a_quarter_of_an_hour():
    """Beside what a skeleton is, and without the CPU's kernels."""
    names = reachable("kinpose.kinematics", ("kinpose._kernels", "kinpose.skeleton"))
    names -= {"kinpose._kinematics", "kinpose._varying"}  # a line; and what shards ask for
    assert len(names) == 4
    assert lines_of(names) < 700


def test_a_fit_is_read_in_another():
    """Beside kinematics and angles, and what notebooks show."""
    others = "kinpose._k", "kinpose.kinematics", "kinpose.skeleton", "kinpose.angles"
    names = reachable("kinpose.fitting.fit", (*others, "kinpose._varying", "kinpose._html"))
    assert len(names) < 10
    assert lines_of(names) < 1700


def test_thresholds_stand_in_their_table():
    table = (ROOT / "kinpose" / "_kernels" / "README.md").read_text(encoding="utf-8")
    for name, value in vars(thresholds).items():
        if name.isupper():
            numbers = value.values() if isinstance(value, dict) else [value]
            assert f"| `{name}` | {', '.join(map(str, numbers))} |" in table


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_public_functions_say_what_they_take_and_give(path):
    """Every argument and result is annotated, but in modules with an underscore."""
    if any(part.startswith("_") for part in module_name(path).split(".")):
        return

    def functions(body):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from functions(node.body)
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield node

    for function in functions(ast.parse(path.read_text(encoding="utf-8")).body):
        given = function.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        for argument in arguments:
            if argument is not None and argument.arg not in ("self", "cls"):
                assert argument.annotation is not None, f"{function.name}: {argument.arg}"
        assert function.returns is not None, function.name


def test_the_five_lines_of_the_readme_run():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 5
    exec(code, found := {})
    assert found["gradient"].shape == (256, 27)
    assert found["fit"].residuals.max() < 0.1


def test_the_commands_of_the_readme_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg", encoding="utf-8")
    assert set(re.findall(r"\.\[([\w-]+)\]", commands)) <= set(extras["options.extras_require"])
    assert set(re.findall(r"(?m)^kinpose (\w+)", commands)) <= set(VERBS)
    files = re.findall(r"(?:data/motions|experiments/flags)/[\w.]+", commands)
    files += [f"experiments/{name}.py" for name in re.findall(r"-m experiments\.(\w+)", commands)]
    assert len(files) > 6
    assert not [file for file in files if not (ROOT / file).exists()]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "experiments/README.md",
        "data/rendered_people/README.md",
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
    ],
)
def test_links_of_a_page_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        is_address = target.startswith(("https://", "http://"))
        assert is_address or ((ROOT / page).parent / target).exists(), target
    for named in re.findall(r"`((?:kinpose|experiments|data|tests|docs)/[\w/]+\.\w+)`", text):
        assert (ROOT / named).exists(), named
