"""Continuous batching: one thread computes a step for all sequences under way, and calls join and leave between steps.

Each step computes the next token of every running sequence and, with what is left of the step's tokens, parts of prompts. When
memory ends, the sequence that came last gives way and is computed again later; nobody notices but by the time it takes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count

from modelyard.core.errors import DeadlineExceeded, InvalidRequest, ModelyardError, Unavailable
from modelyard.core.generation import Cancel, Emit, GenerateRequest, TokenChunk
from modelyard.runtimes.base import GenerativeModel
from modelyard.runtimes.edge import attempt
from modelyard.runtimes.generative.decoder import Decoder, Piece
from modelyard.runtimes.generative.sampling import Chosen, choose_all
from modelyard.runtimes.generative.sequence import Generation, Sequence
from modelyard.runtimes.generative.text import TextCodec

CLOSED = "The model is being unloaded; try again shortly."
QUIET_S, MOST_GATHERING_S, GATHERING_SHARE = 0.002, 0.01, 0.05
"""An idle engine waits for further calls while they come so close to each other, this long at most, and no longer than this share of the
time that a prompt takes: calls that were sent at once arrive one by one, and the rest would wait until the first one's prompt is computed.
Where no two calls were there at once since it was idle the last time, it waits for nobody.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How much is computed at once."""

    max_sequences: int = 64
    step_tokens: int = 512
    """Of all sequences in one step; a longer prompt takes several."""
    max_waiting: int = 1024
    """Calls; more are refused."""


class Engine(GenerativeModel):
    """A generative model from a decoder and a codec."""

    tells_steps = True

    def __init__(self, decoder: Decoder, codec: TextCodec, options: EngineOptions | None = None) -> None:
        self.context_length = decoder.context_length
        self.has_template = codec.has_template
        self._decoder = decoder
        self._codec = codec
        self._options = options or EngineOptions()
        self._numbers = count(1)
        self._arrived: deque[Generation] = deque()
        self._open = 0
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._closed = False
        self._prompt_s = 0.0
        """What the last step with prompts took."""
        self._most_open = 0
        """Calls that were there at once, since the engine was idle."""
        self._wake = threading.Condition()
        # Long prompts and large grammars take their time, which must be no running generation's.
        self._prepare = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._thread = threading.Thread(target=self._run, name="generate", daemon=True)
        self._thread.start()

    # -- any thread --

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        generation = Generation(request, emit)
        refusal: ModelyardError | None = None
        with self._wake:
            if self._closed:
                refusal = Unavailable(CLOSED, retry_after=1.0)
            elif self._open >= self._options.max_waiting:
                refusal = Unavailable("Too many calls wait for this model; try again shortly.", retry_after=1.0)
            else:
                self._open += 1
                self._most_open = max(self._most_open, self._open)
                self._prepare.submit(self._prepared, generation)
        if refusal is not None:
            generation.fail(refusal)
        return generation.cancel

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._prepare.shutdown()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _prepared(self, generation: Generation) -> None:
        refusal = attempt(partial(generation.prepare, self._codec, self.context_length, self._numbers))
        if isinstance(refusal, ModelyardError):
            generation.refusal = refusal
        with self._wake:
            self._arrived.append(generation)
            self._wake.notify()

    # -- the engine's thread --

    def _run(self) -> None:
        while self._take_arrivals():
            self._drop_ended()
            self._admit()
            self._tell()
            pieces = self._plan()
            if pieces:
                self._compute(pieces)
                self._tell()
        for sequence in (*self._running, *self._waiting):
            sequence.generation.fail(Unavailable(CLOSED, retry_after=1.0))
        self._tell()
        self._decoder.close()

    def _tell(self) -> None:
        """What was emitted leaves now: once the next step computes on all cores, whoever sends it would wait for one."""
        if self.stepped is not None:
            attempt(self.stepped)

    def _take_arrivals(self) -> bool:
        """Waits for something to do; False when the engine is closed."""
        with self._wake:
            idle = not (self._running or self._waiting)
            company = self._most_open > 1
            if idle:
                self._most_open = self._open
            while not (self._arrived or self._running or self._waiting or self._closed):
                self._wake.wait()
            if idle and company:
                self._gather()
            arrived, self._arrived = self._arrived, deque()
            closed = self._closed
        for generation in arrived:
            if closed:
                generation.fail(Unavailable(CLOSED, retry_after=1.0))
            elif generation.refusal is not None:
                generation.fail(generation.refusal)
            elif not generation.sequences:
                generation.tell_prompt(self._codec)
            else:
                self._waiting.extend(generation.sequences)
                continue
            self._close_one()
        return not closed

    def _gather(self) -> None:
        """Waits a moment for calls that come together with the first; the lock is held."""
        until = time.monotonic() + min(MOST_GATHERING_S, self._prompt_s * GATHERING_SHARE)
        seen = 0
        while seen != len(self._arrived) and not self._closed and (left := until - time.monotonic()) > 0:
            seen = len(self._arrived)
            self._wake.wait(min(QUIET_S, left))

    def _close_one(self) -> None:
        with self._wake:
            self._open -= 1

    def _drop_ended(self) -> None:
        now = time.monotonic_ns()
        for generation in {sequence.generation: None for sequence in (*self._running, *self._waiting)}:
            deadline = generation.request.deadline_ns
            if generation.cancelled or (deadline and now >= deadline):
                self._remove(generation)
                if generation.cancelled:
                    generation.end_cancelled()
                else:
                    generation.fail(DeadlineExceeded("The time for this call has passed."))

    def _remove(self, generation: Generation) -> None:
        for sequence in generation.sequences:
            self._decoder.release(sequence.number)
        self._running = [sequence for sequence in self._running if sequence.generation is not generation]
        self._waiting = deque(sequence for sequence in self._waiting if sequence.generation is not generation)
        self._close_one()

    def _admit(self) -> None:
        """Takes waiting sequences in, in order, as long as there is room."""
        held: list[Sequence] = []
        while self._waiting and len(self._running) < self._options.max_sequences:
            sequence = self._waiting.popleft()
            if sequence.follows_sibling:
                held.append(sequence)  # its prompt will be found in memory once the first choice has computed it
                continue
            cached = self._decoder.admit(sequence.number, sequence.tokens)
            if cached is None:
                self._waiting.appendleft(sequence)
                if not self._running and not held:
                    self._give_up(sequence)
                    continue
                break
            sequence.admitted(cached)
            self._running.append(sequence)
        self._waiting.extendleft(reversed(held))

    def _give_up(self, sequence: Sequence) -> None:
        """Refuses what does not fit into all of memory."""
        generation = sequence.generation
        self._remove(generation)
        generation.fail(InvalidRequest(f"The prompt has {len(sequence.tokens)} tokens, more than this server has memory for."))

    def _plan(self) -> list[tuple[Sequence, Piece]]:
        """What the next step computes: one token of each sequence that has its prompt behind it, then parts of prompts."""
        left = self._options.step_tokens
        planned: list[tuple[Sequence, Piece]] = []
        for sequence in sorted(self._running, key=lambda one: len(one.tokens) - one.computed):
            if left <= 0:
                break
            if sequence not in self._running:
                continue  # gave way meanwhile
            size = min(len(sequence.tokens) - sequence.computed, left)
            if not self._make_room(sequence, sequence.computed + size, planned):
                continue
            end = sequence.computed + size
            planned.append((sequence, Piece(sequence.number, sequence.tokens[sequence.computed : end], sequence.computed)))
            left -= size
        return planned

    def _make_room(self, sequence: Sequence, length: int, planned: list[tuple[Sequence, Piece]]) -> bool:
        """Room for a sequence, if need be by others' giving way; False when it gave way itself."""
        taken = {id(one) for one, _ in planned}
        while not self._decoder.grow(sequence.number, length):
            last = next((one for one in reversed(self._running) if id(one) not in taken), sequence)
            self._decoder.release(last.number)
            self._running.remove(last)
            last.gave_way()
            self._waiting.appendleft(last)
            if last is sequence:
                return False
        return True

    def _compute(self, planned: list[tuple[Sequence, Piece]]) -> None:
        failure = attempt(partial(self._advance, planned))
        if isinstance(failure, ModelyardError):
            for generation in {sequence.generation: None for sequence, _ in planned}:
                self._remove(generation)
                generation.fail(failure)

    def _advance(self, planned: list[tuple[Sequence, Piece]]) -> None:
        began = time.monotonic()
        logits = self._decoder.forward([piece for _, piece in planned])
        if any(len(piece.tokens) > 1 for _, piece in planned):
            self._prompt_s = time.monotonic() - began
        rows: list[int] = []
        ready: list[Sequence] = []
        for row, (sequence, piece) in enumerate(planned):
            sequence.computed += len(piece.tokens)
            if sequence.computed == len(sequence.tokens):
                rows.append(row)
                ready.append(sequence)
        if not ready:
            return
        chosen = choose_all([sequence.chooser for sequence in ready], logits if len(rows) == len(logits) else logits[rows])
        # All are made before the first is given away, so that what fails fails before anybody was told.
        for sequence, chunk in list(self._chunks(ready, chosen)):
            sequence.generation.emit(chunk)

    def _chunks(self, ready: list[Sequence], chosen: list[Chosen]) -> Iterator[tuple[Sequence, TokenChunk]]:
        ended: set[int] = set()
        for sequence, choice in zip(ready, chosen, strict=True):
            chunk = sequence.take(choice, self._codec)
            if chunk.finish is not None:
                self._decoder.release(sequence.number)
                ended.add(id(sequence))
                if chunk.last:
                    self._close_one()
            yield sequence, chunk
        if ended:
            self._running = [sequence for sequence in self._running if id(sequence) not in ended]
