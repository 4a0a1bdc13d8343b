"""Plain records by column name, CSV, and the documents about a deployment."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from modelyard.core.access import Action, Grant
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.records import PROTOCOL
from unit.protocols.fakes import FakePlane, drive

PREDICT = "/v1/deployments/demo/predict"


def column(name, kind, *shape, **more):
    return TensorSpec(name=name, datatype=Datatype(kind), shape=shape or (-1, 1), **more)


PENGUINS = FakePlane(
    Signature(
        inputs=(
            column("island", "BYTES"),
            column("mass_g", "FP32", description="Body mass in grams."),
            column("year", "INT64"),
            column("tagged", "BOOL", -1, optional=True),
        ),
        outputs=(column("label", "BYTES", -1), column("probabilities", "FP32", -1, 2)),
        classes=("Adelie", "Gentoo"),
    ),
    lambda given: {
        "label": np.array(["Adelie" if island else "Gentoo" for island in given["island"][:, 0]], dtype=object),
        "probabilities": np.concatenate([given["mass_g"] / 10, 1 - given["mass_g"] / 10], 1),
    },
)
ROW = {"island": "Biscoe", "mass_g": 2, "year": 2007}
VECTOR = FakePlane(
    Signature(inputs=(column("x", "FP32", -1, 3),), outputs=(column("y", "FP32", -1, 1), column("z", "FP32", -1, 2, 2))),
    lambda given: {"y": given["x"].sum(1, keepdims=True), "z": np.zeros((len(given["x"]), 2, 2), np.float32)},
)


def predict(plane, body, target=PREDICT, kind=b"application/json"):
    return drive(PROTOCOL, plane, "POST", target, body, {b"content-type": kind})


def test_one_object_a_record_with_probabilities_by_class():
    answer = predict(PENGUINS, {"records": [ROW, ROW | {"mass_g": 7.5, "island": None}]})
    assert answer.json == {
        "predictions": [
            {"label": "Adelie", "probabilities": {"Adelie": 0.2, "Gentoo": 0.8}},
            {"label": "Gentoo", "probabilities": {"Adelie": 0.75, "Gentoo": 0.25}},
        ],
        "model": "m",
        "version": 3,
        "request_id": "request-1",
    }


def test_a_single_record_and_a_version_are_accepted():
    answer = predict(PENGUINS, {"record": ROW}, PREDICT + "?version=1")
    assert (len(answer.json["predictions"]), answer.json["version"]) == (1, 1)
    assert predict(PENGUINS, {"record": ROW}, PREDICT + "?version=champion").json["version"] == 3
    assert predict(PENGUINS, {"record": ROW}, PREDICT + "?version=8").status == 404


def test_null_is_nan_going_in_and_coming_out():
    answer = predict(PENGUINS, {"records": [ROW | {"mass_g": None}]})
    assert answer.json["predictions"][0]["probabilities"] == {"Adelie": None, "Gentoo": None}


def test_a_model_of_one_tensor_takes_values_or_its_name():
    expected = [{"y": 6.0, "z": [[0.0, 0.0], [0.0, 0.0]]}]
    assert predict(VECTOR, {"records": [{"values": [1, 2, 3]}]}).json["predictions"] == expected
    assert predict(VECTOR, {"records": [{"x": [1, 2, 3]}]}).json["predictions"] == expected
    assert predict(VECTOR, {"records": [{"x": [1, 2, 3], "values": [1, 2, 3]}]}).status == 400


def test_an_optional_column_may_be_left_out_everywhere_but_not_here_and_there():
    assert predict(PENGUINS, {"records": [ROW | {"tagged": True}]}).status == 200
    mixed = predict(PENGUINS, {"records": [ROW | {"tagged": True}, ROW]})
    assert (mixed.status, "Record 1" in mixed.json["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        ([ROW], "{\"records\":[{"),
        (ROW, "'records'"),
        ({"records": []}, "at least one"),
        ({"records": ROW}, "must be a list"),
        ({"records": [3]}, "Record 0 must be an object"),
        ({"records": [ROW], "record": ROW}, "give one of them"),
        ({"records": [ROW], "webhok": 1}, "unknown key 'webhok'"),
        ({"records": [{"island": "a", "year": 1}]}, "Record 0 lacks the column 'mass_g'"),
        ({"records": [ROW, ROW | {"mass": 1}]}, "Did you mean 'mass_g'?"),
        ({"records": [ROW, ROW | {"mass_g": "2"}]}, "Record 1: Input 'mass_g' (FP32) wants numbers, but text came: \"2\". Numbers are"),
        ({"records": [ROW | {"year": 2007.5}]}, "whole numbers"),
        ({"records": [ROW | {"year": None}]}, "cannot be null"),
        ({"records": [ROW | {"year": True}]}, "true or false came"),
        ({"records": [ROW | {"island": 3}]}, "wants text"),
        ({"records": [ROW | {"island": ["a", "b"]}]}, "wants shape"),
    ],
)  # fmt: skip
def test_wrong_records_answer_400_with_one_sentence(body, said):
    answer = predict(PENGUINS, body)
    assert answer.status == 400
    assert said in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "query", ["?verson=1", "?version=1&version=2", "?" + "&".join(f"a{i}" for i in range(40)), "?version=" + "1" * 100]
)
def test_wrong_queries_are_refused(query):
    assert predict(PENGUINS, {"records": [ROW]}, PREDICT + query).status == 400


def test_csv_is_typed_by_the_signature():
    body = b'\xef\xbb\xbfyear,island,mass_g,tagged\r\n2007,"Bis,coe",2,true\r\n\r\n2008,NA,,0\r\n'
    answer = predict(PENGUINS, body, kind=b"Text/CSV; charset=utf-8")
    assert [row["label"] for row in answer.json["predictions"]] == ["Adelie", "Gentoo"]
    given = PENGUINS.requests[-1].inputs
    assert given["island"].tolist() == [["Bis,coe"], [""]]
    assert (given["year"].tolist(), given["tagged"].tolist()) == ([[2007], [2008]], [True, False])
    assert np.isnan(given["mass_g"][1, 0])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "UTF-8"),
        (b"year,island,mass_g\n", "no records"),
        (b"year,island,mas_g\n", "Did you mean 'mass_g'?"),
        (b"year,island,year\n", "more than once"),
        (b"year,island,mass_g\n1,2\n", "Line 2 of the CSV body has 2 cells"),
        (b"year,island,mass_g\n1,a,x\n", "Line 2 of the CSV body, column 'mass_g': 'x' is not a number"),
        (b"year,island,mass_g\n1,a,1_0\n", "not a number"),
        (b"year,island,mass_g\n1,a,1e999\n", "can be represented"),
        (b"year,island,mass_g\n1.5,a,1\n", "a whole number"),
        (b"year,island,mass_g\nNA,a,1\n", "cannot be null"),
        (b"year,island,mass_g\n99999999999999999999,a,1\n", "range"),
        (b"year,island,mass_g,tagged\n1,a,1,maybe\n", "true or false"),
        (b'year,island,mass_g\n1,"a"b,1\n', "cannot be read"),
        (b"year,island\n1,a\n", "lacks the column 'mass_g'"),
    ],
)
def test_wrong_csv_answers_400_with_one_sentence(body, said):
    answer = predict(PENGUINS, body, kind=b"text/csv")
    assert answer.status == 400
    assert said in answer.json["error"]["message"]


def test_csv_cannot_say_lists_and_other_types_are_refused():
    assert "send JSON" in predict(VECTOR, b"x\n1\n", kind=b"text/csv").json["error"]["message"]
    assert predict(VECTOR, b"<x/>", kind=b"application/xml").status == 400
    assert predict(VECTOR, {"record": {"x": [1, 2, 3]}}, kind=b"application/x-www-form-urlencoded").status == 200


def test_the_listing_has_what_the_key_may_call():
    assert drive(PROTOCOL, PENGUINS, "GET", "/v1/deployments").json["deployments"] == [
        {"name": "demo", "ready": True, "url": "/v1/deployments/demo"}
    ]
    scoped = Grant(workspace_id=1, key_id=1, public_id="a", actions=frozenset({Action.INFER}), deployments=frozenset({"other"}))
    assert drive(PROTOCOL, PENGUINS, "GET", "/v1/deployments", grant=scoped).json == {"deployments": []}


def test_a_deployment_describes_itself():
    said = drive(PROTOCOL, PENGUINS, "GET", "/v1/deployments/demo").json
    assert (said["model"], said["version"], said["versions"], said["labels"], said["ready"]) == ("m", 3, [3, 1], {"champion": 3}, True)
    assert said["inputs"][1] == {"name": "mass_g", "datatype": "FP32", "shape": [-1, 1], "description": "Body mass in grams."}
    assert said["inputs"][3]["optional"] is True


@pytest.mark.parametrize("plane", [PENGUINS, VECTOR])
def test_the_openapi_document_is_valid_and_its_examples_work(plane):
    document = drive(PROTOCOL, plane, "GET", "/v1/deployments/demo/openapi.json").json
    validate(document)
    body = document["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]
    answer = predict(plane, body["example"])
    assert answer.status == 200
    for schema, value in (("PredictRequest", body["example"]), ("PredictResponse", answer.json)):
        root = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
        Draft202012Validator(root).validate(value)


def test_the_openapi_schema_is_as_strict_as_the_server():
    document = drive(PROTOCOL, PENGUINS, "GET", "/v1/deployments/demo/openapi.json").json
    check = Draft202012Validator({"$ref": "#/components/schemas/Record", "components": document["components"]})
    assert check.is_valid(ROW | {"mass_g": None, "island": None})
    for wrong in ({}, ROW | {"mass_g": "2"}, ROW | {"year": None}, ROW | {"extra": 1}, ROW | {"year": 2**63}):
        assert not check.is_valid(wrong)
        assert predict(PENGUINS, {"record": wrong}).status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ROW, "x", "values", "q"]), inner, max_size=4),
    max_leaves=12,
)
RECORD = JSON | st.fixed_dictionaries(dict.fromkeys(ROW, JSON)) | st.fixed_dictionaries({"values": JSON})


@given(
    st.dictionaries(st.sampled_from(["records", "record", "q"]), JSON | st.lists(RECORD, max_size=3)), st.sampled_from([PENGUINS, VECTOR])
)
def test_no_json_is_the_fault_of_the_server(body, plane):
    assert predict(plane, json.dumps(body).encode()).status in (200, 400)


CELL = st.sampled_from(['"', ",", "\n", "\r", "\0", "1", "a", "NA", "-", "1e400", "inf", "year", "island", "mass_g", "tagged", "é", " "])


@given(st.binary(max_size=30) | st.lists(CELL, max_size=30).map(lambda cells: ("year,island,mass_g\n" + "".join(cells)).encode()))
def test_no_csv_is_the_fault_of_the_server(body):
    assert predict(PENGUINS, body, kind=b"text/csv").status in (200, 400)


@given(st.text(max_size=30), st.binary(max_size=20))
def test_no_query_or_content_type_is_the_fault_of_the_server(query, kind):
    assert predict(PENGUINS, {"record": ROW}, f"{PREDICT}?{query}", kind).status in (200, 400, 404)
