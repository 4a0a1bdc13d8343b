"""Lines of request heads that were read before. Heads of one client are alike, and those of many clients have most lines in common.

A head of which every line is known, or is a known field with letters, digits and hyphens for a value, means what its lines mean; the
grammar need not be gone through again. Only what httptools has read the same way is ever taken in, and every rule on what fields say
together (framing, Host, their number) is applied to such a head as to any other. Mostly a head differs from others in a few values only:
what lies between those is compared as a whole then.
"""

from __future__ import annotations

from typing import Final

_MOST: Final = 1024
"""Lines that are known; then all are forgotten, so that who sends many different ones gains nothing and costs no memory."""
_LONGEST: Final = 512
_FORMS: Final = 4
"""Forms that are kept: those of as many clients at a time."""
_WHOLE_ONLY = frozenset({b"host", b"connection", b"expect", b"transfer-encoding", b"upgrade"})
"""Fields of which more is asked than the grammar does: known as whole lines only."""

Field = tuple[bytes, bytes]
"""Name in lower case, and value."""
Opening = tuple[bytes, str, str]
"""Method, path and query of a request line of HTTP/1.1."""


class Form:
    """What heads of one client have in common: all but the values of some fields."""

    __slots__ = ("_begins", "_lines", "_pieces", "_varying", "framed", "headers", "length", "opening", "order", "persistent")

    def __init__(self, lines: list[bytes], opening: Opening, headers: dict[bytes, bytes]) -> None:
        """``lines`` are a head's that was read, with the two empty ones after its end."""
        self.opening, self.headers = opening, headers
        self.order = [*headers]
        """The name of each line's field."""
        self.framed = False
        """Whether these two, which whoever reads heads has found out of one, hold for all:"""
        self.length, self.persistent = 0, True
        self._lines = lines
        self._varying: dict[int, bytes] = {}
        """The fields whose values are not the same, by their lines: how those begin."""
        self._pieces = [b"\r\n".join(lines[:-1]) + b"\r\n"]
        """What is the same, in between."""
        self._begins: list[tuple[bytes, bytes]] = []
        """The name of each field that varies, and how its line begins."""

    def read(self, head: bytes, known: dict[bytes, Field]) -> dict[bytes, bytes] | None:
        """What a head of this form says, which ends with its empty line; None for one of another."""
        pieces = self._pieces
        if not head.startswith(pieces[0]):
            return None
        at = len(pieces[0])
        begins = self._begins
        if not begins:
            return self.headers if at == len(head) else None
        headers = self.headers.copy()
        for place in range(len(begins)):
            name, begin = begins[place]
            end = head.find(b"\r\n", at)
            if end < 0:
                return None
            value = head[at:end]
            if len(value) + len(begin) > _LONGEST:
                return None
            if not value.replace(b"-", b"").isalnum():
                field = known.get(begin + value)
                if field is None or field[0] != name:
                    return None
                value = field[1]
            headers[name] = value
            piece = pieces[place + 1]
            if not head.startswith(piece, end):
                return None
            at = end + len(piece)
        return headers if at == len(head) else None

    def widen(self, lines: list[bytes]) -> bool:
        """Takes in that another head with the same fields in the same order has other values; False when that cannot be."""
        varying = self._varying.copy()
        for at in range(1, len(lines) - 2):
            line, name = lines[at], self.order[at - 1]
            if line != self._lines[at] and at not in varying:
                begin = line[: len(name) + 2]
                if name in _WHOLE_ONLY or not begin.endswith(b": ") or not self._lines[at].startswith(begin):
                    return False
                varying[at] = begin
        self._varying, self.framed = varying, False
        self._pieces, self._begins = [], []
        piece = lines[0] + b"\r\n"
        for at in range(1, len(lines) - 1):
            if at in varying:
                self._pieces.append(piece + varying[at])
                self._begins.append((self.order[at - 1], varying[at]))
                piece = b"\r\n"
            else:
                piece += lines[at] + b"\r\n"
        self._pieces.append(piece)
        return True

    @property
    def frames_alike(self) -> bool:
        """Whether what its heads say of their bodies is the same."""
        return all(name != b"content-length" for name, _ in self._begins)


class KnownLines:
    """Of one front; belongs to its event loop."""

    __slots__ = ("_fields", "_forms", "_names", "_openings", "form")

    def __init__(self) -> None:
        self.form = Form([b"", b"", b""], (b"", "", ""), {})
        """That of the head that was read last."""
        self._forms: list[Form] = []
        """The latest first."""
        self._openings: dict[bytes, Opening] = {}
        self._fields: dict[bytes, Field] = {}
        self._names: dict[bytes, bytes] = {}
        """As they were written → in lower case."""

    def read(self, head: bytes) -> dict[bytes, bytes] | None:
        """The fields of a head, which ends with its empty line and of which ``form`` tells the rest; None where that must be found out."""
        for form in self._forms:
            found = form.read(head, self._fields)
            if found is not None:
                self.form = form
                return found
        return self._read_lines(head.split(b"\r\n"))

    def _read_lines(self, lines: list[bytes]) -> dict[bytes, bytes] | None:
        opening = self._openings.get(lines[0])
        if opening is None:
            return None
        headers: dict[bytes, bytes] = {}
        for at in range(1, len(lines) - 2):
            line = lines[at]
            field = self._fields.get(line)
            if field is None:
                field = self._plain(line)
                if field is None:
                    return None
            name, value = field
            if name in headers:
                return None
            headers[name] = value
        self.form = self._form_of(lines, opening, headers)
        return headers

    def _form_of(self, lines: list[bytes], opening: Opening, headers: dict[bytes, bytes]) -> Form:
        order = [*headers]
        forms = self._forms
        for form in forms:
            if form.opening == opening and form.order == order and form.widen(lines):
                return form
        form = Form(lines, opening, headers)
        self._forms = [form, *forms[: _FORMS - 1]]
        return form

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
