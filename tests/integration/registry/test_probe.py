"""The confined trial with real models in a real child process."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from modelyard.core.errors import Internal, InvalidArtifact
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.registry.validate import ProbeLimits, Prober

_spec = importlib.util.spec_from_file_location("graphs", Path(__file__).with_name("graphs.py"))
graphs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(graphs)

COMMAND = [sys.executable, "-m", "modelyard.server.entrypoints.probe"]


def probe(path, **limits):
    return Prober(COMMAND).probe(path.parent, path.name, "onnx", ProbeLimits(**limits))


def test_a_model_by_rows_is_measured_and_may_be_batched(tmp_path):
    found = probe(graphs.linear(tmp_path / "m.onnx"))
    assert found.signature.inputs == (TensorSpec(name="x", datatype=Datatype.FP32, shape=("N", 3)),)
    assert found.signature.classes == ("a", "b", "c")
    assert found.profile.row_independent
    assert found.profile.inline
    assert found.profile.reason == ""
    assert found.profile.batch_rows == 8
    assert min(found.profile.single_us, found.profile.batch_us) > 0


def test_rows_that_influence_each_other_are_noticed(tmp_path):
    found = probe(graphs.mixing(tmp_path / "m.onnx"))
    assert not found.profile.row_independent
    assert found.profile.inline


def test_a_model_of_one_row_is_not_batched(tmp_path):
    found = probe(graphs.fixed(tmp_path / "m.onnx"))
    assert (found.profile.row_independent, found.profile.batch_rows, found.profile.inline) == (False, 0, True)


def test_indices_stay_in_small_tables(tmp_path):
    assert probe(graphs.embedding(tmp_path / "m.onnx")).profile.row_independent


def test_a_large_artifact_does_not_run_inline(tmp_path):
    profile = probe(graphs.linear(tmp_path / "m.onnx"), inline_bytes=10).profile
    assert not profile.inline
    assert "more than 10" in profile.reason


def test_a_graph_that_never_ends_is_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match=r"within 1 s|of CPU time"):
        probe(graphs.endless(tmp_path / "m.onnx"), seconds=1.0)


def test_a_graph_that_asks_for_terabytes_is_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match="memory"):
        probe(graphs.greedy(tmp_path / "m.onnx"))


def test_a_graph_over_the_memory_limit_is_refused(tmp_path):
    path = graphs.greedy(tmp_path / "m.onnx", size=2**28)
    with pytest.raises(InvalidArtifact, match="memory"):
        probe(path, memory_bytes=512 << 20)


def test_weights_outside_the_folder_are_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match="leaves the model's folder"):
        probe(graphs.outside(tmp_path / "m.onnx"))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" * 100])
def test_what_is_no_model_is_refused_in_one_sentence(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InvalidArtifact) as caught:
        probe(tmp_path / "m.onnx")
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_truncated_model_is_refused(tmp_path, kept):
    path = graphs.linear(tmp_path / "m.onnx")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(InvalidArtifact):
        probe(path)


def last_words(code, folder, caplog):
    """What a child says on standard error, which only the log tells."""
    with pytest.raises(Internal) as caught:
        Prober([sys.executable, "-c", code]).probe(folder, "m.onnx", "onnx")
    words = caplog.records[-1].args[1]
    assert words not in caught.value.message.split()
    return words


def test_the_child_knows_no_secrets_and_cannot_write(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MODELYARD_ADMIN_KEY", "secret")
    code = (
        "import os, sys; sys.stdin.read()\n"
        "from modelyard.server.entrypoints.probe import give_up_privileges, limit\n"
        "give_up_privileges(); limit(1 << 30, 5.0, 0)\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "found = ['MODELYARD_ADMIN_KEY' in os.environ]\n"
        "try:\n"
        f"    os.write(os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_WRONLY), b'x'); found.append('wrote')\n"
        "except OSError: pass\n"
        "try:\n    bytearray(2 << 30); found.append('allocated')\nexcept MemoryError: pass\n"
        "sys.exit(' '.join(map(str, found)))"
    )
    assert last_words(code, tmp_path, caplog) == "False"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only Linux can take the network away, and only surely for root")
def test_the_child_has_no_network(tmp_path, caplog):
    code = (
        "import socket, sys; sys.stdin.read()\n"
        "from modelyard.server.entrypoints.probe import give_up_privileges\n"
        "give_up_privileges()\n"
        "sys.exit(' '.join(name for _, name in socket.if_nameindex()))"
    )
    assert last_words(code, tmp_path, caplog) == "lo"
