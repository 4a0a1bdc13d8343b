"""Flat JSON data becomes what NumPy makes of it, however long it is."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.core.errors import ModelyardError
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import NUMPY, Datatype
from modelyard.protocols.open_inference_rest.decoding import decode
from modelyard.protocols.open_inference_rest.schemas import FAST
from modelyard.serving.router import ServedView


def decoded(datatype, data, shape):
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1,))
    view = ServedView(name="m", model="m", number=1, version_id=1, signature=Signature(inputs=(spec,), outputs=()))
    body = orjson.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}]})
    return decode(body, None, view, "").request.inputs["x"]


@given(st.sampled_from(sorted(FAST)), st.integers(0, 100), st.data())
def test_numbers_of_every_datatype_are_those_that_were_sent(datatype, size, data):
    finite = {"allow_nan": False, "allow_infinity": False} if NUMPY[datatype].kind == "f" else {}
    sent = data.draw(arrays.arrays(NUMPY[datatype], size, elements=arrays.from_dtype(NUMPY[datatype], **finite)))
    came = decoded(datatype, sent.tolist(), [size])
    assert came.dtype == sent.dtype
    assert came.tolist() == sent.tolist()
    assert came.flags.writeable


@pytest.mark.parametrize("size", [4, 40])
def test_nulls_are_nan_and_shapes_hold(size):
    came = decoded(Datatype.FP32, [None, *[0.1] * (size - 1)], [2, size // 2])
    assert came.shape == (2, size // 2)
    assert np.isnan(came[0, 0])
    assert came[1, 0] == np.float32(0.1)


@pytest.mark.parametrize("shape", [[39], [41], [2, 19], [40, 0], [2**40, 2**40]])
def test_data_that_is_not_as_long_as_its_shape_says_is_refused(shape):
    with pytest.raises(ModelyardError, match="shape"):
        decoded(Datatype.FP32, [0.5] * 40, shape)


@pytest.mark.parametrize("rest", [[], [1] * 40, [None]])
@pytest.mark.parametrize(("datatype", "number"), [(Datatype.FP16, 7e4), (Datatype.FP32, -1e39), (Datatype.UINT8, 256)])
def test_numbers_that_the_datatype_cannot_hold_are_refused(datatype, number, rest):
    with pytest.raises(ModelyardError, match=r"outside the range|cannot be null"):
        decoded(datatype, [number, *rest], [1 + len(rest)])
