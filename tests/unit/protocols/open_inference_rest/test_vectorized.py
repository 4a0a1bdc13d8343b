"""What simdjson reads of a large request is what the other decoders read, or left to them."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import ModelyardError
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import NUMPY, Datatype
from modelyard.protocols.open_inference_rest import decoding
from modelyard.protocols.open_inference_rest.decoding import decode
from modelyard.protocols.open_inference_rest.vectorized import FROM_BYTES, Reader
from modelyard.serving.router import ServedView

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**53), 2**53)


def body_of(data, shape=None, datatype="FP32", **more):
    tensor = {"name": "x", "shape": [len(data)] if shape is None else shape, "datatype": datatype, "data": data}
    return orjson.dumps({"inputs": [tensor], **more})


def read(body, datatype="FP32"):
    return Reader().read(body, datatype)


@given(st.lists(NUMBERS, max_size=60), st.sampled_from([Datatype.FP32, Datatype.FP64]))
def test_numbers_are_those_of_the_other_decoders(data, datatype):
    came, request_id = read(body_of(data, datatype=datatype, id="r"), datatype)
    assert request_id == "r"
    assert came["x"].dtype == NUMPY[datatype]
    np.testing.assert_array_equal(came["x"], np.array(data, np.float64).astype(NUMPY[datatype]))
    assert came["x"].flags.writeable


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60))
def test_whole_numbers_are_exact(data):
    assert read(body_of(data, datatype="INT64"), "INT64")[0]["x"].tolist() == data


@pytest.mark.parametrize(
    "body",
    [
        body_of([[1, 2], []], [2]),
        body_of([[1, 2], [3, 4]], [2, 2]),
        body_of([None, 1]),
        body_of([True, 1]),
        body_of(["1"]),
        body_of([1, 2], [3]),
        body_of([1, 2], [2.0]),
        body_of([1, 2], [-1, -2]),
        body_of([1e39]),
        body_of([1], outputs=[]),
        body_of([1], parameters={}),
        body_of([1], id=7),
        body_of([1], datatype="FP64"),
        orjson.dumps({"inputs": {"name": "x"}}),
        orjson.dumps([1]),
        b'{"inputs":[]} x',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]},{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}',
        b"\xff",
        b"",
    ],
)
def test_what_is_not_of_the_usual_form_is_left_to_others(body):
    assert read(body) is None


def test_whole_numbers_are_not_made_of_others():
    assert read(body_of([1.5], datatype="INT64"), "INT64") is None
    assert read(body_of([2**63], datatype="INT64"), "INT64") is None


def view_of(datatype):
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1,))
    return ServedView(name="m", model="m", number=1, version_id=1, signature=Signature(inputs=(spec,), outputs=()))


class Watched(Reader):
    def __init__(self):
        super().__init__()
        self.found = []

    def read(self, body, datatype):
        found = super().read(body, datatype)
        self.found.append(found is not None)
        return found


@pytest.fixture
def reader(monkeypatch):
    reader = Watched()
    monkeypatch.setattr(decoding, "_READER", reader)
    return reader


def test_large_requests_are_read_this_way_and_the_parser_is_used_again(reader):
    data = [0.25] * FROM_BYTES
    for _ in range(3):
        assert decode(body_of(data), None, view_of("FP32"), "").request.inputs["x"].tolist() == data
    assert reader.found == [True] * 3
    assert decode(body_of(data[:9]), None, view_of("FP32"), "").request.inputs["x"].tolist() == data[:9]
    assert len(reader.found) == 3


def test_a_bad_large_request_is_told_what_is_wrong_and_harms_none_after_it(reader):
    data = [0.25] * FROM_BYTES
    for bad in (body_of([*data, "one"]), body_of([*data, 1e300]), body_of(data, [3]), body_of(data)[:-1]):
        with pytest.raises(ModelyardError):
            decode(bad, None, view_of("FP32"), "")
    nested = decode(body_of([data, data], [2, FROM_BYTES]), None, view_of("FP32"), "").request.inputs["x"]
    assert nested.shape == (2, FROM_BYTES)
    decode(body_of(data), None, view_of("FP32"), "")
    assert reader.found == [False] * 5 + [True]
