"""The audit log beyond its rows: signed heads, the check that finds what was tampered with, and the log as a file.

The chain of hashes shows rows that were changed, taken out or moved. Whoever can write the database could write the whole chain
anew, or cut off its end; that shows against heads, which are signed with a key that is not in the database, and which are kept in a
file of the home as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from modelyard.core.errors import InvalidData, Unavailable
from modelyard.core.events import AuditEvent, AuditFault, AuditFinding, AuditHead, AuditReport
from modelyard.store.audit import chain_hash
from modelyard.store.database import Store

MOST_FINDINGS = 100
_PURPOSE = b"modelyard audit head 1\n"


class AuditLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an export: a row or a head."""

    event: AuditEvent | None = None
    head: AuditHead | None = None


class AuditLog:
    """Signs and checks the logs of all workspaces.

    ``seed`` is the private key; ``heads_file`` keeps heads outside the database; ``trust`` names public keys (hex) of others that
    sign the same database: other nodes, or this home before it was restored.
    """

    def __init__(self, store: Store, seed: bytes, heads_file: Path, *, trust: Sequence[str] = ()) -> None:
        self._store, self._file, self._trust = store, heads_file, frozenset(trust)
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self) -> int:
        """Signs the head of every log that has grown since its last one; how many.

        Raises Unavailable when the database does not answer or the file cannot be written.
        """
        with self._store.read() as session:
            grown = []
            for event in session.audit.newest():
                last = session.audit.last_head(event.workspace_id, self.public_key)
                if last is None or (last.event_id, last.hash) != (event.id, event.hash):
                    grown.append(event)
        for event in grown:
            self._sign(event)
        return len(grown)

    def _sign(self, event: AuditEvent) -> None:
        with self._store.write() as session:
            head = AuditHead(
                id=0,
                workspace_id=event.workspace_id,
                event_id=event.id,
                events=session.audit.count(event.workspace_id, event.id),
                hash=event.hash,
                time_ns=self._store.clock.time_ns(),
                signer=self.public_key,
                signature="",
            )
            head = msgspec.structs.replace(head, signature=self._private.sign(_signed_bytes(head)).hex())
            # The file first: a head that only the file has is true as well.
            self._keep(head)
            session.audit.add_head(head)

    def _keep(self, head: AuditHead) -> None:
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(msgspec.json.encode(head) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(f"The audit log cannot be signed: {self._file} cannot be written ({error.strerror}).") from error

    def verify(self, workspace_id: int, *, trust: Sequence[str] = ()) -> AuditReport:
        """Checks a log against its hashes, its heads in the database and those in the home."""
        with self._store.read() as session:
            stored = session.audit.heads(workspace_id)
            heads = _united(stored, (head for head in self._kept() if head.workspace_id == workspace_id))
            checker = Checker(heads, {self.public_key, *self._trust, *trust})
            findings = tuple(checker.check(session.audit.events(workspace_id)))
            newest = max(heads, key=lambda head: head.time_ns, default=None)
            return AuditReport(events=checker.events, heads=len(heads), findings=findings, head=newest, signer=self.public_key)

    def export(self, workspace_id: int) -> Iterator[bytes]:
        """A log with its heads as JSON lines, in pieces. Holds a read transaction while it is iterated."""
        with self._store.read() as session:
            for event in session.audit.events(workspace_id):
                yield msgspec.json.encode(AuditLine(event=event)) + b"\n"
            for head in _united(session.audit.heads(workspace_id), self._kept()):
                if head.workspace_id == workspace_id:
                    yield msgspec.json.encode(AuditLine(head=head)) + b"\n"

    def _kept(self) -> list[AuditHead]:
        try:
            lines = self._file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                found.append(msgspec.json.decode(line, type=AuditHead))
            except msgspec.MsgspecError:  # the last write was broken off; the database then has no such head either
                continue
        return found


def verify_export(lines: Iterable[bytes], trust: Sequence[str]) -> AuditReport:
    """Checks a log that was exported, without the platform: ``trust`` names the public keys (hex) that may have signed it.

    Raises InvalidData for a file that is no export.
    """
    events: list[AuditEvent] = []
    heads: list[AuditHead] = []
    for number, line in enumerate(lines, 1):
        try:
            read = msgspec.json.decode(line, type=AuditLine)
        except msgspec.MsgspecError as error:
            raise InvalidData(f"Line {number} is not what 'modelyard audit export' writes: {error}.") from None
        if read.event is not None:
            events.append(read.event)
        if read.head is not None:
            heads.append(read.head)
    checker = Checker(heads, set(trust))
    findings = tuple(checker.check(events))
    return AuditReport(events=len(events), heads=len(heads), findings=findings, head=heads[-1] if heads else None)


class Checker:
    """Finds what does not fit in one workspace's log."""

    def __init__(self, heads: Sequence[AuditHead], trust: set[str]) -> None:
        self._heads, self._trust = heads, trust
        self.events = 0
        self._last = 0
        self._gone = self._told = 0
        """How many rows heads count more than there are, and how many broken links there were at the last head."""

    def check(self, events: Iterable[AuditEvent]) -> list[AuditFinding]:
        """Everything found, oldest row first, up to ``MOST_FINDINGS``. Rows are read once."""
        findings: list[AuditFinding] = []
        due: dict[int, list[AuditHead]] = {}
        for head in self._heads:
            if self._is_sound(head):
                due.setdefault(head.event_id, []).append(head)
            else:
                findings.append(_forged(head))
        links: list[tuple[AuditEvent, AuditEvent | None]] = []
        places: dict[str, int] = {}
        before: AuditEvent | None = None
        for event in events:
            self.events += 1
            places[event.hash] = event.id
            if event.hash != chain_hash(event):
                findings.append(_finding(AuditFault.CHANGED, event, "was changed after it was written."))
            if event.previous_hash != (before.hash if before else ""):
                links.append((event, before))
            findings += self._unlike(event, due.pop(event.id, []), len(links))
            before = event
        self._last = before.id if before else 0
        findings += [_broken_link(event, previous, places) for event, previous in links]
        findings += [self._missing(event_id, heads[-1]) for event_id, heads in due.items()]
        return sorted(findings, key=lambda finding: finding.event_id)[:MOST_FINDINGS]

    def _unlike(self, event: AuditEvent, heads: Sequence[AuditHead], broken: int) -> Iterator[AuditFinding]:
        """What does not fit where the log was signed; ``broken`` links were found so far.

        Where rows are gone, every later head counts more of them than there are. That is told once, and not at all where the link that
        broke with them says so.
        """
        for head in heads:
            if head.hash != event.hash:
                yield _finding(AuditFault.CHANGED, event, f"is not the one that was signed {_when(head)}.")
            elif head.events - self.events != self._gone:
                self._gone = head.events - self.events
                if broken == self._told:
                    yield _finding(AuditFault.REMOVED, event, f"had {head.events - 1} rows before it when it was signed {_when(head)}.")
            self._told = broken

    def _is_sound(self, head: AuditHead) -> bool:
        if head.signer not in self._trust:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(head.signer)).verify(bytes.fromhex(head.signature), _signed_bytes(head))
        except (InvalidSignature, ValueError):
            return False
        return True

    def _missing(self, event_id: int, head: AuditHead) -> AuditFinding:
        where = "at the end of the log" if event_id > self._last else "inside the log"
        text = f"Row {event_id} is gone {where}: it was the newest of {head.events} rows when the log was signed {_when(head)}."
        return AuditFinding(fault=AuditFault.REMOVED, event_id=event_id, text=text)


def _broken_link(event: AuditEvent, before: AuditEvent | None, places: dict[str, int]) -> AuditFinding:
    true_place = places.get(event.previous_hash)
    stands = f"stands behind row {before.id}" if before else "stands at the beginning"
    if true_place is not None:
        return _finding(AuditFault.REORDERED, event, f"was written behind row {true_place}, but {stands}.")
    if not event.previous_hash:
        return _finding(AuditFault.REORDERED, event, f"was written as the first, but {stands}.")
    return _finding(AuditFault.REMOVED, event, f"{stands}, but was written behind another: rows between them are gone or were replaced.")


def _forged(head: AuditHead) -> AuditFinding:
    text = f"The head of row {head.event_id} from {_when(head)} is not signed by a key that is trusted (it names {head.signer})."
    return AuditFinding(fault=AuditFault.FORGED, event_id=head.event_id, text=text)


def _finding(fault: AuditFault, event: AuditEvent, says: str) -> AuditFinding:
    what = f"{event.action} {event.subject}"[:120]
    return AuditFinding(fault=fault, event_id=event.id, text=f"Row {event.id} ({what}) {says}")


def _when(head: AuditHead) -> str:
    moment = datetime.fromtimestamp(head.time_ns // 1_000_000_000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _signed_bytes(head: AuditHead) -> bytes:
    bare = msgspec.structs.replace(head, id=0, signature="")
    return _PURPOSE + msgspec.json.encode(bare, order="sorted")


def _united(stored: Iterable[AuditHead], kept: Iterable[AuditHead]) -> list[AuditHead]:
    """Heads of both places, each once, oldest first."""
    found = {head.signature: head for head in (*stored, *kept)}
    return sorted(found.values(), key=lambda head: (head.time_ns, head.event_id))
