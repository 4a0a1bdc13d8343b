"""TensorFlow Serving over gRPC with clients from PyPI, each in a process of its own because they bring their own stubs."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from integration.live import SCOPED, TWO, Live
from integration.served import CLASSES, classifier, half_plus_two, softmax
from modelyard.core.usage import ProtocolId
from modelyard.protocols.health_grpc.routes import PROTOCOL as HEALTH
from modelyard.protocols.health_grpc.routes import STUBS
from modelyard.protocols.reflection_grpc.routes import PROTOCOL as REFLECTION
from modelyard.protocols.tensorflow_grpc.routes import PROTOCOL
from modelyard.server.fronts.grpc import GrpcConfig, GrpcFront
from servers.tensorflow_client import COMMUNITY, OFFICIAL, REFLECTING, environment

AVAILABLE = 30
CLIENT = Path(__file__).with_name("client.py")


class LiveTensorflow(Live):
    def __init__(self, folder, make_model):
        super().__init__(folder, make_model, (PROTOCOL, HEALTH, REFLECTION))

    async def start_more(self):
        paths = [route.pattern for route in (*PROTOCOL.routes, *HEALTH.routes)]
        streams = [route.pattern for route in REFLECTION.routes]
        self.front = GrpcFront(self.handler, paths, streams, GrpcConfig(address="127.0.0.1:0"))
        self.grpc_port = await self.front.start()

    async def stop_more(self):
        await self.front.drain(2)

    def ask(self, *calls, packages=COMMUNITY, key=SCOPED):
        given = [(*call, 20) if len(call) == 2 else call for call in calls]
        done = subprocess.run(
            [sys.executable, str(CLIENT), f"127.0.0.1:{self.grpc_port}", key],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=100,
            env=environment(packages, CLIENT.parent),
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    with LiveTensorflow(tmp_path_factory.mktemp("numbers"), half_plus_two) as live:
        yield live


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    with LiveTensorflow(tmp_path_factory.mktemp("classes"), lambda path: classifier(path, echo=False)) as live:
        yield live


def tensor(dtype, shape, **values):
    return {"dtype": dtype, "tensor_shape": {"dim": [{"size": size} for size in shape]}, **values}


def predict(tensors, **spec):
    return ["Predict", {"model_spec": {"name": "demo", **spec}, "inputs": tensors}]


FLOATS = {"x": tensor("DT_FLOAT", [3], float_val=[1.0, 2.0, 5.0])}


@pytest.mark.parametrize("packages", [COMMUNITY, OFFICIAL], ids=["community", "official"])
def test_predict_with_typed_fields_and_with_content(numbers, packages):
    content = {"x": tensor("DT_FLOAT", [3], tensor_content=base64.b64encode(np.array([1, 2, 5], "<f4").tobytes()).decode())}
    repeated = {"x": tensor("DT_FLOAT", [3], float_val=[4.0])}
    for answer in numbers.ask(predict(FLOATS), predict(content), packages=packages):
        assert answer["outputs"]["y"]["float_val"] == [2.5, 3.0, 4.5]
        assert answer["outputs"]["y"]["tensor_shape"] == {"dim": [{"size": 3}]}
        assert answer["model_spec"]["name"] == "demo"
        assert answer["model_spec"]["version"]["value"] in (1, 2)
    (answer,) = numbers.ask(predict(repeated), packages=packages)
    assert answer["outputs"]["y"]["float_val"] == [4.0, 4.0, 4.0]


def test_versions_and_labels_are_selected(numbers):
    first, second, labelled, output = numbers.ask(
        predict(FLOATS, version=1),
        predict(FLOATS, version=2),
        predict(FLOATS, version_label="champion"),
        ["Predict", {"model_spec": {"name": "demo"}, "inputs": FLOATS, "output_filter": ["y"]}],
    )
    assert [answer["model_spec"]["version"]["value"] for answer in (first, second, labelled)] == [1, 2, 2]
    assert list(output["outputs"]) == ["y"]


def test_metadata_and_status(numbers):
    described, every, one, labelled = numbers.ask(
        ["GetModelMetadata", {"model_spec": {"name": "demo"}, "metadata_field": ["signature_def"]}],
        ["GetModelStatus", {"model_spec": {"name": "demo"}}],
        ["GetModelStatus", {"model_spec": {"name": "demo", "version": 1}}],
        ["GetModelStatus", {"model_spec": {"name": "demo", "version_label": "champion"}}],
    )
    signature = described["map"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == 1
    assert signature["method_name"] == "tensorflow/serving/predict"
    states = [(entry["version"], entry["state"]) for entry in every["model_version_status"]]
    assert states == [(2, AVAILABLE), (1, AVAILABLE)]
    assert [entry["version"] for entry in one["model_version_status"]] == [1]
    assert [entry["version"] for entry in labelled["model_version_status"]] == [2]


def example(mass, island="Dream"):
    values = {"mass": {"float_list": {"value": [mass]}}}
    if island is not None:
        values["island"] = {"bytes_list": {"value": [base64.b64encode(island.encode()).decode()]}}
    return {"features": {"feature": values}}


def listed(*examples):
    return {"example_list": {"examples": list(examples)}}


def test_classify_and_multi_inference(classes):
    island = {"features": {"feature": {"island": example(0)["features"]["feature"]["island"]}}}
    shared = {"example_list_with_context": {"examples": [example(0.5, None)], "context": island}}
    spec = {"name": "demo"}
    plain, with_context, several = classes.ask(
        ["Classify", {"model_spec": spec, "input": listed(example(0.5), example(-1.0))}],
        ["Classify", {"model_spec": spec, "input": shared}],
        ["MultiInference", {"tasks": [{"model_spec": spec, "method_name": "tensorflow/serving/classify"}], "input": listed(example(0.5))}],
    )
    rows = plain["result"]["classifications"]
    assert [entry["label"] for entry in rows[0]["classes"]] == list(CLASSES)
    assert [entry["score"] for entry in rows[0]["classes"]] == pytest.approx(softmax(0.5).tolist(), rel=1e-5)
    assert with_context["result"]["classifications"] == rows[:1]
    assert several["results"][0]["classification_result"]["classifications"] == rows[:1]


def test_regress(numbers):
    asked = {"model_spec": {"name": "demo"}, "input": listed({"features": {"feature": {"x": {"float_list": {"value": [3.0]}}}}})}
    (answer,) = numbers.ask(["Regress", asked])
    assert answer["result"]["regressions"] == [{"value": 3.5}]


REFUSED = [
    (predict(FLOATS, version=9), "NOT_FOUND", "9"),
    (predict(FLOATS, version_label="nobody"), "NOT_FOUND", "nobody"),
    (predict(FLOATS, signature_name="other"), "INVALID_ARGUMENT", "serving_default"),
    (predict({"x": tensor("DT_FLOAT", [2], float_val=[1, 2, 3])}), "INVALID_ARGUMENT", "'x'"),
    (predict({"x": tensor("DT_FLOAT", [1 << 40], float_val=[1])}), "INVALID_ARGUMENT", "'x'"),
    (predict({"x": tensor("DT_FLOAT", [2], tensor_content="AAAA")}), "INVALID_ARGUMENT", "'x'"),
    (predict({"x": tensor("DT_FLOAT", [1], int_val=[1])}), "INVALID_ARGUMENT", "float_val"),
    (predict({"x": tensor("DT_STRING", [1], string_val=["AA=="])}), "INVALID_ARGUMENT", "x"),
    (predict({"x": tensor("DT_COMPLEX64", [1])}), "INVALID_ARGUMENT", "'x'"),
    (predict({}), "INVALID_ARGUMENT", "x"),
    (predict({"nothing": FLOATS["x"]}), "INVALID_ARGUMENT", "'x'"),
    (["Predict", {"model_spec": {"name": ""}}], "INVALID_ARGUMENT", "model_spec"),
    (["Predict", {"model_spec": {"name": "foreign"}}], "NOT_FOUND", "foreign"),
    (["Classify", {"model_spec": {"name": "demo"}, "input": listed(example(1.0))}], "INVALID_ARGUMENT", "classify"),
    (["Regress", {"model_spec": {"name": "demo"}}], "INVALID_ARGUMENT", "input"),
    (["MultiInference", {"tasks": []}], "INVALID_ARGUMENT", "tasks"),
    (["GetModelMetadata", {"model_spec": {"name": "demo"}, "metadata_field": ["graph"]}], "INVALID_ARGUMENT", "signature_def"),
]


def test_a_refusal_is_a_status_with_one_sentence(numbers):
    answers = numbers.ask(*[call for call, _, _ in REFUSED])
    for answer, (call, code, told) in zip(answers, REFUSED, strict=True):
        assert answer.get("code") == code, (call, answer)
        assert told in answer["message"], call


def test_without_a_key_nothing_is_told(numbers):
    for key, code in (("", "UNAUTHENTICATED"), ("my_bad_0000000000", "UNAUTHENTICATED")):
        (answer,) = numbers.ask(predict(FLOATS), key=key)
        assert answer["code"] == code


def test_calls_are_recorded_under_the_protocol(numbers):
    before = len(numbers.records())
    numbers.ask(predict(FLOATS), key=TWO)
    record = numbers.records()[before:][0]
    assert (record.protocol, record.rows, record.status) == (ProtocolId.TENSORFLOW_GRPC, 3, 200)


def test_grpc_s_own_health_protocol_needs_no_key(numbers):
    request, response = STUBS.message("HealthCheckRequest"), STUBS.message("HealthCheckResponse")
    with grpc.insecure_channel(f"127.0.0.1:{numbers.grpc_port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", request.SerializeToString, response.FromString)
        for service in ("", "tensorflow.serving.PredictionService"):
            assert check(request(service=service), timeout=20).status == 1
        with pytest.raises(grpc.RpcError) as refused:
            check(request(service="demo"), timeout=20)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        numbers.served.plane.accepting = False
        try:
            assert check(request(), timeout=20).status == 2
        finally:
            numbers.served.plane.accepting = True


REFLECTED = """
import sys
import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

class Keyed(grpc.StreamStreamClientInterceptor):
    def intercept_stream_stream(self, run, details, requests):
        return run(details._replace(metadata=(("authorization", "Bearer " + sys.argv[2]),)), requests)

with grpc.insecure_channel(sys.argv[1]) as channel:
    database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, Keyed()))
    print(sorted(database.get_services()))
    service = DescriptorPool(database).FindServiceByName("tensorflow.serving.PredictionService")
    print(service.FindMethodByName("Predict").input_type.fields_by_name["inputs"].message_type.fields_by_name["value"].message_type.full_name)
"""


def test_a_reflection_client_finds_out_what_can_be_called(numbers):
    def asked(key):
        command = [sys.executable, "-c", REFLECTED, f"127.0.0.1:{numbers.grpc_port}", key]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(REFLECTING, CLIENT.parent))

    done = asked(SCOPED)
    assert done.returncode == 0, done.stderr
    services, kind = done.stdout.splitlines()
    assert "tensorflow.serving.PredictionService" in services
    assert kind == "tensorflow.TensorProto"
    assert "UNAUTHENTICATED" in asked("my_bad_0000000000").stderr
