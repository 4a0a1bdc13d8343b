"""A bad file is refused with one sentence, nothing is stored, and the server stays up."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from onnx import TensorProto, helper, save

from acceptance.graphs import write_adder, write_endless, write_greedy
from modelyard import Client
from modelyard.core.errors import InvalidArtifact, InvalidRequest
from modelyard.testing.platform import RunningPlatform, running_platform


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory):
    with running_platform(tmp_path_factory.mktemp("bad") / "home", workers=1, settings={"PROBE_SECONDS": "5"}) as running:
        yield running


@pytest.fixture
def client(platform: RunningPlatform):
    with Client(platform.url, platform.admin_key) as client:
        yield client


def refused(client: Client, path: Path, name: str = "bad") -> str:
    with pytest.raises(InvalidRequest) as caught:
        client.push(path, name)
    assert "Traceback" not in caught.value.message
    assert client.models.list(search=name) == [] or all(model.latest == 0 for model in client.models.list(search=name))
    assert client.status()
    return caught.value.message


def test_a_text_file_called_onnx(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("this is not a model")
    assert "ONNX" in refused(client, path)


def test_an_empty_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    refused(client, path)


def test_a_truncated_graph(client: Client, tmp_path: Path) -> None:
    whole = write_adder(tmp_path / "whole.onnx", 1.0).read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    refused(client, path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd"])
def test_external_data_outside_its_folder(client: Client, tmp_path: Path, location: str) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "outside",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [tensor],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())
    refused(client, path)


@pytest.mark.timeout(60)
def test_a_graph_that_never_ends(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact):
        client.push(write_endless(tmp_path / "model.onnx"), "endless")


def test_a_graph_that_asks_for_terabytes(client: Client, tmp_path: Path) -> None:
    refused(client, write_greedy(tmp_path / "model.onnx"), "greedy")


def test_sequences_are_refused_with_advice(client: Client, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        "sequence",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_value_info("y", helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None)))],
    )
    path = tmp_path / "model.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    assert "only tensors can be served" in refused(client, path)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"inputs": []}', 400),
        (b'{"inputs": [{"name": "z", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}', 400),
        (b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]}]}', 400),
        (b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}', 400),
        (b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1]}]}', 400),
        (b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": ["a", "b"]}]}', 400),
        (b'{"inputs": [{"name": "x", "shape": [-1, 2], "datatype": "FP32", "data": [1, 2]}]}', 400),
        (b"\xff\xfe\x00", 400),
    ],
)
def test_a_malformed_call_gets_400_and_a_sentence(
    platform: RunningPlatform, client: Client, tmp_path: Path, body: bytes, status: int
) -> None:
    if not client.models.list(search="adder"):
        client.push(write_adder(tmp_path / "adder.onnx", 1.0), "adder")
        client.deploy("adder@1", "adder")
    reply = httpx.post(
        f"{platform.inference}/v2/models/adder/infer", content=body, headers={"authorization": f"Bearer {platform.admin_key}"}
    )
    assert reply.status_code == status, reply.text
    assert len(reply.json()["error"]) > 10
    assert "Traceback" not in reply.text


def test_a_body_over_the_limit_is_413(tmp_path: Path) -> None:
    with running_platform(tmp_path / "home", workers=1, settings={"MAX_BODY_BYTES": "4096"}) as small:
        reply = httpx.post(
            f"{small.inference}/v2/models/adder/infer", content=b"x" * 5000, headers={"authorization": f"Bearer {small.admin_key}"}
        )
        assert reply.status_code == 413
        assert httpx.get(f"{small.inference}/readyz").status_code == 200
