"""Laws of the site: every public name has its place in the reference, and a docstring there."""

import ast
import functools
import re

import pytest

import kinpose
from tests.test_repository import FILES, ROOT, module_name

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md")}
BODIES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8")).body
    for path in FILES
    if not any(part.startswith("_") for part in module_name(path).split("."))
}
"""Of modules without an underscore, what they define."""

_MODULE = re.compile(r"\.\. automodule:: (\S+)\n(?:   :exclude-members: (.*)\n)?")
_NAME = re.compile(r"\.\. auto(?:function|class):: (\w+)\n")


@functools.cache
def defined(module):
    """Public names that a module defines, and whether each has a docstring."""
    body, found = BODIES[module], {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.get_docstring(node) is not None
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {x.id: told for x in targets if isinstance(x, ast.Name)}
    return {name: told for name, told in found.items() if not name.startswith("_")}


@functools.cache
def given(module):
    """Names that a module passes on: its `__all__`, where it has one."""
    for node in BODIES[module]:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return None


@functools.cache
def shown():
    """Names in the reference, by module; those of `import kinpose` stand by themselves."""
    names = {"kinpose": {name for text in PAGES.values() for name in _NAME.findall(text)}}
    for text in PAGES.values():
        for module, left_out in _MODULE.findall(text):
            own = given(module)
            names[module] = (set(defined(module)) if own is None else own) - set(
                left_out.split(", ")
            )
    return names


def test_every_public_module_is_on_one_page_of_the_reference():
    listed = [module for text in PAGES.values() for module, _ in _MODULE.findall(text)]
    assert sorted(listed) == sorted(BODIES.keys() - {"kinpose"})


def test_the_reference_has_what_import_kinpose_gives():
    assert shown()["kinpose"] == set(kinpose.__all__)


@pytest.mark.parametrize("module", sorted(BODIES.keys() - {"kinpose"}))
def test_every_public_name_is_in_the_reference_with_a_docstring(module):
    """With its module, or with one that passes it on."""
    names = shown()
    passed_on = names["kinpose"] | {
        name for other in names if other in BODIES and given(other) for name in names[other]
    }
    for name, is_told in defined(module).items():
        assert is_told, f"{module}.{name} has no docstring"
        is_shown = name in names.get(module, ()) or name in passed_on
        assert is_shown, f"{module}.{name} is on no page of docs/api"


def test_pages_of_the_reference_are_in_its_list():
    listed = PAGES["index"].split("```{toctree}")[1]
    assert all(f"\n{name}\n" in listed for name in PAGES if name != "index")
