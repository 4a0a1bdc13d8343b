import pytest

import onnx_graphs
from modelyard.core.errors import InvalidArtifact
from modelyard.runtimes.onnx_check import check_onnx


def check(path):
    check_onnx(path.parent, path.name)


def test_a_sound_model_passes(tmp_path):
    check(onnx_graphs.adder(tmp_path / "m.onnx", 1))


def test_weights_beside_the_model_pass(tmp_path):
    check(onnx_graphs.external(tmp_path / "m.onnx", "weights.bin", b"\0" * 8))


@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"hello", "not an ONNX model"), (b"PK\x03\x04zip", "not an ONNX|no ONNX")])
def test_other_files_are_refused(content, words, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InvalidArtifact, match=words):
        check_onnx(tmp_path, "m.onnx")


def test_every_truncation_is_refused_or_still_parses(tmp_path):
    whole = onnx_graphs.adder(tmp_path / "whole.onnx", 1).read_bytes()
    refused = 0
    for size in range(1, len(whole)):
        (tmp_path / "m.onnx").write_bytes(whole[:size])
        try:
            check_onnx(tmp_path, "m.onnx")
        except InvalidArtifact:
            refused += 1
    assert refused > len(whole) * 0.8


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights.bin", "a/../../weights.bin", "C:\\weights.bin", "..\\weights.bin"])
def test_weights_outside_the_folder_are_refused(location, tmp_path):
    with pytest.raises(InvalidArtifact, match="leaves the model's folder"):
        check(onnx_graphs.external(tmp_path / "m.onnx", location))


def test_weights_over_a_link_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"\0" * 8)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidArtifact, match="link"):
        check(onnx_graphs.external(tmp_path / "model" / "m.onnx", "weights.bin"))


def test_missing_and_short_weights_are_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match="not uploaded"):
        check(onnx_graphs.external(tmp_path / "m.onnx", "weights.bin"))
    with pytest.raises(InvalidArtifact, match="beyond its end"):
        check(onnx_graphs.external(tmp_path / "m.onnx", "weights.bin", b"\0" * 7))


def test_an_opset_of_the_future_is_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match="opset 99"):
        check(onnx_graphs.adder(tmp_path / "m.onnx", 1, opset=99))
