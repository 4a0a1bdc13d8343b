"""One prediction, as the data plane sees it: no protocol, no transport. Plain classes, because these are on every call's path compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from modelyard.core.errors import ModelyardError
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array

_NONE: Final = Signature(inputs=(), outputs=())


class InferRequest:
    """Decoded inputs of one call to a deployment."""

    __slots__ = ("admit", "deadline_ns", "extras", "inputs", "outputs", "version")

    def __init__(
        self, inputs: dict[str, Array], outputs: tuple[str, ...] = (), extras: tuple[str, ...] = (), version: str = "", deadline_ns: int = 0
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        """Names of the wanted outputs; empty for all."""
        self.extras = extras
        """Names of the wanted extras of the signature; they are all that is given then."""
        self.version = version
        """A version number or alias; empty lets the deployment's routing choose."""
        self.deadline_ns = deadline_ns
        """Monotonic time after which nobody waits for the answer; 0 for none."""
        self.admit: Callable[[int, int], None] | None = None
        """Called with the call's rows and the id of its version before anything is computed; raises what refuses the call."""


class InferResponse:
    """Outputs of one call, with what they cost."""

    __slots__ = ("cached", "compute_us", "model", "outputs", "queue_us", "rows", "signature", "version", "version_id")

    def __init__(  # noqa: PLR0917  # on every call's path, where keywords cost time
        self,
        outputs: Mapping[str, Array],
        model: str,
        version: int,
        version_id: int,
        rows: int,
        queue_us: int = 0,
        compute_us: int = 0,
        signature: Signature = _NONE,
    ) -> None:
        self.outputs = outputs
        self.model, self.version, self.version_id = model, version, version_id
        self.rows, self.queue_us, self.compute_us = rows, queue_us, compute_us
        self.signature = signature
        """Of the version that computed it: with weights it need not be the one that decoded the call."""
        self.cached = False
        """Nothing was computed for this call: the answer was kept, or computed for another one."""

    def again(self, outputs: Mapping[str, Array], queue_us: int = 0) -> InferResponse:
        """The same answer for a call that computes nothing."""
        copy = InferResponse(outputs, self.model, self.version, self.version_id, self.rows, queue_us, 0, self.signature)
        copy.cached = True
        return copy


InferDone = Callable[[InferResponse | ModelyardError], None]
"""Called exactly once with the outcome of a call."""
