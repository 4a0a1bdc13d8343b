"""An asynchronous prediction is carried out after it was accepted, stored, and told to a webhook that can check who tells it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from acceptance.graphs import write_adder
from modelyard import Client
from modelyard.testing.platform import running_platform


class Receiver(ThreadingHTTPServer):
    """Refuses the first delivery, to see the retry."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[dict[str, str], bytes]] = []
        self.told = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.deliveries.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(500 if len(receiver.deliveries) == 1 else 204)
                self.end_headers()
                if len(receiver.deliveries) > 1:
                    receiver.told.set()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.timeout(120)
def test_a_result_is_stored_and_delivered_once_signed_with_a_retry(receiver: Receiver, tmp_path: Path) -> None:
    secret = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
    settings = {"WEBHOOK_LOCAL": "true", "WEBHOOK_SECRET": secret}
    with running_platform(tmp_path / "home", workers=1, settings=settings) as platform, Client(platform.url, platform.admin_key) as client:
        client.push(write_adder(tmp_path / "adder.onnx", 5.0), "adder")
        client.deploy("adder@1", "adder")
        key = client.keys.create(deployments=["adder"]).key
        headers = {"authorization": f"Bearer {key}"}
        url = f"{platform.inference}/v1/deployments/adder/predictions"
        body = {"records": [{"x": [1, 2]}], "webhook": {"url": f"http://127.0.0.1:{receiver.server_address[1]}/told"}}
        accepted = httpx.post(url, json=body, headers=headers)
        assert accepted.status_code == 202, accepted.text
        identity = accepted.json()["id"]
        until = time.monotonic() + 20
        while (found := httpx.get(f"{url}/{identity}", headers=headers).json())["status"] != "succeeded":
            assert time.monotonic() < until, found
            time.sleep(0.05)
        assert found["result"]["predictions"][0]["y"] == [6.0, 7.0]
        assert receiver.told.wait(30), "the webhook was not told again after it had failed"
        client.deploy("adder@1", "other")
        foreign = {"authorization": f"Bearer {client.keys.create(deployments=['other']).key}"}
        assert httpx.get(f"{url}/{identity}", headers=foreign).status_code == 404
    told, text = receiver.deliveries[-1]
    signed = f"{told['webhook-id']}.{told['webhook-timestamp']}.".encode() + text
    wanted = base64.b64encode(hmac.new(b"a secret of thirty-two bytes....", signed, hashlib.sha256).digest()).decode()
    assert f"v1,{wanted}" in told["webhook-signature"].split()
    event = json.loads(text)
    assert event["type"] == "prediction.succeeded"
    assert event["data"]["id"] == identity
    assert event["data"]["result"]["predictions"][0]["y"] == [6.0, 7.0]
