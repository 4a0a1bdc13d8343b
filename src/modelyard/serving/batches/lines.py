"""Lines of a batch: calls that came, and answers as they are kept and told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from modelyard.serving.batches.files import Fault

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
MOST_LINES = 50_000
MOST_FAULTS = 100
_LONGEST_ID = 512


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A call: the body goes to the batch's endpoint."""

    custom_id: str
    method: str = "POST"
    url: str
    body: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of line ``at`` (from 0), as it stands in ``answers.jsonl``: the answer of a call, or why there was none."""

    at: int
    custom_id: str
    status: int = 0
    request_id: str = ""
    body: msgspec.Raw = msgspec.Raw()
    code: str = ""
    message: str = ""

    @property
    def good(self) -> bool:
        return self.status == 200

    def told(self, batch_id: str) -> bytes:
        """The answer as a line of the file that the caller gets."""
        error = {"code": self.code, "message": self.message} if self.code else None
        response: dict[str, Any] | None = None
        if self.status:
            response = {"status_code": self.status, "request_id": self.request_id, "body": self.body}
        said = {"id": f"batch_req_{batch_id[6:]}{self.at:08x}", "custom_id": self.custom_id, "response": response, "error": error}
        return msgspec.json.encode(said) + b"\n"


class _Body(msgspec.Struct):
    stream: bool = False


_decode = msgspec.json.Decoder(Line).decode
_decode_body = msgspec.json.Decoder(_Body).decode


def numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that say something, counted from 0, with the file's own numbers left to ``faults``."""
    with path.open("rb") as file:
        at = 0
        for raw in file:
            if raw.strip():
                yield at, raw
                at += 1


def read_line(raw: bytes) -> Line:
    """Raises msgspec.MsgspecError."""
    return _decode(raw)


def find_faults(path: Path, endpoint: str) -> tuple[int, list[Fault]]:
    """How many lines there are, and what is wrong with them, as far as it can be told without a call."""
    found: list[Fault] = []
    known: set[str] = set()
    count = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            count += 1
            fault = _fault(raw, number, endpoint, known)
            if fault is not None:
                found.append(fault)
            if count > MOST_LINES:
                found.append(Fault(code="too_many_requests", message=f"A batch has at most {MOST_LINES} lines.", line=number))
            if count > MOST_LINES or len(found) >= MOST_FAULTS:
                break
    if not count:
        found.append(Fault(code="empty_file", message="The input file has no lines; write one call a line."))
    return count, found


def _fault(raw: bytes, number: int, endpoint: str, known: set[str]) -> Fault | None:
    try:
        line = _decode(raw)
    except msgspec.MsgspecError as error:
        return Fault(code="invalid_json_line", message=f"The line cannot be read as a call: {error}.", line=number)
    if not line.custom_id or len(line.custom_id) > _LONGEST_ID:
        return Fault(code="missing_custom_id", message=f"custom_id must have 1 to {_LONGEST_ID} characters.", line=number)
    if line.custom_id in known:
        said = f"The custom_id {line.custom_id[:64]!r} stands on an earlier line too; give each line its own."
        return Fault(code="duplicate_custom_id", message=said, line=number)
    known.add(line.custom_id)
    if line.method != "POST":
        return Fault(code="invalid_method", message=f"The method is {line.method[:16]!r}; only POST is possible.", line=number)
    if line.url != endpoint:
        said = f"The url is {line.url[:64]!r}, and the batch's endpoint is {endpoint!r}; they must be the same."
        return Fault(code="mismatched_url", message=said, line=number)
    try:
        body = _decode_body(line.body)
    except msgspec.MsgspecError as error:
        return Fault(code="invalid_body", message=f"The body must be a JSON object: {error}.", line=number)
    if body.stream:
        return Fault(code="invalid_body", message="A batch cannot stream; leave out stream.", line=number)
    return None


class Kept(NamedTuple):
    """Where an answer stands in ``answers.jsonl``."""

    offset: int
    size: int
    good: bool


class _Mark(msgspec.Struct):
    at: int
    status: int = 0


_decode_mark = msgspec.json.Decoder(_Mark).decode


def kept_answers(path: Path) -> tuple[dict[int, Kept], int]:
    """The answers that are whole, by line, and where the last of them ends. Of a line that is there twice, which only a fault of the
    disk could do, the first counts.
    """
    found: dict[int, Kept] = {}
    end = 0
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return found, 0
    with file:
        for raw in file:
            if not raw.endswith(b"\n"):
                break
            try:
                mark = _decode_mark(raw)
            except msgspec.MsgspecError:
                break  # what a loss of power left; everything from here on is asked again
            found.setdefault(mark.at, Kept(end, len(raw), mark.status == 200))
            end += len(raw)
    return found, end
