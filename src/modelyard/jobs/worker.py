"""The job's side: what runs in the child process. It knows its folder and nothing else: no database, no network, no settings."""

from __future__ import annotations

import errno
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import JobFailed, ModelyardError
from modelyard.core.plugins import load_string
from modelyard.jobs.folder import JobFolder, Outcome, write_atomically
from modelyard.jobs.progress import ProgressLine

logger = logging.getLogger(__name__)
QUIET_NS = 100_000_000


@dataclass
class JobContext:
    """What a kind's ``run`` is given."""

    spec: dict[str, Any]
    folder: Path
    """The job's own folder; what it makes goes into ``output``."""
    inputs: dict[str, Path] = field(default_factory=dict)
    """Files fetched for the job, by name."""
    _stage: str = ""
    _next_ns: int = 0

    @property
    def output(self) -> Path:
        """Where to put what the job makes; exists already."""
        return self.folder / "output"

    @property
    def state(self) -> Path:
        """What a job that goes on after a kill or a cancellation finds again; empty at first, and gone when it has succeeded."""
        return self.folder / "state"

    def report(self, stage: str, fraction: float = -1.0, message: str = "") -> None:
        """Tells how far the whole job is; cheap to call in a loop, since calls close together within a stage are dropped."""
        now = time.time_ns()
        if stage == self._stage and now < self._next_ns and fraction < 1.0:
            return
        self._stage, self._next_ns = stage, now + QUIET_NS
        line = msgspec.json.encode(ProgressLine(time_ns=now, stage=stage, fraction=fraction, message=message))
        with JobFolder(self.folder).progress.open("ab") as file:
            file.write(line + b"\n")


def run_job(root: Path, reference: str) -> int:
    """Runs the kind at import string ``reference`` on the job in ``root`` and writes its result; the process's exit status."""
    folder = JobFolder(root)
    outcome = _run(folder, reference)
    write_atomically(folder.result, msgspec.json.encode(outcome))
    return 0 if outcome.ok is not None else 1


def _run(folder: JobFolder, reference: str) -> Outcome:
    try:
        spec = msgspec.json.decode(folder.spec.read_bytes(), type=dict[str, Any])
        inputs = {path.name: path for path in sorted(folder.inputs.iterdir())}
        run = load_string(reference)
        ok = run(JobContext(spec, folder.root, inputs))
        return Outcome(ok=msgspec.to_builtins(ok, enc_hook=_plain, str_keys=True))
    except ModelyardError as error:
        # Only the sentence: the log is read by whoever holds a key, and a refusal needs no traceback.
        logger.error("The job was refused: %s", error.message)  # noqa: TRY400 - see above
        return Outcome(error=error.message, code=error.code)
    except MemoryError:
        logger.exception("Out of memory")
        return Outcome(error=f"The job ran out of memory. {MEMORY_ADVICE}", code=JobFailed.code)
    except Exception as error:  # the edge of the job's process: the traceback stays in its log
        logger.exception("The job ended with an error")
        if isinstance(error, OSError) and error.errno in _FULL:
            return Outcome(error=f"The job found the disk full ({error.strerror}). {DISK_ADVICE}", code=JobFailed.code)
        detail = str(error).strip().split("\n")[0][:300]
        return Outcome(
            error=f"The job ended with {type(error).__name__}: {detail or 'no message'}; its log has the details.", code=JobFailed.code
        )


_FULL = {errno.ENOSPC, errno.EDQUOT}
DISK_ADVICE = "Make room, for example with 'modelyard gc', and resume the job: what it had kept until then is whole."
MEMORY_ADVICE = "Use less data or simpler models, raise the job's memory limit (MODELYARD_JOB_MEMORY_BYTES), or use a larger machine."


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as plain data."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise NotImplementedError(f"A job's result cannot hold a {type(value).__name__}.")
