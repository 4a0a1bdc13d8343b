"""Weights of a decoder in 8 and 4 bits give nearly the products that they gave before."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.optimize.language.compress import Compression, compress
from modelyard.optimize.language.work import read_compression

RANDOM = np.random.default_rng(0)
TABLE, INNER, LAST = (RANDOM.standard_normal(shape).astype(np.float16) for shape in ((50, 64), (96, 64), (50, 96)))
IDS = RANDOM.integers(0, 50, (3, 5))


def decoder():
    """ids → rows of a table → a product → the product that gives a number for each token."""
    ids = op.parameter(ov.PartialShape([-1, -1]), ov.Type.i64, name="ids")
    looked_up = op.gather(_weights(TABLE), ids, op.constant(np.int64(0)))
    inner = op.matmul(looked_up, _weights(INNER), transpose_a=False, transpose_b=True)
    return ov.Model([op.matmul(op.relu(inner), _weights(LAST), transpose_a=False, transpose_b=True)], [ids], "decoder")


def _weights(values):
    return op.convert(op.constant(values), "f32")


def answered(model):
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([IDS])[0].copy()


@pytest.mark.parametrize(
    ("wanted", "counts", "apart"),
    [(Compression(8), {"int8": 3}, 0.02), (Compression(4, 32), {"int8": 2, "int4": 1}, 0.2), (Compression(4, 128), {"int8": 3}, 0.02)],
)
def test_products_stay_near_and_what_speaks_keeps_eight_bits(wanted, counts, apart, tmp_path):
    before, model = answered(decoder()), decoder()
    assert compress(model, wanted) == counts
    ov.serialize(model, tmp_path / "m.xml", tmp_path / "m.bin")
    after = answered(ov.Core().read_model(tmp_path / "m.xml"))
    assert np.abs(after - before).mean() < apart * np.abs(before).mean()
    assert (tmp_path / "m.bin").stat().st_size < 0.65 * 2 * (TABLE.size + INNER.size + LAST.size)
    assert compress(model, wanted) == {}


def test_a_pass_that_a_language_model_does_not_take_is_named():
    assert read_compression("int4:128", "words@1") == Compression(4, 128)
    with pytest.raises(Unsupported, match=r"'channels:0.5' cannot be applied to words@1"):
        read_compression("channels:0.5", "words@1")
    with pytest.raises(InvalidRequest, match="without ':static'"):
        read_compression("int8:static", "words@1")
