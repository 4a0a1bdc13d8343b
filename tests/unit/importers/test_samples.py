import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import InvalidData, InvalidTensor
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import NUMPY, Datatype
from modelyard.importers.samples import Domain, Sample, has_missing, made_up, with_missing


def signature(*texts):
    return Signature(inputs=tuple(TensorSpec.parse(text) for text in texts), outputs=(TensorSpec.parse("y:FP32[-1]"),))


@given(st.lists(st.sampled_from([kind for kind in Datatype if kind != "BF16"]), min_size=1, max_size=4), st.integers(0, 3))
def test_made_up_rows_fit_any_signature(kinds, rank):
    wanted = signature(*(f"x{at}:{kind}[{','.join(['-1'] + ['3'] * rank)}]" for at, kind in enumerate(kinds)))
    found = made_up(wanted, {}, rows=16)
    assert wanted.check_inputs(found) == 16
    again = made_up(wanted, {}, rows=16)
    assert all(found[name].tolist() == again[name].tolist() for name in found)


def test_made_up_rows_stay_where_the_model_decides():
    found = made_up(
        signature("x:FP32[-1,2]", "w:BYTES[-1,1]"), {"x": Domain(centers=(1000, 5), spreads=(10, 0.1)), "w": Domain(words=("u",))}
    )
    assert 990 < found["x"][:, 0].mean() < 1010
    assert 4.9 < found["x"][:, 1].mean() < 5.1
    assert set(found["w"].ravel()) == {"u"}


def test_each_row_with_a_gap_has_one():
    found = made_up(signature("x:FP32[-1,2]", "w:BYTES[-1,1]", "n:INT64[-1]"), {"w": Domain(words=("u",))})
    assert not has_missing(found)
    gaps = with_missing(found, signature("x:FP32[-1,2]", "w:BYTES[-1,1]", "n:INT64[-1]"))
    assert has_missing(gaps)
    per_row = np.isnan(gaps["x"]).sum(axis=1) + (gaps["w"] == "").sum(axis=1)
    assert set(per_row) == {1}
    assert not np.isnan(found["x"]).any()
    assert with_missing({"n": found["n"]}, signature("n:INT64[-1]")) == {}


def test_a_table_becomes_columns_or_one_matrix(tmp_path):
    path = tmp_path / "s"
    path.write_text("a,b,c\n1,x,3\n4,,\n")
    sample = Sample.read(path, "rows.csv")
    by_column = sample.inputs(signature("a:FP32[-1,1]", "b:BYTES[-1,1]"))
    assert by_column["a"].tolist() == [[1], [4]]
    assert by_column["b"].tolist() == [["x"], [""]]
    with pytest.raises(InvalidData, match="takes 3 numbers a row"):
        sample.inputs(signature("input:FP32[-1,3]"))
    path.write_text("a,c\n1,3\n4,\n")
    joined = Sample.read(path, "rows.csv").inputs(signature("input:FP32[-1,2]"))["input"]
    assert joined.dtype == np.float32
    assert np.isnan(joined[1, 1])


def test_tensors_come_by_name_and_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "s.npz", x=np.ones((5, 2)), ids=np.array(["a", "b", "c", "d", "e"]))
    sample = Sample.read(tmp_path / "s.npz", "s.npz")
    assert [(spec.name, spec.datatype, spec.shape) for spec in sample.specs()] == [("x", "FP32", (-1, 2)), ("ids", "BYTES", (-1,))]
    assert sample.inputs(signature("x:FP32[-1,2]"))["x"].dtype == np.float32
    with pytest.raises(InvalidData, match="no array 'y'"):
        sample.inputs(signature("y:FP32[-1,2]", "ids:BYTES[-1]"))
    with pytest.raises(InvalidData, match="does not fit"):
        sample.inputs(signature("x:FP32[-1,3]"))
    np.savez(tmp_path / "p.npz", x=np.array([{}], object))
    with pytest.raises(InvalidData, match="pickles"):
        Sample.read(tmp_path / "p.npz", "p.npz")


@pytest.mark.parametrize(("text", "shape"), [("x:FP32[-1,4]", (-1, 4)), ("a b:int64[n]", ("n",)), ("y:BOOL[]", ())])
def test_a_signature_is_read_as_it_is_written(text, shape):
    spec = TensorSpec.parse(text)
    assert (spec.shape, spec.datatype in NUMPY) == (shape, True)


@pytest.mark.parametrize("text", ["x", "x:FP99[1]", "x:FP32", "x:FP32[1,,2]", "x:FP32[-7]", ":FP32[1]"])
def test_what_describes_no_tensor_is_refused_with_the_form(text):
    with pytest.raises(InvalidTensor, match="like"):
        TensorSpec.parse(text)
