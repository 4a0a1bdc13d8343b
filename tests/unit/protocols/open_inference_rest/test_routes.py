import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.access import Action, Grant
from modelyard.core.deployments import DeploymentState
from modelyard.core.errors import ModelyardError, NotFound
from modelyard.core.inference import InferResponse
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype, encode_tensor
from modelyard.protocols.open_inference_rest.routes import PROTOCOL
from modelyard.serving.dataplane import DataPlane
from modelyard.serving.router import ServedView
from unit.protocols.fakes import FakeExchange, drive, drive_exchange


def spec(name, datatype=Datatype.FP32, shape=(-1, 2)):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


class Plane(DataPlane):
    """Deployment ``demo`` of one function, computed at once."""

    def __init__(self, signature, compute=None):
        super().__init__()
        self.accepting = True
        self.signature = signature
        self.compute = compute or (lambda inputs: dict(zip([out.name for out in signature.outputs], inputs.values(), strict=False)))
        self.is_ready = True
        self.requests = []

    def names(self, workspace_id):
        return ["demo", "other"]

    def served(self, workspace_id, deployment, version=""):
        if version not in ("", "1", "3", "champion"):
            raise NotFound(f"No version {version}.")
        return ServedView(
            name=deployment,
            model="m",
            number=3,
            version_id=30,
            signature=self.signature,
            versions=(1, 3),
            labels={"champion": 3},
            format="onnx",
        )

    choose = served

    def lanes(self, workspace_id, deployment):
        return [self.served(workspace_id, deployment)] if self.is_ready else []

    def ready(self, workspace_id, deployment, version=""):
        self.served(workspace_id, deployment, version)
        return self.is_ready

    def state(self, workspace_id, deployment):
        return (DeploymentState.READY, "") if self.is_ready else (DeploymentState.LOADING, "")

    def infer(self, workspace_id, deployment, request, done):
        self.requests.append(request)
        try:
            rows = self.signature.check_inputs(request.inputs)
            outputs = self.compute(request.inputs)
            for name in request.outputs:
                self.signature.output(name)
            outputs = {name: outputs[name] for name in request.outputs or outputs}
            done(InferResponse(outputs, "m", 3, 30, rows, signature=self.signature))
        except ModelyardError as error:
            done(error)


def identity(datatype=Datatype.FP32, shape=(-1, 2), classes=()):
    return Plane(Signature(inputs=(spec("x", datatype, shape),), outputs=(spec("y", datatype, shape),), classes=classes))


def body(data, shape, datatype="FP32", **more):
    return {"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}], **more}


def post(plane, document, headers=None, path="/v2/models/demo/infer"):
    return drive(PROTOCOL, plane, "POST", path, document, headers)


def output(answer):
    assert answer.status == 200, answer.body
    return answer.json["outputs"][0]


SAMPLES = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-32768, 32767],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [0.5, -65504.0],
    "BF16": [0.5, -3.0],
    "FP32": [0.1, 3.4028234663852886e38],
    "FP64": [0.1, 1e308],
    "BYTES": ["a", "é"],
}


@pytest.mark.parametrize(("datatype", "data"), SAMPLES.items())
@pytest.mark.parametrize("nested", [False, True])
def test_every_datatype_goes_in_and_comes_out_as_json(datatype, data, nested):
    answer = post(identity(Datatype(datatype)), body([data] if nested else data, [1, 2], datatype, id="42"))
    got = output(answer)
    assert (got["name"], got["datatype"], got["shape"]) == ("y", datatype, [1, 2])
    assert got["data"] == (pytest.approx(data, rel=1e-6) if datatype.startswith("FP") else data)
    assert (answer.json["model_name"], answer.json["model_version"], answer.json["id"]) == ("demo", "3", "42")
    assert answer.headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize(("datatype", "data"), SAMPLES.items())
def test_every_datatype_goes_in_and_comes_out_as_binary(datatype, data):
    kind = Datatype(datatype)
    raw = encode_tensor(np.array([data], kind.numpy), kind)
    head = {
        "inputs": [{"name": "x", "shape": [1, 2], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}],
        "parameters": {"binary_data_output": True},
    }
    answer = binary(identity(kind), head, raw)
    assert answer.status == 200, answer.body
    length = int(answer.headers[b"inference-header-content-length"])
    described = json.loads(answer.body[:length])["outputs"][0]
    assert described["parameters"] == {"binary_data_size": len(raw)}
    assert "data" not in described
    assert answer.body[length:] == raw


def binary(plane, head, raw):
    text = json.dumps(head).encode()
    return post(plane, text + raw, {b"inference-header-content-length": str(len(text)).encode()})


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("UINT8", [0, 256]),
        ("UINT8", [-1, 0]),
        ("INT8", [0, 128]),
        ("INT32", [0, 2**31]),
        ("INT64", [0, 2**63]),
        ("UINT64", [0, 2**64]),
        ("UINT64", [-1, 0]),
        ("INT64", [1.5, 0]),
        ("INT64", [True, 0]),
        ("INT64", ["1", 0]),
        ("INT64", [None, 0]),
        ("BOOL", [1, 0]),
        ("BOOL", [None, True]),
        ("FP32", [1e39, 0]),
        ("FP32", [-1e39, 0]),
        ("FP16", [65536, 0]),
        ("FP32", ["1", 0]),
        ("FP32", [True, 0]),
        ("FP32", [[1], [2, 3]]),
        ("FP32", [{}, 0]),
        ("BYTES", [1, "a"]),
        ("BYTES", [True, "a"]),
    ],
)
def test_what_a_datatype_cannot_hold_is_refused_not_bent(datatype, data):
    answer = post(identity(Datatype(datatype)), body(data, [1, 2], datatype))
    assert answer.status == 400
    assert "'x'" in answer.json["error"]


def test_null_is_nan_and_comes_back_as_null():
    plane = identity()
    assert output(post(plane, body([None, 1.0], [1, 2])))["data"] == [None, 1.0]
    assert np.isnan(plane.requests[0].inputs["x"][0, 0])


def test_null_is_an_empty_text():
    assert output(post(identity(Datatype.BYTES), body([None, "a"], [1, 2], "BYTES")))["data"] == ["", "a"]


def test_tokens_for_nan_and_infinity_are_read_and_answered_as_null():
    plane = identity()
    text = json.dumps(body([float("nan"), float("-inf")], [1, 2])).encode()
    assert b"NaN" in text
    assert output(post(plane, text))["data"] == [None, None]
    assert plane.requests[0].inputs["x"][0, 1] == -np.inf


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "not an infer request"),
        ([], "not an infer request"),
        ({"inputs": {}}, "not an infer request"),
        ({"inputs": [{"name": "x"}]}, "not an infer request"),
        (body([1, 2], [1, -2]), "not an infer request"),
        (body([1, 2], [1, 2], id=7), "not an infer request"),
        (body([1, 2, 3], [1, 2]), "2 elements, but its data has 3"),
        (body([[1, 2]], [2, 1]), "nested as"),
        (body([], [1, 2]), "data has 0"),
        (body(5, [1, 2]), "must be a list"),
        (body([1, 2], [1, 2], "FP23"), "Did you mean 'FP32'"),
        (body([1, 2], [2**62, 2]), "elements"),
        (body([], [0, 2**64 - 1]), "no array can have"),
        (body([], [0, 2**64 - 1], "BF16"), "no array can have"),
        (body([1, 2], [10**30, 2]), "not an infer request"),
        (body([1, 2], [1] * 40), "dimensions"),
        ({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32"}]}, "has no data"),
        ({"inputs": [*body([1, 2], [1, 2])["inputs"]] * 2}, "comes twice"),
        (body([1, 2], [1, 2], outputs=[{"name": "y"}, {"name": "y"}]), "asked for twice"),
        (body([1, 2], [1, 2], outputs=[{"name": "z"}]), "no output 'z'"),
        (body([1, 2], [1, 2], outputs=[{"name": "y", "parameters": {"binary_data": 1}}]), "binary_data"),
        (body([1, 2], [1, 2], parameters={"timeout": -1}), "timeout"),
        (body([1, 2], [1, 2], parameters={"sequence_id": 3}), "Sequences"),
        (body([1, 2], [1, 2], outputs=[{"name": "y", "parameters": {"shared_memory_region": "r"}}]), "Shared memory"),
        (body([1, 2], [1, 2], outputs=[{"name": "y", "parameters": {"classification": "a"}}]), "classification"),
        ({"inputs": [{"name": "z", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}, "'x'"),
        ({"inputs": []}, "missing"),
    ],
)
def test_malformed_requests_get_one_sentence(document, words):
    answer = post(identity(), document)
    assert answer.status == 400
    assert words in answer.json["error"]


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b"\xff\xfe", b'{"inputs": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_not_json_is_refused(text):
    assert post(identity(), text).status == 400


@pytest.mark.parametrize(
    ("head", "raw", "length"),
    [
        ({"binary_data_size": 8}, b"1234567", None),
        ({"binary_data_size": 8}, b"123456789", None),
        ({"binary_data_size": -1}, b"12345678", None),
        ({"binary_data_size": "8"}, b"12345678", None),
        ({"binary_data_size": True}, b"12345678", None),
        ({"binary_data_size": 4}, b"1234", None),
        ({"binary_data_size": 8}, b"12345678", b"-1"),
        ({"binary_data_size": 8}, b"12345678", b"99999"),
        ({"binary_data_size": 8}, b"12345678", b"abc"),
        ({"binary_data_size": 8}, b"12345678", b"3"),
        ({"shared_memory_region": "r", "shared_memory_byte_size": 8}, b"", None),
    ],
)
def test_binary_parts_that_do_not_fit_are_refused(head, raw, length):
    text = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": head}]}).encode()
    answer = post(identity(), text + raw, {b"inference-header-content-length": length or str(len(text)).encode()})
    assert answer.status == 400
    assert answer.json["error"].endswith(".")


def test_a_body_without_header_is_the_one_inputs_data():
    raw = np.array([[1, 2], [3, 4]], np.float32).tobytes()
    plane = identity()
    answer = post(plane, raw, {b"inference-header-content-length": b"0"})
    assert answer.status == 200
    assert plane.requests[0].inputs["x"].tolist() == [[1, 2], [3, 4]]
    assert post(plane, raw[:-1], {b"inference-header-content-length": b"0"}).status == 400


def test_inputs_may_be_json_and_binary_in_one_request_and_outputs_too():
    signature = Signature(inputs=(spec("a"), spec("b")), outputs=(spec("c"), spec("d")))
    plane = Plane(signature, lambda inputs: {"c": inputs["a"], "d": inputs["b"]})
    head = {
        "inputs": [
            {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]},
            {"name": "b", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
        ],
        "outputs": [{"name": "c", "parameters": {"binary_data": False}}, {"name": "d"}],
        "parameters": {"binary_data_output": True},
    }
    raw = np.array([3, 4], np.float32).tobytes()
    answer = binary(plane, head, raw)
    length = int(answer.headers[b"inference-header-content-length"])
    outputs = json.loads(answer.body[:length])["outputs"]
    assert outputs[0]["data"] == [1, 2]
    assert outputs[1]["parameters"] == {"binary_data_size": 8}
    assert answer.body[length:] == raw


def test_text_that_is_no_utf8_is_only_given_as_binary():
    plane = Plane(identity(Datatype.BYTES).signature, lambda inputs: {"y": np.array([[b"\xff", b"ok"]], object)})
    answer = post(plane, body(["a", "b"], [1, 2], "BYTES"))
    assert answer.status == 400
    assert "binary_data" in answer.json["error"]
    answer = post(plane, body(["a", "b"], [1, 2], "BYTES", parameters={"binary_data_output": True}))
    assert answer.body.endswith(b"\x01\0\0\0\xff\x02\0\0\0ok")


def test_classification_gives_the_best_with_their_names():
    plane = identity(shape=(-1, 3), classes=("cat", "dog"))
    wished = [{"name": "y", "parameters": {"classification": 2}}]
    got = output(post(plane, body([0.1, 0.7, 0.2], [1, 3], outputs=wished)))
    assert (got["datatype"], got["shape"], got["data"]) == ("BYTES", [1, 2], ["0.700000:1:dog", "0.200000:2"])


def test_the_version_in_the_path_is_asked_for_and_a_timeout_becomes_a_deadline():
    plane = identity()
    assert post(plane, body([1, 2], [1, 2], parameters={"timeout": 1000}), path="/v2/models/demo/versions/1/infer").status == 200
    assert plane.requests[0].version == "1"
    assert plane.requests[0].deadline_ns > 0
    assert post(plane, body([1, 2], [1, 2]), path="/v2/models/demo/versions/9/infer").status == 404


def get(plane, path, grant=None):
    exchange = FakeExchange("GET", path)
    return drive_exchange(PROTOCOL, plane, exchange, grant) if grant else drive(PROTOCOL, plane, "GET", path)


def test_metadata_config_and_statistics_have_tritons_form():
    plane = identity()
    assert get(plane, "/v2").json["extensions"]
    metadata = get(plane, "/v2/models/demo").json
    assert metadata["versions"] == ["1", "3"]
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    config = get(plane, "/v2/models/demo/versions/3/config").json
    assert config["max_batch_size"] > 0
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}]
    (stats,) = get(plane, "/v2/models/demo/stats").json["model_stats"]
    assert (stats["name"], stats["version"], stats["inference_stats"]["success"]) == ("demo", "3", {"count": 0, "ns": 0})
    assert len(get(plane, "/v2/models/stats").json["model_stats"]) == 2


def test_health_and_readiness():
    plane = identity()
    assert get(plane, "/v2/health/live").status == get(plane, "/v2/health/ready").status == 200
    assert get(plane, "/v2/models/demo/ready").status == 200
    plane.is_ready = plane.accepting = False
    assert get(plane, "/v2/health/live").status == 200
    for path in ("/v2/health/ready", "/v2/models/demo/ready"):
        answer = get(plane, path)
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")


def test_the_index_lists_what_the_key_may_call():
    plane = identity()
    names = [entry["name"] for entry in drive(PROTOCOL, plane, "POST", "/v2/repository/index").json]
    assert names == ["demo", "other"]
    scoped = Grant(workspace_id=1, key_id=1, public_id="a", actions=frozenset({Action.INFER}), deployments=frozenset({"other"}))
    (entry,) = drive(PROTOCOL, plane, "POST", "/v2/repository/index", grant=scoped).json
    assert entry == {"name": "other", "version": "3", "state": "READY", "reason": ""}
    assert {view["name"] for view in get(plane, "/v2/models/stats", scoped).json["model_stats"]} == {"other"}
    plane.is_ready = False
    assert drive(PROTOCOL, plane, "POST", "/v2/repository/index", {"ready": True}).json == []
    assert {entry["state"] for entry in drive(PROTOCOL, plane, "POST", "/v2/repository/index", b"").json} == {"LOADING"}
    assert drive(PROTOCOL, plane, "POST", "/v2/repository/index", []).status == 400


def test_loading_says_whether_it_is_loaded_and_unloading_is_refused():
    plane = identity()
    assert drive(PROTOCOL, plane, "POST", "/v2/repository/models/demo/load", {}).status == 200
    assert drive(PROTOCOL, plane, "POST", "/v2/repository/models/demo/load", {"parameters": {"config": "{}"}}).status == 400
    answer = drive(PROTOCOL, plane, "POST", "/v2/repository/models/demo/unload", {})
    assert (answer.status, "modelyard undeploy demo" in answer.json["error"]) == (400, True)
    plane.is_ready = False
    assert drive(PROTOCOL, plane, "POST", "/v2/repository/models/demo/load", {}).status == 503


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/a/register"),
        ("POST", "/v2/cudasharedmemory/unregister"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/models/demo/trace/setting"),
        ("POST", "/v2/logging"),
    ],
)
def test_what_is_not_supported_says_so(method, path):
    answer = drive(PROTOCOL, identity(), method, path, b"{}")
    assert answer.status == 400
    assert answer.json["error"]


def test_every_route_but_health_needs_a_right():
    assert [route.pattern for route in PROTOCOL.routes if route.action is None] == ["/v2/health/live", "/v2/health/ready"]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=12
)
TENSOR = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "z"]) | JSON, "shape": st.lists(st.integers(-2, 4), max_size=3) | JSON},
    optional={"datatype": st.sampled_from(list(SAMPLES)) | JSON, "data": st.lists(SCALARS, max_size=6) | JSON, "parameters": JSON},
)
REQUEST = st.fixed_dictionaries({"inputs": st.lists(TENSOR, max_size=3) | JSON}, optional={"id": JSON, "outputs": JSON, "parameters": JSON})


@given(REQUEST | JSON, st.sampled_from(list(SAMPLES)))
def test_random_json_is_answered_or_refused(document, datatype):
    answer = post(identity(Datatype(datatype)), json.dumps(document).encode())
    assert answer.status in (200, 400), answer.body
    assert set(answer.json) == {"error"} or "outputs" in answer.json


@given(
    st.binary(max_size=60), st.binary(max_size=4) | st.integers(0, 70).map(lambda size: str(size).encode()), st.sampled_from(list(SAMPLES))
)
def test_random_binary_bodies_are_answered_or_refused(raw, length, datatype):
    assert post(identity(Datatype(datatype)), raw, {b"inference-header-content-length": length}).status in (200, 400)


@given(REQUEST, st.binary(max_size=40))
def test_random_headers_with_random_binary_data_are_answered_or_refused(document, raw):
    assert binary(identity(), document, raw).status in (200, 400)
