"""Keys revoked on a running platform that has many: how soon that holds, and what calls of other keys notice of it.

Each change makes a snapshot of all keys, which every worker takes over. Meanwhile a process of its own calls at a steady pace, and says
of each call when it was sent and how long it took.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import insert

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from models import mlp  # beside this folder, not installed

from modelyard import Client  # after the path
from modelyard.core.access import Key, Role
from modelyard.core.clock import SystemClock
from modelyard.core.principals import Membership, Principal, PrincipalKind
from modelyard.identity.keys import secret_digest
from modelyard.store.database import Store
from modelyard.store.rows import encode
from modelyard.store.tables import keys as keys_table
from modelyard.testing.platform import RunningPlatform, running_platform

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 16], "datatype": "FP32", "data": [0.5] * 16}]}).encode()
PATH = "/v2/models/mlp/infer"
CONNECTIONS = 4
PACE_S = 0.005
Calls = list[tuple[float, float]]


def secret(number: int) -> str:
    return f"my_bench{number:08d}_0123456789abcdef"


def furnish(url: str, count: int) -> None:
    """A database with so many keys of one consumer, as ``modelyard keys create`` would have stored them."""
    store = Store.open(url, SystemClock())
    store.migrate()
    with store.write() as session:
        caller = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.SERVICE, name="callers"))
        session.memberships.put(Membership(id=0, workspace_id=1, principal_id=caller.id, roles=(Role.CONSUMER,)), 0)
        rows = [
            encode(Key(id=0, workspace_id=1, principal_id=caller.id, public_id=f"bench{n:08d}", digest=secret_digest(secret(n))))
            for n in range(count)
        ]
        session.connection.execute(insert(keys_table), rows)
    store.close()


class Caller:
    """One connection that calls with one key."""

    def __init__(self, inference: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(inference.removeprefix("http://"), timeout=30)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def status(self) -> int:
        self._connection.request("POST", PATH, BODY, self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def steady(inference: str, key: str, seconds: float, found: Any) -> None:
    """Calls at a pace, over several connections in turn; puts (when, seconds it took) of each."""
    callers = [Caller(inference, key) for _ in range(CONNECTIONS)]
    calls: Calls = []
    begin = time.monotonic()
    for number in range(round(seconds / PACE_S)):
        due = begin + number * PACE_S
        time.sleep(max(0.0, due - time.monotonic()))
        status = callers[number % CONNECTIONS].status()
        if status != 200:
            raise RuntimeError(f"A call was answered {status}")
        # A call that was sent late, because the one before it took long, has waited as well.
        calls.append((due, time.monotonic() - due))
    found.put(calls)


def revoke(running: RunningPlatform, client: Client, number: int) -> tuple[float, float]:
    """Seconds from asking for a revocation to its answer, and to the last call that was still granted on any connection."""
    callers = [Caller(running.inference, secret(number)) for _ in range(CONNECTIONS)]
    if any(caller.status() != 200 for caller in callers):
        raise RuntimeError("A key is refused that nobody has revoked")
    granted = [0.0] * len(callers)

    def watch(at: int) -> None:
        while callers[at].status() == 200:
            granted[at] = time.monotonic()
            time.sleep(0.01)

    threads = [threading.Thread(target=watch, args=(at,)) for at in range(len(callers))]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    client.keys.revoke(f"bench{number:08d}")
    answered = time.monotonic()
    for thread in threads:
        thread.join(30)
    return answered - began, max(granted) - began


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(keys: int, revocations: int) -> dict[str, object]:
    """Calls before, then calls while keys are revoked one after the other."""
    with tempfile.TemporaryDirectory() as name:
        url = f"sqlite:///{name}/keys.db"
        furnish(url, keys)
        with (
            running_platform(Path(name) / "home", settings={"database_url": url}) as running,
            Client(running.url, running.admin_key, timeout=60) as client,
        ):
            mlp(str(Path(name) / "mlp.onnx"))
            client.push(Path(name) / "mlp.onnx", "mlp")
            client.deploy("mlp@1", "mlp")
            before = _calls(running, 8.0, lambda: None)
            quiet = [revoke(running, client, number) for number in range(revocations)]
            swaps: list[float] = []

            def change() -> None:
                for number in range(revocations, revocations + 16):
                    client.keys.revoke(f"bench{number:08d}")
                    swaps.append(time.monotonic())
                    time.sleep(0.2)

            during = _calls(running, 8.0, change)
    near = [took for due, took in during if any(-0.5 <= due - at <= 0.1 for at in swaps)]
    p99 = {"before": quantile([took for _, took in before], 0.99), "while_swapping": quantile(near, 0.99)}
    told = [effect for _, effect in quiet]
    return {
        "revocation_ms": {
            "answered_p50": round(statistics.median(answered for answered, _ in quiet) * 1000),
            "effect_p50": round(statistics.median(told) * 1000),
            "effect_p99": round(quantile(told, 0.99) * 1000),
            "count": len(quiet),
        },
        "call_p50_ms": {
            "before": round(quantile([took for _, took in before], 0.5) * 1000, 2),
            "while_swapping": round(quantile(near, 0.5) * 1000, 2),
        },
        "call_p99_ms": {phase: round(value * 1000, 2) for phase, value in p99.items()} | {"calls": len(near), "swaps": len(swaps)},
        "call_p99_ratio": round(p99["while_swapping"] / p99["before"], 2),
    }


def _calls(running: RunningPlatform, seconds: float, meanwhile: Any) -> Calls:
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    process = context.Process(target=steady, args=(running.inference, running.admin_key, seconds, found))
    process.start()
    time.sleep(1.0)  # it imports
    meanwhile()
    calls: Calls = found.get(timeout=seconds * 5 + 60)
    process.join(30)
    return calls
