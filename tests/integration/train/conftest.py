from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.train.job import run

PENGUINS = Path(__file__).parents[3] / "examples/data/penguins.csv"


@dataclass
class FakeContext:
    """What a job's process gives to the work, without the process."""

    spec: dict
    folder: Path
    inputs: dict
    told: list = field(default_factory=list)

    def report(self, stage, fraction=-1.0, message=""):
        self.told.append((stage, fraction, message))


@dataclass
class Trained:
    result: dict
    folder: Path
    told: list

    @property
    def model(self):
        return self.folder / "output/artifact/model.onnx"

    @property
    def attachments(self):
        return self.folder / "output/attachments"


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    """Runs a training job on a file; recipe fields are the keyword arguments."""

    def _train(path=PENGUINS, **recipe):
        context = FakeContext(
            spec={"recipe": recipe, "dataset": {"digest": "ab" * 32, "filename": path.name}},
            folder=tmp_path_factory.mktemp("job"),
            inputs={"data": path},
        )
        return Trained(run(context), context.folder, context.told)

    return _train
