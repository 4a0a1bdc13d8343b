"""What the machine and processes use."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.observability.machine import Use, children_running, families, read_machine, use_of

BUSY = "block = bytearray(64 * 2**20); block[::4096] = b'x' * len(block[::4096]); print('ready', flush=True)\nwhile True: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"


@pytest.fixture
def family() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose child computes and holds 64 MiB."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield process
    os.killpg(process.pid, 9)
    process.wait()
    process.stdout.close()


def test_a_family_is_counted_together(family: subprocess.Popen[bytes]) -> None:
    members = families([family.pid])[family.pid]
    assert len(members) == 2
    first = use_of(members)
    assert first.processes == 2
    assert first.memory_bytes > 64 * 2**20
    until = time.monotonic() + 30
    while use_of(members).cpu_seconds <= first.cpu_seconds + 0.05:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_is_below_another_root_is_not_counted_twice(family: subprocess.Popen[bytes]) -> None:
    whole = families([os.getpid()])[os.getpid()]
    apart = families([os.getpid(), family.pid])
    assert family.pid in whole
    assert set(apart[os.getpid()]) == set(whole) - set(apart[family.pid])


def test_processes_that_ended_count_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    assert use_of([gone.pid]) == Use()
    assert families([gone.pid]) == {}
    assert children_running(gone.pid, "anything") == []


def test_a_child_is_known_by_the_module_it_runs() -> None:
    process = subprocess.Popen([sys.executable, "-m", "http.server", "--help"], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    waiting = subprocess.Popen([sys.executable, "-c", "input()", "some.module"], stdin=subprocess.PIPE)
    try:
        assert children_running(os.getpid(), "some.module") == [waiting.pid]
        assert children_running(os.getpid(), "other.module") == []
    finally:
        waiting.communicate(b"\n")
        process.communicate()


def test_the_machine_has_what_the_system_tells(tmp_path: Path) -> None:
    machine = read_machine(tmp_path)
    assert machine.cores == os.cpu_count()
    assert 0 < machine.memory_available_bytes <= machine.memory_bytes
    assert 0 < machine.disk_free_bytes <= machine.disk_bytes
    assert {"user", "system", "idle"} <= set(machine.cpu_seconds)
    later = read_machine(tmp_path)
    assert sum(later.cpu_seconds.values()) >= sum(machine.cpu_seconds.values())
