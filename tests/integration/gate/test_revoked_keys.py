"""Heads that a front has read before are known by their lines, key and all; a key that is no more is refused all the same."""

import hashlib
import json
import socket

import pytest

from integration.live import SCOPED, WIDE, Live
from integration.served import half_plus_two
from modelyard.core.access import Key
from modelyard.core.deployments import ServedDeployment
from modelyard.protocols.open_inference_rest.routes import PROTOCOL
from modelyard.store.snapshot import SnapshotReader, SnapshotState, SnapshotWriter

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2]}]}).encode()
FIELDS = {"bearer": "Authorization: Bearer {}", "bare": "X-API-Key: {}"}


@pytest.fixture
def live(tmp_path):
    with Live(tmp_path, half_plus_two, (PROTOCOL,)) as made:
        yield made


class Caller:
    """One kept connection, whose requests are alike byte by byte but for an id, where one is given."""

    def __init__(self, port: int, field: str) -> None:
        self._field = field
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._file = self._socket.makefile("rb")

    def call(self, request_id: str = "") -> int:
        lines = ["POST /v2/models/demo/infer HTTP/1.1", "Host: a", self._field, f"Content-Length: {len(BODY)}"]
        lines += [f"X-Request-Id: {request_id}"] if request_id else []
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + BODY)
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
        self._file.read(length)
        return status

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def publish(live: Live, *secrets: str) -> None:
    """Makes the worker act on a snapshot with these keys and no others."""
    folder = live.folder / "next"
    keys = [
        Key(id=number, workspace_id=1, public_id=secret[3:6], digest=hashlib.sha256(secret.encode()).hexdigest())
        for number, secret in enumerate(secrets, 1)
    ]
    deployment = ServedDeployment(id=1, workspace_id=1, name="demo", revision=1, routes=())
    writer = SnapshotWriter(folder)
    writer.publish(SnapshotState(workspaces={1: "default"}, deployments=(deployment,), versions=(), keys=tuple(keys)))
    writer.close()
    live.gate._snapshots.current = SnapshotReader(folder).load()


@pytest.mark.parametrize("kind", FIELDS)
def test_a_revoked_key_is_refused_where_its_head_is_known(live, kind):
    revoked, other = (Caller(live.port, FIELDS[kind].format(secret)) for secret in (SCOPED, WIDE))
    for caller in (revoked, other):
        assert [caller.call() for _ in range(3)] == [200] * 3  # the same head again is not read again
        assert [caller.call(f"id-{number}") for number in range(3)] == [200] * 3  # known lines, and one that is new
    publish(live, WIDE)
    assert [revoked.call(), revoked.call("id-9"), other.call(), other.call("id-9")] == [401, 401, 200, 200]
    again = Caller(live.port, FIELDS[kind].format(SCOPED))  # another connection of a front that knows these lines
    assert [again.call(), again.call("id-10")] == [401, 401]
    publish(live, WIDE, SCOPED)
    assert [revoked.call(), again.call("id-11")] == [200, 200]
    for caller in (revoked, other, again):
        caller.close()
    assert [record.status for record in live.records()].count(200) == 16
