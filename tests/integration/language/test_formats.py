"""Every form in which a language model is brought, through the job that imports it: converted or kept, proven, and continuing text."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.generation import GenerateRequest, Sampling
from modelyard.runtimes.base import LoadOptions
from modelyard.runtimes.detect import RUNTIMES
from modelyard.runtimes.generative.gguf_file import Precision, write_gguf
from modelyard.runtimes.generative.weights import read_config
from modelyard.testing.generation_contract import Generation
from modelyard.testing.importer_contract import imported

GREEDY = GenerateRequest(prompt="the work and the license", sampling=Sampling(max_tokens=24, temperature=0.0))


def files_of(folder, inside=""):
    return {f"{inside}{path.relative_to(folder)}": path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def continued(folder, made):
    model = RUNTIMES.get(made.outcome.format).load(folder / "output" / "0", made.outcome.entry, LoadOptions(threads=1))
    try:
        return Generation(model, GREEDY).text()
    finally:
        model.close()


@pytest.fixture(scope="module")
def expected(converted_decoder):
    model = RUNTIMES.get("openvino").load(converted_decoder, "openvino_model.xml", LoadOptions(threads=1))
    text = Generation(model, GREEDY).text()
    model.close()
    return text


def test_a_graph_is_taken_as_it_is(converted_decoder, expected, tmp_path):
    (made,) = imported(tmp_path, files_of(converted_decoder))
    assert (made.part.importer, made.outcome.format) == ("openvino", "openvino")
    assert continued(tmp_path, made) == expected
    files = files_of(converted_decoder)
    del files["openvino_model.bin"]
    with pytest.raises(InvalidArtifact, match=r"no openvino_model\.bin"):
        imported(tmp_path / "half", files)


def test_a_gguf_file_is_converted(decoder_folder, expected, tmp_path):
    path = tmp_path / "words.gguf"
    write_gguf(decoder_folder, read_config(decoder_folder), path, Precision.F16, tokenizer=True)
    (made,) = imported(tmp_path / "job", {"words.gguf": path.read_bytes()})
    assert (made.part.importer, made.outcome.format) == ("gguf", "openvino")
    assert made.outcome.proof["agreement"] >= 0.98
    assert continued(tmp_path / "job", made) == expected
    with pytest.raises(InvalidArtifact, match="cannot be read as GGUF"):
        imported(tmp_path / "damaged", {"words.gguf": path.read_bytes()[:2000]})
    with pytest.raises(InvalidArtifact, match="does not begin with 'GGUF'"):
        imported(tmp_path / "other", {"words.gguf": b"something else"})


def test_a_gguf_file_is_kept_for_llama_cpp(decoder_folder, expected, tmp_path):
    path = tmp_path / "words.gguf"
    write_gguf(decoder_folder, read_config(decoder_folder), path, Precision.F16, tokenizer=True)
    (made,) = imported(tmp_path / "job", {"words.gguf": path.read_bytes()}, format="llama_cpp")
    assert made.outcome.format == "llama_cpp"
    assert made.outcome.proof["agreement"] == 1.0
    assert continued(tmp_path / "job", made)[:20] == expected[:20]


def other_decoder(folder, decoder):
    """A decoder that the conversion does not know, with a tokenizer that is there."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(
        vocab_size=1024, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, max_position_embeddings=128
    )
    model = transformers.GPTNeoXForCausalLM(config)
    for parameter in model.parameters():
        parameter.data.mul_(3)
    model.eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((decoder / name).read_bytes())
    return model


def test_a_decoder_that_is_not_converted_is_computed_by_transformers(decoder_folder, tmp_path):
    folder = tmp_path / "neox"
    model = other_decoder(folder, decoder_folder)
    (made,) = imported(tmp_path / "job", files_of(folder))
    assert (made.part.importer, made.outcome.format) == ("decoder", "transformers")
    assert made.outcome.proof["agreement"] >= 0.98
    assert any("GPTNeoXForCausalLM is none of the decoders" in note for note in made.outcome.notes)
    served = RUNTIMES.get("transformers").load(tmp_path / "job" / "output" / "0", "config.json", LoadOptions(threads=1))
    prompt = list(range(40, 60))
    asked = GenerateRequest(token_ids=tuple(prompt), sampling=Sampling(max_tokens=10, temperature=0.0, ignore_end=True))
    chosen = [token for chunk in Generation(served, asked).rest() for token in chunk.token_ids]
    served.close()
    import torch

    kept = list(prompt)
    for _ in range(10):
        logits = model(torch.tensor([kept])).logits[0, -1].detach()
        logits[[0, 2]] = -torch.inf  # ends
        kept.append(int(logits.argmax()))
    assert chosen == kept[len(prompt) :]
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}
    with pytest.raises(Unsupported, match="auto_map"):
        imported(tmp_path / "code", files_of(folder) | {"config.json": json.dumps(config).encode()})


def test_a_decoder_is_kept_for_vllm_untried(decoder_folder, tmp_path):
    (made,) = imported(tmp_path, files_of(decoder_folder) | {"vllm.json": b'{"max-model-len": 128}'}, format="vllm")
    assert (made.outcome.format, made.outcome.after_us) == ("vllm", 0.0)
    names = {path.name for path in (tmp_path / "output" / "0").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "vllm.json"} <= names
    with pytest.raises(InvalidArtifact, match="can run code"):
        imported(tmp_path / "code", files_of(decoder_folder) | {"vllm.json": b'{"trust-remote-code": true}'}, format="vllm")


PEFT = """
import sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

folder, prompt, *places = sys.argv[1:]
for seed, made in enumerate(places):
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(seed)
    named = ["q_proj", "v_proj", "down_proj"]
    config = LoraConfig(r=4, lora_alpha=16, target_modules=named, rank_pattern={"down_proj": 2}, task_type="CAUSAL_LM")
    changed = get_peft_model(model, config)
    for name, parameter in changed.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.4)
    changed.save_pretrained(made)
    ids = torch.tensor([[int(one) for one in prompt.split()]])
    for _ in range(12):
        logits = changed(ids).logits[0, -1].detach()
        logits[[0, 2]] = -torch.inf
        ids = torch.cat([ids, logits.argmax()[None, None]], 1)
    print(*ids[0, -12:].tolist())
"""
PROMPT = tuple(range(300, 320))


def adapters(folder, places):
    """Adapters made by peft, and what the model says with each there."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    arguments = [sys.executable, "-c", PEFT, str(folder), " ".join(map(str, PROMPT)), *map(str, places)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return [[int(one) for one in line.split()] for line in done.stdout.splitlines()]


def test_adapters_change_a_base_as_peft_does(decoder_folder, converted_decoder, tmp_path):
    base = files_of(converted_decoder, "base/")
    said = []
    places = [tmp_path / f"adapter-{number}" for number in (1, 2)]
    for place, wanted in zip(places, adapters(decoder_folder, places), strict=True):
        job = tmp_path / f"job-of-{place.name}"
        (made,) = imported(job, files_of(place) | base)
        assert (made.part.importer, made.outcome.format) == ("lora", "openvino")
        assert made.outcome.proof["matrices"] == 9
        assert made.outcome.proof["moved"] > 0
        model = RUNTIMES.get("openvino").load(job / "output" / "0", made.outcome.entry, LoadOptions(threads=1))
        asked = GenerateRequest(token_ids=PROMPT, sampling=Sampling(max_tokens=12, temperature=0.0, ignore_end=True))
        found = [token for chunk in Generation(model, asked).rest() for token in chunk.token_ids]
        model.close()
        assert found == wanted
        said.append(found)
    assert said[0] != said[1]
    files = files_of(tmp_path / "adapter-1")
    with pytest.raises(InvalidArtifact, match="--base NAME@VERSION"):
        imported(tmp_path / "alone", files)
    config = json.loads(files["adapter_config.json"])
    for change, refusal in (({"use_dora": True}, "DoRA"), ({"bias": "all"}, "biases"), ({"peft_type": "IA3"}, "IA3")):
        with pytest.raises(Unsupported, match=refusal):
            imported(tmp_path / refusal, files | base | {"adapter_config.json": json.dumps(config | change).encode()})
    wider = load_file(tmp_path / "adapter-1" / "adapter_model.safetensors")
    save_file({name: np.zeros((9, 9), np.float32) for name in wider}, tmp_path / "wide.safetensors")
    with pytest.raises(InvalidArtifact, match="has shape"):
        imported(tmp_path / "wide", files | base | {"adapter_model.safetensors": (tmp_path / "wide.safetensors").read_bytes()})
    moved = {name.replace("layers.0", "layers.7"): tensor for name, tensor in wider.items()}
    save_file(moved, tmp_path / "moved.safetensors")
    with pytest.raises(InvalidArtifact, match=r"layers\.7.*which the base does not have"):
        imported(tmp_path / "moved", files | base | {"adapter_model.safetensors": (tmp_path / "moved.safetensors").read_bytes()})
