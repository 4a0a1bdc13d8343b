import numpy as np
import pytest
from onnx import TensorProto, helper

import onnx_graphs
from modelyard.core.errors import InvalidArtifact, InvalidTensor
from modelyard.core.tensors import NUMPY, Datatype
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.onnx import RUNTIME
from onnx_graphs import save, value


def load(path):
    return RUNTIME.load(path.parent, path.name, LoadOptions())


@pytest.mark.parametrize("datatype", list(Datatype))
def test_every_datatype_goes_in_and_comes_out(datatype, tmp_path):
    model = load(onnx_graphs.identity(tmp_path / "m.onnx", str(datatype)))
    assert model.signature.inputs[0].datatype is datatype
    assert model.signature.inputs[0].shape == ("n", 2)
    x = np.array([["a", "b"]], object) if datatype is Datatype.BYTES else np.array([[1, 0]], NUMPY[datatype])
    assert model.infer({"x": x})["y"].tolist() == x.tolist()
    empty = model.infer({"x": x[:0]})["y"]
    assert empty.shape == (0, 2)


def test_class_names_and_descriptions_come_from_the_metadata(tmp_path):
    metadata = {"modelyard.classes": '["cat", "dog"]', "modelyard.descriptions": '{"x": "two numbers"}'}
    signature = load(onnx_graphs.adder(tmp_path / "m.onnx", 1, metadata=metadata)).signature
    assert signature.classes == ("cat", "dog")
    assert signature.inputs[0].description == "two numbers"


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "3"])
def test_metadata_of_another_form_is_refused(text, tmp_path):
    with pytest.raises(InvalidArtifact, match=r"modelyard\.classes"):
        load(onnx_graphs.adder(tmp_path / "m.onnx", 1, metadata={"modelyard.classes": text}))


def test_a_map_output_is_refused_with_the_way_to_mend_it(tmp_path):
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, [])))
    output = helper.make_value_info("z", kind)
    zipmap = helper.make_node("ZipMap", ["x"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    path = save(tmp_path / "m.onnx", [zipmap], [value("x", "FP32", "n", 2)], [output], domains=["ai.onnx.ml"])
    with pytest.raises(InvalidArtifact, match="zipmap"):
        load(path)


def test_a_sequence_output_is_refused(tmp_path):
    output = helper.make_tensor_sequence_value_info("z", TensorProto.FLOAT, None)
    path = save(tmp_path / "m.onnx", [helper.make_node("SequenceConstruct", ["x"], ["z"])], [value("x", "FP32", "n", 2)], [output])
    with pytest.raises(InvalidArtifact, match="only tensors can be served"):
        load(path)


@pytest.mark.parametrize(
    ("node", "domains", "words"),
    [
        (helper.make_node("Foo", ["x"], ["y"], domain="com.acme"), ["com.acme"], "operator"),
        (helper.make_node("Nope", ["x"], ["y"]), [], "does not load"),
        (helper.make_node("Relu", ["missing"], ["y"]), [], "does not load"),
    ],
)
def test_graphs_that_cannot_run_are_refused_silently(node, domains, words, tmp_path, capfd):
    path = save(tmp_path / "m.onnx", [node], [value("x", "FP32", "n", 2)], [value("y", "FP32", "n", 2)], domains=domains)
    with pytest.raises(InvalidArtifact, match=words) as caught:
        load(path)
    assert "onnxruntime/core" not in caught.value.message
    assert str(tmp_path) not in caught.value.message
    assert capfd.readouterr().err == ""


def test_data_that_the_graph_refuses_is_the_callers_error(tmp_path, capfd):
    model = load(onnx_graphs.lookup(tmp_path / "m.onnx"))
    assert model.infer({"i": np.array([1, 3])})["y"].tolist() == [20.0, 40.0]
    with pytest.raises(InvalidTensor, match="'look', indices element out of data bounds") as caught:
        model.infer({"i": np.array([9])})
    assert "/" not in caught.value.message
    assert model.infer({"i": np.array([0])})["y"].tolist() == [10.0]
    assert capfd.readouterr().err == ""


def test_bytes_that_are_no_text_are_refused(tmp_path):
    model = load(onnx_graphs.identity(tmp_path / "m.onnx", "BYTES"))
    with pytest.raises(InvalidTensor, match="UTF-8"):
        model.infer({"x": np.array([[b"\xff", "b"]], object)})


def test_fixed_width_text_arrays_are_taken(tmp_path):
    model = load(onnx_graphs.identity(tmp_path / "m.onnx", "BYTES"))
    assert model.infer({"x": np.array([["ab", "c"]])})["y"].tolist() == [["ab", "c"]]
    assert model.infer({"x": np.array([[b"ab", b"c"]])})["y"].tolist() == [["ab", "c"]]
