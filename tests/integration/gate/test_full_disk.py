"""A full disk, as the system reports it: calls are refused with a clear sentence, or answered and marked; never in silence."""

import errno
import os
import time

import pytest

from integration.live import Live
from integration.served import half_plus_two
from modelyard.gate.journal import Journal
from modelyard.observability.exports import export_path, read_exports
from modelyard.observability.exposition import render
from modelyard.protocols.open_inference_rest.routes import PROTOCOL
from modelyard.server.telemetry import Telemetry

BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2]}]}
ROOM = 16


class Disk:
    """Gives no file any more space while it is full."""

    def __init__(self, monkeypatch):
        self.full = False
        self._allocate = os.posix_fallocate
        monkeypatch.setattr(os, "posix_fallocate", self._give)

    def _give(self, descriptor, offset, size):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._allocate(descriptor, offset, size)


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


class Small(Live):
    """Its journal's segments have room for few calls."""

    def __init__(self, folder, *, serves):
        super().__init__(
            folder,
            half_plus_two,
            (PROTOCOL,),
            journal=lambda path: Journal(path, bytes(16), 0, segment_bytes=128 * (ROOM + 1), serves=serves),
        )

    def call(self):
        return self.client.post("/v2/models/demo/infer", json=BODY)

    def until(self, wanted):
        """The first answer that is as ``wanted``, and how many came before it."""
        end = time.monotonic() + 60
        before = 0
        while not wanted(answer := self.call()):
            before += 1
            assert time.monotonic() < end, answer.text
        return answer, before


def test_refused_with_a_clear_sentence_until_there_is_room(tmp_path, disk):
    with Small(tmp_path, serves=False) as live:
        disk.full = True
        refused, before = live.until(lambda answer: answer.status_code != 200)
        assert refused.status_code == 503
        assert "cannot be recorded, so it is not served" in refused.json()["error"]
        assert "No space left on device" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) >= 1
        assert 0 < before <= ROOM
        disk.full = False
        live.until(lambda answer: answer.status_code == 200)
        # Who was answered is recorded: before, and the one after.
        assert [record.status for record in live.records()].count(200) == before + 1


def test_served_marked_and_counted_until_there_is_room(tmp_path, disk, caplog):
    with Small(tmp_path, serves=True) as live:
        telemetry = Telemetry(export_path(tmp_path, 0), None, lambda *_: None)
        telemetry.unrecorded = lambda: live.journal.unrecorded
        assert counted(telemetry, tmp_path) == 0
        disk.full = True
        marked, before = live.until(lambda answer: "x-modelyard-unrecorded" in answer.headers)
        assert before == ROOM  # whatever can be recorded is
        assert (marked.status_code, marked.json()["outputs"][0]["data"]) == (200, [3.0])
        for _ in range(4):
            assert live.call().headers["x-modelyard-unrecorded"] == "1"
        assert counted(telemetry, tmp_path) == 5
        assert len(live.records()) == ROOM
        disk.full = False
        _, more = live.until(lambda answer: "x-modelyard-unrecorded" not in answer.headers)
        assert counted(telemetry, tmp_path) == 5 + more
        assert len(live.records()) == ROOM + 1
    assert "Calls are answered without a record" in caplog.text
    assert f"{5 + more} calls went unrecorded" in caplog.text


def test_one_that_serves_starts_on_a_full_disk(tmp_path, disk):
    disk.full = True
    with Small(tmp_path, serves=True) as live:
        assert live.call().headers["x-modelyard-unrecorded"] == "1"
        disk.full = False
        live.until(lambda answer: "x-modelyard-unrecorded" not in answer.headers)
        assert len(live.records()) == 1


def counted(telemetry, folder):
    telemetry.export()
    page = render(read_exports(folder)).decode()
    (line,) = [line for line in page.splitlines() if line.startswith("modelyard_calls_unrecorded_total ")]
    return float(line.split()[1])
