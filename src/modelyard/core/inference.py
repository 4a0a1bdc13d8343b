"""One prediction, as the data plane sees it: no protocol, no transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from modelyard.core.errors import ModelyardError
from modelyard.core.signature import Signature
from modelyard.core.tensors import Array

_NONE = Signature(inputs=(), outputs=())


class InferRequest(msgspec.Struct):
    """Decoded inputs of one call to a deployment."""

    inputs: dict[str, Array]
    outputs: tuple[str, ...] = ()
    """Names of the wanted outputs; empty for all."""
    extras: tuple[str, ...] = ()
    """Names of the wanted extras of the signature; they are all that is given then."""
    version: str = ""
    """A version number or alias; empty lets the deployment's routing choose."""
    deadline_ns: int = 0
    """Monotonic time after which nobody waits for the answer; 0 for none."""
    admit: Callable[[int, int], None] | None = None
    """Called with the call's rows and the id of its version before anything is computed; raises what refuses the call."""


class Run:
    """The outputs of a run that several calls share; each has its rows of them.

    The rest is for encoders, once the first of the calls needed it: ``rows_json`` has, by output, each row's numbers as flat JSON
    without brackets (null for what is not finite), and ``answers``, by deployment, the whole answer to a call of that one row.
    """

    __slots__ = ("answers", "outputs", "rows_json")

    def __init__(self, outputs: Mapping[str, Array]) -> None:
        self.outputs = outputs
        self.rows_json: dict[str, list[bytes]] = {}
        self.answers: dict[str, list[bytes]] = {}


class Share(Mapping[str, Array]):
    """One call's outputs: rows ``first`` to ``end`` of a run. An array is cut out when it is asked for."""

    __slots__ = ("_names", "end", "first", "run")

    def __init__(self, run: Run, first: int, end: int, names: tuple[str, ...]) -> None:
        self.run, self.first, self.end, self._names = run, first, end, names

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self.run.outputs[name][self.first : self.end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class InferResponse(msgspec.Struct):
    """Outputs of one call, with what they cost."""

    outputs: Mapping[str, Array]
    model: str
    version: int
    version_id: int
    rows: int
    queue_us: int = 0
    compute_us: int = 0
    signature: Signature = _NONE
    """Of the version that computed it: with weights it need not be the one that decoded the call."""
    cached: bool = False
    """Nothing was computed for this call: the answer was kept, or computed for another one."""


InferDone = Callable[[InferResponse | ModelyardError], None]
"""Called exactly once with the outcome of a call."""
