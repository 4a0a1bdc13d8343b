"""Answers that are kept, and equal calls that are under way at once and computed once; for deployments that ask for it.

Each worker keeps its own, in bounded memory, the least recently used go first. An answer belongs to a workspace, a version's content,
the wanted outputs and the inputs, so nothing is ever shared between workspaces and a new version begins with nothing.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from modelyard.core import policy
from modelyard.core.errors import DeadlineExceeded, ModelyardError, Unavailable
from modelyard.core.inference import InferResponse
from modelyard.core.tensors import Array, Datatype, encode_tensor
from modelyard.serving.replica import Waiting
from modelyard.serving.router import Submit

_OVERHEAD = 512
"""Bytes that an answer takes beyond its arrays."""


class _Entry(NamedTuple):
    answer: InferResponse
    size: int
    until: float


class ResponseCache:
    """One deployment's answers in one worker. Belongs to the event loop; ``clock`` is monotonic seconds."""

    def __init__(self, wanted: policy.Cache, clock: Callable[[], float] = time.monotonic) -> None:
        self._wanted, self._clock = wanted, clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._flights: dict[bytes, list[Waiting]] = {}
        self.size = 0
        """Bytes that are kept."""

    def before(self, submit: Submit, workspace_id: int, digest: str) -> Submit:
        """``submit``, asked only for what is neither kept nor under way; ``digest`` is that of the version's artifact."""
        prefix = f"{workspace_id}\0{digest}\0".encode()

        def cached(call: Waiting) -> None:
            key = _key(prefix, call)
            entry = self._find(key)
            if entry is not None:
                _answer(call, entry.answer)
            elif self._wanted.coalesce and key in self._flights:
                self._flights[key].append(call)
            else:
                self._ask(key, call, submit)

        return cached

    def _find(self, key: bytes) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def _ask(self, key: bytes, call: Waiting, submit: Submit) -> None:
        done = call.done
        if self._wanted.coalesce:
            self._flights[key] = []

        def ended(outcome: InferResponse | ModelyardError) -> None:
            call.done = done  # or call and closure would hold each other
            kept = self._keep(key, outcome) if isinstance(outcome, InferResponse) else outcome
            done(outcome)
            self._land(key, kept, submit)

        call.done = ended
        try:
            submit(call)
        except ModelyardError as error:
            call.done = done
            self._land(key, error, submit)
            raise

    def _land(self, key: bytes, outcome: InferResponse | ModelyardError, submit: Submit) -> None:
        """Answers those who waited for the same. Where only the first one's own time ran out, the next one asks anew."""
        waiting = self._flights.pop(key, [])
        if isinstance(outcome, DeadlineExceeded):
            for call in waiting:
                self._ask_or_join(key, call, submit)
            return
        for call in waiting:
            if isinstance(outcome, InferResponse):
                _answer(call, outcome)
            else:
                call.statistics.failure((time.monotonic_ns() - call.arrived_ns) // 1000)
                call.done(outcome)

    def _ask_or_join(self, key: bytes, call: Waiting, submit: Submit) -> None:
        if key in self._flights:
            self._flights[key].append(call)
            return
        try:
            self._ask(key, call, submit)
        except Unavailable as error:
            call.done(error)

    def _keep(self, key: bytes, answer: InferResponse) -> InferResponse:
        """A copy of the answer, kept where there is room: arrays of answers may be parts of a whole batch's."""
        outputs = {name: _own(array) for name, array in answer.outputs.items()}
        copy = answer.again(outputs)
        size = _OVERHEAD + sum([_size(array) for array in outputs.values()])
        if size <= self._wanted.max_bytes:
            if key in self._entries:
                self._drop(key)
            self._entries[key] = _Entry(copy, size, self._clock() + self._wanted.seconds)
            self.size += size
            while self.size > self._wanted.max_bytes:
                self._drop(next(iter(self._entries)))
        return copy

    def _drop(self, key: bytes) -> None:
        self.size -= self._entries.pop(key).size


def _answer(call: Waiting, kept: InferResponse) -> None:
    """Answers with what was computed for another call; the time it waited counts as waiting."""
    now_ns = time.monotonic_ns()
    call.statistics.success(1, call.rows, call.arrived_ns, now_ns, now_ns)
    call.done(kept.again(kept.outputs, (now_ns - call.arrived_ns) // 1000))


def _key(prefix: bytes, call: Waiting) -> bytes:
    """What makes two calls the same; every part says how long it is, so no two different calls run together to one text."""
    hasher = blake2b(prefix, digest_size=24)
    hasher.update(repr(call.outputs).encode())
    for name in sorted(call.inputs):
        array = call.inputs[name]
        hasher.update(f"{len(name)}:{name}{array.dtype.str}{array.shape}".encode())
        hasher.update(encode_tensor(array, Datatype.BYTES) if array.dtype.kind == "O" else np.ascontiguousarray(array).data)
    return hasher.digest()


def _own(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _size(array: Array) -> int:
    return len(encode_tensor(array, Datatype.BYTES)) + 64 * array.size if array.dtype.kind == "O" else array.nbytes
