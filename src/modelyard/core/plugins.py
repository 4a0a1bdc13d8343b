"""Tables of name → import string, so that nothing optional loads until it is named.

An extension of Modelyard is one file plus one line in such a table; third parties add lines through entry points of the
table's group (``[project.entry-points."modelyard.runtimes"]``). A built-in name cannot be overridden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from modelyard.core.errors import NotFound, Unsupported, did_you_mean

T = TypeVar("T")


def load_string(reference: str) -> Any:
    """The object that ``package.module:name`` refers to.

    Raises ImportError when the module or a library it needs is missing, AttributeError when the name is.
    """
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def load_extra(reference: str, extra: str, who: str) -> Any:
    """As ``load_string``, for what needs libraries of one of Modelyard's extras.

    Raises Unsupported, saying that ``who`` needs the missing package and which extra brings it.
    """
    try:
        return load_string(reference)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("modelyard"):
            raise
        raise Unsupported(f"{who} needs the Python package {error.name!r}; install it with: pip install 'modelyard[{extra}]'") from error


class PluginTable(Generic[T]):
    """Named implementations of one seam, loaded on first use.

    ``extras`` names, for an entry, the extra of Modelyard to install when its libraries are missing.
    """

    def __init__(self, group: str, builtin: Mapping[str, str], extras: Mapping[str, str] | None = None) -> None:
        self.group = group
        self._builtin = dict(builtin)
        self._extras = dict(extras or {})
        self._loaded: dict[str, T] = {}

    def names(self) -> list[str]:
        """Every known name, built-in ones first."""
        found = list(self._builtin)
        found.extend(point.name for point in entry_points(group=self.group) if point.name not in self._builtin)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def get(self, name: str) -> T:
        """The implementation called ``name``.

        Raises NotFound, naming the nearest, for an unknown name or when its libraries are not installed (naming the extra).
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> T:
        reference = self._builtin.get(name)
        if reference is None:
            reference = next((point.value for point in entry_points(group=self.group) if point.name == name), None)
        if reference is None:
            known = self.names()
            kind = self.group.rpartition(".")[2]
            raise NotFound(f"There is no {name!r} among the {kind}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
        try:
            loaded: T = load_string(reference)
        except ModuleNotFoundError as error:
            extra = self._extras.get(name)
            if extra is None:
                raise
            raise NotFound(
                f"{name!r} needs the Python package {error.name!r}; install it with: pip install 'modelyard[{extra}]'"
            ) from error
        return loaded
