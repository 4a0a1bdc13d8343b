"""A generative model without a library: it tokenizes by words and repeats its prompt, one word a step.

The in-memory twin of engines that compute: it honours the whole contract of ``GenerativeModel`` but for grammars, so that protocols,
replicas and accounting can be tested in milliseconds.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field

from modelyard.core.errors import DeadlineExceeded, InvalidRequest, ModelyardError, Unavailable
from modelyard.core.generation import (
    Cancel,
    Emit,
    FinishReason,
    GenerateRequest,
    GenerationUsage,
    TokenChunk,
    TokenLogprob,
)
from modelyard.runtimes.base import GenerativeModel

_PIECES = re.compile(r"\s*\S+|\s+")
CLOSED = "The model is being unloaded; try again shortly."


@dataclass(eq=False)
class _Choice:
    index: int
    produced: list[str] = field(default_factory=list)
    sent: int = 0
    finished: bool = False


@dataclass(eq=False)
class _Generation:
    request: GenerateRequest
    emit: Emit
    prompt: list[str]
    choices: list[_Choice]
    began_ns: int = 0
    cancelled: bool = False

    @property
    def out(self) -> int:
        return sum(len(choice.produced) for choice in self.choices)


class RepeatingModel(GenerativeModel):
    """Repeats the words of its prompt, again and again; ``step_s`` is how long a step takes. ``steps`` counts what was computed. With
    ``tells_steps`` what a step gave is told of as an engine does it.
    """

    has_template = True

    def __init__(self, step_s: float = 0.0, context_length: int = 512, *, tells_steps: bool = False) -> None:
        self.tells_steps = tells_steps
        self.context_length = context_length
        self.step_s = step_s
        self.steps = 0
        self.computed = 0
        """Tokens computed over all generations."""
        self._words: list[str] = []
        self._ids: dict[str, int] = {}
        self._arriving: list[_Generation] = []
        self._running: list[_Generation] = []
        self._closed = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="repeating-model", daemon=True)
        self._thread.start()

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        generation = _Generation(request, emit, [], [_Choice(index) for index in range(request.n)])

        def cancel() -> None:
            generation.cancelled = True

        with self._wake:
            if not self._closed:
                self._arriving.append(generation)
                self._wake.notify()
                return cancel
        emit(Unavailable(CLOSED, retry_after=1.0))
        return cancel

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._arriving or self._running or self._closed):
                    self._wake.wait()
                arrived, self._arriving = self._arriving, []
                closed = self._closed
            for generation in arrived:
                self._admit(generation)
            self._tell()
            if closed:
                for generation in self._running:
                    generation.emit(Unavailable(CLOSED, retry_after=1.0))
                break
            self._step()
            self._tell()
        with self._wake:
            arrived, self._arriving = self._arriving, []
        for generation in arrived:
            generation.emit(Unavailable(CLOSED, retry_after=1.0))
        self._tell()

    def _tell(self) -> None:
        if self.tells_steps and self.stepped is not None:
            self.stepped()

    def _admit(self, generation: _Generation) -> None:
        try:
            generation.prompt = self._tokenized(generation.request)
            if len(generation.prompt) >= self.context_length:
                raise InvalidRequest(f"The prompt has {len(generation.prompt)} tokens; the model's context holds {self.context_length}.")
            if generation.request.grammar is not None:
                raise InvalidRequest("This model knows no grammars.")
        except ModelyardError as error:
            generation.emit(error)
            return
        generation.began_ns = time.monotonic_ns()
        if generation.request.sampling.max_tokens == 0:
            usage = GenerationUsage(tokens_in=len(generation.prompt))
            ids = tuple(self._id(piece) for piece in generation.prompt)
            text = "".join(generation.prompt)
            generation.emit(TokenChunk(text=text, token_ids=ids, finish=FinishReason.LENGTH, last=True, usage=usage))
        else:
            self._running.append(generation)

    def _step(self) -> None:
        self.steps += 1
        if self.step_s:
            time.sleep(self.step_s)
        self._running = [generation for generation in self._running if not self._advance(generation)]

    def _advance(self, generation: _Generation) -> bool:
        """Whether the generation has ended."""
        if generation.cancelled:
            generation.emit(TokenChunk(finish=FinishReason.CANCELLED, last=True, usage=self._usage(generation)))
            return True
        deadline = generation.request.deadline_ns
        if deadline and time.monotonic_ns() >= deadline:
            generation.emit(DeadlineExceeded("The time for this call has passed."))
            return True
        for choice in generation.choices:
            if not choice.finished:
                generation.emit(self._token(generation, choice))
        return all(choice.finished for choice in generation.choices)

    def _token(self, generation: _Generation, choice: _Choice) -> TokenChunk:
        request, sampling = generation.request, generation.request.sampling
        piece = generation.prompt[len(choice.produced) % len(generation.prompt)]
        choice.produced.append(piece)
        self.computed += 1
        text = "".join(choice.produced)
        cuts = [(text.find(stop), stop) for stop in sampling.stop if stop in text]
        room = self.context_length - len(generation.prompt)
        finish, stop = None, ""
        if cuts:
            cut, stop = min(cuts)
            text, finish = text[:cut], FinishReason.STOP
        elif len(choice.produced) >= min(room, sampling.max_tokens or room):
            finish = FinishReason.LENGTH
        choice.finished = finish is not None
        end = len(text) if choice.finished else max(choice.sent, len(text) - _may_begin(text, sampling.stop))
        delta, choice.sent = text[choice.sent : end], end
        identity = self._id(piece)
        logprobs: tuple[TokenLogprob, ...] = ()
        if request.logprobs is not None:
            chosen = TokenLogprob(identity, piece, piece.encode(), 0.0)
            logprobs = (TokenLogprob(identity, piece, piece.encode(), 0.0, (chosen,) * min(1, request.logprobs)),)
        return TokenChunk(
            choice=choice.index,
            text=delta,
            token_ids=(identity,),
            logprobs=logprobs,
            finish=finish,
            stop=stop,
            last=all(one.finished for one in generation.choices),
            usage=self._usage(generation),
        )

    def _usage(self, generation: _Generation) -> GenerationUsage:
        took = (time.monotonic_ns() - generation.began_ns) // 1000
        return GenerationUsage(tokens_in=len(generation.prompt), tokens_out=generation.out, compute_us=took)

    def _tokenized(self, request: GenerateRequest) -> list[str]:
        if request.token_ids:
            if any(not 0 <= number < len(self._words) for number in request.token_ids):
                raise InvalidRequest("The prompt has a token id that the model's vocabulary does not have.")
            return [self._words[number] for number in request.token_ids]
        text = request.prompt
        if text is None:
            text = " ".join(str(message.get("content") or "") for message in request.messages)
        return _PIECES.findall(text) or ["nothing"]

    def _id(self, piece: str) -> int:
        number = self._ids.get(piece)
        if number is None:
            number = self._ids[piece] = len(self._words)
            self._words.append(piece)
        return number


def _may_begin(text: str, stops: tuple[str, ...]) -> int:
    """Characters at the end of ``text`` that may turn out to begin a stop text."""
    longest = 0
    for stop in stops:
        for size in range(min(len(stop) - 1, len(text)), longest, -1):
            if stop.startswith(text[-size:]):
                longest = size
                break
    return longest
