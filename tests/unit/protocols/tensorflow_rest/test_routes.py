"""The TensorFlow Serving REST API as its reference describes it."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.tensorflow_rest import PROTOCOL
from unit.protocols.fakes import FakePlane, drive


def signature(inputs, outputs, classes=()):
    def specs(given):
        return tuple(TensorSpec(name=name, datatype=Datatype(kind), shape=tuple(shape)) for name, (kind, *shape) in given.items())

    return Signature(inputs=specs(inputs), outputs=specs(outputs), classes=classes)


HALF = FakePlane(signature({"x": ("FP32", -1, 1)}, {"y": ("FP32", -1, 1)}), lambda given: {"y": given["x"] / 2 + 2})
SCALAR = FakePlane(signature({"x": ("FP32", -1)}, {"y": ("FP32", -1)}), lambda given: {"y": given["x"] * 2})
TWO = FakePlane(
    signature(
        {"tag": ("BYTES", -1), "signal": ("INT64", -1, 3)}, {"total": ("INT64", -1), "tag": ("BYTES", -1), "tag_bytes": ("BYTES", -1)}
    ),
    lambda given: {"total": given["signal"].sum(1), "tag": given["tag"], "tag_bytes": given["tag"]},
)
PENGUINS = FakePlane(
    signature(
        {"mass": ("FP32", -1, 1), "island": ("BYTES", -1, 1)},
        {"label": ("BYTES", -1), "probabilities": ("FP32", -1, 2)},
        classes=("Adelie", "Gentoo"),
    ),
    lambda given: {
        "label": np.array(["Adelie"] * len(given["mass"]), dtype=object),
        "probabilities": np.concatenate([given["mass"] / 10, 1 - given["mass"] / 10], 1),
    },
)


def predict(plane, body, path="/v1/models/demo:predict"):
    return drive(PROTOCOL, plane, "POST", path, body)


def test_rows_of_one_input_give_a_plain_list():
    answer = predict(HALF, {"instances": [[1.0], [2.0], [5.0]]})
    assert (answer.status, answer.json) == (200, {"predictions": [[2.5], [3.0], [4.5]]})


def test_scalars_are_rows_too():
    assert predict(SCALAR, {"instances": [1, 2.5]}).json == {"predictions": [2.0, 5.0]}
    assert predict(HALF, {"instances": [1.0, 2.0]}).json == {"predictions": [[2.5], [3.0]]}
    assert predict(HALF, {"instances": [{"x": 1.0}, {"x": [2.0]}]}).status == 400
    assert predict(HALF, {"instances": [{"x": 1.0}, {"x": 2.0}]}).json == {"predictions": [[2.5], [3.0]]}


def test_rows_of_several_inputs_are_objects_and_so_are_the_predictions():
    body = {"instances": [{"tag": "foo", "signal": [1, 2, 3]}, {"tag": {"b64": "YmFy"}, "signal": [4, 5, 6]}]}
    assert predict(TWO, body).json == {
        "predictions": [
            {"total": 6, "tag": "foo", "tag_bytes": {"b64": "Zm9v"}},
            {"total": 15, "tag": "bar", "tag_bytes": {"b64": "YmFy"}},
        ]
    }


def test_columns_give_outputs():
    body = {"signature_name": "serving_default", "inputs": {"tag": ["foo"], "signal": [[1, 2, 3]]}}
    assert predict(TWO, body).json == {"outputs": {"total": [6], "tag": ["foo"], "tag_bytes": [{"b64": "Zm9v"}]}}
    assert predict(HALF, {"inputs": [[1.0]]}).json == {"outputs": [[2.5]]}
    assert predict(HALF, {"inputs": {"x": [[1.0]]}}).json == {"outputs": [[2.5]]}


def test_special_numbers_pass_both_ways_as_tokens():
    answer = predict(HALF, b'{"instances": [[NaN], [Infinity], [-Infinity], [0.1], [null]]}')
    assert answer.body == b'{"predictions":[[NaN],[Infinity],[-Infinity],[2.05],[NaN]]}'
    mass = drive(PROTOCOL, PENGUINS, "POST", "/v1/models/demo:predict", b'{"inputs": {"mass": [NaN], "island": ["x"]}}')
    assert mass.body == b'{"outputs":{"label":["Adelie"],"probabilities":[[NaN,NaN]]}}'
    rows = drive(PROTOCOL, PENGUINS, "POST", "/v1/models/demo:predict", b'{"instances": [{"mass": NaN, "island": "x"}]}')
    assert rows.body == b'{"predictions":[{"label":"Adelie","probabilities":[NaN,NaN]}]}'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        ([], "JSON object"),
        ({}, "either 'instances'"),
        ({"instances": [[1]], "inputs": [[1]]}, "not both"),
        ({"instances": []}, "at least one row"),
        ({"instances": 3}, "must be a list"),
        ({"instances": [[1]], "signature_name": "other"}, "serving signature"),
        ({"instances": [[1]], "signature_name": 3}, "must be a string"),
        ({"instances": [[1], [1, 2]]}, "ragged"),
        ({"instances": [{"x": [1]}, 3]}, "object like the first"),
        ({"instances": [3, {"x": [1]}]}, "mixes"),
        ({"instances": [{"x": [1]}, {"y": [1]}]}, "differ"),
        ({"instances": [{"xx": [1]}]}, "no input 'xx'"),
        ({"instances": [[["1"]]]}, "text came"),
        ({"inputs": {"z": 1}}, "no input 'z'"),
        ({"inputs": {}}, "missing"),
        ({"inputs": [[1, 2]]}, "wants shape"),
    ],
)
def test_wrong_bodies_answer_400_with_an_error_string(body, said):
    answer = predict(HALF, body)
    assert answer.status == 400
    assert said in answer.json["error"]
    assert list(answer.json) == ["error"]


def test_a_plain_list_is_refused_where_inputs_must_be_named():
    answer = predict(TWO, {"instances": [1, 2]})
    assert answer.status == 400
    assert "tag, signal" in answer.json["error"]


def test_versions_and_labels_choose():
    for path, wanted in (("/versions/1", "1"), ("/versions/001", "1"), ("/labels/champion", "champion")):
        assert predict(HALF, {"instances": [[1]]}, f"/v1/models/demo{path}:predict").status == 200
        assert HALF.requests[-1].version == wanted
    assert predict(HALF, {"instances": [[1]]}, "/v1/models/demo/versions/9:predict").status == 404
    assert predict(HALF, {"instances": [[1]]}, "/v1/models/demo/versions/x:predict").status == 400
    assert predict(HALF, {"instances": [[1]]}, f"/v1/models/demo/versions/{'9' * 5000}:predict").status == 404
    assert predict(HALF, {"instances": [[1]]}, "/v1/models/demo/labels/3:predict").status == 404
    assert predict(HALF, {"instances": [[1]]}, "/v1/models/nothing:predict").status == 404


def test_status_lists_versions():
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    everything = drive(PROTOCOL, HALF, "GET", "/v1/models/demo").json
    assert everything["model_version_status"] == [{"version": "3", **available}, {"version": "1", **available}]
    one = drive(PROTOCOL, HALF, "GET", "/v1/models/demo/versions/1").json
    assert one["model_version_status"] == [{"version": "1", **available}]
    assert drive(PROTOCOL, HALF, "GET", "/v1/models/demo/labels/champion").json["model_version_status"][0]["version"] == "3"
    loading = FakePlane(HALF.signature, HALF.compute, ready=False)
    assert drive(PROTOCOL, loading, "GET", "/v1/models/demo").json["model_version_status"][0]["state"] == "LOADING"


def test_metadata_is_a_signature_definition():
    answer = drive(PROTOCOL, TWO, "GET", "/v1/models/demo/versions/1/metadata").json
    assert answer["model_spec"] == {"name": "demo", "signature_name": "", "version": "1"}
    definition = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["method_name"] == "tensorflow/serving/predict"
    assert definition["inputs"]["signal"] == {
        "dtype": "DT_INT64",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}], "unknown_rank": False},
        "name": "signal:0",
    }


def test_classify_pairs_labels_with_scores():
    body = {"context": {"island": "Biscoe"}, "examples": [{"mass": 2}, {"mass": [7.5]}]}
    answer = drive(PROTOCOL, PENGUINS, "POST", "/v1/models/demo:classify", body)
    expected = [[["Adelie", 0.2], ["Gentoo", 0.8]], [["Adelie", 0.75], ["Gentoo", 0.25]]]
    assert answer.json == {"results": expected, "result": expected}
    assert PENGUINS.requests[-1].outputs == ("probabilities",)
    odd = drive(PROTOCOL, PENGUINS, "POST", "/v1/models/demo:classify", b'{"examples": [{"mass": NaN, "island": "x"}]}')
    assert math.isnan(odd.json["results"][0][0][1])


def test_class_names_are_those_of_the_version_that_answered():
    class Moved(FakePlane):
        def infer(self, workspace_id, deployment, request, done):
            self.signature = msgspec.structs.replace(self.signature, classes=("New", "Newer"))
            super().infer(workspace_id, deployment, request, done)

    body = {"examples": [{"mass": 2, "island": "a"}]}
    answer = drive(PROTOCOL, Moved(PENGUINS.signature, PENGUINS.compute), "POST", "/v1/models/demo:classify", body)
    assert answer.json["results"][0] == [["New", 0.2], ["Newer", 0.8]]


def test_classify_without_class_names_has_empty_labels():
    plane = FakePlane(signature({"x": ("FP32", -1)}, {"scores": ("FP32", -1, -1)}), lambda given: {"scores": given["x"][:, None]})
    assert drive(PROTOCOL, plane, "POST", "/v1/models/demo:classify", {"examples": [{"x": 1}]}).json["results"] == [[["", 1.0]]]


def test_regress_gives_a_number_for_each_example():
    answer = drive(PROTOCOL, HALF, "POST", "/v1/models/demo/versions/1:regress", {"examples": [{"x": 1}, {"x": [2]}]})
    assert answer.json == {"results": [2.5, 3.0], "result": [2.5, 3.0]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "'examples'"),
        ({"examples": []}, "'examples'"),
        ({"examples": [3]}, "must be an object"),
        ({"examples": [{"x": 1}], "context": []}, "'context'"),
        ({"examples": [{"x": 1}], "context": {"x": 1}}, "stands in"),
        ({"examples": [{"xy": 1}]}, "no feature 'xy'"),
        ({"examples": [{"x": [1, 2]}]}, "wants shape"),
        ({"examples": [{}]}, "missing"),
    ],
)
def test_wrong_examples_answer_400(body, said):
    answer = drive(PROTOCOL, HALF, "POST", "/v1/models/demo:regress", body)
    assert (answer.status, said in answer.json["error"]) == (400, True), answer.json


def test_models_of_another_kind_refuse_to_classify_and_regress():
    refused = drive(PROTOCOL, HALF, "POST", "/v1/models/demo:classify", {"examples": [{"x": 1}]})
    assert (refused.status, "cannot classify" in refused.json["error"]) == (400, True)
    refused = drive(PROTOCOL, PENGUINS, "POST", "/v1/models/demo:regress", {"examples": [{"mass": 1, "island": "a"}]})
    assert (refused.status, "cannot regress" in refused.json["error"]) == (400, True)


def test_outputs_without_common_rows_are_refused_as_predictions():
    plane = FakePlane(
        signature({"x": ("FP32", -1)}, {"a": ("FP32", -1), "b": ("FP32", 2)}), lambda given: {"a": given["x"], "b": np.zeros(2, np.float32)}
    )
    assert predict(plane, {"instances": [1, 2, 3]}).status == 400
    assert predict(plane, {"inputs": [1]}).json == {"outputs": {"a": [1.0], "b": [0.0, 0.0]}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just({"b64": "aGk="}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["x", "tag", "signal", "b64", "q"]), inner, max_size=3),
    max_leaves=12,
)
BODY = st.dictionaries(st.sampled_from(["instances", "inputs", "examples", "context", "signature_name"]), JSON, min_size=1, max_size=3)


@given(BODY, st.sampled_from([HALF, SCALAR, TWO, PENGUINS]), st.sampled_from(["predict", "classify", "regress"]))
def test_no_body_is_the_fault_of_the_server(body, plane, verb):
    answer = drive(PROTOCOL, plane, "POST", f"/v1/models/demo:{verb}", json.dumps(body).encode())
    assert answer.status in (200, 400)
    answer.body.decode()
