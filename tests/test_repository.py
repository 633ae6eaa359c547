"""Laws of the repository: what imports what, and what the README shows."""

import ast
import graphlib
import re
import sys

import pytest

from tests.conftest import ROOT

DRAWS = {"kinpose.plot", "kinpose.drawing", "kinpose.diagram"}
TRAINS = {"kinpose.train", "kinpose.checkpoint", "kinpose.workdir", "kinpose.optimisers"}
READS_WEIGHTS = {"kinpose.models.pretrained"}
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
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_library_needs_only_jax_and_numpy_but_for_some_modules(path):
    name = module_name(path)
    allowed = {"jax", "numpy", "kinpose", *sys.stdlib_module_names}
    if name in DRAWS:
        allowed |= {"matplotlib", "mpl_toolkits", "PIL"}
    if name.startswith("kinpose.models"):
        allowed |= {"flax"}
    if name in TRAINS:
        allowed |= {"flax", "optax", "orbax", "absl", "tensorboardX"}
    if name == "kinpose.io.mujoco_reader":
        allowed |= {"mujoco"}
    if name in READS_WEIGHTS:
        allowed |= {"h5py", "safetensors"}
    assert {name.split(".")[0] for name in imported(path)} <= allowed


def test_imports_only_go_down():
    modules = {module_name(path): imported(path) for path in FILES}
    graphlib.TopologicalSorter(
        {name: {other for other in others if other in modules} for name, others in modules.items()}
    ).prepare()


def test_the_twelve_lines_of_the_readme_run(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(code.strip().splitlines()) == 12
    exec(code, {})
    assert float(capsys.readouterr().out.split()[0]) < 0.1


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", "experiments/README.md", "data/rendered_people/README.md"],
)
def test_links_of_a_page_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or ((ROOT / page).parent / target).exists(), target
