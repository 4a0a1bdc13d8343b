"""What the gate grants to one call."""

from __future__ import annotations

from modelyard.core.inference import Cost
from modelyard.core.limits import Standings
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Caller, Journal
from modelyard.gate.limiter import Reservation


class Permit:
    """The right to make one call, and the duty to record it. Holds what was reserved for the call until it is settled."""

    __slots__ = ("_journal", "_reservation", "caller", "standings")

    def __init__(self, journal: Journal, caller: Caller, reservation: Reservation | None = None) -> None:
        self._journal: Journal | None = journal
        self._reservation = reservation
        self.standings: Standings | None = None
        """Where the caller stands with its limits, once the permit is settled; None when none binds it."""
        self.caller = caller
        """Request id, workspace, key, deployment."""

    @property
    def settled(self) -> bool:
        return self._journal is None

    def settle(  # noqa: PLR0917  # on every call's path, where keywords cost time
        self, status: int, cost: Cost, protocol: ProtocolId, kind: CallKind, bytes_in: int, bytes_out: int
    ) -> None:
        """Writes the call's one journal record; to be called before the reply is written.

        Raises Unavailable when the record cannot be written: the answer must then not be given away. RuntimeError the second time.
        """
        journal = self._journal
        if journal is None:
            raise RuntimeError("A permit was settled twice.")
        self._journal = None
        reservation = self._reservation
        if reservation is not None:
            # First, so that a process killed in between has counted a call too many and never one too few.
            reservation.settle(status, cost, bytes_in + bytes_out)
            self.standings = reservation.standings()
        journal.append(self.caller, status, cost, protocol, kind, bytes_in, bytes_out)
