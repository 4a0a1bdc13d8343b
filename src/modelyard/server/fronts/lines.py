"""Lines of request heads that were read before. Heads of one client are alike, and those of many clients have most lines in common.

A head of which every line is known, or is a known field with letters, digits and hyphens for a value, means what its lines mean; the
grammar need not be gone through again. Only what httptools has read the same way is ever taken in, and every rule on what fields say
together (framing, Host, their number) is applied to such a head as to any other. Mostly a head differs from the one before in a few
values only: then the others are not even looked up.
"""

from __future__ import annotations

from typing import Final

_MOST: Final = 1024
"""Lines that are known; then all are forgotten, so that who sends many different ones gains nothing and costs no memory."""
_LONGEST: Final = 512
_WHOLE_ONLY = frozenset({b"host", b"connection", b"expect", b"transfer-encoding", b"upgrade"})
"""Fields of which more is asked than the grammar does: known as whole lines only."""

Field = tuple[bytes, bytes]
"""Name in lower case, and value."""
Opening = tuple[bytes, str, str]
"""Method, path and query of a request line of HTTP/1.1."""


class KnownLines:
    """Of one front; belongs to its event loop."""

    __slots__ = ("_before", "_fields", "_headers", "_names", "_opening", "_openings", "_order", "_written")

    def __init__(self) -> None:
        self._before: list[bytes] = []
        """The lines of a head that was read, to compare others with,"""
        self._opening: Opening = (b"", "", "")
        self._headers: dict[bytes, bytes] = {}
        """what it says,"""
        self._order: list[bytes] = []
        """the name of each line's field,"""
        self._written: list[bytes] = []
        """and how its line begins; empty for a field that is known as a whole line only."""
        self._openings: dict[bytes, Opening] = {}
        self._fields: dict[bytes, Field] = {}
        self._names: dict[bytes, bytes] = {}
        """As they were written → in lower case."""

    def read(self, head: bytes) -> tuple[Opening, dict[bytes, bytes]] | None:
        """What a head says, which ends with its empty line; None where that must be found out."""
        lines = head.split(b"\r\n")
        if len(lines) == len(self._before) and lines[0] == self._before[0]:
            alike = self._alike(lines)
            if alike is not None:
                return self._opening, alike
        opening = self._openings.get(lines[0])
        if opening is None:
            return None
        headers: dict[bytes, bytes] = {}
        fields = self._fields
        for at in range(1, len(lines) - 2):
            line = lines[at]
            field = fields.get(line)
            if field is None:
                field = self._plain(line)
                if field is None:
                    return None
            name, value = field
            if name in headers:
                return None
            headers[name] = value
        self._compare_with(lines, opening, headers)
        return opening, headers

    def _alike(self, lines: list[bytes]) -> dict[bytes, bytes] | None:
        """What a head says that has the fields of the one before in the same order; None where that must be found out."""
        before, order, written = self._before, self._order, self._written
        headers = self._headers.copy()
        for at in range(1, len(lines) - 2):
            line = lines[at]
            if line == before[at]:
                continue
            begin = written[at]
            if begin and line.startswith(begin) and len(line) <= _LONGEST:
                value = line[len(begin) :]
                if value.replace(b"-", b"").isalnum():
                    headers[order[at]] = value
                    continue
            field = self._fields.get(line)
            if field is None or field[0] != order[at]:
                return None
            headers[order[at]] = field[1]
        return headers

    def _compare_with(self, lines: list[bytes], opening: Opening, headers: dict[bytes, bytes]) -> None:
        self._before, self._opening, self._headers = lines, opening, headers
        self._order = order = [b"", *headers]
        self._written = [b""]
        for at in range(1, len(order)):
            name = order[at]
            begin = lines[at][: len(name) + 2]
            self._written.append(begin if name not in _WHOLE_ONLY and begin.endswith(b": ") else b"")

    def learn(self, head: bytes, opening: Opening, headers: dict[bytes, bytes]) -> None:
        """Takes in the lines of a head that was read whole, with no field twice, and whose target is a path."""
        lines = head.split(b"\r\n")
        if len(lines) - 3 != len(headers) or len(lines[0]) > _LONGEST:
            return
        if len(self._openings) >= _MOST:
            self._openings.clear()
        self._openings[lines[0]] = opening
        for at in range(1, len(lines) - 2):
            line = lines[at]
            name, _, value = line.partition(b":")
            lower = name.lower()
            if len(line) > _LONGEST or headers.get(lower) != value.strip(b" \t"):
                continue
            if len(self._fields) >= _MOST:
                self._fields.clear()
                self._names.clear()
            self._fields[line] = lower, headers[lower]
            if lower not in _WHOLE_ONLY:
                self._names[name] = lower

    def _plain(self, line: bytes) -> Field | None:
        """A known field with a value that has nothing about it."""
        at = line.find(b": ")
        if at < 0 or len(line) > _LONGEST:
            return None
        name = self._names.get(line[:at])
        value = line[at + 2 :]
        return (name, value) if name is not None and value.replace(b"-", b"").isalnum() else None
