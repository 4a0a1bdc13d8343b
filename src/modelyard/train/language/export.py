"""A trained decoder as a folder that Transformers loads, and as the graph that is served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn

from modelyard.runtimes.generative.conversion import convert_decoder
from modelyard.train.language.decoder import EPSILON
from modelyard.train.language.tokenizer import END_ID, END_TURN_ID, save_tokenizer
from modelyard.train.recipes.language import LanguageModelRecipe

WEIGHTS = "model.safetensors"


def save_folder(module: nn.Module, tokenizer: Tokenizer, recipe: LanguageModelRecipe, folder: Path) -> None:
    """``config.json``, weights, tokenizer, chat template and how to sample."""
    save_tokenizer(tokenizer, folder)
    (folder / "config.json").write_text(json.dumps(_config(recipe, tokenizer.get_vocab_size()), indent=2))
    usual = {"eos_token_id": [END_ID, END_TURN_ID], "pad_token_id": END_ID}
    if recipe.samples.temperature > 0:
        usual |= {"do_sample": True, "temperature": recipe.samples.temperature, "top_p": recipe.samples.top_p}
    (folder / "generation_config.json").write_text(json.dumps(usual))
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, folder / WEIGHTS, metadata={"format": "pt"})


def to_artifact(folder: Path, artifact: Path) -> dict[str, Any]:
    """The graph that OpenVINO computes, proven, with the weights beside it for whoever trains on; the proof.

    Raises InvalidArtifact when the graph answers otherwise than the weights say.
    """
    proof = convert_decoder(folder, artifact)
    shutil.copyfile(folder / WEIGHTS, artifact / WEIGHTS)
    found: dict[str, Any] = msgspec.to_builtins(proof) | {"source": "a forward pass in NumPy"}
    return found


def _config(recipe: LanguageModelRecipe, vocabulary: int) -> dict[str, Any]:
    network = recipe.network
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": vocabulary,
        "hidden_size": network.hidden,
        "intermediate_size": network.units,
        "num_hidden_layers": network.layers,
        "num_attention_heads": network.heads,
        "num_key_value_heads": network.key_heads or network.heads,
        "max_position_embeddings": network.context,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_theta": network.rope_base, "rope_type": "default"},
        "hidden_act": "silu",
        "tie_word_embeddings": network.tied,
        "bos_token_id": None,
        "eos_token_id": END_TURN_ID,
        "pad_token_id": END_ID,
    }
