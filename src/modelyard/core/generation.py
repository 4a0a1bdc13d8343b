"""One generation of text, as runtimes and the data plane see it: no protocol, no transport, no tokenizer.

These structs are also the frames between workers and replica processes, so they hold plain data only. ``None`` in ``Sampling`` leaves
a value to the model's own generation configuration, and where that is silent, to what ``SamplingDefaults`` says.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from modelyard.core.errors import InvalidRequest, ModelyardError

MAX_CHOICES = 128
MAX_STOPS = 16
MAX_TOP_LOGPROBS = 20
MAX_TOKEN_ID = (1 << 31) - 1
MAX_BIASED = 1024
MAX_BIAS = 100.0
MAX_PROMPT_CHARACTERS = 8 << 20


class FinishReason(StrEnum):
    """Why a choice ended."""

    STOP = "stop"  # the model's end token, or a stop text
    LENGTH = "length"  # as many tokens as were asked for, or as the context holds
    CANCELLED = "cancelled"  # the caller went away, or its time or budget ended


class GrammarKind(StrEnum):
    """How a grammar is written."""

    JSON = "json"  # any JSON object; the text is empty
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    LARK = "lark"


class Grammar(msgspec.Struct, frozen=True):
    """What the generated text must look like; the model can choose no token that leaves it."""

    kind: GrammarKind
    text: str = ""


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How tokens are chosen and when they end."""

    max_tokens: int | None = None
    """Of one choice; None for as many as the context holds. 0 computes nothing: see ``GenerateRequest``."""
    min_tokens: int = 0
    temperature: float | None = None
    """0 always takes the likeliest token."""
    top_p: float | None = None
    top_k: int | None = None
    """0 for no bound."""
    min_p: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float | None = None
    stop: tuple[str, ...] = ()
    """Texts that end a choice and are not part of it."""
    ignore_end: bool = False
    """Whether the model's own end token does not end a choice; for load tests."""
    seed: int | None = None
    """Equal seeds and requests give equal texts, as long as the runtime computes alike; choice ``i`` uses ``seed + i``."""
    logit_bias: dict[int, float] = {}
    """Added to the logits of these token ids; -100 all but forbids one, 100 all but forces it."""

    def check(self) -> None:
        """Raises InvalidRequest for a value that means nothing, naming the field as it is named here."""
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InvalidRequest(f"{name} is {value}; it must lie between {low} and {high}.")
        if self.top_p == 0:
            raise InvalidRequest("top_p is 0; it must be above 0. Use temperature 0 for the likeliest token.")
        if self.repetition_penalty == 0:
            raise InvalidRequest("repetition_penalty is 0; it must be above 0, and 1 changes nothing.")
        if len(self.stop) > MAX_STOPS:
            raise InvalidRequest(f"{len(self.stop)} stop texts are more than {MAX_STOPS}.")
        if not all(self.stop):
            raise InvalidRequest("A stop text is empty; leave it out.")
        if len(self.logit_bias) > MAX_BIASED:
            raise InvalidRequest(f"logit_bias has {len(self.logit_bias)} tokens; {MAX_BIASED} are the most.")
        for token, bias in self.logit_bias.items():
            if not 0 <= token <= MAX_TOKEN_ID or not -MAX_BIAS <= bias <= MAX_BIAS:
                raise InvalidRequest(f"logit_bias gives {bias} to token {token}; it must lie between -100 and 100, and ids begin at 0.")


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("max_tokens", 0, 1 << 24),
    ("min_tokens", 0, 1 << 24),
    ("temperature", 0, 2),
    ("top_p", 0, 1),
    ("top_k", 0, 1 << 24),
    ("min_p", 0, 1),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
    ("repetition_penalty", 0, 10),
    ("seed", -(1 << 63), (1 << 64) - 1),
)


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a generative model: a prompt in exactly one of three forms, and how to go on from it.

    With ``sampling.max_tokens`` 0 nothing is computed: the one chunk that comes holds the whole prompt, as token ids and as text, which
    is how text is tokenized, ids are turned to text, and messages are counted.
    """

    prompt: str | None = None
    """Text, tokenized as it is, with the special tokens that the tokenizer adds by itself."""
    token_ids: tuple[int, ...] = ()
    messages: tuple[dict[str, Any], ...] = ()
    """A conversation, for the model's chat template: ``{"role": …, "content": text, …}``."""
    tools: tuple[dict[str, Any], ...] = ()
    """Functions that the model may call, for the chat template: JSON Schema as OpenAI's protocol has it."""
    must_call: tuple[str, ...] = ()
    """Names of ``tools`` one of which the answer must call. ``grammar`` holds it to that where the runtime follows grammars."""
    template: dict[str, Any] = {}
    """Further variables of the chat template."""
    special_tokens: bool = True
    """Whether the tokenizer adds its special tokens to a text prompt."""
    sampling: Sampling = Sampling()
    grammar: Grammar | None = None
    n: int = 1
    """Independent choices."""
    logprobs: int | None = None
    """Log probabilities of the chosen tokens and of so many likeliest ones beside them; None for none at all."""
    version: str = ""
    """A version number or alias; empty lets the deployment's routing choose."""
    deadline_ns: int = 0
    """Monotonic time after which nobody waits for the answer; 0 for none."""

    def check(self) -> None:
        """Raises InvalidRequest that says what is wrong; the model's own bounds are the runtime's to check."""
        if (self.prompt is not None) + bool(self.token_ids) + bool(self.messages) != 1:
            raise InvalidRequest("A generation needs one prompt: a text, token ids or messages.")
        if self.token_ids and not 0 <= min(self.token_ids) <= max(self.token_ids) <= MAX_TOKEN_ID:
            raise InvalidRequest(f"A token id of the prompt is not from 0 to {MAX_TOKEN_ID}.")
        if self.prompt is not None and len(self.prompt) > MAX_PROMPT_CHARACTERS:
            raise InvalidRequest(f"The prompt is longer than {MAX_PROMPT_CHARACTERS} characters.")
        if not 1 <= self.n <= MAX_CHOICES:
            raise InvalidRequest(f"n is {self.n}; it must lie between 1 and {MAX_CHOICES}.")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_TOP_LOGPROBS:
            raise InvalidRequest(f"{self.logprobs} log probabilities for each token were asked for; {MAX_TOP_LOGPROBS} are the most.")
        self.sampling.check()


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """One chosen token and, where wanted, the likeliest ones in its place."""

    token_id: int
    text: str
    """With replacement characters where the token is only part of a character; see ``raw``."""
    raw: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


class GenerationUsage(msgspec.Struct, frozen=True, array_like=True):
    """What a call has used so far, over all its choices."""

    tokens_in: int = 0
    tokens_cached: int = 0
    """Of ``tokens_in``, those whose computation was found in the prefix cache."""
    tokens_out: int = 0
    queue_us: int = 0
    """Until the runtime began with it."""
    compute_us: int = 0
    """Since then."""


class TokenChunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one step added to one choice. Chunks of a choice come in order; those of several choices interleave."""

    choice: int = 0
    text: str = ""
    """May be empty: while characters are incomplete, or may yet turn out to be a stop text."""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None
    """Set on the last chunk of the choice."""
    stop: str = ""
    """The stop text that ended the choice, where one did."""
    last: bool = False
    """Set on the last chunk of the call."""
    usage: GenerationUsage = GenerationUsage()


Emit = Callable[[TokenChunk | ModelyardError], None]
"""Takes what a generation gives: chunks, the last of them marked, or one error as the last thing of all."""
Cancel = Callable[[], None]
"""Ends a generation early; may be called at any time, more than once, from any thread."""
