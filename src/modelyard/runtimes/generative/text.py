"""Between text and token ids: the tokenizer, the chat template and the generation configuration of a model's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from modelyard.core.errors import InvalidArtifact, InvalidRequest, ModelyardError
from modelyard.core.generation import GenerateRequest
from modelyard.runtimes.edge import attempt
from modelyard.runtimes.generative.grammar import Vocabulary
from modelyard.runtimes.generative.sampling import Defaults

TOKENIZER = "tokenizer.json"
_DEFAULTS = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
_REPLACEMENT = "\ufffd"


class TextCodec:
    """Reads ``tokenizer.json`` and, where they are, ``tokenizer_config.json``, ``chat_template.jinja`` and ``generation_config.json``.

    May be used from several threads. Raises InvalidArtifact when the folder cannot be used.
    """

    def __init__(self, folder: Path, vocabulary: int) -> None:
        path = folder / TOKENIZER
        if not path.is_file():
            raise InvalidArtifact(f"The model has no {TOKENIZER}; save its tokenizer in the fast format beside the weights.")
        text = path.read_text(encoding="utf-8", errors="replace")
        tokenizer = attempt(partial(Tokenizer.from_str, text))
        if isinstance(tokenizer, ModelyardError):
            raise InvalidArtifact(f"The model's {TOKENIZER} cannot be read: {_first_line(tokenizer.__cause__)}.")
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if self._tokenizer.get_vocab_size(with_added_tokens=True) > vocabulary:
            raise InvalidArtifact(
                f"The tokenizer has {self._tokenizer.get_vocab_size(with_added_tokens=True)} tokens, more than the model's {vocabulary}."
            )
        self.size = vocabulary
        config = _json(folder / "tokenizer_config.json")
        generation = _json(folder / "generation_config.json")
        self._special = {name: _token_text(config[name]) for name in _SPECIAL if config.get(name)}
        self.ends = self._end_ids(generation, _json(folder / "config.json"))
        self.defaults = _defaults(generation)
        self._template = _template(folder, config)
        self.vocabulary = Vocabulary(text, self.ends, vocabulary)

    @property
    def has_template(self) -> bool:
        return self._template is not None

    def encode(self, request: GenerateRequest) -> list[int]:
        """The prompt of a request as token ids.

        Raises InvalidRequest.
        """
        if request.token_ids:
            for token in request.token_ids:
                if not 0 <= token < self.size:
                    raise InvalidRequest(f"The prompt has the token id {token}; the model's vocabulary has {self.size} tokens.")
            return list(request.token_ids)
        if request.messages:
            text = self.render(request.messages, request.tools, request.template)
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids  # the template writes them itself
        else:
            ids = self._tokenizer.encode(request.prompt or "", add_special_tokens=request.special_tokens).ids
        found: list[int] = ids or self._beginning()
        if not found:
            raise InvalidRequest("The prompt is empty, and this model has no token to begin with; give it some text.")
        return found

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
        """A conversation as the model's chat template writes it.

        Raises InvalidRequest when there is no template, or it refuses the messages.
        """
        if self._template is None:
            raise InvalidRequest("This model has no chat template, so it cannot be asked with messages; send it a plain prompt.")
        known = {"add_generation_prompt": True, **self._special, **variables}
        try:
            return self._template.render(messages=[dict(message) for message in messages], tools=list(tools) or None, **known)
        except jinja2.TemplateError as error:
            raise InvalidRequest(f"The model's chat template refuses these messages: {_first_line(error)}.") from None
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
            raise InvalidRequest(f"The model's chat template cannot write these messages: {_first_line(error)}.") from None

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special ones left out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def stream(self) -> TextStream:
        """A decoder for tokens that come one by one."""
        return TextStream(self._tokenizer)

    def _beginning(self) -> list[int]:
        """What stands before a text from nothing: the token for it, or one that ends texts, after which another begins."""
        token = self._special.get("bos_token")
        found = self._tokenizer.token_to_id(token) if token else None
        return [found] if found is not None else sorted(self.ends)[:1]

    def _end_ids(self, *configs: Mapping[str, Any]) -> frozenset[int]:
        for config in configs:
            ids = config.get("eos_token_id")
            if ids is not None:
                listed = ids if isinstance(ids, list) else [ids]
                return frozenset(one for one in listed if isinstance(one, int) and 0 <= one < self.size)
        token = self._special.get("eos_token")
        found = self._tokenizer.token_to_id(token) if token else None
        return frozenset() if found is None else frozenset({found})


class TextStream:
    """Text of tokens that come one by one; holds back bytes of a character that is not whole yet."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._pending = False

    def add(self, token: int) -> str:
        """What one token adds."""
        text: str | None = self._stream.step(self._tokenizer, token)
        self._pending = text is None
        return text or ""

    def rest(self) -> str:
        """What is left when no token comes any more: a mark for a character that was never whole."""
        pending, self._pending = self._pending, False
        return _REPLACEMENT if pending else ""


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidArtifact(f"The model's {path.name} is not JSON: {_first_line(error)}.") from None
    if not isinstance(found, dict):
        raise InvalidArtifact(f"The model's {path.name} must hold a JSON object.")
    return found


def _defaults(generation: Mapping[str, Any]) -> Defaults:
    values: dict[str, Any] = {name: generation[name] if generation.get(name) is not None else usual for name, usual in _DEFAULTS.items()}
    if generation.get("do_sample") is False:
        values["temperature"] = 0.0
    try:
        return Defaults(
            float(values["temperature"]),
            float(values["top_p"]),
            int(values["top_k"]),
            float(values["min_p"]),
            float(values["repetition_penalty"]),
        )
    except (TypeError, ValueError) as error:
        raise InvalidArtifact(f"The model's generation_config.json has a value that cannot be used: {_first_line(error)}.") from None


def _token_text(value: Any) -> str:
    return str(value.get("content", "")) if isinstance(value, dict) else str(value)


def _template(folder: Path, config: Mapping[str, Any]) -> jinja2.Template | None:
    source = _template_source(folder, config)
    if source is None:
        return None
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise InvalidArtifact(f"The model's chat template cannot be read: {_first_line(error)}.") from None


def _template_source(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    given = config.get("chat_template")
    if isinstance(given, list):  # several by name
        named = {str(one.get("name")): one.get("template") for one in given if isinstance(one, dict)}
        given = named.get("default")
    return given if isinstance(given, str) else None


def _tojson(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:  # as templates call it
    # Not jinja2's own, which escapes for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now(UTC).strftime(form)


def _first_line(error: object) -> str:
    return str(error).strip().partition("\n")[0][:300].rstrip(".") or type(error).__name__
