from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from language import decoder_folder  # noqa: F401  # a fixture
from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.runtimes.generative.conversion import Proof, convert_decoder
from modelyard.runtimes.generative.gguf_file import Precision


@pytest.fixture
def copy(decoder_folder: Path, tmp_path: Path) -> Path:  # noqa: F811
    return Path(shutil.copytree(decoder_folder, tmp_path / "copy"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def converted(folder: Path, tmp_path: Path, precision: Precision = Precision.F16) -> Proof:
    target = tmp_path / "target"
    target.mkdir()
    return convert_decoder(folder, target, precision)


def test_a_conversion_is_proven_in_numbers(copy: Path, tmp_path: Path) -> None:
    proof = converted(copy, tmp_path, Precision.Q8)
    assert proof.positions == 64
    assert proof.agreement >= 0.9
    assert 0 < proof.median_error < 0.3


def test_biases_and_head_norms_are_kept(copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    random = np.random.default_rng(3)
    for layer in range(3):
        for name in ("q_norm", "k_norm"):
            weights[f"model.layers.{layer}.self_attn.{name}.weight"] = random.uniform(0.5, 1.5, 32).astype(np.float32)
    save_file(weights, copy / "model.safetensors")
    edit(copy, architectures=["Qwen3ForCausalLM"], head_dim=32)
    assert converted(copy, tmp_path).agreement >= 0.98


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, Unsupported, "GPT2LMHeadModel is none"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, Unsupported, "yarn"),
        ({"sliding_window": 16}, Unsupported, "last 16 tokens"),
        ({"hidden_act": "gelu"}, Unsupported, "gelu"),
        ({"hidden_size": "many"}, InvalidArtifact, "config.json cannot be used"),
        ({"hidden_size": 256, "head_dim": 32}, InvalidArtifact, "has shape"),
        ({"num_hidden_layers": 4}, InvalidArtifact, "no tensor 'model.layers.3"),
    ],
)
def test_what_the_graph_does_not_know_is_refused(
    copy: Path, tmp_path: Path, changes: dict[str, object], kind: type[Exception], said: str
) -> None:
    edit(copy, **changes)
    with pytest.raises(kind, match=said):
        converted(copy, tmp_path)


def test_pickled_weights_are_refused_by_name(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InvalidArtifact, match=r"pickled \(pytorch_model.bin\)"):
        converted(copy, tmp_path)
