"""The parent's side of a trial, with children that behave in every way but the right one."""

import os
import sys

import pytest

from modelyard.core.errors import Internal, InvalidArtifact, NotFound
from modelyard.registry.validate import ProbeLimits, Prober

GOOD = '{"result": {"signature": {"inputs": [], "outputs": []}, "profile": {"row_independent": true, "memory_bytes": 1000}}}'


def probe(folder, code, format_name="onnx", **limits):
    command = [sys.executable, "-c", f"import os, signal, sys, time; request = sys.stdin.read(); {code}"]
    return Prober(command).probe(folder, "m.onnx", format_name, ProbeLimits(**limits))


def test_the_answer_is_taken_and_inline_decided(tmp_path):
    found = probe(tmp_path, f"print('''{GOOD}''')")
    assert found.profile.row_independent
    assert found.profile.inline


@pytest.mark.parametrize(
    ("format_name", "limits", "reason"),
    [("sklearn", {}, "process of its own"), ("onnx", {"inline_bytes": 999}, "1000 bytes of memory")],
)
def test_why_not_inline_is_said(tmp_path, format_name, limits, reason):
    found = probe(tmp_path, f"print('''{GOOD}''')", format_name, **limits)
    assert not found.profile.inline
    assert reason in found.profile.reason


def test_the_child_gets_the_request(tmp_path):
    with pytest.raises(InvalidArtifact, match=r'"entry":"m\.onnx"'):
        probe(tmp_path, "import json; print(json.dumps({'code': 'invalid_artifact', 'message': request}))")


def test_errors_keep_their_kind(tmp_path):
    with pytest.raises(NotFound, match=r"^no such format$"):
        probe(tmp_path, """print('{"code": "not_found", "message": "no such format"}')""")


@pytest.mark.parametrize(
    ("signal_name", "sentence"), [("SIGSEGV", "SIGSEGV"), ("SIGABRT", "SIGABRT"), ("SIGKILL", "memory"), ("SIGXCPU", "CPU time")]
)
def test_a_child_that_dies_condemns_the_model(tmp_path, signal_name, sentence):
    with pytest.raises(InvalidArtifact, match=sentence):
        probe(tmp_path, f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.{signal_name})")


@pytest.mark.parametrize("code", ["sys.exit(3)", "print('hello')", "print('{}'[:1])", "print('{\"result\": {}}')"])
def test_a_child_without_an_answer_is_our_fault(tmp_path, code):
    with pytest.raises(Internal):
        probe(tmp_path, code)


def test_an_endless_answer_is_cut_off(tmp_path):
    with pytest.raises(InvalidArtifact, match="too great length"):
        probe(tmp_path, "[os.write(1, b'x' * 65536) for _ in iter(int, 1)]")


def test_a_talkative_child_is_heard_to_the_end(tmp_path):
    assert probe(tmp_path, f"sys.stderr.write('x' * 10_000_000); print('''{GOOD}''')").profile.row_independent


def test_a_child_that_hangs_is_killed_with_its_family(tmp_path, monkeypatch):
    monkeypatch.setattr("modelyard.registry.validate._STARTUP_SECONDS", 0.5)
    fifo = tmp_path / "fifo"

    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    code = f"held = open({str(fifo)!r}, 'w'); held.write('x'); held.flush(); os.fork(); time.sleep(600)"
    with pytest.raises(InvalidArtifact, match=r"within 0\.1 s"):
        probe(tmp_path, code, seconds=0.1)
    # Everybody who held the pipe is gone: reading comes to its end.
    os.set_blocking(reader, True)
    with os.fdopen(reader) as stream:
        assert stream.read() == "x"


def test_a_command_that_is_missing_is_our_fault(tmp_path):
    with pytest.raises(OSError, match="no/such"):
        Prober(["/no/such/command"]).probe(tmp_path, "m", "onnx")
