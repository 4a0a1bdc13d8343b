"""What every database must do for limits, leases and prices.

Subclass ``StoreLimitsContract`` as ``store_contract.StoreContract``.
"""

from __future__ import annotations

import pytest

from modelyard.core.errors import AlreadyExists, Conflict, NotFound
from modelyard.core.limits import MOST, Limit, Measure, Scope, Window
from modelyard.core.prices import HIGHEST, Price
from modelyard.store.database import Session
from modelyard.store.leases import Lease
from modelyard.testing.fresh_store import FreshStore


def limit(**changes: object) -> Limit:
    """A limit to store."""
    fields: dict[str, object] = {"id": 0, "workspace_id": 1, "scope": Scope.WORKSPACE, "measure": Measure.REQUESTS, "amount": 10}
    return Limit(**({"window": Window.DAY} | fields | changes))  # type: ignore[arg-type]  # the test says what it means


def lease(holder: str, granted: int, **changes: object) -> Lease:
    """A lease to wish for."""
    fields: dict[str, object] = {"limit_id": 1, "window_ns": 5, "workspace_id": 1, "node": "n", "holder": holder, "granted": granted}
    return Lease(**(fields | changes))  # type: ignore[arg-type]  # the test says what it means


class StoreLimitsContract(FreshStore):
    """Aggregates of limits, leases and prices."""

    def test_a_limit_is_stored_whole(self, session: Session) -> None:
        made = session.limits.add(limit(amount=MOST, measure=Measure.MONEY, currency="USD", created_by="ana"))
        assert (made.revision, made.amount) == (1, MOST)
        assert session.limits.get(1, made.id) == made
        assert session.limits.find(limit(measure=Measure.MONEY)) == made
        assert session.limits.list(1) == session.limits.all() == [made]
        assert session.limits.get(2, made.id) is None

    def test_one_subject_has_one_limit_of_a_measure_and_window(self, session: Session) -> None:
        session.limits.add(limit())
        session.limits.add(limit(window=Window.HOUR))
        session.limits.add(limit(scope=Scope.KEY, subject="k"))
        with pytest.raises(AlreadyExists):
            session.limits.add(limit(amount=99))

    def test_an_edit_of_an_older_revision_is_refused(self, session: Session) -> None:
        made = session.limits.add(limit())
        assert session.limits.change(1, made.id, 20, 1).revision == 2
        with pytest.raises(Conflict, match="revision 2"):
            session.limits.change(1, made.id, 30, 1)
        with pytest.raises(NotFound):
            session.limits.change(2, made.id, 30, 2)

    def test_workers_learn_of_every_change(self, session: Session) -> None:
        seen = [session.settings.count("state")]
        made = session.limits.add(limit())
        seen.append(session.settings.count("state"))
        session.limits.change(1, made.id, 20, 1)
        seen.append(session.settings.count("state"))
        session.limits.remove(1, made.id)
        seen.append(session.settings.count("state"))
        session.prices.add(Price(id=0, workspace_id=1, deployment="", currency="USD"))
        seen.append(session.settings.count("state"))
        assert seen == sorted(set(seen))

    def test_a_removed_limit_leaves_no_lease(self, session: Session) -> None:
        made = session.limits.add(limit())
        session.leases.claim(lease("a", 5, limit_id=made.id), 0, 10)
        session.limits.remove(1, made.id)
        assert session.leases.list(made.id, 5) == []
        with pytest.raises(NotFound):
            session.limits.remove(1, made.id)

    def test_holders_never_have_more_than_the_amount_together(self, session: Session) -> None:
        assert session.leases.claim(lease("a", 6), 0, 10)[0].granted == 6
        made, others = session.leases.claim(lease("b", 6), 0, 10)
        assert (made.granted, others) == (4, 6)
        assert session.leases.claim(lease("c", 6), 0, 10)[0].granted == 0
        assert session.leases.claim(lease("a", 2), 0, 10)[0].granted == 2
        assert session.leases.claim(lease("c", 6), 0, 10)[0].granted == 4
        assert [(found.holder, found.granted) for found in session.leases.list(1, 5)] == [("a", 2), ("b", 4), ("c", 4)]

    def test_what_is_used_stays_claimed_even_when_the_amount_shrinks(self, session: Session) -> None:
        session.leases.claim(lease("a", 8), 0, 10)
        assert session.leases.claim(lease("a", 8, spent=7), 7, 3)[0].granted == 7
        assert session.leases.claim(lease("b", 1), 0, 3)[0].granted == 0

    def test_windows_are_apart_and_old_ones_are_forgotten(self, session: Session) -> None:
        session.leases.claim(lease("a", 10), 0, 10)
        assert session.leases.claim(lease("a", 10, window_ns=6), 0, 10)[0].granted == 10
        session.leases.forget(1, 6)
        assert session.leases.list(1, 5) == []
        assert len(session.leases.list(1, 6)) == 1

    def test_lost_holders_of_a_node_are_found_and_closed(self, session: Session) -> None:
        for holder, node in (("old", "n"), ("now", "n"), ("else", "m")):
            session.leases.claim(lease(holder, 3, node=node), 0, 100)
        (lost,) = session.leases.stranded("n", "now")
        assert lost.holder == "old"
        session.leases.close(lost, 1)
        assert session.leases.stranded("n", "now") == []
        assert session.leases.list(1, 5)[2].granted == 1

    def test_prices_are_kept_in_the_order_of_their_times(self, session: Session) -> None:
        for name, call, effective in (("iris", 2, 20), ("iris", 1, 10), ("", 3, 15), ("iris", HIGHEST, 20)):
            session.prices.add(Price(id=0, workspace_id=1, deployment=name, currency="USD", call=call, effective_ns=effective))
        assert [price.call for price in session.prices.all()] == [1, 3, 2, HIGHEST]
        assert [price.call for price in session.prices.list(1)] == [3, 1, 2, HIGHEST]
        assert session.prices.list(2) == []
