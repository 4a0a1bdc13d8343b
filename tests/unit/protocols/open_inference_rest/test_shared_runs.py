"""An answer is the same whether its call had the run to itself or shared it."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.runs import Run, Share
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype, datatype_of
from modelyard.protocols.open_inference_rest.decoding import Decoded
from modelyard.protocols.open_inference_rest.encoding import encode

DTYPES = st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_])


def answer(outputs, signature, rows):
    response = InferResponse(outputs, "model", 1, 7, rows, signature=signature)
    return json.loads(encode("demo", Decoded(InferRequest({})), response)[2])


def signature_of(array):
    return Signature(inputs=(), outputs=(TensorSpec(name="y", datatype=datatype_of(array), shape=(-1, *array.shape[1:])),))


@given(st.data())
def test_rows_of_a_shared_run_read_like_rows_of_their_own(data):
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    array = data.draw(arrays.arrays(data.draw(DTYPES), shape))
    if data.draw(st.booleans()):
        array = np.asfortranarray(array)
    signature, run = signature_of(array), Run({"y": array})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(array)), max_size=3)))
    for first, end in zip([0, *cuts], [*cuts, len(array)], strict=True):
        shared = answer(Share(run, first, end, ("y",)), signature, end - first)
        assert shared == answer({"y": array[first:end].copy()}, signature, end - first)


def test_text_of_a_shared_run_is_cut_like_any_array():
    array = np.array([["a"], ["b"], ["c"]], object)
    signature = Signature(inputs=(), outputs=(TensorSpec(name="y", datatype=Datatype.BYTES, shape=(-1, 1)),))
    shared = answer(Share(Run({"y": array}), 1, 3, ("y",)), signature, 2)
    assert shared["outputs"] == [{"name": "y", "datatype": "BYTES", "shape": [2, 1], "data": ["b", "c"]}]


def test_a_share_has_the_outputs_that_were_asked_for_and_no_others():
    share = Share(Run({"y": np.arange(3), "z": np.arange(3)}), 0, 2, ("z",))
    assert list(share) == ["z"]
    assert len(share) == 1
    assert "y" not in share
    assert share["z"].tolist() == [0, 1]


def test_one_row_of_a_run_with_several_outputs_reads_like_its_own():
    arrays = {"y": np.arange(6, dtype=np.float32).reshape(3, 2), "z": np.array([[1], [2], [3]], np.int64)}
    specs = tuple(TensorSpec(name=name, datatype=datatype_of(array), shape=(-1, *array.shape[1:])) for name, array in arrays.items())
    signature, run = Signature(inputs=(), outputs=specs), Run(arrays)
    for row in range(3):
        alone = answer({name: array[row : row + 1].copy() for name, array in arrays.items()}, signature, 1)
        assert answer(Share(run, row, row + 1, ("y", "z")), signature, 1) == alone


def test_deployments_that_share_a_run_are_answered_by_their_own_names():
    array = np.arange(2, dtype=np.float32).reshape(2, 1)
    signature, run = signature_of(array), Run({"y": array})
    for row, name in enumerate(("one", "other")):
        response = InferResponse(Share(run, row, row + 1, ("y",)), "model", 1, 7, 1, signature=signature)
        found = json.loads(encode(name, Decoded(InferRequest({})), response)[2])
        assert (found["model_name"], found["outputs"][0]["data"]) == (name, [float(row)])
