"""What a run leaves: files that appear whole or not at all."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from kinpose.io.files import read_json, write_atomically


def write_run(directory: pathlib.Path, arrays: Mapping[str, np.ndarray | None], scores: Mapping):
    """Writes predictions.npz, then scores.json: a directory that has it is finished.

    Under several processes the first one writes.
    """
    if jax.process_index() != 0:
        return
    directory.mkdir(parents=True, exist_ok=True)
    write_arrays(directory / "predictions.npz", arrays)
    write_json(directory / "scores.json", scores)


def read_scores(workdir: pathlib.Path) -> list[dict]:
    """The scores.json of all finished runs below a workdir.

    Raises:
      ValueError: naming a file that is damaged.
    """
    found = []
    for path in workdir.glob("*/scores.json"):
        try:
            found.append(read_json(path))
        except ValueError as error:
            raise ValueError(f"{error} Remove it to have it written again.") from None
    return found


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray | None]):
    """Writes a .npz; None is left out."""
    arrays = {key: x for key, x in arrays.items() if x is not None}
    with write_atomically(path) as part, open(part, "wb") as file:
        np.savez(file, **arrays)


def write_json(path: pathlib.Path, value):
    """Writes a value that JSON can hold."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: pathlib.Path, text: str):
    """Writes a text, UTF-8."""
    with write_atomically(path) as part:
        part.write_text(text, encoding="utf-8")


def format_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, for people, too; the first row is its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
