"""A worker dies at any moment: every call that was answered is in its journal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.store.segments import JournalReader

WORKER = """
import os, sys
from pathlib import Path
from modelyard.core.cost import Cost
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Journal

journal = Journal(Path(sys.argv[1]), b"b" * 16, 0, segment_bytes=1 << 16)
number = 0
while True:
    number += 1
    journal.append((number.to_bytes(16, "big"), 1, 2, 3), 200, Cost(rows=1), ProtocolId.OTHER, CallKind.INFER, 0, 0)
    os.write(1, number.to_bytes(8, "big"))
"""


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1])
def test_what_was_answered_is_recorded(tmp_path, delay):
    answers = tmp_path / "answers"
    with answers.open("wb") as out:
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path / "journal")], stdout=out)
    deadline = time.monotonic() + 30
    while not answers.stat().st_size and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    answered = Path(answers).stat().st_size // 8
    assert answered
    reader = JournalReader(tmp_path / "journal")
    reads = [segment.read() for segment in reader.segments()]
    assert all(read.ended for read in reads)
    numbers = [int.from_bytes(record.request_id, "big") for read in reads for record in read.usage()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) - answered in (0, 1)
    assert sum(len(read.damaged) for read in reads) <= 1
