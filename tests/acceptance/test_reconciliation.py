"""Calls under load while workers and the controller are killed: every answer the client got has exactly one usage record."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from acceptance.graphs import write_adder
from acceptance.test_kills import BODY, eventually, processes
from modelyard import Client
from modelyard.core.errors import ModelyardError
from modelyard.store.segments import DTYPE, MARK, RECORD_SIZE
from modelyard.testing.platform import RunningPlatform, running_platform

SOAK = bool(os.environ.get("MODELYARD_SOAK"))
KILLS = int(os.environ.get("MODELYARD_SOAK_KILLS", "500")) if SOAK else 10
"""``MODELYARD_SOAK_KILLS`` cuts a soak into shorter ones."""
CALLERS = 4


class Callers:
    """Threads that call as fast as they are answered, and remember what came of each call."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._headers = url, {"authorization": f"Bearer {key}"}
        self.answered: Counter[str] = Counter()
        """Our request ids of answers with 200."""
        self.refused = 0
        self.broken = 0
        """Calls without an answer: they may have a record."""
        self.echoed = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(httpx.Client(timeout=10))
            while not self._stop.is_set():
                sent = secrets.token_hex(8) if random.random() < 0.3 else ""
                headers = self._headers | ({"x-request-id": sent} if sent else {})
                try:
                    reply = client.post(self._url, json=BODY, headers=headers)
                except httpx.TransportError:
                    with self._lock:
                        self.broken += 1
                    continue
                with self._lock:
                    self._count(reply, sent)

    def _count(self, reply: httpx.Response, sent: str) -> None:
        if reply.status_code != 200:
            self.refused += 1
            return
        if sent:
            assert reply.headers["x-request-id"] == sent
            self.echoed += 1
        self.answered[reply.headers["x-modelyard-request-id" if sent else "x-request-id"]] += 1

    def stop(self) -> None:
        self._stop.set()


def recorded(home: Path, deployment: int) -> Counter[str]:
    """Request ids of all records of calls that were answered with success, in segments and the archive."""
    found: Counter[str] = Counter()
    journal = home / "journal"
    # By name, because a segment may be archived while we look.
    contents: dict[str, bytes] = {}
    for path in journal.glob("*.journal"):
        with contextlib.suppress(FileNotFoundError):
            contents[path.name] = path.read_bytes()
    contents |= {path.name.removesuffix(".gz"): gzip.decompress(path.read_bytes()) for path in journal.glob("archive/*.gz")}
    for content in contents.values():
        rows = np.frombuffer(content[RECORD_SIZE : len(content) // RECORD_SIZE * RECORD_SIZE], DTYPE)
        mine = rows[(rows["mark"] == MARK) & (rows["deployment_id"] == deployment) & (rows["status"] == 200)]
        found.update(bytes(request_id).hex() for request_id in mine["request_id"])
    return found


def kill_one(platform: RunningPlatform, victims: random.Random) -> str:
    """Kills a worker, or every third time the controller; which of them, or nothing when none was there."""
    entry = "controller" if victims.random() < 1 / 3 else "worker"
    found = processes(platform, entry)
    if not found:
        return ""
    with contextlib.suppress(ProcessLookupError):
        os.kill(victims.choice(found).pid, signal.SIGKILL)
    return entry


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("reconciliation") / "home", settings={"audit_sign_seconds": "1"}) as platform:
        yield platform


def usage_of(client: Client) -> Counter[str]:
    with contextlib.suppress(ModelyardError, httpx.TransportError):
        return Counter({row.status: row.calls for row in client.platform.usage(by=["status"], deployment="adder")})
    return Counter()


@pytest.mark.timeout(KILLS * 6 + 120)
def test_every_answer_has_exactly_one_record_however_processes_die(platform: RunningPlatform, tmp_path: Path) -> None:
    with Client(platform.url, platform.admin_key) as client:
        client.push(write_adder(tmp_path / "adder.onnx", 10.0), "adder")
        client.deploy("adder@1", "adder")
        key = client.keys.create(deployments=["adder"], label="load").key
        callers = Callers(f"{platform.inference}/v2/models/adder/infer", key)
        victims = random.Random(os.environ.get("MODELYARD_SOAK_SEED", "20270101"))
        kills: Counter[str] = Counter()
        with ThreadPoolExecutor(CALLERS) as pool:
            running = [pool.submit(callers.run) for _ in range(CALLERS)]
            try:
                while kills.total() < KILLS:
                    # Long enough for a killed process to come back and serve, most times.
                    time.sleep(victims.uniform(0.1, 1.0))
                    kills.update(filter(None, [kill_one(platform, victims)]))
                eventually(lambda: len(processes(platform, "worker")) == 2, 60, "both workers are back")
                eventually(lambda: bool(usage_of(client)), 60, "the controller is back")
                time.sleep(0.5)
            finally:
                callers.stop()
            for call in running:
                call.result()
        assert kills.keys() == {"worker", "controller"}
        assert len(callers.answered) > 20 * KILLS
        assert callers.echoed
        assert max(callers.answered.values()) == 1, "a request id was given twice"

        eventually(lambda: usage_of(client)["2xx"] >= len(callers.answered), 60, "the ledger has every answered call")
        records = recorded(platform.home, 1)
        twice = [request_id for request_id, times in records.items() if times > 1]
        assert not twice, f"{len(twice)} calls are recorded twice"
        missing = callers.answered.keys() - records.keys()
        assert not missing, f"{len(missing)} answered calls have no record"
        # What was recorded but not answered: a kill came between the two, at most once for each broken call.
        unanswered = len(records.keys() - callers.answered.keys())
        assert unanswered <= callers.broken
        eventually(lambda: usage_of(client)["2xx"] == len(records), 30, "the ledger counts each record once")
        print(f"killed {dict(kills)}; answered {len(callers.answered)}, refused {callers.refused}, broken {callers.broken}")
        print(f"recorded of the broken: {unanswered}")

        for request_id in [*list(callers.answered)[:1], *list(callers.answered)[-1:]]:
            began = time.monotonic()
            trace = client.platform.trace(request_id)
            assert time.monotonic() - began < 1.0 or SOAK
            assert (trace.request_id, trace.deployment, trace.version, trace.key_label) == (request_id, "adder", "adder@1", "load")
        report = client.platform.verify_audit()
        assert (report.findings, bool(report.heads)) == ((), True)
