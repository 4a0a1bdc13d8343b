"""The local engine keeps the contract, and what only processes of one machine can do."""

import json
import os
import subprocess
import sys

import msgspec
import pytest

from modelyard.core.errors import Unavailable
from modelyard.engines.base import Task
from modelyard.engines.local import LocalEngine
from modelyard.engines.processes import MARK, session_memory
from modelyard.testing.engine_contract import EngineContract, python, wait_until_ended, wait_until_gone


@pytest.fixture
def engine():
    return LocalEngine({"PATH": os.environ["PATH"], "GREETING": "hello"})


class TestLocalEngine(EngineContract):
    pass


def test_tasks_see_only_the_environment_they_are_given(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_ADMIN_KEY", "never-to-be-seen")
    task = python(tmp_path, "import os; print(sorted(os.environ))")
    wait_until_ended(engine, engine.submit_job(task))
    seen = task.log.read_text()
    assert "GREETING" in seen
    assert "MODELYARD_ADMIN_KEY" not in seen


def test_program_that_cannot_be_started_is_reported(engine, tmp_path):
    with pytest.raises(Unavailable, match="No process could be started"):
        engine.submit_job(Task(folder=tmp_path, command=("/no/such/program",), log=tmp_path / "log.txt"))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core, or no affinity")
def test_tasks_are_kept_to_cores_that_others_leave(engine, tmp_path):
    # Read late: a task begins before it is bound.
    code = "import os, time; time.sleep(0.5); print(sorted(os.sched_getaffinity(0)), flush=True); time.sleep(0.5)"
    tasks = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tasks.append(msgspec.structs.replace(python(tmp_path / name, code), cores=0.5))
    running = [engine.submit_job(task) for task in tasks]
    for handle in running:
        wait_until_ended(engine, handle)
    seen = [json.loads(task.log.read_text()) for task in tasks]
    assert all(len(cores) == 1 for cores in seen)
    assert seen[0] != seen[1]
    engine.forget(running[0])
    (tmp_path / "c").mkdir()
    free = msgspec.structs.replace(python(tmp_path / "c", "import os; print(len(os.sched_getaffinity(0)))"), cores=1e3)
    wait_until_ended(engine, engine.submit_job(free))
    assert int(free.log.read_text()) == len(os.sched_getaffinity(0))


def test_one_huge_allocation_is_refused_inside_the_task(engine, tmp_path):
    task = python(tmp_path, "bytearray(4_000_000_000)", memory_bytes=100_000_000)
    assert wait_until_ended(engine, engine.submit_job(task)).exit_code == 1
    assert "MemoryError" in task.log.read_text()


def test_grandchild_that_left_the_session_ends_with_its_task(engine, tmp_path):
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(child.pid)\n"
        "child.returncode = 0\n"
    )
    task = python(tmp_path, code)
    wait_until_ended(engine, engine.submit_job(task))
    wait_until_gone(int(task.log.read_text().split()[0]))


def test_reclaim_ends_processes_of_a_dead_owner(engine, tmp_path):
    left = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"],
        env={MARK: str(tmp_path)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    left.stdout.readline()
    assert engine.reclaim(tmp_path) == 1
    assert left.wait() == -9
    left.stdout.close()


def test_memory_of_a_session_counts_what_its_processes_hold(tmp_path):
    code = "kept = bytearray(b'x') * 60_000_000; print(flush=True); import time; time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()
    used = session_memory(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()
    assert 60_000_000 < used < 120_000_000
