"""The seam of formats that people bring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.core.errors import Unsupported
from modelyard.core.plugins import load_string
from modelyard.core.signature import TensorSpec
from modelyard.core.tensors import Array
from modelyard.importers.brought import Brought
from modelyard.importers.samples import MADE_UP_ROWS, Domain, Sample
from modelyard.importers.spec import Part

Predict = Callable[[dict[str, Array]], dict[str, Array]]


@dataclass(frozen=True, slots=True)
class Bench:
    """What an importer works with in the confined child."""

    folder: Path
    """The part's own folder; read only."""
    made: Path
    """Where the artifact goes; empty."""
    part: Part
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """An artifact in ``made``, with the original beside it to compare against."""

    entry: str
    format: str
    how: str
    """What converted it, with its version."""
    original: Predict
    """From inputs of the new signature to the outputs that the original gives, by their new names; only those that can be compared."""
    once: Predict | None = None
    """One call as a server of the original would make it, to be timed; ``original`` where that is the same."""
    domains: Mapping[str, Domain] = field(default_factory=dict)
    """By input: where made-up values make sense."""
    rows: int = MADE_UP_ROWS
    """How many rows to make up: fewer where each takes long."""
    missing: bool = True
    """Whether the format has an idea of missing values that a conversion must keep; networks have none."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that read the original."""
    notes: tuple[str, ...] = ()
    proven: Mapping[str, Any] | None = None
    """The proof, where the conversion has compared the two by itself: then ``original`` is never called."""


@dataclass(frozen=True, slots=True)
class Original:
    """The model as it was brought, to be run by its own library where ONNX cannot say it."""

    library: str
    """Of ``runtimes.original.ORIGINALS``."""
    files: tuple[str, ...]
    """Paths inside the part's folder that it needs; all of them where none is named."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    """What is known of the outputs; found out by a call where empty."""
    options: Mapping[str, Any] = field(default_factory=dict)
    domains: Mapping[str, Domain] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    """Names of the outputs where a call shall find out the rest."""
    environment: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    """Whether its library opens the folder, not the part's entry."""


def heavy(reference: str, extra: str) -> Callable[[Bench], Any]:
    """A function of an importer whose libraries load only now.

    Raises Unsupported, naming the extra, when they are not installed.
    """
    try:
        found: Callable[[Bench], Any] = load_string(reference)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("modelyard"):
            raise
        raise missing_library(error, extra) from error
    return found


def missing_library(error: ModuleNotFoundError, extra: str) -> Unsupported:
    """What to install."""
    return Unsupported(f"The model needs the Python package {error.name!r} beside the platform: pip install 'modelyard[{extra}]'")


class Importer(ABC):
    """One format that people bring. Stateless.

    ``find`` runs before anything is trusted: it reads bytes and never opens a model with its library. ``convert`` runs in a confined
    child process, writes ``bench.made`` only, and may import heavy libraries. Both raise InvalidArtifact or Unsupported with one
    sentence that says what to mend; ``convert`` raises Unsupported when the model is sound and ONNX cannot say it exactly. ``original``
    is asked then, in the same child; it opens nothing more than ``convert`` did.
    """

    name: str

    @abstractmethod
    def find(self, brought: Brought) -> list[Part]:
        """The models of this format, in the order of their versions; none when it is of another format."""

    @abstractmethod
    def convert(self, bench: Bench) -> Converted:
        """The part as an artifact that a runtime loads."""

    def original(self, bench: Bench) -> Original | None:
        """How its own library can run the part in a replica process; None for formats that are served as ONNX or not at all."""
        del bench
        return None
