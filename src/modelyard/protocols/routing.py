"""Routes of protocols and the table that finds them: dictionaries by path segment, no regular expression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelyard.core.access import Action
from modelyard.core.errors import ModelyardError
from modelyard.core.exchange import Headers
from modelyard.core.usage import CallKind, ProtocolId

if TYPE_CHECKING:
    from modelyard.protocols.call import Call

Body = bytes | Sequence[bytes | memoryview]
Reply = tuple[int, Headers, Body]
"""Status, headers (names in lower case, without ``content-length``) and body of an answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path of a protocol.

    ``pattern`` is a path whose segments are literals, ``{parameter}``, or, last only, ``{parameter}:literal``. A literal wins
    over a parameter. ``action`` is the right that a key needs; None is for health alone, which needs no key.
    """

    method: str
    pattern: str
    action: Action | None
    run: Callable[[Call], None]
    """Answers the call, at once or later, through ``reply``, ``fail`` or ``infer``; may raise ModelyardError instead."""
    kind: CallKind = CallKind.OTHER
    names_deployment: bool = False
    """The pattern has ``{name}``, the deployment that the right is needed for."""
    keyed: bool = False
    """Whether even a public deployment needs a key here: what belongs to one caller is not for everybody."""
    locate: Callable[[Call], None] | None = None
    """Where the pattern names no deployment: finds the one that is meant, in the key's scope or in the body, and puts it among the
    parameters as ``name``; where it finds none, the right is asked for in general. Called after authentication, before admission;
    raises ModelyardError."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol as a table: its routes, and how it says an error."""

    name: str
    id: ProtocolId
    routes: tuple[Route, ...]
    error: Callable[[ModelyardError], Reply]
    """The answer to an error; ``Call.fail`` adds ``retry-after`` and ``www-authenticate``, where they belong."""


class _Node:
    __slots__ = ("literals", "methods", "parameter", "protocol", "suffixes")

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.literals: dict[str, _Node] = {}
        self.suffixes: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.methods: dict[str, tuple[Protocol, Route, tuple[str, ...]]] = {}


class RouteTable:
    """Every route of every protocol.

    Raises ValueError when two routes claim the same method and path: protocols on one port must not clash.
    """

    def __init__(self, protocols: Sequence[Protocol]) -> None:
        if not protocols:
            raise ValueError("A route table needs at least one protocol.")
        self._root = _Node(protocols[0])
        self._direct: dict[tuple[str, str, str], tuple[Protocol, Route, frozenset[str]]] = {}
        """Routes like ``/v2/models/{name}/infer`` by method, what stands before the parameter and after it; and the literals that
        could stand in the parameter's place."""
        for protocol in protocols:
            for route in protocol.routes:
                self._add(protocol, route)
        self._index(self._root, "")

    def _add(self, protocol: Protocol, route: Route) -> None:
        node, names = self._root, []
        for segment in route.pattern.strip("/").split("/"):
            if not segment.startswith("{"):
                node = node.literals.setdefault(segment, _Node(protocol))
                continue
            name, _, suffix = segment[1:].partition("}")
            names.append(name)
            if suffix:
                node = node.suffixes.setdefault(suffix, _Node(protocol))
            else:
                node.parameter = node.parameter or _Node(protocol)
                node = node.parameter
        if route.names_deployment != ("name" in names or route.locate is not None):
            raise ValueError(f"{protocol.name}: {route.method} {route.pattern}: names_deployment must say whether there is a {{name}}.")
        if route.method in node.methods:
            raise ValueError(f"{protocol.name}: {route.method} {route.pattern} is already a route of {node.methods[route.method][0].name}.")
        node.methods[route.method] = (protocol, route, tuple(names))

    def _index(self, node: _Node, path: str) -> None:
        for literal, child in node.literals.items():
            self._index(child, f"{path}/{literal}")
        if node.parameter is None or node.suffixes:
            return
        for tail, child in node.parameter.literals.items():
            for method, (protocol, route, names) in child.methods.items():
                if names == ("name",):
                    self._direct[method, path, tail] = protocol, route, frozenset(node.literals)

    def find(self, method: str, path: str) -> tuple[Protocol, Route | None, dict[str, str], tuple[str, ...]]:
        """Protocol, route, path parameters and, for a known path without this method, the methods it has.

        A trailing slash is not the same path. HEAD is answered as GET. Without a route the protocol is that of the nearest
        known path, so that the refusal speaks the caller's language.
        """
        before, _, tail = path.rpartition("/")
        before, _, name = before.rpartition("/")
        direct = self._direct.get((method, before, tail))
        if direct is not None and name and "%" not in name and name not in direct[2]:
            return direct[0], direct[1], {"name": name}, ()
        return self._search(method, path)

    def _search(self, method: str, path: str) -> tuple[Protocol, Route | None, dict[str, str], tuple[str, ...]]:
        values: list[str] = []
        segments = path[1:].split("/")
        node = self._straight(segments, values)
        if node is None:
            values.clear()
            node, nearest = self._walk(self._root, segments, 0, values)
            if node is None:
                return nearest.protocol, None, {}, ()
        entry = node.methods.get(method) or (node.methods.get("GET") if method == "HEAD" else None)
        if entry is None:
            return node.protocol, None, {}, tuple(sorted(node.methods))
        protocol, route, names = entry
        if "%" in path:
            values = [value.replace("%2F", "/").replace("%25", "%") for value in values]
        if len(names) == 1:
            return protocol, route, {names[0]: values[0]}, ()
        return protocol, route, dict(zip(names, values, strict=True)), ()

    def _straight(self, segments: list[str], values: list[str]) -> _Node | None:
        """The node of a path on which no step leaves a choice; None when one does, or when the path is unknown."""
        node = self._root
        for segment in segments:
            child = node.literals.get(segment)
            if child is None:
                child = node.parameter
                if child is None or node.suffixes or not segment:
                    return None
                values.append(segment)
            elif node.parameter is not None:
                return None
            node = child
        return node if node.methods else None

    def _walk(self, node: _Node, segments: list[str], at: int, values: list[str]) -> tuple[_Node | None, _Node]:
        """The node of the whole path, or None; and the deepest node reached. Appends parameters to ``values``."""
        if at == len(segments):
            return (node if node.methods else None), node
        segment, nearest = segments[at], node
        literal = node.literals.get(segment)
        if literal is not None:
            found, nearest = self._walk(literal, segments, at + 1, values)
            if found is not None:
                return found, nearest
        if not segment:
            return None, nearest
        if node.suffixes and ":" in segment:
            value, colon, literal_part = segment.rpartition(":")
            suffixed = node.suffixes.get(colon + literal_part)
            if suffixed is not None and value and at + 1 == len(segments):
                values.append(value)
                return suffixed, suffixed
        if node.parameter is not None:
            values.append(segment)
            found, deeper = self._walk(node.parameter, segments, at + 1, values)
            if found is not None:
                return found, deeper
            values.pop()
            nearest = deeper if nearest is node else nearest
        return None, nearest
