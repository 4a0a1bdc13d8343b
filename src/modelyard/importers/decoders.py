"""What imports of language models do once their libraries are there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec

import msgspec

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.core.plugins import load_string
from modelyard.core.tensors import Array
from modelyard.importers.base import Bench, Converted, heavy
from modelyard.runtimes.detect import RUNTIMES
from modelyard.runtimes.generative.conversion import ENTRY, KEPT, Proof, convert_decoder, convert_gguf, lay_beside
from modelyard.runtimes.generative.gguf_source import GgufSource
from modelyard.runtimes.vllm import read_options

_GGUF_ENTRY = "model.gguf"
_LIBRARIES = ("openvino", "openvino-genai", "gguf")


def convert_decoder_folder(bench: Bench) -> Converted:
    """A Hugging Face decoder as OpenVINO IR; kept for Transformers where the conversion does not know it."""
    try:
        proof = convert_decoder(bench.folder, bench.made)
    except Unsupported as refusal:
        if find_spec("transformers") is None or find_spec("torch") is None:
            raise Unsupported(f"{refusal.message} Transformers may know it: pip install 'modelyard[transformers]'") from None
        kept: Converted = heavy("modelyard.importers.torch_decoders:keep_for_transformers", "transformers")(bench)
        return replace(kept, notes=(*kept.notes, f"Not converted: {refusal.message}"))
    return Converted(
        entry=ENTRY,
        format="openvino",
        how=f"OpenVINO {version('openvino')}",
        original=_none,
        proven=msgspec.to_builtins(proof) | {"source": "a forward pass in NumPy"},
        environment={name: version(name) for name in _LIBRARIES},
        notes=(_said(proof),),
    )


def keep_openvino_folder(bench: Bench) -> Converted:
    """OpenVINO IR as it is."""
    for name in (ENTRY, "openvino_model.bin", *KEPT):
        if (bench.folder / name).is_file():
            shutil.copyfile(bench.folder / name, bench.made / name)
    return Converted(
        entry=ENTRY,
        format="openvino",
        how=f"OpenVINO {version('openvino')}, not converted",
        original=_none,
        proven={"source": "nothing to compare: the graph is served as it was brought"},
        environment={name: version(name) for name in _LIBRARIES},
    )


def keep_for_vllm(bench: Bench) -> Converted:
    """A decoder as it is, for vLLM. It is not tried here: that takes a GPU."""
    weights = sorted(bench.folder.glob("*.safetensors"))
    if not weights:
        raise InvalidArtifact("The folder has no *.safetensors file with weights; save the model with save_pretrained.")
    read_options(bench.folder)
    index = bench.folder / "model.safetensors.index.json"
    for path in (*weights, index, bench.folder / "vllm.json", *(bench.folder / name for name in KEPT)):
        if path.is_file():
            shutil.copyfile(path, bench.made / path.name)
    return Converted(
        entry="config.json",
        format="vllm",
        how="vLLM, not converted",
        original=_none,
        proven={"source": "nothing to compare: vLLM loads the files as they were brought"},
        notes=("It was not tried at push, because that takes vLLM and a GPU.",),
    )


def convert_gguf_file(bench: Bench) -> Converted:
    """A GGUF file as OpenVINO IR; kept for llama.cpp where that cannot be, if llama.cpp is there."""
    GgufSource(bench.folder / bench.part.entry)  # what cannot be read at all is no matter of who computes it
    try:
        proof = convert_gguf(bench.folder / bench.part.entry, bench.made)
    except (Unsupported, InvalidArtifact) as refusal:
        for path in bench.made.iterdir():
            path.unlink()
        if find_spec("xllamacpp") is None:
            advice = "llama.cpp may know it: pip install 'modelyard[llama-cpp]' and push it again with --format llama_cpp"
            raise Unsupported(f"{refusal.message.rstrip('.')}; {advice}.") from None
        kept = keep_gguf_file(bench)
        return replace(kept, notes=(*kept.notes, f"Not converted: {refusal.message}"))
    return Converted(
        entry=ENTRY,
        format="openvino",
        how=f"OpenVINO {version('openvino')}",
        original=_none,
        proven=msgspec.to_builtins(proof) | {"source": "a forward pass in NumPy over the file's own weights"},
        environment={name: version(name) for name in _LIBRARIES},
        notes=(_said(proof),),
    )


def keep_gguf_file(bench: Bench) -> Converted:
    """A GGUF file as it is, for llama.cpp, with its tokenizer read out and compared with llama.cpp's own."""
    runtime = RUNTIMES.get("llama_cpp")
    source = GgufSource(bench.folder / bench.part.entry)
    shutil.copyfile(bench.folder / bench.part.entry, bench.made / _GGUF_ENTRY)
    lay_beside(source, bench.folder, bench.made)
    proof = load_string("modelyard.runtimes.llama_proof:compare_tokenizers")(bench.made, _GGUF_ENTRY)
    return Converted(
        entry=_GGUF_ENTRY,
        format=runtime.name,
        how=f"llama.cpp (xllamacpp {version('xllamacpp')})",
        original=_none,
        proven=proof | {"source": "llama.cpp's own tokenizer; the weights are not converted"},
        environment={name: version(name) for name in ("xllamacpp", "gguf")},
        notes=(f"{proof['agreement']:.1%} of {proof['positions']} texts are cut into the same tokens as llama.cpp's own tokenizer cuts.",),
    )


def _said(proof: Proof) -> str:
    return (
        f"The likeliest token is the same at {proof.agreement:.1%} of {proof.positions} positions; "
        f"log probabilities differ by {proof.median_error:.4f} in the median."
    )


def _none(_inputs: dict[str, Array]) -> dict[str, Array]:
    return {}
