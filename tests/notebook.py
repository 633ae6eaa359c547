"""Runs a tutorial as a notebook would: cell by cell, showing what each one ends with.

python -m tests.notebook docs/tutorials/2_own_skeleton.py [NAME=VALUE ...]

Without a kernel and the packages of one. Values replace those of the cell tagged "parameters".
Warnings are errors. What is shown is named by its kind, one a line.
"""

import ast
import os
import pathlib
import sys
import warnings


def cells_of(path):
    """The header, and pairs of a cell's tags and its text."""
    header, *cells = pathlib.Path(path).read_text(encoding="utf-8").split("\n# %%")
    return header, [cell.split("\n", 1) for cell in cells]


def code_of(path, **values):
    """The cells of code, in order, as syntax trees."""
    for tags, text in cells_of(path)[1]:
        if "[markdown]" in tags:
            continue
        if "parameters" in tags:
            known = {x.id for x in ast.walk(ast.parse(text)) if isinstance(x, ast.Name)}
            assert set(values) <= known, f"{path} has no {set(values) - known}"
            text += "".join(f"\n{name} = {value}" for name, value in values.items())
        yield ast.parse(text, filename=str(path))


def show(value):
    """The kind of what a notebook would show, "" for nothing."""
    shown = {kind: getattr(value, f"_repr_{kind}_", lambda: None)() for kind in ("html", "png")}
    return next((kind for kind in shown if shown[kind]), "" if value is None else "text")


def main(path, *values):
    path = pathlib.Path(path).resolve()
    os.chdir(path.parent)
    warnings.simplefilter("error")
    names = {"__name__": "__main__"}
    for tree in code_of(path, **dict(value.split("=") for value in values)):
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(path), "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), str(path), "eval"), names)
            if kind := show(value):
                print("shows", kind, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
