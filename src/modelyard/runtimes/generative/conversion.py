"""From what people have to what is served: a decoder's folder or a GGUF file becomes OpenVINO IR, and is proven to be the same.

Runs in jobs and confined processes only: it needs the memory of the whole model.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import openvino_genai
from numpy.typing import NDArray

from modelyard.core.errors import InvalidArtifact, ModelyardError, Unsupported
from modelyard.runtimes.edge import attempt
from modelyard.runtimes.generative.affinity import several_cores
from modelyard.runtimes.generative.decoder import Piece
from modelyard.runtimes.generative.gguf_file import Precision, write_gguf
from modelyard.runtimes.generative.gguf_source import GgufSource, GgufWeights
from modelyard.runtimes.generative.gguf_tokenizer import write_tokenizer
from modelyard.runtimes.generative.reference import reference_logits
from modelyard.runtimes.generative.weights import DecoderConfig, Tensors, Weight, Weights, read_config
from modelyard.runtimes.openvino import PagedDecoder

ENTRY = "openvino_model.xml"
KEPT = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md", "LICENSE")
"""Files that go along as they are."""
_READ = ("f32", "f16", "q8_0", "q4_0")
"""Kinds of weights that OpenVINO is known to read; it is asked first, whatever they are."""
_PROOF_TOKENS = 64
_AGREEMENT = {Precision.F16: 0.98, Precision.Q8: 0.9}
"""Share of positions at which the likeliest token must be the same."""
_TIE = {Precision.F16: 0.05, Precision.Q8: 0.3}
"""Tokens whose log probabilities are that near are equally likely."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """How near the converted decoder is to the weights that were given."""

    positions: int
    agreement: float
    """Share of positions with the same likeliest token, or one that is as likely."""
    median_error: float
    p99_error: float
    """Of log probabilities, over the tokens that matter: the 32 likeliest of each position."""


def convert_decoder(folder: Path, target: Path, precision: Precision = Precision.F16) -> Proof:
    """Converts the Hugging Face decoder in ``folder`` into the empty folder ``target`` and compares the two.

    Raises InvalidArtifact when it cannot be converted or comes out different, Unsupported for a decoder of another kind.
    """
    if precision not in _AGREEMENT:
        raise Unsupported(f"A decoder is converted in {' or '.join(_AGREEMENT)}, and made smaller afterwards by the passes int8 and int4.")
    config = read_config(folder)
    with tempfile.TemporaryDirectory(prefix="decoder-") as temporary:
        path = Path(temporary) / "decoder.gguf"
        write_gguf(folder, config, path, precision)
        _build(path, target)
    for name in KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    return prove(Weights(folder), config, target / ENTRY, precision)


def convert_gguf(path: Path, target: Path) -> Proof:
    """Converts the GGUF file at ``path`` into the empty folder ``target``, with its own tokenizer unless one lies beside it.

    Its weights stay as coarse as they are. Raises InvalidArtifact and Unsupported as ``convert_decoder`` does.
    """
    source = GgufSource(path)
    config = source.config()
    with tempfile.TemporaryDirectory(prefix="decoder-") as temporary:
        linked = Path(temporary) / "decoder.gguf"
        shutil.copyfile(path, linked)  # beside which the graph is saved
        try:
            _build(linked, target)
        except InvalidArtifact as error:
            if unread := [kind for kind in source.kinds if kind not in _READ]:
                told = f"its weights are {', '.join(unread)}, and OpenVINO reads {', '.join(_READ)}"
                raise InvalidArtifact(f"{error.message} The reason: {told}. llama.cpp serves it as it is: --format llama_cpp.") from error
            raise
    lay_beside(source, path.parent, target)
    return prove(GgufWeights(source, config), config, target / ENTRY, Precision.F16)


def lay_beside(source: GgufSource, folder: Path, target: Path) -> None:
    """Puts what a decoder needs beside its weights into ``target``: files of ``folder`` where they are, else what the GGUF file says."""
    if (folder / "tokenizer.json").is_file():
        for name in KEPT:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, target / name)
    else:
        write_tokenizer(source, target)
    if not (target / "config.json").is_file():
        (target / "config.json").write_text(json.dumps(source.document()))


def prove(weights: Tensors, config: DecoderConfig, path: Path, precision: Precision) -> Proof:
    """Compares a converted decoder with a pass in NumPy over ``weights``; raises InvalidArtifact when they differ too much."""
    proof = _compared(weights, config, path, _TIE[precision])
    if proof.agreement < _AGREEMENT[precision]:
        raise InvalidArtifact(
            f"The converted decoder agrees with its weights at {proof.agreement:.0%} of positions only, where "
            f"{_AGREEMENT[precision]:.0%} are wanted; it cannot be served this way."
        )
    return proof


def _build(path: Path, target: Path) -> None:
    """Lets OpenVINO GenAI build and save its graph of a GGUF file."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = 1
    options = {"enable_save_ov_model": True}
    with several_cores():
        built = attempt(partial(openvino_genai.ContinuousBatchingPipeline, str(path), scheduler, "CPU", options))
    if isinstance(built, ModelyardError):
        raise InvalidArtifact(f"OpenVINO cannot build this decoder: {str(built.__cause__).strip().splitlines()[-1][:300]}.")
    for name in (ENTRY, "openvino_model.bin"):
        shutil.move(path.parent / name, target / name)


def _compared(weights: Tensors, config: DecoderConfig, path: Path, tie: float) -> Proof:
    length = min(_PROOF_TOKENS, config.context_length - 1)
    # The same for each conversion; made-up tokens exercise the graph as well as text does.
    tokens = np.random.default_rng(7).integers(0, config.vocabulary, size=length).tolist()
    wanted = reference_logits(config, weights, tokens)
    decoder = PagedDecoder(path, 1, config.context_length)
    decoder.admit(1, tokens)
    found = np.stack([decoder.forward([Piece(1, tokens[at : at + 1], at)])[0] for at in range(length)])
    decoder.close()
    a, b = _log_probabilities(wanted), _log_probabilities(found)
    likely = np.argsort(-a, axis=1)[:, :32]
    errors = np.abs(np.take_along_axis(a, likely, 1) - np.take_along_axis(b, likely, 1))
    chosen = b.argmax(axis=1)
    lost = a.max(axis=1) - a[np.arange(length), chosen]
    return Proof(
        positions=length,
        agreement=float((lost <= tie).mean()),
        median_error=float(np.median(errors)),
        p99_error=float(np.quantile(errors, 0.99)),
    )


def _log_probabilities(logits: Weight) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    normal: NDArray[np.float64] = wide - np.logaddexp.reduce(wide, axis=1, keepdims=True)
    return normal
