"""One usage record as bytes: what the journal writes for every call. Compiled, which makes each field a store of a machine word."""

from __future__ import annotations

from typing import Any, Final

from librt.strings import BytesWriter, write_i16_le, write_i32_le, write_i64_le

from modelyard.core.cost import Cost
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.store.segments import CACHED, FIELDS

Caller = tuple[bytes, int, int, int]
"""Our 16-byte request id, and the ids of workspace, key and deployment (0 where none is named)."""

_SPARE: Final = bytes(11)
_LIMITS = (*[(1 << 64) - 1] * 5, *[(1 << 32) - 1] * 6, *[(1 << 64) - 1] * 2, (1 << 16) - 1, *[255] * 3, (1 << 64) - 1)
"""The largest value of each field after the request id."""


class RecordEncoder:
    """Encodes ``segments.FIELDS``; belongs to one thread."""

    __slots__ = ("_writer",)

    def __init__(self) -> None:
        self._writer = BytesWriter()

    def encode(  # noqa: PLR0917  # on every call's path, where keywords cost time
        self,
        caller: Caller,
        time_ns: int,
        status: int,
        cost: Cost,
        protocol: ProtocolId,
        kind: CallKind,
        sizes: tuple[int, int],
        number: int,
    ) -> bytes:
        """The fields of a call's record; ``sizes`` are the bytes in and out. What a field cannot hold is brought to what it can."""
        request_id, workspace_id, key_id, deployment_id = caller
        rows, tokens_in, tokens_out, tokens_cached = cost.rows, cost.tokens_in, cost.tokens_out, cost.tokens_cached
        queue_us, compute_us, version_id = cost.queue_us, cost.compute_us, cost.version_id
        bytes_in, bytes_out = sizes
        flags = CACHED if cost.cached else 0
        writer = self._writer
        writer.truncate(0)
        try:
            if (rows | tokens_in | tokens_out | tokens_cached | queue_us | compute_us | bytes_in | bytes_out | status) < 0:
                raise OverflowError
            writer.write(request_id)
            write_i64_le(writer, time_ns)
            write_i64_le(writer, workspace_id)
            write_i64_le(writer, key_id)
            write_i64_le(writer, deployment_id)
            write_i64_le(writer, version_id)
            write_i32_le(writer, rows)
            write_i32_le(writer, tokens_in)
            write_i32_le(writer, tokens_out)
            write_i32_le(writer, tokens_cached)
            write_i32_le(writer, queue_us)
            write_i32_le(writer, compute_us)
            write_i64_le(writer, bytes_in)
            write_i64_le(writer, bytes_out)
            write_i16_le(writer, status)
            writer.append(protocol)
            writer.append(kind)
            writer.append(flags)
            writer.write(_SPARE)
            write_i64_le(writer, number)
        except (OverflowError, ValueError):  # beyond what signed words hold
            tokens, times = (tokens_in, tokens_out, tokens_cached), (queue_us, compute_us)
            facts = (workspace_id, key_id, deployment_id, version_id, rows, *tokens, *times, *sizes, status, protocol, kind, flags, number)
            return FIELDS.pack(*_clamped((request_id, time_ns, *facts)))
        return writer.getvalue()


def _clamped(fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same fields with every number brought into what a record can hold."""
    return (fields[0], *[min(max(int(value), 0), limit) for value, limit in zip(fields[1:], _LIMITS, strict=True)])
