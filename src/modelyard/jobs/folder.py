"""The folder of one job: all that the controller and the job's process know of each other.

spec.json        what to do, written before the start
inputs/          files fetched for it
progress.jsonl   appended by the process
log.txt          its standard output and error
output/          what it makes
state/           what an attempt leaves for the next one, like checkpoints; gone when the job has succeeded
result.json      written last and atomically: {"ok": …} or {"error": {"code", "message"}}
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.unreadable import UNREADABLE


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job's process says at its end: a result, or an error for the caller."""

    ok: dict[str, Any] | None = None
    error: str = ""
    code: str = ""


class JobFolder:
    """Paths and files of one job. Nothing is created before ``prepare``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec = root / "spec.json"
        self.inputs = root / "inputs"
        self.progress = root / "progress.jsonl"
        self.log = root / "log.txt"
        self.output = root / "output"
        self.state = root / "state"
        self.result = root / "result.json"

    def prepare(self, spec: dict[str, Any], attempt: int) -> None:
        """Makes the folder as an attempt finds it: no traces of an earlier one but its log and its state."""
        self.discard()
        self.result.unlink(missing_ok=True)
        self.progress.unlink(missing_ok=True)
        for folder in (self.root, self.inputs, self.output, self.state):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if attempt > 1 and self.log.exists():
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"--- attempt {attempt} ---\n")
        write_atomically(self.spec, msgspec.json.encode(spec))

    def outcome(self) -> Outcome | None:
        """What the process said at its end; None when it ended without a word, or with an unreadable one."""
        try:
            return msgspec.json.decode(self.result.read_bytes(), type=Outcome)
        except (OSError, *UNREADABLE):
            return None

    def discard(self) -> None:
        """Removes inputs and output; log, spec, result and state stay."""
        shutil.rmtree(self.inputs, ignore_errors=True)
        shutil.rmtree(self.output, ignore_errors=True)

    def forget(self) -> None:
        """Removes the state: nobody will go on from it."""
        shutil.rmtree(self.state, ignore_errors=True)

    @property
    def resumable(self) -> bool:
        """Whether an attempt left anything to go on from."""
        return self.state.is_dir() and any(path.is_file() for path in self.state.rglob("*"))

    def inherit(self, other: JobFolder) -> None:
        """Takes the state of a job that has ended."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        other.state.rename(self.state)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a loss of power."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
