"""A generation on its way through the engine: one sequence of tokens for each choice."""

from __future__ import annotations

import time
from collections.abc import Iterator

from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.core.generation import Emit, FinishReason, GenerateRequest, GenerationUsage, TokenChunk, TokenLogprob
from modelyard.runtimes.generative.sampling import Chooser, Chosen
from modelyard.runtimes.generative.stops import StopFinder
from modelyard.runtimes.generative.text import TextCodec


class Generation:
    """A call. Prepared on one thread, computed on another; ``cancel`` may come from any."""

    def __init__(self, request: GenerateRequest, emit: Emit) -> None:
        self.request = request
        self.emit = emit
        self.cancelled = False
        self.refusal: ModelyardError | None = None
        self.prompt: list[int] = []
        self.sequences: list[Sequence] = []
        self.cached = 0
        self.began_ns = 0
        self._arrived_ns = time.monotonic_ns()

    def cancel(self) -> None:
        """Asks the engine to stop at its next step."""
        self.cancelled = True

    def prepare(self, codec: TextCodec, context_length: int, numbers: Iterator[int]) -> None:
        """Tokenizes the prompt and makes the sequences; none where nothing is to be computed.

        Raises InvalidRequest for what the model cannot take.
        """
        request = self.request
        self.prompt = codec.encode(request)
        for token in request.sampling.logit_bias:
            if token >= codec.size:
                raise InvalidRequest(f"logit_bias names token {token}; the model's vocabulary has {codec.size} tokens.")
        if request.sampling.max_tokens == 0:
            return
        if len(self.prompt) >= context_length:
            raise InvalidRequest(
                f"The prompt has {len(self.prompt)} tokens; the model's context holds {context_length}, and some must be left to answer."
            )
        room = context_length - len(self.prompt)
        wanted = room if request.sampling.max_tokens is None else min(room, request.sampling.max_tokens)
        self.sequences = [Sequence(self, next(numbers), index, wanted, codec) for index in range(request.n)]

    def usage(self) -> GenerationUsage:
        """What was used so far."""
        now = time.monotonic_ns()
        began = self.began_ns or now
        return GenerationUsage(
            tokens_in=len(self.prompt),
            tokens_cached=self.cached,
            tokens_out=sum([len(sequence.tokens) - len(self.prompt) for sequence in self.sequences]),
            queue_us=(began - self._arrived_ns) // 1000,
            compute_us=(now - began) // 1000,
        )

    def tell_prompt(self, codec: TextCodec) -> None:
        """Answers a call for no tokens."""
        text = codec.decode(self.prompt)
        self.emit(TokenChunk(text=text, token_ids=tuple(self.prompt), finish=FinishReason.LENGTH, last=True, usage=self.usage()))

    def fail(self, error: ModelyardError) -> None:
        """Ends with an error."""
        self.emit(error)

    def end_cancelled(self) -> None:
        """Ends because nobody waits any more."""
        self.emit(TokenChunk(finish=FinishReason.CANCELLED, last=True, usage=self.usage()))


class Sequence:
    """One choice of a generation."""

    def __init__(self, generation: Generation, number: int, index: int, most: int, codec: TextCodec) -> None:
        request = generation.request
        self.generation = generation
        self.number = number
        self.index = index
        self.tokens = list(generation.prompt)
        self.computed = 0
        self.finished = False
        self.chooser = Chooser(request.sampling, codec.defaults, generation.prompt, index, codec.ends)
        self.chooser.logprobs = request.logprobs
        if request.grammar is not None:
            self.chooser.matcher = codec.vocabulary.matcher(request.grammar)
        self._most = len(generation.prompt) + most
        self._stream = codec.stream()
        self._stops = StopFinder(request.sampling.stop)

    @property
    def follows_sibling(self) -> bool:
        """Whether the first choice still computes the prompt that both share."""
        first = self.generation.sequences[0]
        return self is not first and len(first.tokens) == len(self.generation.prompt) and not first.finished

    def admitted(self, cached: int) -> None:
        """Begins, or goes on after giving way."""
        self.computed = cached
        generation = self.generation
        if not generation.began_ns:
            generation.began_ns = time.monotonic_ns()
            generation.cached = cached

    def gave_way(self) -> None:
        """Everything of it has to be computed again."""
        self.computed = 0

    def take(self, choice: Chosen, codec: TextCodec) -> TokenChunk:
        """The chunk for a chosen token."""
        token = choice.token
        self.tokens.append(token)
        self.chooser.took(token)
        text = self._stops.add(self._stream.add(token))
        finish = self._finish(token, codec)
        if finish is not None:
            self.finished = True
            if not self._stops.found:
                text += self._stops.add(self._stream.rest()) + self._stops.rest()
        generation = self.generation
        logprobs = () if generation.request.logprobs is None else (_told(choice, codec),)
        return TokenChunk(
            choice=self.index,
            text=text,
            token_ids=(token,),
            logprobs=logprobs,
            finish=finish,
            stop=self._stops.found,
            last=finish is not None and all(sequence.finished for sequence in generation.sequences),
            usage=generation.usage(),
        )

    def _finish(self, token: int, codec: TextCodec) -> FinishReason | None:
        if self._stops.found:
            return FinishReason.STOP
        if token in codec.ends and not self.generation.request.sampling.ignore_end:
            return FinishReason.STOP
        if self.chooser.matcher is not None and self.chooser.matcher.ended:
            return FinishReason.STOP
        if len(self.tokens) >= self._most:
            return FinishReason.LENGTH
        return None


def _told(choice: Chosen, codec: TextCodec) -> TokenLogprob:
    top = tuple([_logprob(token, logprob, codec) for token, logprob in choice.top])
    return TokenLogprob(*_logprob_fields(choice.token, choice.logprob, codec), top)


def _logprob(token: int, logprob: float, codec: TextCodec) -> TokenLogprob:
    return TokenLogprob(*_logprob_fields(token, logprob, codec))


def _logprob_fields(token: int, logprob: float, codec: TextCodec) -> tuple[int, str, bytes, float]:
    raw = codec.vocabulary.raw(token)
    return token, raw.decode(errors="replace"), raw, logprob
