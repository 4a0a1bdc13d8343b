"""What a job's work is given, without the process and the database of one."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.evaluation import illustrator
from modelyard.testing.preloaded import Preloaded


@dataclass
class JobContext:
    spec: dict
    folder: Path
    inputs: dict
    told: list = field(default_factory=list)

    @property
    def state(self):
        return self.folder / "state"

    @property
    def output(self):
        return self.folder / "output"

    @property
    def attachments(self):
        return self.output / "attachments"

    def report(self, stage, fraction=-1.0, message=""):
        self.told.append((stage, fraction, message))


@functools.cache
def _drawing() -> tuple[str, ...]:
    return tuple(Preloaded(["modelyard.evaluation.drawing"]).command("modelyard.evaluation.drawing"))


@pytest.fixture(scope="module", autouse=True)
def quick_pictures() -> Iterator[None]:
    """Pictures of the jobs of a file that imports this are drawn by forks of one process, which has loaded Matplotlib."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(illustrator, "COMMAND", _drawing())
        yield
