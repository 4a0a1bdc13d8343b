"""What the gate grants to one call."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

from modelyard.core.cost import Cost
from modelyard.core.errors import ModelyardError
from modelyard.core.limits import Standings
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.counters import Awaited
from modelyard.gate.journal import Journal
from modelyard.gate.reservation import Reservation
from modelyard.store.records import Caller

AGAIN_S: Final = 0.02
"""After this time a call that awaits units asks for them again."""
PATIENCE_NS: Final = 200_000_000
"""So long it does so before it computes; then it is refused, and its caller comes again as told."""
STREAM_PATIENCE_NS: Final = 5_000_000_000
"""So long a stream that has begun does so: to be cut off costs its caller what was computed already."""


class Recorder(Protocol):
    """What writes usage records: a journal, or what stands in for one."""

    def append(  # noqa: PLR0917  # on every call's path, where keywords cost time
        self, caller: Caller, status: int, cost: Cost, protocol: ProtocolId, kind: CallKind, bytes_in: int, bytes_out: int
    ) -> bool:
        """Records one call; False when it is let go on unrecorded. Raises Unavailable when it must not go on."""


class Reserved(Protocol):
    """What limits hold for one call: a ``Reservation``, or what stands in for one."""

    @property
    def foreseen(self) -> bool:
        """Whether ``expect`` can change anything."""

    def expect(self, known: Cost, size: int) -> None:
        """Reserves what a decoded call will use."""

    def spend(self, cost: Cost, size: int) -> None:
        """Counts as spent what a call that goes on has used since its beginning."""

    def settle(self, status: int, cost: Cost, size: int) -> None:
        """Turns reserved into spent, and gives back what was not used."""

    def standings(self) -> Standings:
        """Where the caller stands."""


class Permit:
    """The right to make one call, and the duty to record it. Holds what was reserved for the call until it is settled."""

    __slots__ = ("_journal", "_reservation", "caller", "foreseen", "recorded", "standings")

    def __init__(self, journal: Recorder, caller: Caller, reservation: Reserved | None = None) -> None:
        self._journal: Recorder | None = journal
        self._reservation = reservation
        self.foreseen = reservation is not None and reservation.foreseen
        """Whether a limit binds the call of which ``expect`` can reserve the right amount; others need not call it."""
        self.standings: Standings | None = None
        """Where the caller stands with its limits, once the permit is settled; None when none binds it."""
        self.recorded = True
        """False once settled without a record, because the disk is full and calls are served all the same: the answer says so."""
        self.caller = caller
        """Request id, workspace, key, deployment."""

    @property
    def settled(self) -> bool:
        return self._journal is None

    def stand(self) -> Standings | None:
        """Where the caller stands while the call goes on, for the head of a stream; None when no limit binds it."""
        return None if self._reservation is None else self._reservation.standings()

    def expect(self, known: Cost, size: int) -> None:
        """Reserves what a decoded call will use, before it computes, in place of what was guessed when it was admitted.

        Of ``known``, rows, tokens in (where not 0) and the version id are read: they are then exact, and so is money where prices
        ask for no more. ``size`` is the bytes of the request. May be called again. Raises LimitExceeded: fail the call with it, and
        it counts as one that was never admitted; Awaited when units may come within moments: call again, or use ``expect_soon``.
        """
        if self._reservation is not None:
            self._reservation.expect(known, size)

    def spend(self, cost: Cost, *, tokens_out: int = 0, size: int = 0) -> None:
        """Settles a part of a call that goes on: for streams, **before** each chunk is handed out.

        ``cost`` is the call's own cost, kept up to date (tokens in and the version id from the first time on); ``tokens_out`` are the
        tokens of the chunk, added to ``cost.tokens_out`` on return; ``size`` the bytes of request and answer so far. What is counted
        here stays counted, whatever becomes of the call. Raises LimitExceeded at the end of a budget: the chunk must not be handed
        out, ``cost`` is as before, nothing more of the chunk is counted; end the stream (saying why) and settle as usual, with the
        status that it began with. Raises Awaited when units may come within moments: call again, or use ``spend_soon``.

        Costs about a microsecond while what was reserved lasts; every few tokens are as good as each one.
        """
        if self._reservation is not None:
            before = cost.tokens_out
            cost.tokens_out = before + tokens_out
            try:
                self._reservation.spend(cost, size)
            except ModelyardError:
                cost.tokens_out = before
                raise
        else:
            cost.tokens_out += tokens_out

    def settle(  # noqa: PLR0917  # on every call's path, where keywords cost time
        self, status: int, cost: Cost, protocol: ProtocolId, kind: CallKind, bytes_in: int, bytes_out: int
    ) -> None:
        """Writes the call's one journal record; to be called before the reply is written, for streams at their end.

        ``cost`` is all that the call has used, what was spent before included. Raises Unavailable when the record cannot be written:
        the answer must then not be given away. RuntimeError the second time.
        """
        journal = self._journal
        if journal is None:
            raise RuntimeError("A permit was settled twice.")
        self._journal = None
        reservation = self._reservation
        if reservation is not None:
            # First, so that a process killed in between has counted a call too many and never one too few.
            size = bytes_in + bytes_out
            if isinstance(reservation, Reservation):  # compiled, a call of its own class is a jump
                reservation.settle(status, cost, size)
                self.standings = reservation.standings()
            else:
                reservation.settle(status, cost, size)
                self.standings = reservation.standings()
        if isinstance(journal, Journal):
            self.recorded = journal.append(self.caller, status, cost, protocol, kind, bytes_in, bytes_out)
        else:
            self.recorded = journal.append(self.caller, status, cost, protocol, kind, bytes_in, bytes_out)


async def expect_soon(permit: Permit, known: Cost, size: int) -> None:
    """``Permit.expect`` that waits for units which may come, 200 ms at most; raises LimitExceeded or Unavailable, never Awaited."""
    until_ns = 0
    while True:
        try:
            permit.expect(known, size)
        except Awaited as error:
            until_ns = await _moment(error, until_ns, PATIENCE_NS)
        else:
            return


async def spend_soon(permit: Permit, cost: Cost, *, tokens_out: int = 0, size: int = 0) -> None:
    """``Permit.spend`` that waits for units which may come, 5 s at most; raises LimitExceeded or Unavailable, never Awaited."""
    until_ns = 0
    while True:
        try:
            permit.spend(cost, tokens_out=tokens_out, size=size)
        except Awaited as error:
            until_ns = await _moment(error, until_ns, STREAM_PATIENCE_NS)
        else:
            return


async def _moment(error: Awaited, until_ns: int, patience_ns: int) -> int:
    """Waits, until the time that is given back; raises what the caller is told in the end."""
    now = time.monotonic_ns()
    if until_ns and now >= until_ns:
        raise error.instead
    await asyncio.sleep(AGAIN_S)
    return until_ns or now + patience_ns
