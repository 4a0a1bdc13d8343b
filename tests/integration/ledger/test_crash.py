"""The controller dies between any two steps of a fold: nothing is lost, nothing is counted twice."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.cost import Cost
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Journal
from modelyard.ledger import fold as module
from modelyard.ledger.fold import Folder
from modelyard.store.database import Store
from modelyard.store.segments import RECORD_SIZE


class Crash(BaseException):
    """Stands for a SIGKILL: no handler of the fold sees it."""


@contextlib.contextmanager
def crash_at(step):
    """Raises at the ``step``-th line of the fold that is run."""
    left = step

    def on_line(frame, event, _argument):
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                raise Crash
        return on_line

    def on_call(frame, event, argument):
        return on_line if frame.f_code.co_filename == module.__file__ else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def append(journal, count):
    for _ in range(count):
        journal.append((os.urandom(16), 1, 2, 3), 200, Cost(rows=1), ProtocolId.OTHER, CallKind.INFER, 0, 0)
        if journal._maker is not None:
            journal._maker.join()


def calls(store):
    with store.read() as session:
        return sum(total.calls for total in session.usage.totals(1))


@pytest.fixture
def store(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'test.db'}", ManualClock())
    store.migrate()
    yield store
    store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a crash leaves files open
def test_a_crash_at_every_line_of_a_fold_changes_no_sum(store, tmp_path):
    """Each round: new calls in a dead worker's segments and in a living one's, a fold that crashes one line later than before."""
    folder = tmp_path / "journal"
    fold = Folder(store, folder, ManualClock(), retention_seconds=0)
    living = Journal(folder, b"l" * 16, 0, segment_bytes=RECORD_SIZE * 17)
    written = step = 0
    crashed = True
    while crashed:
        step += 1
        dead = Journal(folder, b"d" * 16, 1, segment_bytes=RECORD_SIZE * 9)
        append(dead, 10)
        dead.close()
        append(living, 3)
        written += 13
        crashed = False
        try:
            with crash_at(step):
                fold.fold()
        except Crash:
            crashed = True
        assert calls(store) in (written, written - 13)
        fold.fold()
        assert calls(store) == written
    assert step > 50
    living.close()
    fold.fold()
    assert calls(store) == written
    assert not list(folder.glob("*.journal"))
    with store.read() as session:
        assert session.usage.positions() == {}


CONTROLLER = """
import sys
from pathlib import Path
from modelyard.core.clock import SystemClock
from modelyard.ledger.fold import Folder
from modelyard.store.database import Store

fold = Folder(Store.open(sys.argv[1]), Path(sys.argv[2]), SystemClock())
print("ready", flush=True)
while True:
    fold.fold()
"""


def test_a_controller_that_is_killed_again_and_again_counts_every_call_once(store, tmp_path):
    folder = tmp_path / "journal"
    journal = Journal(folder, b"l" * 16, 0, segment_bytes=RECORD_SIZE * 65)
    written = 0
    for round_ in range(4):
        command = [sys.executable, "-c", CONTROLLER, f"sqlite:///{tmp_path / 'test.db'}", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as controller:
            controller.stdout.readline()
            until = time.monotonic() + 0.1 + 0.03 * round_
            while time.monotonic() < until:
                append(journal, 20)
                written += 20
            os.kill(controller.pid, signal.SIGKILL)
    journal.close()
    Folder(store, folder, ManualClock()).fold()
    assert calls(store) == written
    assert not list((folder / "quarantine").iterdir())
