from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.testing.platform import RunningPlatform, running_platform

ROOT = Path(__file__).resolve().parents[2]
PENGUINS = ROOT / "examples" / "data" / "penguins.csv"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """A platform that the tests of one file share."""
    with running_platform(tmp_path_factory.mktemp("platform") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def penguins() -> Path:
    return PENGUINS
