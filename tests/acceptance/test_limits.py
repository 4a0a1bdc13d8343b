"""Budgets hold on the real platform: under a crowd of callers, over all workers, and when workers are killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.core.api import IssuedKey
from modelyard.testing.platform import RunningPlatform, running_platform

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()
CALLERS = 1000
BUDGET = 100


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("limits")
    with running_platform(folder / "home", workers=4) as running:
        with Client(running.url, running.admin_key) as client:
            client.push(write_adder(folder / "adder.onnx", 10.0), "adder")
            client.deploy("adder@1", "adder")
        yield running


@pytest.fixture
def client(platform: RunningPlatform) -> Iterator[Client]:
    with Client(platform.url, platform.admin_key) as made:
        yield made


def limited_key(client: Client, limit: str) -> IssuedKey:
    key = client.keys.create(deployments=["adder"])
    client.limits.set(limit, scope="key", subject=key.id)
    return key


class Crowd:
    """Many callers at once, each on a connection of its own, who come back when they are told to."""

    def __init__(self, platform: RunningPlatform, *keys: str, also: RunningPlatform | None = None) -> None:
        """Callers take turns with the keys, and with the platforms where there are two."""
        places = [urlsplit(each.inference) for each in (platform, also) if each is not None]
        self._where = cycle([(place.hostname or "", place.port or 0) for place in places])
        self._keys = cycle(keys)
        self.outcomes: Counter[int] = Counter()
        """Answers by status; 0 for a connection that broke."""
        self.last_granted = 0.0

    def run(self, callers: int, patience: float = 3.0, disturb: Callable[[], None] | None = None) -> None:
        asyncio.run(self._run(callers, patience, disturb))

    async def _run(self, callers: int, patience: float, disturb: Callable[[], None] | None) -> None:
        began = time.monotonic()
        tasks = [asyncio.create_task(self._caller(began, patience)) for _ in range(callers)]
        if disturb is not None:
            while any(not task.done() for task in tasks):
                await asyncio.sleep(0.15)
                disturb()
        await asyncio.gather(*tasks)

    async def _caller(self, began: float, patience: float) -> None:
        while True:
            status, retry_after = await self._call()
            self.outcomes[status] += 1
            if status == 200:
                self.last_granted = time.monotonic() - began
                return
            if retry_after > patience or time.monotonic() - began > 2 * patience:
                return
            await asyncio.sleep(retry_after)

    async def _call(self) -> tuple[int, float]:
        key = next(self._keys)
        head = f"POST /v2/models/adder/infer HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(BODY)}\r\n\r\n"
        try:
            reader, writer = await asyncio.open_connection(*next(self._where))
        except OSError:
            return 0, 0.1
        try:
            writer.write(head.encode() + BODY)
            head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            return 0, 0.1
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        return int(head.split(b" ", 2)[1]), float(fields.get(b"retry-after", b"inf"))


def recorded(client: Client, key: IssuedKey, at_least: int) -> int:
    """How many answered calls the ledger has of a key, once it has as many as expected or no more come."""
    until = time.monotonic() + 8
    while True:
        rows = client.platform.usage(by=["key", "status"])
        count = sum(row.calls for row in rows if row.key == key.id and row.status == "2xx")
        if count >= at_least or time.monotonic() > until:
            return count
        time.sleep(0.3)


@pytest.mark.parametrize("limit", ["100/hour", "100 requests total", "100 rows/day"])
def test_a_crowd_gets_exactly_the_budget(platform: RunningPlatform, client: Client, limit: str) -> None:
    key = limited_key(client, limit)
    crowd = Crowd(platform, key.key)
    crowd.run(CALLERS)
    assert crowd.outcomes[200] == BUDGET, crowd.outcomes
    assert not set(crowd.outcomes) - {200, 429, 503}
    print(f"{limit}: the last of {BUDGET} granted after {crowd.last_granted:.2f} s; {dict(crowd.outcomes)}")


def test_all_keys_of_a_member_share_one_budget(platform: RunningPlatform, client: Client) -> None:
    client.members.put("crowd", ["consumer"], service=True)
    keys = [client.keys.create(deployments=["adder"], principal="crowd").key for _ in range(5)]
    other = client.keys.create(deployments=["adder"]).key
    client.limits.set("100/hour", scope="principal", subject="crowd")
    crowd = Crowd(platform, *keys)
    crowd.run(CALLERS)
    assert crowd.outcomes[200] == BUDGET, crowd.outcomes
    answer = httpx.post(f"{platform.inference}/v2/models/adder/infer", content=BODY, headers={"authorization": f"Bearer {keys[0]}"})
    assert (answer.status_code, "'crowd'" in answer.text) == (429, True)
    answer = httpx.post(f"{platform.inference}/v2/models/adder/infer", content=BODY, headers={"authorization": f"Bearer {other}"})
    assert answer.status_code == 200


def test_killed_workers_never_let_more_through_and_keep_no_units(platform: RunningPlatform, client: Client) -> None:
    key = limited_key(client, "100/day")

    def kill_one() -> None:
        workers = [
            process
            for process in psutil.Process(platform.process.pid).children(recursive=True)
            if process.is_running() and any("entrypoints.worker" in part for part in process.cmdline())
        ]
        if workers and len(killed) < 3:
            killed.append(workers[len(killed) % len(workers)].pid)
            os.kill(killed[-1], signal.SIGKILL)

    killed: list[int] = []
    crowd = Crowd(platform, key.key)
    crowd.run(300, patience=2.0, disturb=kill_one)
    assert killed
    assert crowd.outcomes[200] <= BUDGET
    again = Crowd(platform, key.key)
    until = time.monotonic() + 20
    while crowd.outcomes[200] + again.outcomes[200] < BUDGET - len(killed) and time.monotonic() < until:
        again.run(20)
    granted = crowd.outcomes[200] + again.outcomes[200]
    assert granted >= BUDGET - len(killed), "units of killed workers come back"
    # A call that was cut off by a kill may have been counted: at most those that ran on the killed workers.
    assert granted <= BUDGET
    assert recorded(client, key, granted) <= BUDGET
    assert httpx.get(f"{platform.inference}/v2/health/ready").status_code == 200


def test_a_budget_of_money_ends_and_says_so(platform: RunningPlatform, client: Client) -> None:
    client.prices.set("USD", deployment="adder", call="0.01")
    key = limited_key(client, "0.25 USD/month")
    crowd = Crowd(platform, key.key)
    crowd.run(200)
    assert crowd.outcomes[200] == 25
    answer = httpx.post(f"{platform.inference}/v2/models/adder/infer", content=BODY, headers={"authorization": f"Bearer {key.key}"})
    assert answer.status_code == 429
    assert "0.25 USD/month" in answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-ratelimit-remaining-money"] == "0"


def test_concurrent_calls_over_all_workers_are_bounded(platform: RunningPlatform, client: Client) -> None:
    key = limited_key(client, "2 concurrent")
    crowd = Crowd(platform, key.key)
    crowd.run(60, patience=2.0)
    assert crowd.outcomes[200] > 0
    assert not set(crowd.outcomes) - {200, 429, 503}
    headers = {"authorization": f"Bearer {key.key}"}
    with httpx.Client(headers=headers) as caller:
        for _ in range(20):
            assert caller.post(f"{platform.inference}/v2/models/adder/infer", content=BODY).status_code == 200
