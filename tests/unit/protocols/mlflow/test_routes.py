"""MLflow's scoring protocol, as its own server answers it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import error_codes
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.mlflow import PROTOCOL
from modelyard.protocols.mlflow.errors import STATUS
from unit.protocols.fakes import FakePlane, drive


def column(name, kind, *shape, **more):
    return TensorSpec(name=name, datatype=Datatype(kind), shape=shape or (-1, 1), **more)


PENGUINS = FakePlane(
    Signature(
        inputs=(column("island", "BYTES"), column("mass", "FP32"), column("year", "INT64", optional=True)),
        outputs=(column("label", "BYTES", -1), column("probabilities", "FP32", -1, 2)),
        classes=("Adelie", "Gentoo"),
    ),
    lambda given: {
        "label": np.array(["Adelie" if island else "Gentoo" for island in given["island"][:, 0]], dtype=object),
        "probabilities": np.concatenate([given["mass"] / 10, 1 - given["mass"] / 10], 1),
    },
)
PRICE = FakePlane(Signature(inputs=(column("x", "FP32"),), outputs=(column("y", "FP32"),)), lambda given: {"y": given["x"] * 2})
VECTOR = FakePlane(
    Signature(inputs=(column("x", "FP32", -1, 3),), outputs=(column("sum", "FP32", -1), column("twice", "FP32", -1, 3))),
    lambda given: {"sum": given["x"].sum(1), "twice": given["x"] * 2},
)
SPLIT = {"columns": ["mass", "island"], "data": [[2, "Biscoe"], [7.5, None]]}


def invoke(plane, body, kind=b"application/json", path="/deployments/demo/invocations"):
    return drive(PROTOCOL, plane, "POST", path, body, {b"content-type": kind} if kind else {})


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": SPLIT | {"index": [0, 1]}, "params": {}},
        {"dataframe_split": {"columns": ["id", "island", "mass"], "data": [[[], "Biscoe", 2.0], [None, "", 7.5]]}},
        {"dataframe_split": {"columns": [0, 1, 2], "data": [["Biscoe", 2, 1], ["", 7.5, 2]]}},
        {"dataframe_split": {"data": [["Biscoe", 2, 1], ["", 7.5, 2]]}},
        {"dataframe_records": [{"mass": 2, "island": "Biscoe"}, {"mass": 7.5, "island": None, "more": 1}]},
        {"instances": [{"mass": 2, "island": "Biscoe"}, {"mass": 7.5, "island": None}]},
        {"inputs": {"mass": [2, 7.5], "island": ["Biscoe", ""]}, "params": None},
        {"inputs": {"mass": [[2], [7.5]], "island": [["Biscoe"], [""]]}},
    ],
)
def test_every_form_of_a_table_gives_labels(body):
    answer = invoke(PENGUINS, body)
    assert (answer.status, answer.json) == (200, {"predictions": ["Adelie", "Gentoo"]})
    assert PENGUINS.requests[-1].outputs == ("label",)


def test_missing_text_may_be_nan_as_pandas_has_it():
    answer = invoke(PENGUINS, b'{"dataframe_split": {"columns": ["mass", "island"], "data": [[1, NaN]]}}')
    assert answer.json == {"predictions": ["Gentoo"]}


def test_csv_gives_the_same():
    answer = invoke(PENGUINS, b"id,mass,island\na,2,Biscoe\nb,7.5,\n", b"text/csv; charset=utf-8")
    assert answer.json == {"predictions": ["Adelie", "Gentoo"]}


def test_csv_without_a_header_means_columns_by_their_places():
    kind = b'text/csv; header="absent"; charset=UTF-8'
    assert invoke(PENGUINS, b"Biscoe,2,2007\n,7.5,2008\n", kind).json == {"predictions": ["Adelie", "Gentoo"]}
    assert invoke(VECTOR, b"1,2,3\n", kind).json["predictions"][0]["sum"] == 6.0
    for body, said in (
        (b"Biscoe,2\n", "3 columns"),
        (b"Biscoe,2,2007,4\n", "3 columns"),
        (b"Biscoe,2,2007\n1\n", "Line 2"),
        (b"", "empty"),
    ):
        answer = invoke(PENGUINS, body, kind)
        assert (answer.status, said in answer.json["message"]) == (400, True), answer.json


def test_probabilities_are_a_parameter_of_classifiers():
    answer = invoke(PENGUINS, {"dataframe_split": SPLIT, "params": {"pyfunc_predict_fn": "predict_proba"}})
    assert answer.json == {"predictions": [[0.2, 0.8], [0.75, 0.25]]}
    assert invoke(PENGUINS, {"dataframe_split": SPLIT, "params": {"pyfunc_predict_fn": "predict"}}).json["predictions"][0] == "Adelie"


def test_numbers_come_plain_and_nan_as_its_token():
    answer = invoke(PRICE, b'{"dataframe_split": {"columns": ["x"], "data": [[1], [NaN], [null], [Infinity], [0.05]]}}')
    assert answer.body == b'{"predictions":[2.0,NaN,NaN,Infinity,0.1]}'


def test_a_row_of_numbers_is_a_vector_where_the_model_takes_one():
    want = {"predictions": [{"sum": 6.0, "twice": [2.0, 4.0, 6.0]}]}
    for body in (
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3]]}},
        {"dataframe_split": {"data": [[1, 2, 3]]}},
        {"dataframe_records": [{"a": 1, "b": 2, "c": 3}]},
        {"dataframe_records": [{"x": [1, 2, 3]}]},
        {"instances": [[1, 2, 3]]},
        {"inputs": [[1, 2, 3]]},
        {"inputs": {"x": [[1, 2, 3]]}},
    ):
        assert invoke(VECTOR, body).json == want
    assert invoke(VECTOR, b"a,b,c\n1,2,3\n", b"text/csv").json == want


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        ([[1]], "JSON object with one of"),
        ({}, "exactly one of"),
        ({"inputs": [1], "instances": [1]}, "instances and inputs"),
        ({"input": [1]}, "Did you mean 'inputs'?"),
        ({"inputs": [1], "params": []}, "must be an object"),
        ({"inputs": [1], "params": {"temperature": 1}}, "takes no 'params'"),
        ({"dataframe_split": []}, "must be an object with"),
        ({"dataframe_split": {"columns": ["x"]}}, "needs 'data'"),
        ({"dataframe_split": {"columns": ["x"], "data": [], "rows": 1}}, "unknown key 'rows'"),
        ({"dataframe_split": {"columns": ["x"], "data": []}}, "no rows"),
        ({"dataframe_split": {"columns": "x", "data": [[1]]}}, "list of names"),
        ({"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}, "more than once"),
        ({"dataframe_split": {"columns": ["x"], "data": [[1, 2]]}}, "Row 0"),
        ({"dataframe_split": {"columns": ["x"], "data": [[1], 2]}}, "Row 1"),
        ({"dataframe_split": {"columns": ["xx"], "data": [[1]]}}, "lacks the column 'x'. Did you mean 'xx'?"),
        ({"dataframe_split": {"data": [[1, 2]]}}, "must have the model's 1 columns"),
        ({"dataframe_split": {"columns": ["x"], "data": [["1"]]}}, "text came"),
        ({"dataframe_records": {}}, "list of objects"),
        ({"dataframe_records": [1]}, "Record 0"),
        ({"dataframe_records": []}, "no rows"),
    ],
)
def test_wrong_bodies_answer_400_with_mlflows_error_object(body, said):
    answer = invoke(PRICE, body)
    assert answer.status == 400
    assert answer.json.keys() == {"error_code", "message"}
    assert (answer.json["error_code"], said in answer.json["message"]) == ("BAD_REQUEST", True), answer.json


def test_an_unknown_function_of_a_classifier_is_named():
    for params, said in (({"pyfunc_predict_fn": "score"}, "must be 'predict'"), ({"predict_fn": "predict"}, "no parameter 'predict_fn'")):
        answer = invoke(PENGUINS, {"dataframe_split": SPLIT, "params": params})
        assert (answer.status, said in answer.json["message"]) == (400, True)


@pytest.mark.parametrize(
    "kind",
    [
        b"application/x-www-form-urlencoded",
        b"text/plain",
        b"application/vnd.apache.parquet",
        b"text/csv; charset=latin-1",
        b"application/json; v=1",
    ],
)
def test_other_types_are_415(kind):
    answer = invoke(PRICE, {"inputs": [1]}, kind)
    assert (answer.status, answer.json["error_code"]) == (415, "BAD_REQUEST")
    assert invoke(PRICE, {"inputs": [1]}, b"").status == 200


def test_bad_csv_is_named_by_its_line():
    assert "Line 3" in invoke(PRICE, b"x\n1\nword\n", b"text/csv").json["message"]
    assert "more than once" in invoke(PRICE, b"x,x\n1,2\n", b"text/csv").json["message"]
    assert "empty" in invoke(PRICE, b"", b"text/csv").json["message"]


def test_pings_say_whether_calls_are_taken():
    for path in ("/ping", "/health"):
        PRICE.accepting = True
        assert (drive(PROTOCOL, PRICE, "GET", path).status, drive(PROTOCOL, PRICE, "GET", path).body) == (200, b"\n")
        PRICE.accepting = False
        assert drive(PROTOCOL, PRICE, "GET", path).status == 503
    assert drive(PROTOCOL, PRICE, "GET", "/deployments/demo/ping").status == 200
    assert drive(PROTOCOL, PRICE, "GET", "/version").status == 200


def test_only_pings_need_no_key():
    assert {route.pattern for route in PROTOCOL.routes if route.action is None} == {"/ping", "/health"}


def test_every_error_has_a_status():
    assert STATUS.keys() == error_codes().keys()


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["columns", "data", "x", "mass", "island"]), inner, max_size=3)
    ),
    max_leaves=10,
)
BODY = st.dictionaries(
    st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params", "pyfunc_predict_fn"]),
    VALUE,
    min_size=1,
    max_size=2,
)


@given(BODY, st.sampled_from([PENGUINS, PRICE, VECTOR]))
def test_no_json_body_is_the_fault_of_the_server(body, plane):
    assert invoke(plane, json.dumps(body).encode()).status in (200, 400)


@given(
    st.text(alphabet='x,mas"\n1.e-N', max_size=40),
    st.sampled_from([PENGUINS, PRICE, VECTOR]),
    st.sampled_from([b"text/csv", b"text/csv; header=absent"]),
)
def test_no_csv_body_is_the_fault_of_the_server(text, plane, kind):
    assert invoke(plane, text.encode(), kind).status in (200, 400)


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5), st.floats(width=16)), min_size=1, max_size=5
    )
)
def test_split_and_records_mean_the_same(rows):
    split = {"dataframe_split": {"columns": ["island", "mass"], "data": rows}}
    records = {"dataframe_records": [{"island": island, "mass": mass} for island, mass in rows]}
    assert invoke(PENGUINS, split).body == invoke(PENGUINS, records).body
