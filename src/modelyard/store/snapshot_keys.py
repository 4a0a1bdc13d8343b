"""The keys of a snapshot: records of fixed size, sorted by SHA-256 digest, and their texts behind them."""

from __future__ import annotations

import mmap
import struct
import zlib
from bisect import bisect_left, insort
from collections.abc import Iterable

import msgspec

from modelyard.core.access import Action, Grant, Key

# digest, workspace, principal, key, expiry, offset and length of its text, actions, CRC of record and text
_KEY = struct.Struct("<32sQQQQQIII")
KEY_SIZE = _KEY.size
_BODY = struct.Struct("<32sQQQQQII")
_ACTIONS = tuple(Action)
"""An action is the bit of its place here: new ones are added at the end."""
_SCOPE = msgspec.msgpack.Decoder(tuple[str, tuple[str, ...], tuple[str, ...]])
_BITS = {action: 1 << bit for bit, action in enumerate(_ACTIONS)}
_SPARE = 1000
_FEW = 100
"""So many records are put in and taken out one by one."""


class KeySections:
    """Encodes keys, and keeps what it encoded from one snapshot to the next: of a hundred thousand keys, mostly few are new."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Key, bytes]] = {}
        """By the object that a key was, which this keeps alive: the key, and its record. Whoever gives the same object again has not
        changed it, and needs not be compared."""
        self._sorted: list[bytes] = []
        self._texts = bytearray()
        """Texts of keys that are gone stay, until they are the larger part."""
        self._written = 0

    def encode(self, keys: Iterable[Key]) -> tuple[bytes, bytes]:
        """The section of records and that of texts."""
        keys = list(keys)
        if self._written > 2 * len(keys) + _SPARE:
            self._known, self._sorted, self._texts, self._written = {}, [], bytearray(), 0
        now, known = set(map(id, keys)), self._known
        gone = known.keys() - now
        fresh = now - known.keys()
        added = [(key, self._encode(key)) for key in keys if id(key) in fresh] if fresh else []
        ended = [known.pop(identity)[1] for identity in gone]
        known |= {id(key): (key, record) for key, record in added}
        if len(added) + len(ended) > _FEW:
            dropped = set(ended)
            self._sorted = sorted([*(record for record in self._sorted if record not in dropped), *(record for _, record in added)])
        else:
            for record in ended:
                del self._sorted[bisect_left(self._sorted, record)]
            for _, record in added:
                insort(self._sorted, record)
        return b"".join(self._sorted), bytes(self._texts)

    def _encode(self, key: Key) -> bytes:
        text = msgspec.msgpack.encode((key.public_id, key.deployments, key.networks))
        actions = sum([_BITS[action] for action in key.actions])
        place = len(self._texts), len(text)
        record = _BODY.pack(bytes.fromhex(key.digest), key.workspace_id, key.principal_id, key.id, key.expires_ns, *place, actions)
        self._texts += text
        self._written += 1
        return record + zlib.crc32(text, zlib.crc32(record)).to_bytes(4, "little")


class KeyTable:
    """Sorted key records over the mapped file."""

    def __init__(self, memory: mmap.mmap, at: int, count: int, texts_at: int) -> None:
        self._memory, self._at, self.count, self._texts_at = memory, at, count, texts_at

    def find(self, digest: bytes) -> tuple[bytes, Grant | None]:
        """The digest and grant of the nearest record at or after ``digest``; zeros when there is none or it is damaged."""
        memory, at, size = self._memory, self._at, _KEY.size
        low, high = 0, self.count
        while low < high:
            middle = (low + high) >> 1
            start = at + middle * size
            if memory[start : start + 32] < digest:
                low = middle + 1
            else:
                high = middle
        if low == self.count:
            return bytes(32), None
        return self._decode(at + low * size)

    def _decode(self, start: int) -> tuple[bytes, Grant | None]:
        record = self._memory[start : start + _KEY.size]
        digest, workspace_id, principal_id, key_id, expires_ns, offset, length, actions, crc = _KEY.unpack(record)
        text = self._memory[self._texts_at + offset : self._texts_at + offset + length]
        if zlib.crc32(text, zlib.crc32(record[: _BODY.size])) != crc:
            return bytes(32), None  # a damaged record opens nothing
        public_id, deployments, networks = _SCOPE.decode(text)
        return digest, Grant(
            workspace_id=workspace_id,
            key_id=key_id,
            public_id=public_id,
            actions=frozenset(action for bit, action in enumerate(_ACTIONS) if actions >> bit & 1),
            deployments=frozenset(deployments),
            expires_ns=expires_ns,
            principal_id=principal_id,
            networks=networks,
        )
