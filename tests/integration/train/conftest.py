from dataclasses import dataclass
from pathlib import Path

import pytest

from job_context import JobContext
from modelyard.train.job import run

PENGUINS = Path(__file__).parents[3] / "examples/data/penguins.csv"


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
        context = JobContext(
            spec={"recipe": recipe, "dataset": {"digest": "ab" * 32, "filename": path.name}},
            folder=tmp_path_factory.mktemp("job"),
            inputs={"data": path},
        )
        return Trained(run(context), context.folder, context.told)

    return _train
