"""Triton's own gRPC clients against front, handler, gate and a real model."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

from integration.live import SCOPED
from integration.open_inference_grpc.live_grpc import LiveGrpc
from integration.served import classifier, softmax
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.protocols.open_inference_grpc.stubs import message

CLIENTS = Path(__file__).with_name("clients.py")
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with LiveGrpc(tmp_path_factory.mktemp("live"), partial(classifier, echo=False), max_message_bytes=1 << 20) as made:
        yield made


def clients(live, kind):
    done = subprocess.run(
        [sys.executable, str(CLIENTS), kind, f"127.0.0.1:{live.grpc_port}", SCOPED], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def said(live):
    return clients(live, "sync")


def test_health_needs_no_key_and_everything_else_does(said):
    assert (said["live"], said["ready"]) == (True, True)
    assert said["no key"][0] == "StatusCode.UNAUTHENTICATED"
    assert "Authorization: Bearer" in said["no key"][1]
    assert said["stream without key"][0] == "StatusCode.UNAUTHENTICATED"


def test_refusals_have_their_status(said):
    wanted = {"unknown": "NOT_FOUND", "foreign": "NOT_FOUND", "version": "NOT_FOUND", "shape": "INVALID_ARGUMENT"}
    wanted |= {"unload": "UNIMPLEMENTED", "files": "UNIMPLEMENTED", "method": "UNIMPLEMENTED"}
    assert {name: said[name][0] for name in wanted} == {name: f"StatusCode.{status}" for name, status in wanted.items()}
    assert said["foreign"][1] == said["unknown"][1].replace("none", "foreign")


def test_documents_describe_the_deployment(said):
    assert (said["server"], said["model ready"]) == ("modelyard", True)
    assert said["metadata"]["versions"] == ["1", "2"]
    assert said["metadata"]["inputs"][1] == {"name": "island", "datatype": "BYTES", "shape": ["-1", "1"]}
    assert (said["config"]["max_batch_size"], said["config"]["input"][0]["data_type"]) == (64, "TYPE_FP32")
    assert [(entry["name"], entry["version"], entry["state"]) for entry in said["index"]] == [
        ("demo", "1", "READY"),
        ("demo", "2", "READY"),
    ]
    assert said["statistics"][0]["version"] == "2"
    assert int(said["statistics"][0]["inference_count"]) >= 2
    assert said["all statistics"] == ["demo", "demo"]


def test_inference_gives_what_the_model_gives(said):
    assert (said["infer"]["label"], said["infer"]["version"], said["infer"]["id"]) == (["Gentoo", "Adelie"], "2", "7")
    assert said["infer"]["probabilities"] == [pytest.approx(softmax(2.0).tolist()), [0.5, 0.5]]
    assert said["classes"][0].endswith(":1:Gentoo")
    assert said["compressed"] == said["later"] == ["Gentoo", "Adelie"]


def test_a_stream_answers_in_order_and_survives_a_bad_request(said):
    assert [text for text in said["stream"] if text.isdigit()] == [str(number) for number in range(40) if number != 3]
    assert "no deployment 'none'" in said["stream"][3]


def test_the_asynchronous_client(live):
    said = clients(live, "aio")
    assert (said["ready"], said["stream"], said["wrong key"][0]) == (True, ["0", "1", "2", "3", "4"], "StatusCode.UNAUTHENTICATED")
    for number, answer in enumerate(said["infer"]):
        assert answer["id"] == str(number)
        assert answer["probabilities"] == [
            pytest.approx(softmax(number / 10).tolist(), rel=1e-4),
            pytest.approx(softmax(1.0).tolist(), rel=1e-4),
        ]


@pytest.fixture
def channel(live):
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as made:
        yield made


def wire():
    request = message("ModelInferRequest")(model_name="demo")
    request.inputs.add(name="mass", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(2.0)
    request.inputs.add(name="island", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(b"Biscoe")
    return request


def test_each_call_leaves_one_record_and_names_its_request(live, channel):
    before = len(live.records())
    metadata = (("authorization", f"Bearer {SCOPED}"), ("x-request-id", "my-own"))
    body, call = channel.unary_unary(INFER).with_call(wire().SerializeToString(), metadata=metadata)
    assert dict(call.trailing_metadata())["x-request-id"] == "my-own"
    answer = message("ModelInferResponse").FromString(body)
    assert np.frombuffer(answer.raw_output_contents[1], np.float32) == pytest.approx(softmax(2.0))
    (record,) = live.records()[before:]
    assert (record.protocol, record.kind, record.status, record.rows) == (ProtocolId.OPEN_INFERENCE_GRPC, CallKind.INFER, 200, 1)
    assert (record.key_id, record.deployment_id, record.bytes_in, record.bytes_out) == (2, 1, len(wire().SerializeToString()), len(body))


@pytest.mark.parametrize(
    ("body", "compression", "status"),
    [
        (b"\xff\xff", None, grpc.StatusCode.INVALID_ARGUMENT),
        (b"", None, grpc.StatusCode.INVALID_ARGUMENT),
        (b"\0" * (2 << 20), None, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (b"\0" * (64 << 20), grpc.Compression.Gzip, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["garbage", "empty", "large", "bomb"],
)
def test_bad_messages_are_refused(channel, body, compression, status):
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(INFER)(body, metadata=(("x-api-key", SCOPED),), compression=compression)
    assert refused.value.code() is status
