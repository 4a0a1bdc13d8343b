"""ModelInferRequest messages to arrays and back."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.core.errors import InvalidRequest, InvalidTensor, ModelyardError, Unsupported, error_codes
from modelyard.core.inference import InferResponse
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype, datatype_of, decode_tensor, encode_tensor
from modelyard.protocols.descriptors import parse
from modelyard.protocols.open_inference_grpc import mapping
from modelyard.protocols.open_inference_grpc.errors import STATUS, error_reply, stream_error_reply
from modelyard.protocols.open_inference_grpc.stubs import message

REQUEST, RESPONSE = message("ModelInferRequest"), message("ModelInferResponse")


def request(*inputs, raw=(), **fields):
    made = REQUEST(model_name="demo", raw_input_contents=list(raw), **fields)
    for name, datatype, shape, contents in inputs:
        tensor = made.inputs.add(name=name, datatype=datatype, shape=shape)
        for field, values in contents.items():
            getattr(tensor.contents, field).extend(values)
    return made


def decode(*inputs, raw=(), **fields):
    return mapping.decode(request(*inputs, raw=raw, **fields), "")


TYPED = [
    ("BOOL", "bool_contents", [True, False]),
    ("INT8", "int_contents", [-128, 127]),
    ("INT16", "int_contents", [-(2**15), 1]),
    ("INT32", "int_contents", [-(2**31), 1]),
    ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
    ("UINT8", "uint_contents", [0, 255]),
    ("UINT16", "uint_contents", [0, 65535]),
    ("UINT32", "uint_contents", [0, 2**32 - 1]),
    ("UINT64", "uint64_contents", [0, 2**64 - 1]),
    ("FP32", "fp32_contents", [0.5, float("inf")]),
    ("FP64", "fp64_contents", [0.1, -1e300]),
    ("BYTES", "bytes_contents", [b"a", b"\xff"]),
]


@pytest.mark.parametrize(("datatype", "field", "values"), TYPED)
def test_typed_contents_of_every_datatype(datatype, field, values):
    array = decode(("x", datatype, [1, 2], {field: values})).request.inputs["x"]
    assert (array.dtype, array.shape, array[0].tolist()) == (Datatype(datatype).numpy, (1, 2), values)


@given(
    st.sampled_from([kind.numpy for kind in Datatype if kind not in (Datatype.BYTES, Datatype.BF16)]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    )
)
def test_raw_contents_come_back_bit_by_bit(array):
    datatype = datatype_of(array)
    found = decode(("x", str(datatype), array.shape, {}), raw=[encode_tensor(array, datatype)]).request.inputs["x"]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize(
    ("message_fields", "said"),
    [
        (((("x", "FP32", [2], {"fp32_contents": [1]}),), {}), "has 2 elements, but 1 came"),
        (((("x", "FP32", [1], {"fp64_contents": [1]}),), {}), "must come in fp32_contents"),
        (((("x", "INT8", [1], {"int_contents": [200]}),), {}), "outside the range"),
        (((("x", "FP16", [1], {}),), {}), "raw_input_contents"),
        (((("x", "FLOAT", [1], {}),), {}), "unknown datatype"),
        (((("x", "FP32", [-1], {}),), {}), "negative"),
        (((("x", "FP32", [1] * 40, {}),), {}), "40 dimensions"),
        (((("x", "FP32", [1], {}),), {"raw": [b"1234", b""]}), "2 elements for 1 inputs"),
        (((("x", "FP32", [1], {}),), {"raw": [b"123"]}), "Input 'x'"),
        (((("x", "FP32", [1], {"fp32_contents": [1]}),), {"raw": [b"1234"]}), "send one of them"),
        (((("x", "FP32", [0], {}), ("x", "FP32", [0], {})), {}), "comes twice"),
    ],
)
def test_what_does_not_fit_is_named(message_fields, said):
    inputs, more = message_fields
    with pytest.raises(InvalidRequest, match=said):
        decode(*inputs, **more)


def test_wishes_and_parameters():
    wire = request(("x", "FP32", [0], {}), id="7")
    wire.outputs.add(name="y").parameters["classification"].int64_param = 2
    wire.outputs.add(name="z")
    wire.parameters["triton_enable_empty_final_response"].bool_param = True
    decoded = mapping.decode(wire, "3")
    assert (decoded.id, decoded.classes, decoded.final) == ("7", {"y": 2}, True)
    assert (decoded.request.outputs, decoded.request.version, decoded.request.deadline_ns) == (("y", "z"), "3", 0)
    wire.outputs.add(name="y")
    with pytest.raises(InvalidRequest, match="asked for twice"):
        mapping.decode(wire, "")


def test_the_timeout_parameter_is_a_deadline():
    wire = request(("x", "FP32", [0], {}))
    wire.parameters["timeout"].int64_param = 1
    assert mapping.decode(wire, "").request.deadline_ns > 0


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start"])
def test_sequences_and_shared_memory_are_refused(name):
    wire = request(("x", "FP32", [0], {}))
    wire.parameters[name].int64_param = 1
    with pytest.raises(Unsupported, match="Sequences"):
        mapping.decode(wire, "")
    wire = request(("x", "FP32", [0], {}))
    wire.inputs[0].parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(Unsupported, match="Shared memory"):
        mapping.decode(wire, "")


def test_answers_are_raw_and_name_their_version():
    outputs = (
        TensorSpec(name="y", datatype=Datatype.FP32, shape=(-1, 2)),
        TensorSpec(name="half", datatype=Datatype.BF16, shape=(-1,)),
        TensorSpec(name="label", datatype=Datatype.BYTES, shape=(-1,)),
    )
    values = {
        "y": np.array([[1, 2]], np.float32),
        "half": np.array([0.5], np.float32),
        "label": np.array(["ä"], dtype=object),
    }
    outcome = InferResponse(values, "m", 4, 9, 1, signature=Signature(inputs=(), outputs=outputs, classes=("a", "b")))
    answer = RESPONSE.FromString(mapping.encode("demo", mapping.Decoded(mapping.InferRequest({}), "7"), outcome))
    assert (answer.model_name, answer.model_version, answer.id) == ("demo", "4", "7")
    assert [(output.name, output.datatype, list(output.shape)) for output in answer.outputs] == [
        ("y", "FP32", [1, 2]),
        ("half", "BF16", [1]),
        ("label", "BYTES", [1]),
    ]
    assert answer.raw_output_contents == [values["y"].tobytes(), b"\x00\x3f", b"\x02\0\0\0\xc3\xa4"]
    best = RESPONSE.FromString(mapping.encode("demo", mapping.Decoded(mapping.InferRequest({}), classes={"y": 1}), outcome))
    assert decode_tensor(best.raw_output_contents[0], Datatype.BYTES, (1, 1))[0, 0] == b"2.000000:1:b"


def test_every_error_has_a_status():
    assert STATUS.keys() == error_codes().keys()
    status, headers, body = error_reply(InvalidTensor("Ä 100%"))
    assert (status, dict(headers), body) == (400, {b"grpc-status": b"3", b"grpc-message": b"%C3%84 100%25"}, b"")
    assert b"grpc-status" not in dict(stream_error_reply(InvalidTensor("x"))[1])


@given(st.binary(max_size=200))
def test_no_bytes_are_the_fault_of_the_server(body):
    with contextlib.suppress(ModelyardError):
        mapping.decode(parse(REQUEST, body), "")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x", "y", ""]),
            st.sampled_from([*Datatype, "FLOAT"]),
            st.lists(st.integers(-2, 2**40), max_size=4),
            st.dictionaries(
                st.sampled_from(["int_contents", "int64_contents"]), st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4), max_size=2
            ),
        ),
        max_size=3,
    ),
    st.lists(st.binary(max_size=16), max_size=3),
)
def test_no_message_is_the_fault_of_the_server(inputs, raw):
    with contextlib.suppress(ModelyardError):
        decode(*inputs, raw=raw)
