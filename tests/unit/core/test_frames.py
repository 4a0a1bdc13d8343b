import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidTensor, LimitExceeded
from modelyard.core.frames import (
    ALIGNMENT,
    PREFIX,
    BadFrame,
    Failure,
    Op,
    decode_frame,
    encode_frame,
    frame_size,
    tensors_of,
)

DTYPES = ["<f4", "<f8", "<f2", "<i8", "<i4", "|i1", "|u1", "<u8", "|b1"]


def whole(parts):
    return memoryview(bytearray(b"".join(parts)))


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)),
        max_size=4,
    ),
    st.binary(max_size=64),
)
def test_tensors_come_back_as_they_went(shapes, payload):
    tensors = {name: np.random.default_rng(0).integers(0, 2, size=shape).astype(dtype) for name, (dtype, shape) in shapes.items()}
    data = whole(encode_frame(Op.RESULT, 7, payload, tensors))
    assert frame_size(data[: PREFIX.size]) == len(data)
    frame = decode_frame(data)
    assert (frame.head.op, frame.head.call, frame.head.payload) == (Op.RESULT, 7, payload)
    found = tensors_of(frame)
    assert list(found) == list(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tolist() == array.tolist()


@given(st.lists(st.text(max_size=5) | st.binary(max_size=5), max_size=6))
def test_text_and_bytes_keep_their_kind(items):
    array = np.empty(len(items), object)
    array[:] = items
    found = tensors_of(decode_frame(whole(encode_frame(Op.INFER, 1, b"", {"t": array.reshape(-1, 1)}))))["t"]
    assert found.shape == (len(items), 1)
    assert [type(item) for item in found.ravel().tolist()] == [type(item) for item in items]
    assert found.ravel().tolist() == items


def test_large_tensors_are_sent_from_where_they_lie_and_received_as_views():
    array = np.arange(100_000, dtype=np.float64)
    parts = encode_frame(Op.INFER, 1, b"", {"x": array, "y": array[::2]})
    assert any(isinstance(part, memoryview) and np.shares_memory(np.frombuffer(part, np.float64), array) for part in parts)
    data = whole(parts)
    found = tensors_of(decode_frame(data))
    assert np.shares_memory(found["x"], np.frombuffer(data, np.uint8))
    assert np.array_equal(found["y"], array[::2])
    assert found["y"].ctypes.data % ALIGNMENT == found["x"].ctypes.data % ALIGNMENT


@pytest.mark.parametrize("prefix", [b"HTTP/1.1 200 OK\r", b"\0" * 16, PREFIX.pack(b"MYR1", 2**31, 0), PREFIX.pack(b"MYR1", 1, 2**60)])
def test_what_is_no_frame_is_refused(prefix):
    with pytest.raises(BadFrame):
        frame_size(prefix)


@given(st.binary(max_size=80))
def test_a_damaged_head_or_body_is_refused_and_nothing_else_happens(junk):
    data = memoryview(bytearray(PREFIX.pack(b"MYR1", len(junk), 0) + junk + bytes(-(16 + len(junk)) % 16)))
    with contextlib.suppress(BadFrame):
        tensors_of(decode_frame(data))


def test_a_tensor_that_claims_more_than_came_is_refused():
    data = whole(encode_frame(Op.INFER, 1, b"", {"x": np.ones(8, np.float32)}))
    with pytest.raises(BadFrame):
        tensors_of(decode_frame(data[:-16]))


def test_errors_keep_their_class_on_the_way():
    found = Failure.of(LimitExceeded("Slower.", retry_after=2.0)).error()
    assert (type(found), found.message, found.retry_after) == (LimitExceeded, "Slower.", 2.0)
    assert isinstance(Failure("invalid_tensor", "No.").error(), InvalidTensor)
    assert Failure("from a newer version", "Hm.").error().code == "internal"
