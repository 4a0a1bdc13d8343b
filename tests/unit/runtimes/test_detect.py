import pytest

from modelyard.core.errors import InvalidArtifact, NotFound, Unsupported
from modelyard.runtimes.detect import CHECKS, RUNTIMES, detect_format


def test_a_suffix_tells_the_format(tmp_path):
    (tmp_path / "Model.ONNX").touch()
    assert detect_format(tmp_path / "Model.ONNX") == "onnx"


def test_a_folder_with_one_model_tells_the_format(tmp_path):
    with pytest.raises(InvalidArtifact, match="holds no model file"):
        detect_format(tmp_path)
    (tmp_path / "a.onnx").touch()
    (tmp_path / "weights.bin").touch()
    assert detect_format(tmp_path) == "onnx"
    (tmp_path / "b.onnx").touch()
    with pytest.raises(InvalidArtifact, match=r"a\.onnx, b\.onnx"):
        detect_format(tmp_path)


@pytest.mark.parametrize(("name", "advice"), [("m.pkl", "skl2onnx"), ("m.pt", "torch.onnx"), ("m.dat", "format by name")])
def test_other_files_are_refused_with_advice(name, advice, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(Unsupported, match=advice):
        detect_format(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match="no model file"):
        detect_format(tmp_path / "m.onnx")


def test_the_table_knows_onnx_and_names_the_nearest():
    assert RUNTIMES.get("onnx").name == "onnx"
    assert "onnx" in CHECKS
    with pytest.raises(NotFound, match="Did you mean 'onnx'"):
        RUNTIMES.get("onx")
