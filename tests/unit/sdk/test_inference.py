"""Predictions against a listener that is only pretended."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from modelyard.core.errors import InvalidRequest, InvalidTensor
from modelyard.core.tensors import Datatype, encode_tensor
from modelyard.sdk.client import Client
from modelyard.sdk.wire import HEADER_LENGTH

WHOAMI = {
    "key_id": "k",
    "workspace": "default",
    "actions": ["infer"],
    "deployments": [],
    "expires_ns": 0,
    "inference_url": "http://models:8000",
    "server_version": "1",
}


class Server:
    """Answers with what it was asked, and remembers the paths."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.datatype = "FP32"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(f"{request.method} {request.url}")
        path = request.url.path
        if path.endswith("whoami"):
            return httpx.Response(200, json=WHOAMI)
        if path.endswith("/infer"):
            return self.infer(request)
        if path.startswith("/v2/"):
            return httpx.Response(200, json={"name": "m", "inputs": [{"name": "x", "datatype": self.datatype, "shape": [-1]}]})
        if request.headers.get("content-type", "").startswith("text/csv"):
            return httpx.Response(200, json={"predictions": [{"csv": request.content.decode()}], "model": "m", "version": 1})
        body: dict[str, Any] = json.loads(request.content)
        return httpx.Response(200, json={"predictions": body["records"], "model": "m", "version": 1})

    def infer(self, request: httpx.Request) -> httpx.Response:
        head = json.loads(request.content[: int(request.headers[HEADER_LENGTH])])
        if head["inputs"][0]["datatype"] != self.datatype:
            return httpx.Response(400, json={"error": {"code": "invalid_tensor", "message": "Wrong datatype."}})
        data = encode_tensor(np.array([2.0], np.float32), Datatype.FP32)
        output = {"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": len(data)}}
        answer = json.dumps({"outputs": [output]}).encode()
        return httpx.Response(200, content=answer + data, headers={HEADER_LENGTH: str(len(answer))})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Client:
    return Client("http://manage:8080", "key", transport=httpx.MockTransport(server))


def test_the_listener_is_asked_for_once(client: Client, server: Server) -> None:
    assert client.predict("m", [{"a": 1, "b": float("nan")}]) == [{"a": 1, "b": None}]
    client.predict("m", [{"a": 2}], version="2")
    assert server.seen == [
        "GET http://manage:8080/api/v1/whoami",
        "POST http://models:8000/v1/deployments/m/predict",
        "POST http://models:8000/v1/deployments/m/predict?version=2",
    ]


def test_the_environment_may_name_the_listener(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_INFERENCE_URL", "http://proxy/")
    Client("http://manage", "key", transport=httpx.MockTransport(server)).predict("m", [{"a": 1}])
    assert server.seen == ["POST http://proxy/v1/deployments/m/predict"]


def test_arrays_go_as_the_datatype_that_the_model_wants(client: Client, server: Server) -> None:
    found = client.predict("m", {"x": np.array([1.0])}, version="3")
    np.testing.assert_array_equal(found["y"], np.array([2.0], np.float32))
    client.predict("m", {"x": [1.0]}, version="3")
    assert [line.split("8000")[-1] for line in server.seen[1:]] == [
        "/v2/models/m/versions/3",
        "/v2/models/m/versions/3/infer",
        "/v2/models/m/versions/3/infer",
    ]


def test_a_deployment_that_moved_to_other_datatypes_is_asked_again(client: Client, server: Server) -> None:
    client.predict("m", {"x": [1.0]})
    server.datatype = "FP64"
    client.predict("m", {"x": [1.0]})
    server.datatype = "BYTES"
    with pytest.raises(InvalidTensor):
        client.predict("m", {"x": [1.0]})


def test_csv_goes_as_it_is(client: Client) -> None:
    assert client.inference.csv("m", b"a\n1\n")["predictions"] == [{"csv": "a\n1\n"}]


@pytest.mark.parametrize("data", ["text", 3, b"bytes"])
def test_anything_else_says_what_to_give(client: Client, data: object) -> None:
    with pytest.raises(InvalidRequest, match="list of dicts"):
        client.predict("m", data)
