"""What a job's work is given, without the process and the database of one."""

from dataclasses import dataclass, field
from pathlib import Path


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
