from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidTensor, ModelyardError
from modelyard.core.inference import InferResponse
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.protocols.descriptors import parse
from modelyard.protocols.tensorflow_grpc import mapping
from modelyard.protocols.tensorflow_grpc.stubs import message

REQUEST, RESPONSE = message("PredictRequest"), message("PredictResponse")
NUMERIC = [kind for kind in Datatype if kind is not Datatype.BYTES]


def answered(array, datatype):
    spec = TensorSpec(name="t", datatype=datatype, shape=(-1,) * array.ndim)
    response = InferResponse({"t": array}, "m", 7, 1, 1, signature=Signature(inputs=(), outputs=(spec,)))
    return RESPONSE.FromString(mapping.encode_predicted("demo", response))


@pytest.mark.parametrize("datatype", NUMERIC)
def test_what_is_answered_can_be_sent(datatype):
    array = np.array([[0, 1, 1], [1, 0, 1]], datatype.numpy)
    wire = answered(array, datatype)
    request = REQUEST()
    request.inputs["t"].CopyFrom(wire.outputs["t"])
    back = mapping.decode_inputs(request)["t"]
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert (wire.model_spec.name, wire.model_spec.version.value) == ("demo", 7)


def test_strings_are_bytes_on_the_wire():
    wire = answered(np.array(["a", b"\xff"], object), Datatype.BYTES)
    assert list(wire.outputs["t"].string_val) == [b"a", b"\xff"]


def test_missing_values_repeat_the_last_one_within_reason():
    request = REQUEST()
    tensor = request.inputs["x"]
    tensor.dtype, tensor.float_val[:] = 1, [1.0, 2.0]
    tensor.tensor_shape.dim.add(size=4)
    assert mapping.decode_inputs(request)["x"].tolist() == [1.0, 2.0, 2.0, 2.0]
    del tensor.float_val[:]
    assert mapping.decode_inputs(request)["x"].tolist() == [0.0] * 4
    tensor.tensor_shape.dim.add(size=mapping.MAX_FILLED)
    with pytest.raises(InvalidTensor, match="'x'"):
        mapping.decode_inputs(request)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(body):
    for kind in ("PredictRequest", "ClassificationRequest", "MultiInferenceRequest", "GetModelStatusRequest"):
        try:
            wire = parse(message(kind), body)
            if kind == "PredictRequest":
                mapping.decode_inputs(wire)
        except ModelyardError:
            pass


@given(
    st.sampled_from(range(24)),
    st.lists(st.integers(-2, 2**63 - 1), max_size=4),
    st.binary(max_size=64),
    st.lists(st.floats(width=32), max_size=6),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6),
)
def test_any_tensor_is_an_array_or_refused(dtype, shape, content, floats, integers):
    request = REQUEST()
    tensor = request.inputs["x"]
    tensor.dtype, tensor.tensor_content = dtype, content
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend(floats)
    tensor.int_val.extend(integers)
    tensor.half_val.extend(integers)
    array = None
    with suppress(InvalidTensor):
        array = mapping.decode_inputs(request)["x"]
    assert array is None or array.shape == tuple(shape)
