"""A user's class with ``stream``: pieces of text as they come, for whoever asks through the text protocols."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from modelyard.core.errors import DeadlineExceeded, Internal, InvalidRequest, ModelyardError, Unavailable
from modelyard.core.generation import Cancel, Emit, FinishReason, GenerateRequest, GenerationUsage, TokenChunk
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array
from modelyard.runtimes.base import GenerativeModel, LoadedModel

logger = logging.getLogger(__name__)
_OPTIONS = ("max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty")
_CONTEXT = 1 << 24
"""Nothing is known of how much text a user's class can take."""


class _Inner(Protocol):
    signature: Signature
    concurrency: int


class StreamingPythonModel(GenerativeModel):
    """Runs ``stream`` in threads, as many at once as the class's ``concurrency``. A piece counts as a token: nothing better is known.

    ``stream`` gets ``prompt`` or ``messages`` (a prompt as the one message, where it takes no other), and of the sampling options those
    that it names as parameters.
    """

    context_length = _CONTEXT

    def __init__(self, inner: LoadedModel, instance: Any) -> None:
        self._inner = inner
        self.signature = inner.signature
        self.concurrency, self.repeatable, self.joins = inner.concurrency, inner.repeatable, inner.joins
        self._stream = instance.stream
        self._predicts = hasattr(instance, "predict") or hasattr(instance, "predict_batch")
        parameters = inspect.signature(self._stream).parameters
        self._names = set(parameters)
        self.has_template = "messages" in self._names
        self._threads = ThreadPoolExecutor(inner.concurrency, thread_name_prefix="stream")
        self._closed = threading.Event()

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        if self._closed.is_set():
            emit(Unavailable("This version was unloaded; try again."))
            return lambda: None
        cancelled = threading.Event()
        queued_ns = time.monotonic_ns()

        def run() -> None:
            emit(self._run(request, emit, cancelled, queued_ns))

        future = self._threads.submit(run)

        def failed(done: Any) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                logger.error("A stream failed with %s", type(error).__name__, exc_info=error)
                emit(Internal("The model failed on this call; its deployment's log has the reason."))

        future.add_done_callback(failed)
        return cancelled.set

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return self._inner.infer(inputs) if self._predicts else super().infer(inputs)

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._threads.shutdown(wait=True)
            self._inner.close()

    def _run(self, request: GenerateRequest, emit: Emit, cancelled: threading.Event, queued_ns: int) -> TokenChunk | ModelyardError:
        """The last thing of a generation; what comes before it is emitted on the way."""
        began_ns = time.monotonic_ns()
        count = 0

        def usage() -> GenerationUsage:
            now_ns = time.monotonic_ns()
            return GenerationUsage(
                tokens_out=count, queue_us=(began_ns - queued_ns) // 1000, compute_us=max(1, (now_ns - began_ns) // 1000)
            )

        try:
            for piece in self._pieces(request):
                if self._closed.is_set():
                    return Unavailable("This version was unloaded; try again.")
                if cancelled.is_set():
                    return TokenChunk(finish=FinishReason.CANCELLED, last=True, usage=usage())
                if 0 < request.deadline_ns <= time.monotonic_ns():
                    return DeadlineExceeded("The call's time ran out while its answer was generated; allow it longer.")
                count += 1
                emit(TokenChunk(text=str(piece), usage=usage()))
                if request.sampling.max_tokens is not None and count >= request.sampling.max_tokens:
                    return TokenChunk(finish=FinishReason.LENGTH, last=True, usage=usage())
        except ModelyardError as error:
            return error
        return TokenChunk(finish=FinishReason.STOP, last=True, usage=usage())

    def _pieces(self, request: GenerateRequest) -> Iterator[str]:
        if request.n != 1 or request.token_ids or request.logprobs is not None or request.grammar is not None:
            raise InvalidRequest("This model streams one text from one prompt: it has no token ids, log probabilities or grammars.")
        if request.messages and not self.has_template:
            raise InvalidRequest("This model takes a prompt, not messages; its stream has no parameter 'messages'.")
        if request.messages or "prompt" not in self._names:
            given: dict[str, Any] = {"messages": list(request.messages) or [{"role": "user", "content": request.prompt}]}
        else:
            given = {"prompt": request.prompt}
        for name in self._names.intersection(_OPTIONS):
            value = getattr(request.sampling, name)
            if value is not None:
                given[name] = value
        found: Iterator[str] = iter(self._stream(**given))
        return found
