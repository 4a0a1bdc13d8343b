"""The seam of model formats: load an artifact's folder, then run it on dictionaries of arrays, or let it continue text."""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelyard.core.errors import InvalidTensor, ModelyardError, Unsupported
from modelyard.core.generation import Cancel, Emit, GenerateRequest, Sampling, TokenChunk
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Array, Datatype


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How much of the machine one loaded model may use."""

    threads: int = 1
    """Threads inside one call; 1 keeps a call on the thread that makes it."""
    keep_memory: bool = False
    """Keep the memory of a run for the next one, where the library can: long runs are then some per cent quicker, but the most that
    any run needed is held until the model is closed."""
    program: str = ""
    """What starts the format's own server, for a format that has one; empty where none is to be started."""
    unseal: Callable[[str, str], str] | None = None
    """Opens a secret that was sealed for an address (scheme, host, port); raises InvalidRequest. None where there are none to open."""


class LoadedModel(ABC):
    """A model in memory.

    ``infer`` may be called from several threads at once and after any failed call; it neither keeps nor changes the arrays
    that it is given, and what it returns belongs to the caller. It checks nothing that ``signature.check_inputs`` checks:
    callers do that first. It raises InvalidTensor when the data cannot be computed (a row that the graph refuses) and Internal when the
    library fails; never an error of the library itself. ``close`` frees the memory, may be called twice, and no call may run
    then or come after.
    """

    signature: Signature
    concurrency: int = 1
    """Calls worth computing at once, where the model has a process of its own."""
    joins: bool = True
    """Whether rows of several calls gain by being computed together."""
    tried: bool = True
    """Whether it may be called with made-up input, at its push and to see whether it is well."""
    repeatable: bool = True
    """Whether a call that died with its process may be computed once more elsewhere: not where calls change something."""

    @abstractmethod
    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Every output of the model by name, for inputs that fit the signature."""

    def extra(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> dict[str, Array]:  # noqa: ARG002  # there are none
        """The extras of the signature that are wanted, under the same terms as ``infer``."""
        raise Unsupported(f"The model gives no {', '.join(wanted)}.")

    def ended(self) -> str:
        """Why no call can be answered any more, because what computes has ended; empty while it lives. Cheap."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """Frees what the model holds."""


TEXT_SIGNATURE = Signature(
    inputs=(TensorSpec(name="text_input", datatype=Datatype.BYTES, shape=(-1,)),),
    outputs=(TensorSpec(name="text_output", datatype=Datatype.BYTES, shape=(-1,)),),
)
"""Of generative models, for callers that send tensors."""
INFER_TOKENS = 16
"""How many tokens ``GenerativeModel.infer`` adds to each text."""


class GenerativeModel(LoadedModel):
    """A model that continues text, for many callers at once.

    ``generate`` may be called from any thread and returns within microseconds: tokenizing, computing and errors of the request happen
    elsewhere and come through ``emit``. A runtime has one thread of its own that computes a step for all generations under way and then
    hands over what each got, so ``emit`` must return at once and never raise; it is called from within ``generate`` only
    to refuse a call of a closed model. Every
    generation ends with exactly one last thing: a chunk with ``last`` set, or a ModelyardError (InvalidRequest for what the
    model cannot take, DeadlineExceeded, Unavailable when it is overloaded or closed, Internal when the library fails, which
    ends only the generations that were in that step). Between steps the runtime looks at deadlines itself.

    The returned function cancels: the engine stops computing at its next step, frees the memory, and the last chunk says
    CANCELLED. It may be called at any time and more than once. ``close`` cancels all, and waits for the thread.
    """

    signature = TEXT_SIGNATURE
    concurrency = 32
    context_length: int
    """Tokens of prompt and answer together."""
    has_template: bool
    """Whether it can be asked with messages."""
    stepped: Callable[[], None] | None = None
    """Set by whoever serves the model: what was emitted waits until this is called. A runtime that does so, on its own thread, after each
    step and before it waits or computes, says ``tells_steps``; of others each chunk is taken as it comes."""
    tells_steps: bool = False

    @abstractmethod
    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        """Begins a generation; the request was checked with ``GenerateRequest.check``."""

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Continues each row's text by a few tokens, as the model's own configuration says; for more, generate."""
        prompts = [_text(row) for row in inputs["text_input"]]
        ended: queue.SimpleQueue[tuple[int, str | ModelyardError]] = queue.SimpleQueue()
        cancels = [
            self.generate(GenerateRequest(prompt=text, sampling=Sampling(max_tokens=INFER_TOKENS)), _Collector(number, ended).emit)
            for number, text in enumerate(prompts)
        ]
        answers = np.empty(len(prompts), dtype=object)
        for _ in prompts:
            number, outcome = ended.get()
            if isinstance(outcome, ModelyardError):
                for cancel in cancels:
                    cancel()
                raise outcome
            answers[number] = outcome
        return {"text_output": answers}


class _Collector:
    """The whole text of one generation."""

    def __init__(self, number: int, ended: queue.SimpleQueue[tuple[int, str | ModelyardError]]) -> None:
        self._number = number
        self._ended = ended
        self._texts: list[str] = []

    def emit(self, item: TokenChunk | ModelyardError) -> None:
        if isinstance(item, ModelyardError):
            self._ended.put((self._number, item))
            return
        self._texts.append(item.text)
        if item.last:
            self._ended.put((self._number, "".join(self._texts)))


def _text(value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidTensor("Input 'text_input' holds bytes that are not UTF-8 text.") from None


class Runtime(ABC):
    """Loads one model format. Stateless; one instance serves every thread.

    ``load`` reads files of ``folder`` only, writes nothing, starts no process but ``options.program``, and says nothing on standard output
    or error.
    """

    name: str
    """The format's name in artifacts and in ``detect.RUNTIMES``."""

    @abstractmethod
    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:
        """The model whose main file is ``folder / entry``.

        Raises InvalidArtifact with a sentence that says what to mend when it cannot be read or run.
        """
