"""The page about the angles says what the code does."""

import re

import numpy as np
import pytest

from kinpose.skeletons import HUMAN_LIMITS, human_17
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "angles.md").read_text(encoding="utf-8")
ROWS = [row.strip("| ").split(" | ") for row in PAGE.splitlines() if row.startswith("| ")][1:]
RANGES = {row[0]: row[-1] for row in ROWS if len(row) == 4 and " to " in row[-1]}


@pytest.mark.parametrize("dof", human_17().dof_names)
def test_every_angle_has_a_row_with_its_range(dof):
    name = re.sub("^(left|right)_", "", dof)
    assert any(name in row[0].split(", ") for row in ROWS)
    if dof in HUMAN_LIMITS:
        stated = [float(x) for x in RANGES[name].split(" to ")]
        np.testing.assert_allclose(stated, np.degrees(HUMAN_LIMITS[dof]), atol=0.01)


def test_the_docstring_of_the_human_lists_the_same_ranges():
    for name, span in RANGES.items():
        assert re.search(rf"{name}.*{span}", human_17.__doc__), name
