"""What every engine must do. Subclass ``EngineContract`` in a test module and give it an ``engine`` fixture."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from modelyard.core.errors import NotFound
from modelyard.engines.base import Ending, Engine, Task, TaskStatus

PATIENCE = 30.0
_FOREVER = "import time; print('ready', flush=True); time.sleep(600)"
_POLITE = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('answered', flush=True), sys.exit(0)))\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)\n"
)
_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
_GRANDCHILD = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
_FAMILY = f"import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', {_GRANDCHILD!r}]); time.sleep(600)"


def python(folder: Path, code: str, *, memory_bytes: int = 0, wall_seconds: float = 0.0, grace_seconds: float = 5.0) -> Task:
    """A task that runs a piece of Python in ``folder``."""
    return Task(
        folder=folder,
        command=(sys.executable, "-c", code),
        log=folder / "log.txt",
        memory_bytes=memory_bytes,
        wall_seconds=wall_seconds,
        grace_seconds=grace_seconds,
    )


def wait_until_ended(engine: Engine, handle: str) -> TaskStatus:
    """Polls a task until it has ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = engine.status(handle)
        if status.ending is not None:
            return status
        time.sleep(0.01)
    raise AssertionError(f"The task did not end within {PATIENCE} s.")


def wait_for_log(engine: Engine, handle: str, task: Task) -> str:
    """Polls a task until it has written a line."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if engine.status(handle).ending is not None:
            raise AssertionError(f"The task ended early: {task.log.read_text()}")
        text = task.log.read_text() if task.log.exists() else ""
        if text.endswith("\n"):
            return text
        time.sleep(0.01)
    raise AssertionError(f"The task wrote nothing within {PATIENCE} s.")


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # a system without this file tells no zombies apart
    except ProcessLookupError:  # it went while its file was read
        return False
    return state.rpartition(")")[2].split()[0] not in {"Z", "X"}


def wait_until_gone(pid: int) -> None:
    """Polls until a process is gone."""
    deadline = time.monotonic() + PATIENCE
    while alive(pid):
        assert time.monotonic() < deadline, f"Process {pid} lives on."
        time.sleep(0.01)


class EngineContract:
    """The tests; each starts real work on the engine."""

    def test_success_and_output_are_reported(self, engine: Engine, tmp_path: Path) -> None:
        task = python(tmp_path, "print('hello')")
        status = wait_until_ended(engine, engine.submit_job(task))
        assert (status.ending, status.exit_code) == (Ending.EXITED, 0)
        assert task.log.read_text() == "hello\n"

    def test_exit_status_is_reported(self, engine: Engine, tmp_path: Path) -> None:
        status = wait_until_ended(engine, engine.submit_job(python(tmp_path, "raise SystemExit(7)")))
        assert (status.ending, status.exit_code) == (Ending.EXITED, 7)

    def test_death_by_signal_is_a_crash(self, engine: Engine, tmp_path: Path) -> None:
        status = wait_until_ended(engine, engine.submit_job(python(tmp_path, "import os; os.kill(os.getpid(), 9)")))
        assert (status.ending, status.exit_code) == (Ending.CRASHED, -9)

    def test_log_is_appended_to(self, engine: Engine, tmp_path: Path) -> None:
        task = python(tmp_path, "print('again')")
        task.log.write_text("before\n")
        wait_until_ended(engine, engine.submit_job(task))
        assert task.log.read_text() == "before\nagain\n"

    def test_cancelled_task_ends(self, engine: Engine, tmp_path: Path) -> None:
        task = python(tmp_path, _FOREVER)
        handle = engine.submit_job(task)
        wait_for_log(engine, handle, task)
        engine.cancel_job(handle)
        engine.cancel_job(handle)
        assert wait_until_ended(engine, handle).ending is Ending.CANCELLED
        engine.cancel_job(handle)

    def test_task_that_ignores_the_request_is_killed(self, engine: Engine, tmp_path: Path) -> None:
        task = python(tmp_path, _STUBBORN, grace_seconds=0.2)
        handle = engine.submit_job(task)
        wait_for_log(engine, handle, task)
        engine.cancel_job(handle)
        status = wait_until_ended(engine, handle)
        assert (status.ending, status.exit_code) == (Ending.CANCELLED, -9)

    def test_grandchildren_end_with_their_task(self, engine: Engine, tmp_path: Path) -> None:
        task = python(tmp_path, _FAMILY)
        handle = engine.submit_job(task)
        grandchild = int(wait_for_log(engine, handle, task))
        engine.cancel_job(handle)
        wait_until_ended(engine, handle)
        wait_until_gone(grandchild)

    def test_time_limit_ends_a_task(self, engine: Engine, tmp_path: Path) -> None:
        handle = engine.submit_job(python(tmp_path, _FOREVER, wall_seconds=0.2))
        assert wait_until_ended(engine, handle).ending is Ending.WALL

    def test_memory_limit_ends_a_task(self, engine: Engine, tmp_path: Path) -> None:
        code = "import time\nkept = []\nwhile True:\n    kept.append(bytearray(4_000_000)); time.sleep(0.005)\n"
        handle = engine.submit_job(python(tmp_path, code, memory_bytes=120_000_000))
        assert wait_until_ended(engine, handle).ending is Ending.MEMORY

    def test_unknown_handle_is_refused(self, engine: Engine) -> None:
        with pytest.raises(NotFound):
            engine.status("nobody")

    def test_forgotten_task_is_killed(self, engine: Engine, tmp_path: Path) -> None:
        task = python(tmp_path, _FOREVER)
        handle = engine.submit_job(task)
        wait_for_log(engine, handle, task)
        pid = engine.status(handle).pid
        engine.forget(handle)
        wait_until_gone(pid)
        with pytest.raises(NotFound):
            engine.status(handle)

    def test_reclaim_finds_nothing_where_nothing_is_left(self, engine: Engine, tmp_path: Path) -> None:
        assert engine.reclaim(tmp_path) == 0

    def test_a_replica_is_asked_to_end_and_may_answer_what_it_has(self, engine: Engine, tmp_path: Path) -> None:
        task = python(tmp_path, _POLITE, grace_seconds=PATIENCE)
        handle = engine.start_replica(task)
        wait_for_log(engine, handle, task)
        engine.stop_replica(handle)
        engine.stop_replica(handle)
        status = wait_until_ended(engine, handle)
        assert (status.ending, status.exit_code) == (Ending.CANCELLED, 0)
        assert task.log.read_text().split() == ["ready", "answered"]

    def test_a_replica_that_does_not_end_is_killed(self, engine: Engine, tmp_path: Path) -> None:
        task = python(tmp_path, _STUBBORN, grace_seconds=0.2)
        handle = engine.start_replica(task)
        wait_for_log(engine, handle, task)
        engine.stop_replica(handle)
        assert wait_until_ended(engine, handle).exit_code == -9

    def test_a_replica_yields_to_nobody_and_jobs_yield_to_it(self, engine: Engine, tmp_path: Path) -> None:
        ranks = []
        for start, folder in ((engine.start_replica, tmp_path / "replica"), (engine.submit_job, tmp_path / "job")):
            folder.mkdir()
            # Its rank is set after it has started.
            task = python(folder, "import os, time; time.sleep(0.3); print(os.getpriority(os.PRIO_PROCESS, 0))")
            wait_until_ended(engine, start(task))
            ranks.append(int(task.log.read_text()))
        assert ranks[0] < ranks[1]

    def test_memory_limit_ends_a_replica(self, engine: Engine, tmp_path: Path) -> None:
        code = "import time\nkept = []\nwhile True:\n    kept.append(bytearray(4_000_000)); time.sleep(0.005)\n"
        handle = engine.start_replica(python(tmp_path, code, memory_bytes=120_000_000))
        assert wait_until_ended(engine, handle).ending is Ending.MEMORY
