"""The seam of model formats: load an artifact's folder, then run it on dictionaries of arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from modelyard.core.signature import Signature
from modelyard.core.tensors import Array


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How much of the machine one loaded model may use."""

    threads: int = 1
    """Threads inside one call; 1 keeps a call on the thread that makes it."""


class LoadedModel(ABC):
    """A model in memory.

    ``infer`` may be called from several threads at once and after any failed call; it neither keeps nor changes the arrays
    that it is given, and what it returns belongs to the caller. It checks nothing that ``signature.check_inputs`` checks:
    callers do that first. It raises InvalidTensor when the data cannot be computed (a row that the graph refuses) and Internal when the
    library fails; never an error of the library itself. ``close`` frees the memory, may be called twice, and no call may run
    then or come after.
    """

    signature: Signature

    @abstractmethod
    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Every output of the model by name, for inputs that fit the signature."""

    @abstractmethod
    def close(self) -> None:
        """Frees what the model holds."""


class Runtime(ABC):
    """Loads one model format. Stateless; one instance serves every thread.

    ``load`` reads files of ``folder`` only, writes nothing, starts no process, and says nothing on standard output or error.
    """

    name: str
    """The format's name in artifacts and in ``detect.RUNTIMES``."""

    @abstractmethod
    def load(self, folder: Path, entry: str, options: LoadOptions) -> LoadedModel:
        """The model whose main file is ``folder / entry``.

        Raises InvalidArtifact with a sentence that says what to mend when it cannot be read or run.
        """
