"""The tokenizer that a GGUF file holds, as ``tokenizer.json`` and what else lies beside it in a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from modelyard.core.errors import InvalidArtifact, Unsupported
from modelyard.runtimes.generative.gguf_source import GgufSource

_NORMAL, _UNKNOWN, _CONTROL, _USER, _BYTE = 1, 2, 3, 4, 6
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LONG_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "dbrx", "smaug-bpe"), rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{_LONG_REST}"
    ),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2"), rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{_LONG_REST}"),
}
"""How a text is cut before merges are applied, by ``tokenizer.ggml.pre``."""
_PLAIN = frozenset({"gpt-2", "gpt2", "default", "phi-2", "mpt", "olmo", "jais"})
_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})
_SPACE = "\u2581"


def write_tokenizer(source: GgufSource, folder: Path) -> None:
    """Writes ``tokenizer.json``, ``tokenizer_config.json``, ``generation_config.json`` and the chat template.

    Raises Unsupported for a tokenizer of another kind, InvalidArtifact for one that is damaged.
    """
    tokens = source.tokens
    if not tokens:
        raise InvalidArtifact("The GGUF file has no tokenizer; push the folder with tokenizer.json beside it.")
    kind = str(source.value("tokenizer.ggml.model", ""))
    if kind == "gpt2":
        tokenizer = _byte_level(source, tokens)
    elif kind == "llama":
        tokenizer = _sentence_pieces(source, tokens)
    else:
        raise Unsupported(
            f"Tokenizers of the kind {kind!r} are not read from GGUF; push a folder with the model's tokenizer.json beside it."
        )
    kinds = source.value("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    special = [AddedToken(text, special=True, normalized=False) for text, one in zip(tokens, kinds, strict=False) if one == _CONTROL]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text, one in zip(tokens, kinds, strict=False) if one == _USER])
    if tokenizer.get_vocab_size(with_added_tokens=True) > len(tokens):
        raise InvalidArtifact("The GGUF file's tokenizer has the same token twice.")
    _begin(source, tokenizer, tokens, usual=kind == "llama")
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_beside(source, folder, tokens)


def _byte_level(source: GgufSource, tokens: list[str]) -> Tokenizer:
    pairs = [tuple(merge.split(" ", 1)) for merge in source.value("tokenizer.ggml.merges") or ()]
    vocabulary = {text: at for at, text in enumerate(tokens)}
    known = [pair for pair in pairs if len(pair) == 2 and pair[0] in vocabulary and pair[1] in vocabulary and "".join(pair) in vocabulary]
    if not known and any(len(text) > 1 for text in tokens[:1000]):
        raise InvalidArtifact("The GGUF file has no merges for its tokenizer; push a folder with the model's tokenizer.json beside it.")
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=known, ignore_merges=_ignores_merges(source)))
    pre = str(source.value("tokenizer.ggml.pre", "default"))
    if pre in _PLAIN:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif pre in _DIGITS:
        cut = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cut)
    elif pre in _SPLITS:
        cut = [pre_tokenizers.Split(Regex(_SPLITS[pre]), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cut)
    else:
        raise Unsupported(f"How {pre!r} cuts texts is not known here; push a folder with the model's tokenizer.json beside the GGUF file.")
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _ignores_merges(source: GgufSource) -> bool:
    return str(source.value("tokenizer.ggml.pre", "")) in {"llama-bpe", "llama3", "llama-v3"}


def _sentence_pieces(source: GgufSource, tokens: list[str]) -> Tokenizer:
    """Pieces with scores. A piece that two others make up is merged the sooner the higher its score."""
    scores = source.value("tokenizer.ggml.scores") or [0.0] * len(tokens)
    vocabulary = {text: at for at, text in enumerate(tokens)}
    ranked: list[tuple[float, int, int, str, str]] = []
    for at, text in enumerate(tokens):
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in vocabulary and right in vocabulary:
                ranked.append((-scores[at], vocabulary[left], vocabulary[right], left, right))
    merges = [(left, right) for *_, left, right in sorted(ranked)]
    unknown = tokens[int(source.value("tokenizer.ggml.unknown_token_id", 0))]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = bool(source.value("tokenizer.ggml.add_space_prefix", True))
    steps: list[Any] = [normalizers.Prepend(_SPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    back: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*back, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    return tokenizer


def _begin(source: GgufSource, tokenizer: Tokenizer, tokens: list[str], *, usual: bool) -> None:
    """The tokens that stand before and after every text."""
    first = _token(source, tokens, "bos") if source.value("tokenizer.ggml.add_bos_token", usual) else None
    last = _token(source, tokens, "eos") if source.value("tokenizer.ggml.add_eos_token", False) else None
    if first is None and last is None:
        return
    form = [text for text in (first, "$A", last) if text is not None]
    named = [(text, tokens.index(text)) for text in (first, last) if text is not None]
    added = processors.TemplateProcessing(single=form, special_tokens=named)
    old = [tokenizer.post_processor] if tokenizer.post_processor is not None else []
    tokenizer.post_processor = processors.Sequence([*old, added])


def _token(source: GgufSource, tokens: list[str], name: str) -> str | None:
    number = source.value(f"tokenizer.ggml.{name}_token_id")
    return tokens[number] if isinstance(number, int) and 0 <= number < len(tokens) else None


def _write_beside(source: GgufSource, folder: Path, tokens: list[str]) -> None:
    named = {f"{name}_token": _token(source, tokens, short) for name, short in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    (folder / "tokenizer_config.json").write_text(json.dumps({name: text for name, text in named.items() if text is not None}))
    ends = [source.value(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    listed = list(dict.fromkeys(number for number in ends if isinstance(number, int)))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": listed}))
    template = source.value("tokenizer.chat_template")
    if isinstance(template, str):
        (folder / "chat_template.jinja").write_text(template)
