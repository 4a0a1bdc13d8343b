"""vLLM's process, by a stand-in that is called and answers as it does: options, endings, what may not be passed on."""

from __future__ import annotations

import json
import shutil

import pytest

from language import vllm_model  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidArtifact, Unavailable
from modelyard.core.generation import GenerateRequest, Sampling
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.vllm import RUNTIME, Server, arguments_of, read_options
from modelyard.testing.generation_contract import Generation


@pytest.fixture
def folder(vllm_model, tmp_path):  # noqa: F811
    made, program = vllm_model
    shutil.copytree(made, tmp_path / "decoder")
    (tmp_path / "converted").symlink_to(made.parent / "converted")
    return tmp_path / "decoder", str(program)


def test_options_are_passed_on_and_the_process_ends_with_the_model(folder):
    place, program = folder
    (place / "vllm.json").write_text(json.dumps({"max-model-len": 128, "--gpu_memory_utilization": 0.5, "enable-prefix-caching": False}))
    model = RUNTIME.load(place, "config.json", LoadOptions(program=program))
    assert model.context_length == 128
    assert not model.ended()
    process = model._server._process
    assert Generation(model, GenerateRequest(prompt="one two", sampling=Sampling(max_tokens=3))).rest()[-1].usage.tokens_out == 3
    process.kill()  # as when the machine's memory ends
    process.wait()
    assert "vLLM ended with status -9: INFO serving model" in model.ended()
    with pytest.raises(Unavailable, match="vLLM has ended"):
        Generation(model, GenerateRequest(prompt="one two", sampling=Sampling(max_tokens=3))).rest()
    model.close()
    assert not model._server._place.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpu-memory-utilization": 7}, "status 1 while it loaded the model: ValueError: gpu_memory_utilization"),
        ({"no-such-option": 1}, "status 2 .*unrecognized arguments"),
    ],
)
def test_what_it_refuses_is_told_in_its_own_words(folder, options, said):
    place, program = folder
    (place / "vllm.json").write_text(json.dumps(options))
    with pytest.raises(InvalidArtifact, match=said):
        RUNTIME.load(place, "config.json", LoadOptions(program=program))


def test_why_one_of_its_processes_failed_is_told_and_not_that_one_did(tmp_path):
    program = tmp_path / "vllm"
    program.write_text(
        "#!/bin/sh\n"
        "echo '(VllmWorker-0 pid=7) ERROR 11-27 07:14:30 [multiproc_executor.py:953] ValueError: Available memory is less than desired.'\n"
        "for line in $(seq 60); do echo 'Traceback'; done\n"
        "echo 'RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}'\n"
        "exit 1\n"
    )
    program.chmod(0o755)
    with pytest.raises(InvalidArtifact, match=r"while it loaded the model: ValueError: Available memory is less than desired\.$"):
        Server(str(program), tmp_path, {}).wait(30)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ('{"trust-remote-code": true}', "can run code"),
        ('{"trust_remote_code": true}', "can run code"),
        ('{"--port": 1}', "sets itself"),
        ('{"a b; rm": 1}', "no option's name"),
        ('{"a": null}', "must be a text"),
        ("[]", "must hold an object"),
        ("{", "is not JSON"),
    ],
)
def test_what_may_not_be_passed_on_is_refused_at_push(folder, options, said):
    place, _ = folder
    (place / "vllm.json").write_text(options)
    with pytest.raises(InvalidArtifact, match=said):
        RUNTIME.load(place, "config.json", LoadOptions())


def test_without_a_program_it_is_only_looked_at(folder):
    place, _ = folder
    model = RUNTIME.load(place, "config.json", LoadOptions())
    assert not model.tried
    with pytest.raises(Unavailable, match="modelyard install vllm"):
        Generation(model, GenerateRequest(prompt="a")).rest()
    with pytest.raises(Unavailable, match="cannot be started"):
        RUNTIME.load(place, "config.json", LoadOptions(program="/no/such/vllm"))


def test_options_become_arguments():
    options = {"a": 1, "b": "x y", "c": True, "d": False, "e": {"k": [1]}, "f": ["p", "q"]}
    assert arguments_of(options) == ["--a=1", "--b=x y", "--c", "--no-d", '--e={"k": [1]}', "--f", "p", "q"]


def test_names_are_read_in_any_spelling(tmp_path):
    (tmp_path / "vllm.json").write_text('{"--max_model_len": 5}')
    assert read_options(tmp_path) == {"max-model-len": 5}
