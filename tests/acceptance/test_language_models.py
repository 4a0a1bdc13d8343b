"""A language model from a folder to official clients: pushed, converted in confinement, served by a replica process, metered."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import openai
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from language import decoder_folder  # noqa: F401  # a fixture
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
