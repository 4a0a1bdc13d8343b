"""One sentence for each way in which a job can end badly."""

from __future__ import annotations

import signal

from modelyard.core.errors import ModelyardError
from modelyard.core.jobs import Job
from modelyard.engines.base import Ending, TaskStatus
from modelyard.jobs.worker import MEMORY_ADVICE


def unexpected_sentence(status: TaskStatus, job: Job, memory_bytes: int, wall_seconds: float) -> str:
    """Why a job was ended at a limit, and what to do."""
    if status.ending is Ending.WALL:
        limit = job.limits.wall_seconds or wall_seconds
        return f"The job took longer than the {limit:g} s it may; raise its time limit (MODELYARD_JOB_WALL_SECONDS) or give it less to do."
    limit_bytes = job.limits.memory_bytes or memory_bytes
    if limit_bytes and status.memory_bytes > limit_bytes:
        return f"The job used more than the {limit_bytes / 2**20:.0f} MiB of memory it may. {MEMORY_ADVICE}"
    return f"The system killed the job because memory ran out. {MEMORY_ADVICE}"


def crash_sentence(status: TaskStatus, job: Job) -> str:
    """That a job's process ended without a result, in its last attempt."""
    if status.exit_code < 0:
        how = f"was ended by {_signal_name(-status.exit_code)}"
    else:
        how = f"ended with status {status.exit_code} and no result"
    return f"The job's process {how} in attempt {job.attempt}, the last one it had; see its log: modelyard logs {job.id}"


def killed_platform_sentence(job: Job) -> str:
    """That the platform was killed while the job ran, in its last attempt."""
    return f"The platform was killed during attempt {job.attempt} of the job, the last one it had; submit it again if it was not the cause."


def failure_sentence(error: BaseException, doing: str) -> str:
    """What to tell of an error on the controller's side; only errors raised on purpose are told in full."""
    if isinstance(error, ModelyardError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"The job failed while {doing}: {error.strerror}."
    return f"The job failed while {doing} through a fault of the platform; the controller's log has the details."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
