"""The state that workers act on, as an immutable, memory-mapped file.

A snapshot file ``N.snap`` has a header, a MessagePack section (workspaces, deployments, versions), a section of fixed-size key
records sorted by SHA-256 digest, and a section of their texts. Loading decodes the MessagePack section only; a key is found by
bisection over the mapped records when it is first presented, so 100,000 keys cost no time to load and hardly any memory.
``current`` holds the number of the newest file in eight bytes that readers keep mapped: polling it is one read of memory.

Header, MessagePack section and every key record carry a CRC-32; the size of the file is checked before anything is mapped.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from hmac import compare_digest
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.access import Grant, Key
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.deployments import ServedDeployment, ServedVersion
from modelyard.core.errors import Unavailable
from modelyard.core.limits import ServedLimit
from modelyard.core.prices import Price
from modelyard.core.shares import ServedShare
from modelyard.core.unreadable import UNREADABLE
from modelyard.store.snapshot_keys import KEY_SIZE, KeySections, KeyTable

MAGIC = b"MYSNAP\r\n"
FORMAT = 2
KEEP = 4
"""Files that stay: a reader that has just read a number must still find its file."""

# magic, format, size of a key record, number, created_ns, section length, section CRC, keys, length of texts; then the header's CRC
_HEADER = struct.Struct("<8sIIQQQIIQ")
_CRC = struct.Struct("<I")
_HEADER_SIZE = 64


class SnapshotState(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is made of; every version that a route names is among ``versions``."""

    workspaces: dict[int, str]
    deployments: tuple[ServedDeployment, ...]
    versions: tuple[ServedVersion, ...]
    keys: tuple[Key, ...]
    """Valid keys; revoked ones are left out."""
    limits: tuple[ServedLimit, ...] = ()
    prices: tuple[Price, ...] = ()
    """In the order in which they take effect."""
    shares: tuple[ServedShare, ...] = ()


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    workspaces: dict[int, str]
    deployments: list[ServedDeployment]
    versions: list[ServedVersion]
    limits: tuple[ServedLimit, ...] = ()
    prices: tuple[Price, ...] = ()
    shares: tuple[ServedShare, ...] = ()


class Snapshot:
    """One published state. Immutable but for the memory of grants already decoded; one thread reads it at a time."""

    def __init__(self, number: int, created_ns: int, section: _Section, keys: KeyTable | None = None) -> None:
        self.number = number
        """0 for the empty one that a process begins with."""
        self.created_ns = created_ns
        self.workspaces = section.workspaces
        self.deployments = section.deployments
        self.limits = section.limits
        self.prices = section.prices
        self.versions = {version.id: version for version in section.versions}
        self._by_name = {(deployment.workspace_id, deployment.name): deployment for deployment in section.deployments}
        known = {deployment.id: deployment for deployment in section.deployments} if section.shares else {}
        self.shares = {(share.borrower_id, share.name): share for share in section.shares if share.deployment_id in known}
        """By the workspace that may call, and what it calls."""
        self._by_name |= {key: known[share.deployment_id] for key, share in self.shares.items()}
        self._keys = keys
        self._grants: dict[bytes, tuple[bytes, Grant]] = {}

    @classmethod
    def empty(cls) -> Snapshot:
        """No workspace, no deployment, no key: what stands until the first file is loaded."""
        return cls(0, 0, _Section(workspaces={}, deployments=[], versions=[]))

    @property
    def key_count(self) -> int:
        return self._keys.count if self._keys is not None else 0

    def deployment(self, workspace_id: int, name: str) -> ServedDeployment | None:
        """The deployment that a workspace's keys call so: its own, or another's that is shared with it."""
        return self._by_name.get((workspace_id, name))

    def grant(self, digest: bytes) -> Grant | None:
        """What the key with this SHA-256 digest may do; None when there is no such key.

        Time spent on finding it depends on digests, which nobody can choose without breaking SHA-256; the verdict is a
        comparison in constant time. Only found keys are remembered, so guessing costs no memory.
        """
        found = self._grants.get(digest)
        if found is not None:
            return found[1] if compare_digest(found[0], digest) else None
        if self._keys is None:
            return None
        stored, grant = self._keys.find(digest)
        if not compare_digest(stored, digest) or grant is None:
            return None
        self._grants[digest] = (stored, grant)
        return grant


class _Counter:
    """Eight mapped bytes. The store is one aligned machine word, so a reader sees the old number or the new one."""

    def __init__(self, path: Path, writable: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < 8:
                if not writable:
                    raise FileNotFoundError(path)
                os.ftruncate(descriptor, 8)
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._memory = mmap.mmap(descriptor, 8, access=access)
        finally:
            os.close(descriptor)
        self.words = memoryview(self._memory).cast("Q")

    def flush(self) -> None:
        self._memory.flush()

    def close(self) -> None:
        self.words.release()
        self._memory.close()


class SnapshotWriter:
    """Publishes snapshots into a folder; the controller has the only one (a second is refused). Numbers never go back."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._clock = folder, clock or SystemClock()
        self._lock = os.open(folder / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Unavailable(f"Another controller publishes into {folder}; stop it first.") from None
        self._keys = KeySections()
        self._counter = _Counter(folder / "current", writable=True)
        self.number = max([self._counter.words[0], *_numbers(folder)])
        for left in folder.glob("*.tmp"):
            left.unlink(missing_ok=True)

    def publish(self, state: SnapshotState) -> int:
        """Writes the state as a new file, makes it current, removes old ones; its number.

        Raises Unavailable, and changes nothing that readers see, when the file cannot be written.
        """
        number = self.number + 1
        path = self._folder / f"{number}.snap"
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                for part in _encode(state, self._keys, number, self._clock.time_ns()):
                    file.write(part)
            # Not synced: after a power cut the controller publishes anew, and a file that did not reach the disk fails its checks.
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise Unavailable(f"The snapshot cannot be written to {self._folder}: {error.strerror}.", retry_after=1.0) from error
        self.number = number
        self._counter.words[0] = number
        for old in _numbers(self._folder):
            if old <= number - KEEP:
                (self._folder / f"{old}.snap").unlink(missing_ok=True)
        return number

    def close(self) -> None:
        """Lets another writer begin; what is published stays."""
        self._counter.close()
        os.close(self._lock)


class SnapshotReader:
    """Follows a folder of snapshots; may be made before anything is published in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counter: _Counter | None = None

    @property
    def number(self) -> int:
        """The newest published number; 0 while there is none."""
        if self._counter is None:
            try:
                self._counter = _Counter(self._folder / "current", writable=False)
            except FileNotFoundError:
                return 0
        return self._counter.words[0]

    def load(self) -> Snapshot:
        """The newest snapshot.

        Raises Unavailable when nothing is published yet, or the file is missing or damaged; keep the one you have then.
        """
        number = self.number
        if number == 0:
            raise Unavailable(f"No snapshot is published in {self._folder} yet; the controller writes one when it starts.", retry_after=0.2)
        while True:
            try:
                return _read(self._folder / f"{number}.snap", number)
            except FileNotFoundError:
                newer = self.number
                if newer == number:
                    raise Unavailable(f"Snapshot {number} is missing from {self._folder}; the controller will publish another.") from None
                number = newer
            except OSError as error:
                raise Unavailable(f"Snapshot {number} cannot be opened: {error.strerror}.", retry_after=0.2) from error

    def close(self) -> None:
        """Unmaps the counter; loaded snapshots stay usable."""
        if self._counter is not None:
            self._counter.close()
            self._counter = None


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.snap") if path.stem.isdigit())


def _encode(state: SnapshotState, keys: KeySections, number: int, now_ns: int) -> Iterator[bytes]:
    section = msgspec.msgpack.encode(
        _Section(
            workspaces=state.workspaces,
            deployments=list(state.deployments),
            versions=list(state.versions),
            limits=state.limits,
            prices=state.prices,
            shares=state.shares,
        )
    )
    records, texts = keys.encode(state.keys)
    head = _HEADER.pack(MAGIC, FORMAT, KEY_SIZE, number, now_ns, len(section), zlib.crc32(section), len(records) // KEY_SIZE, len(texts))
    yield (head + _CRC.pack(zlib.crc32(head))).ljust(_HEADER_SIZE, b"\0")
    yield section
    yield records
    yield texts


def _read(path: Path, number: int) -> Snapshot:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEADER_SIZE)
        fields = _check_header(path, head, number)
        _, _, _, _, created_ns, length, crc, count, texts_length = fields
        keys_at = _HEADER_SIZE + length
        texts_at = keys_at + count * KEY_SIZE
        if size != texts_at + texts_length:
            raise _damaged(path, f"it has {size} bytes instead of {texts_at + texts_length}")
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    packed = memory[_HEADER_SIZE:keys_at]
    if zlib.crc32(packed) != crc:
        raise _damaged(path, "its checksum does not fit its content")
    try:
        section = msgspec.msgpack.decode(packed, type=_Section)
    except UNREADABLE as error:
        raise _damaged(path, "another version of Modelyard wrote it") from error
    return Snapshot(number, created_ns, section, KeyTable(memory, keys_at, count, texts_at))


def _check_header(path: Path, head: bytes, number: int) -> tuple[Any, ...]:
    if len(head) < _HEADER_SIZE or not head.startswith(MAGIC):
        raise _damaged(path, "it does not begin as a snapshot")
    if _CRC.unpack_from(head, _HEADER.size)[0] != zlib.crc32(head[: _HEADER.size]):
        raise _damaged(path, "its header's checksum is wrong")
    fields = _HEADER.unpack_from(head)
    if fields[1] != FORMAT or fields[2] != KEY_SIZE:
        raise _damaged(path, f"it has format {fields[1]}, this version reads {FORMAT}")
    if fields[3] != number:
        raise _damaged(path, f"it says that it is number {fields[3]}")
    return fields


def _damaged(path: Path, why: str) -> Unavailable:
    return Unavailable(f"Snapshot {path.name} cannot be used: {why}; the controller will publish another.")
