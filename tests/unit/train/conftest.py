from pathlib import Path

import numpy as np
import pytest

from modelyard.datasets.profile import profile_table
from modelyard.datasets.read import read_table
from modelyard.train.problem import pose
from modelyard.train.recipes.parse import parse_table_recipe as parse_recipe

PENGUINS = Path(__file__).parents[3] / "examples/data/penguins.csv"


@pytest.fixture
def write(tmp_path):
    """Writes a table of columns and gives its path."""

    def _write(columns, name="t.csv"):
        rows = zip(*columns.values(), strict=True)
        path = tmp_path / name
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
        return path

    return _write


@pytest.fixture
def problem_of():
    """Poses the problem of a file and a recipe's fields."""

    def _problem(path=PENGUINS, **recipe):
        made = parse_recipe(recipe)
        table = read_table(path, made.read_options())
        return pose(table, profile_table(table), made)

    return _problem


@pytest.fixture
def numbers():
    return np.random.default_rng(0).normal(size=40).round(3)
