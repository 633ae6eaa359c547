"""What a benchmark says: its table, and the machine it ran on."""

import os
import pathlib
import platform
from importlib import metadata

_PACKAGES = (
    *("jax", "jaxlib", "flax", "numpy", "scipy", "optimistix", "torch", "pytorch-kinematics"),
    *("mujoco", "mujoco-mjx", "pin", "brax", "mink"),
)


def describe_machine() -> dict:
    """What the numbers depend on."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {d.name.lower().replace("_", "-"): d.version for d in metadata.distributions()}
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.system(),
        "python": platform.python_version(),
        **{p: versions[p] for p in _PACKAGES if p in versions},
    }


def format_table(rows: list[dict]) -> str:
    """Aligned columns, numbers to four digits."""
    cells = [list(rows[0])] if rows else []
    cells += [[format_cell(*cell) for cell in row.items()] for row in rows]
    columns = []
    for i, column in enumerate(zip(*cells, strict=True)):
        align, width = (str.ljust if i < 2 else str.rjust), max(map(len, column))
        columns.append([align(cell, width) for cell in column])
    return "\n".join("  ".join(line) for line in zip(*columns, strict=True))


def format_cell(column: str, value) -> str:
    if value is None:
        return "-"
    if column == "right":
        return "right" if value else "WRONG"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
