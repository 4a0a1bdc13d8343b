"""A language model from a folder to official clients: pushed, converted in confinement, served by a replica process, metered."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import openai
import psutil
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from acceptance.test_kills import eventually, processes
from language import converted_decoder, decoder_folder  # noqa: F401  # fixtures
from makers.wheels import wheel
from modelyard import Client
from modelyard.runtimes.generative.gguf_file import Precision, write_gguf
from modelyard.runtimes.generative.reference import reference_logits
from modelyard.runtimes.generative.weights import Weights, read_config
from modelyard.testing.platform import RunningPlatform, running_platform
from servers.hub import COMMIT, Hub

PROMPT = list(range(300, 316))
GREEDY = {"max_tokens": 6, "temperature": 0, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory):
    with running_platform(tmp_path_factory.mktemp("language") / "home", workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(platform: RunningPlatform):
    with openai.OpenAI(base_url=f"{platform.inference}/v1", api_key=platform.admin_key, max_retries=8) as client:
        yield client


def expected(folder: Path, change=lambda tensors: tensors) -> str:
    """What the decoder in a folder says to ``PROMPT``, by plain NumPy, once its matrices are changed."""
    tensors = change(load_file(folder / "model.safetensors"))
    weights = folder.parent / f"{folder.name}-expected"
    weights.mkdir(exist_ok=True)
    save_file(tensors, weights / "model.safetensors")
    ids = list(PROMPT)
    for _ in range(GREEDY["max_tokens"]):
        logits = reference_logits(read_config(folder), Weights(weights), ids)[-1]
        logits[[0, 2]] = -np.inf  # ends
        ids.append(int(logits.argmax()))
    return Tokenizer.from_file(str(folder / "tokenizer.json")).decode(ids[len(PROMPT) :], skip_special_tokens=False)


def said(client: openai.OpenAI, model: str) -> str:
    return client.completions.create(model=model, prompt=PROMPT, **GREEDY).choices[0].text


@pytest.mark.timeout(300)
def test_a_model_of_a_hub_becomes_a_chat(platform, client, decoder_folder, tmp_path) -> None:  # noqa: F811
    with Hub({"org/words": decoder_folder}, token="hub-secret") as hub:
        platform.environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
        refused = platform.run("push", "hf:org/words", check=False)
        assert "check the name and HF_TOKEN" in refused.stderr
        platform.environment["HF_TOKEN"] = "hub-secret"
        shown = platform.run("push", "hf:org/words").stdout
    assert "a language model (LlamaForCausalLM)" in shown
    version = platform.json("show", "words")
    assert version["tags"] == {"hub": "org/words", "hub_revision": COMMIT}
    assert version["report"]["import"]["proof"]["agreement"] >= 0.98
    platform.run("deploy", "words@1")
    stream = client.chat.completions.create(
        model="words",
        messages=[{"role": "user", "content": "Say something."}],
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[-1].usage.completion_tokens == 8
    with pytest.raises(openai.BadRequestError, match="does not turn texts into vectors"):
        client.embeddings.create(model="words", input="a")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        rows = platform.json("usage", "--by", "deployment")
        if any(row.get("tokens_out") == 8 for row in rows):
            break
        time.sleep(0.2)
    else:
        pytest.fail(f"the ledger does not know the tokens: {rows}")


def test_a_client_reads_its_limits_and_waits_as_it_is_told(platform, client) -> None:
    """The deployment is that of the test before."""
    with Client(platform.url, platform.admin_key) as control:
        key = control.keys.create(deployments=["words"])
        control.limits.set("1/second", scope="key", subject=key.id)
    asked = {"model": "words", "prompt": "a", "max_tokens": 1}
    bound = {"x-ratelimit-limit-requests": "1", "x-ratelimit-remaining-requests": "0"}
    with openai.OpenAI(base_url=f"{platform.inference}/v1", api_key=key.key, max_retries=0) as narrow:

        def told(**more: object) -> dict[str, str]:
            headers = narrow.completions.with_raw_response.create(**asked, **more).headers
            return {name: value for name, value in headers.items() if name in bound}

        eventually(lambda: told(stream=True) == bound, 10, "it is bound, and its streams say so")

        def until_refused() -> None:
            while told() == bound:
                pass

        with pytest.raises(openai.RateLimitError) as caught:
            until_refused()
        assert caught.value.code == "rate_limit_exceeded"
        headers = caught.value.response.headers
        assert 0 < int(headers["retry-after-ms"]) <= 1000
        assert bound.items() <= dict(headers).items()
        assert narrow.with_options(max_retries=8).completions.create(**asked).usage.completion_tokens == 1


def test_a_stream_ends_with_its_budget_and_says_so(platform, client) -> None:
    """The deployment is that of the tests before."""
    with Client(platform.url, platform.admin_key) as control:
        key = control.keys.create(deployments=["words"])
        control.limits.set("12 tokens_out total", scope="key", subject=key.id)
    asked = {"model": "words", "prompt": PROMPT, "max_tokens": 64, "stream": True, "extra_body": {"ignore_eos": True}}
    got = []
    with openai.OpenAI(base_url=f"{platform.inference}/v1", api_key=key.key, max_retries=8) as narrow:
        with pytest.raises(openai.APIError, match="12 tokens out in total for key") as cut:
            got.extend(narrow.completions.create(**asked))
        assert not isinstance(cut.value, openai.RateLimitError), "it had begun"
        with pytest.raises(openai.RateLimitError):
            narrow.with_options(max_retries=0).completions.create(**asked)
    assert 0 < len(got) <= 12

    def recorded() -> list[int]:
        return [row.get("tokens_out", 0) for row in platform.json("usage", "--by", "key", "--key", key.id)]

    eventually(lambda: recorded() == [12], 30, "the ledger has what was handed out")


@pytest.mark.timeout(300)
def test_a_gguf_file_is_pushed_and_answers_as_the_decoder_it_holds(platform, client, decoder_folder, tmp_path) -> None:  # noqa: F811
    path = tmp_path / "coarse.gguf"
    write_gguf(decoder_folder, read_config(decoder_folder), path, Precision.F16, tokenizer=True)
    shown = platform.run("push", str(path)).stdout
    assert "a language model in GGUF" in shown
    platform.run("deploy", "coarse@1")
    assert said(client, "coarse") == expected(decoder_folder)
    assert {model.id for model in client.models.list()} >= {"coarse"}


def write_adapter(folder: Path, seed: int) -> dict[str, np.ndarray]:
    """A LoRA adapter in the form of peft's; what it adds, by the matrix."""
    random, tensors, added = np.random.default_rng(seed), {}, {}
    for layer in range(3):
        name = f"model.layers.{layer}.mlp.down_proj"
        down = random.standard_normal((4, 320)).astype(np.float32) / 16
        up = random.standard_normal((128, 4)).astype(np.float32)
        tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
        added[f"{name}.weight"] = 2 * up @ down
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": ["down_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return added


@pytest.mark.timeout(300)
def test_adapters_are_children_of_one_base_and_answer_each_in_its_way(platform, client, decoder_folder, tmp_path) -> None:  # noqa: F811
    answers = {"words": expected(decoder_folder)}
    with Client(platform.url, platform.admin_key, timeout=300) as control:
        if not control.models.list(search="words"):
            control.push(decoder_folder, "words")
        base = control.models.version("words@1")
        for seed, name in enumerate(("polite", "terse")):
            added = write_adapter(tmp_path / name, seed)
            answers[name] = expected(decoder_folder, lambda tensors, added=added: tensors | {at: tensors[at] + added[at] for at in added})
            platform.run("push", str(tmp_path / name), "--base", "words@1")
            version = control.models.version(f"{name}@1")
            assert version.lineage.parent_version_id == base.id
            assert version.lineage.detail["base"] == "words@1"
            control.deploy(f"{name}@1")
        control.deploy("words@1")
    assert len(set(answers.values())) == 3
    assert {name: said(client, name) for name in answers} == answers


def vllm_processes(platform: RunningPlatform) -> list[psutil.Process]:
    """What stands in for vLLM, started by replicas."""
    found = []
    for process in processes(platform, "replica"):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += process.children(recursive=True)
    return found


def stand_in(folder: Path, model: Path) -> str:
    """A requirement that installs a program ``vllm``, which becomes the stand-in with what the tests have installed."""
    script = Path(__file__).parent.parent / "servers" / "vllm_shaped.py"
    code = f"""
import os, sys

def main():
    if sys.argv[1:] == ["--version"]:
        print("0.0+stands.in")
    else:
        os.environ["STAND_IN_MODEL"] = {str(model)!r}
        os.execv({sys.executable!r}, [{sys.executable!r}, {str(script)!r}, *sys.argv[1:]])
"""
    scripts = "[console_scripts]\nvllm = stands_in:main\n"
    return f"vllm @ {wheel(folder, 'vllm', {'stands_in.py': code, 'vllm-1.0.dist-info/entry_points.txt': scripts}).as_uri()}"


@pytest.mark.timeout(300)
def test_vllm_is_installed_and_a_replica_starts_calls_and_starts_it_again(
    platform,
    client,
    decoder_folder,  # noqa: F811
    converted_decoder,  # noqa: F811
    tmp_path,
) -> None:
    """By a stand-in that is installed, started and called as vLLM is: there is no GPU to run vLLM on."""
    shutil.copytree(decoder_folder, tmp_path / "served")
    (tmp_path / "served" / "vllm.json").write_text(json.dumps({"max-model-len": 128, "enable_prefix_caching": False}))
    platform.run("push", str(tmp_path / "served"), "--format", "vllm")
    refused = platform.run("deploy", "served@1", check=False)
    assert "There is no vLLM here; install it with 'modelyard install vllm'" in refused.stderr
    assert "takes about" in platform.run("install", "vllm", "--device", "cpu", "--dry-run").stdout
    (tmp_path / "requirements.txt").write_text(stand_in(tmp_path, converted_decoder))
    shown = platform.run("install", "vllm", "--requirements", str(tmp_path / "requirements.txt"))
    assert "Installing vllm @ file:" in shown.stderr
    assert "0.0+stands.in" in shown.stdout
    eventually(lambda: bool(vllm_processes(platform)), 120, "the deployment finds it by itself")
    assert said(client, "served") == expected(decoder_folder)
    (process,) = vllm_processes(platform)
    command = process.cmdline()[2:]
    assert command[0] == "serve"
    assert (Path(command[1]) / "model.safetensors").is_file()
    assert command[2:-2] == ["--uds", command[3], "--served-model-name", "model", "--max-model-len=128", "--no-enable-prefix-caching"]
    grammars = '--structured-outputs-config={"backend": "guidance", "disable_any_whitespace": true}'
    assert command[-2:] == ["--enable-prompt-tokens-details", grammars]
    assert process.environ()["HF_HUB_OFFLINE"] == process.environ()["VLLM_NO_USAGE_STATS"] == "1"
    with pytest.raises(openai.BadRequestError, match="context holds 128"):
        client.completions.create(model="served", prompt=PROMPT * 9, **GREEDY)
    process.kill()
    eventually(lambda: bool(vllm_processes(platform)) and vllm_processes(platform) != [process], 60, "another is started")
    assert said(client, "served") == expected(decoder_folder)
    assert "Ends, to be started again: vLLM ended with status -9" in platform.run("logs", "served").stdout
    platform.run("undeploy", "served")
    eventually(lambda: not vllm_processes(platform), 60, "it ends with its replica")
