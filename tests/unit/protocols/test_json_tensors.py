"""The one way from nested JSON lists to arrays and back."""

import json
import warnings

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelyard.core.errors import InvalidRequest, InvalidTensor, ModelyardError
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.json_tensors import array_from_json, json_from_array, parse_json, rows_from_array


def spec(datatype, *shape):
    return TensorSpec(name="x", datatype=Datatype(datatype), shape=shape)


def text(fragment):
    return orjson.dumps(fragment).decode()


def test_tokens_of_javascript_are_numbers():
    document = parse_json(b'{"a": [NaN, Infinity, -Infinity, 1.5, "NaN"]}')
    assert np.isnan(document["a"][0])
    assert document["a"][1:] == [np.inf, -np.inf, 1.5, "NaN"]


@pytest.mark.parametrize(
    "body",
    [b"", b"  ", b"{", b"[NaN", b"[NaN, 1,]", b"\xff", b'"NaN \xff"', b'["\\ud800", NaN]', b"[1e400]", b"[" * 5000 + b"NaN"],
)  # fmt: skip
def test_what_is_not_json_is_refused_with_a_sentence(body):
    with pytest.raises(InvalidRequest, match=r"\.$"):
        parse_json(body)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("FP32", [[1, 2.5], [3, 4]]),
        ("FP64", [1e300]),
        ("INT8", [-128, 127]),
        ("UINT64", [2**64 - 1]),
        ("BOOL", [True, False]),
        ("FP16", [0.5]),
    ],
)
def test_lists_become_arrays_of_the_signature_datatype(datatype, value):
    array = array_from_json(value, spec(datatype, *[-1] * np.ndim(value)))
    assert array.dtype == Datatype(datatype).numpy
    assert array.tolist() == value


def test_null_is_nan_and_the_empty_text_and_an_error_elsewhere():
    assert np.isnan(array_from_json([None, 1], spec("FP32", -1))[0])
    assert array_from_json([None, "a"], spec("BYTES", -1)).tolist() == ["", "a"]
    with pytest.raises(InvalidTensor, match="cannot be null"):
        array_from_json([None, 1], spec("INT64", -1))


@pytest.mark.parametrize(
    ("datatype", "value", "said"),
    [
        ("FP32", ["1.5"], "without quotes"),
        ("FP32", [True], "true or false"),
        ("INT32", [1.0], "decimal number"),
        ("INT32", [True], "true or false"),
        ("BOOL", [1], "whole number"),
        ("BYTES", [1], "whole number"),
        ("BYTES", [{"b65": "a"}], "b64"),
        ("BYTES", [{"b64": "*"}], "not base64"),
        ("FP32", [{"b64": "aa"}], "an object"),
        ("INT8", [300], "range"),
        ("UINT8", [-1], "range"),
        ("FP32", [1e39], "range"),
        ("FP64", [10**400], "range"),
        ("FP32", [[1], [1, 2]], "ragged"),
        ("FP32", [[1], 2], "mixes"),
        ("FP32", [1, [2]], "mixes"),
    ],
)
def test_values_of_another_kind_are_refused(datatype, value, said):
    with pytest.raises(InvalidTensor, match=said):
        array_from_json(value, spec(datatype, -1))


def test_deep_nesting_is_refused_without_recursion():
    value = []
    for _ in range(50):
        value = [value]
    with pytest.raises(InvalidTensor, match="nested deeper"):
        array_from_json(value, spec("FP32", -1))


def test_a_last_dimension_of_one_may_be_left_out():
    assert array_from_json([1, 2], spec("FP32", -1, 1)).shape == (2, 1)
    assert array_from_json([[1], [2]], spec("FP32", -1, 1)).shape == (2, 1)
    assert array_from_json([1, 2], spec("FP32", -1, 2)).shape == (2,)


def test_bytes_come_as_base64_with_or_without_padding():
    assert array_from_json([{"b64": "aGk="}, {"b64": "aGk"}, "hi"], spec("BYTES", -1)).tolist() == [b"hi", b"hi", "hi"]


def test_numbers_are_written_briefly_and_special_values_as_tokens():
    assert text(json_from_array(np.array([0.1, np.nan, np.inf, -np.inf, 2], np.float32))) == "[0.1,NaN,Infinity,-Infinity,2.0]"
    assert text(json_from_array(np.float32(0.1))) == "0.1"
    assert text(json_from_array(np.array(7))) == "7"
    assert text(json_from_array(np.array([[True], [False]]))) == "[[true],[false]]"
    assert text(json_from_array(np.asfortranarray(np.arange(6).reshape(2, 3)))) == "[[0,1,2],[3,4,5]]"
    assert text(json_from_array(np.array([1.5], ">f4"))) == "[1.5]"


def test_text_is_text_and_bytes_are_text_where_they_can_be():
    array = np.array(["a", b"b", b"\xff"], dtype=object)
    assert json.loads(text(json_from_array(array))) == ["a", "b", {"b64": "/w=="}]
    assert json.loads(text(json_from_array(array, as_base64=True))) == [{"b64": "YQ=="}, {"b64": "Yg=="}, {"b64": "/w=="}]


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
def test_floats_survive_the_way_there_and_back(array):
    back = array_from_json(parse_json(orjson.dumps(json_from_array(array))), spec("FP32", *array.shape))
    np.testing.assert_array_equal(back, array)
    rows = parse_json(orjson.dumps(rows_from_array(array)))
    np.testing.assert_array_equal(array_from_json(rows, spec("FP32", *array.shape)), array)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([{"b64": "aGk="}, {"b64": 1}]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, st.sampled_from(list(Datatype)), st.lists(st.sampled_from([-1, 1, 2]), max_size=3))
def test_any_json_gives_an_array_of_the_datatype_or_a_sentence(value, datatype, shape):
    wanted = TensorSpec(name="x", datatype=datatype, shape=tuple(shape))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            array = array_from_json(value, wanted)
        except ModelyardError:
            return
    assert array.dtype == datatype.numpy


@given(st.binary(max_size=40) | st.text(alphabet='[]{}":,NaInfity-0123456789.eE\\ud8 ', max_size=40).map(str.encode))
def test_any_body_gives_a_document_or_a_sentence(body):
    try:
        document = parse_json(body)
    except InvalidRequest:
        return
    json.dumps(document, ensure_ascii=False).encode()
