"""The tables of the README's benchmark: what is measured for each, and their Markdown."""

from collections.abc import Sequence
from typing import NamedTuple

from experiments.benchmark_suite import Plan
from experiments.results import format_markdown


class Table(NamedTuple):
    """One comparison, by one plan or several.

    Attributes:
      title: above it.
      plans: how its rows are measured.
      columns: of the measurements, beside the time an item.
    """

    title: str
    plans: tuple[Plan, ...]
    columns: tuple[str, ...] = ()


_HUMAN = tuple(f"human_17 {measure}" for measure in ("forward", "value and gradient", "Jacobian"))
_OTHERS = tuple(
    f"{skeleton} {measure}"
    for skeleton in ("toy_10", "hand_31", "chain_64", "chain_512")
    for measure in ("forward", "value and gradient")
)
_OF_BATCHES = ("kinpose", "torch-compile", "pytorch-kinematics", "c")
_OF_SINGLE_POSES = ("kinpose", "brax", "mjx", *_OF_BATCHES[1:3], "mujoco", "pinocchio")
_RESNETS = (("resnet18_64", 64), ("resnet18_224", 8), ("resnet50_64", 32), ("resnet50_224", 4))
_PEERS = ("scipy", "optimistix")
_ALIGNED = ("scipy-aligned", "optimistix-aligned")
_OWN_FITS = ("kinpose", "kinpose-limits", "kinpose-gradient")

PAGE = (
    Table(
        "Kinematics of the human, batches",
        (Plan("fk", (256, 4096, 65536), _HUMAN[:2], _OF_BATCHES),),
    ),
    Table(
        "Kinematics of the human, a single pose",
        (Plan("fk", (1,), _HUMAN, _OF_SINGLE_POSES),),
    ),
    Table(
        "Kinematics of other skeletons",
        (Plan("fk", (4096,), (*_HUMAN, *_OTHERS), ("kinpose",)),),
        ("first call s",),
    ),
    Table(
        "Model fitting from nothing",
        (
            Plan("fit", (4096,), ("reachable",), (*_OWN_FITS[::2], *_PEERS, *_ALIGNED), 16, 3),
            Plan("fit", (4096,), ("within limits",), (*_OWN_FITS, "scipy-aligned"), 16, 3),
            Plan("fit", (4096,), ("10 mm noise",), ("kinpose", *_ALIGNED), 16, 3),
        ),
        ("under 0.1 mm", "as the best", "first call s"),
    ),
    Table(
        "Model fitting, batches",
        (Plan("fit", (1, 32, 512, 65536), ("within limits",), _OWN_FITS, rounds=3),),
        ("first call s",),
    ),
    Table(
        "Inverse kinematics",
        (Plan("ik", (4096,), rounds=3),),
        ("under 0.2 mm", "rad from rest", "first call s"),
    ),
    Table("Training steps of the toy's network", (Plan("toynet", (64, 512)),)),
    Table(
        "Training steps of ResNets",
        tuple(Plan("resnet", (batch,), (name,), rounds=3) for name, batch in _RESNETS),
    ),
)


def format_page(machine: dict, tables: Sequence[list[dict]]) -> str:
    """Markdown of the tables of `PAGE`, measured in this order."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    parts = [format_table(*pair) for pair in zip(PAGE, tables, strict=True)]
    return "\n\n".join([f"Measured on: {facts}.", *parts])


def format_table(table: Table, rows: list[dict]) -> str:
    """A row a workload and batch, a column a contender; for every measurement a table.

    A time stands before its ratio to the first contender's.
    """
    unit = next(key for key in rows[0] if key.endswith(" per item"))
    parts = [f"### {table.title}"]
    for column in (unit, *table.columns):
        measured = {}
        for row in rows:
            if row[unit] is not None:
                text = _shown(column, row)
                measured.setdefault((row["workload"], row["batch"]), {})[row["contender"]] = text
        names = dict.fromkeys(name for cells in measured.values() for name in cells)
        lines = [
            [workload, str(batch), *(cells.get(name, "") for name in names)]
            for (workload, batch), cells in measured.items()
        ]
        parts.append(format_markdown([[column, "batch", *names], *lines]))
    return "\n\n".join(parts)


def _shown(column: str, row: dict) -> str:
    value = row[column]
    if column.startswith(("under", "as the best")):
        return f"{100 * value:.4g} %"
    text = f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
    is_other = column.endswith(" per item") and row["ratio"] != 1
    return f"{text} ({row['ratio']:.3g})" if is_other else text
