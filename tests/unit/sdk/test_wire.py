"""Arrays to bytes and back, tables to records."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.core.errors import Internal, InvalidRequest, InvalidTensor
from modelyard.core.tensors import NUMPY, Datatype, decode_tensor, encode_tensor
from modelyard.sdk.wire import HEADER_LENGTH, clean_records, decode_answer, encode_call, fit, is_table, plain_value, table_records

PLAIN = [datatype for datatype in Datatype if datatype not in {Datatype.BYTES, Datatype.BF16}]


@given(
    st.sampled_from(PLAIN).flatmap(
        lambda kind: st.tuples(st.just(kind), arrays.arrays(NUMPY[kind], arrays.array_shapes(min_dims=1, max_dims=3, min_side=0)))
    )
)
def test_binary_outputs_come_back_as_they_were(pair: tuple[Datatype, np.ndarray]) -> None:
    datatype, array = pair
    data = encode_tensor(array, datatype)
    output = {"name": "y", "datatype": datatype.value, "shape": array.shape, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"outputs": [output]}).encode()
    found = decode_answer(head + data, str(len(head)))["y"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_several_inputs_are_cut_where_the_header_says() -> None:
    body, headers = encode_call({"a": [[1.5, 2]], "b": ["x", "yz"]}, {"a": Datatype.FP32}, ["y"])
    head, rest = body[: int(headers[HEADER_LENGTH])], body[int(headers[HEADER_LENGTH]) :]
    request = json.loads(head)
    assert [(tensor["datatype"], tensor["shape"]) for tensor in request["inputs"]] == [("FP32", [1, 2]), ("BYTES", [2])]
    first = request["inputs"][0]["parameters"]["binary_data_size"]
    np.testing.assert_array_equal(decode_tensor(rest[:first], Datatype.FP32, (1, 2)), np.array([[1.5, 2]], np.float32))
    assert list(decode_tensor(rest[first:], Datatype.BYTES, (2,))) == [b"x", b"yz"]
    assert request["outputs"] == [{"name": "y", "parameters": {"binary_data": True}}]


@pytest.mark.parametrize(
    ("array", "wanted", "ok"),
    [
        (np.array([1.5]), Datatype.FP32, True),
        (np.array([1, 2]), Datatype.FP32, True),
        (np.array([1.0, 2.0]), Datatype.INT64, True),
        (np.array([1.5]), Datatype.INT64, False),
        (np.array([300]), Datatype.UINT8, False),
        (np.array([math.nan]), Datatype.INT32, False),
        (np.array(["a"]), Datatype.FP32, False),
        (np.array([1.0]), Datatype.BYTES, False),
        (np.array([True]), Datatype.INT64, True),
    ],
)
def test_arrays_become_what_the_model_wants_when_only_precision_is_lost(array: np.ndarray, wanted: Datatype, ok: bool) -> None:
    if ok:
        assert fit("x", array, wanted)[0].dtype == wanted.numpy
    else:
        with pytest.raises(InvalidTensor, match="convert it first"):
            fit("x", array, wanted)


def test_text_outputs_are_str_where_they_are_utf8() -> None:
    for raw, expected in ((["é", "b"], ["é", "b"]), ([b"\xff"], [b"\xff"])):
        data = encode_tensor(np.array(raw, object), Datatype.BYTES)
        head = json.dumps(
            {"outputs": [{"name": "y", "datatype": "BYTES", "shape": [len(raw)], "parameters": {"binary_data_size": len(data)}}]}
        ).encode()
        assert list(decode_answer(head + data, str(len(head)))["y"]) == expected


def test_outputs_as_json_are_read_too_and_nonsense_is_not() -> None:
    body = json.dumps({"outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]}]}).encode()
    np.testing.assert_array_equal(decode_answer(body, None)["y"], np.array([[1], [2]], np.float32))
    with pytest.raises(Internal):
        decode_answer(b"<html>", None)


class Frame:
    """Looks like a pandas DataFrame."""

    columns = ("a", "b")

    def to_dict(self, orient: str) -> dict[str, list[object]]:
        assert orient == "list"
        return {"a": [1.0, math.nan], "b": [np.int64(3), None]}


def test_a_data_frame_becomes_records() -> None:
    assert is_table(Frame())
    assert not is_table({"a": [1]})
    assert table_records(Frame()) == [{"a": 1.0, "b": 3}, {"a": None, "b": None}]


def test_records_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="Record 1"):
        clean_records([{"a": 1}, [2]])  # type: ignore[list-item]
    with pytest.raises(InvalidRequest, match="Infinity"):
        plain_value(math.inf)
