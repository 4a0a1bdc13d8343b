"""What every database must do for principals, sign-in, certificates, shares and what users report.

Subclass ``StoreAccessContract`` as ``store_contract.StoreContract``.
"""

from __future__ import annotations

import pytest

from modelyard.core.access import Action, Key, Role
from modelyard.core.bindings import Binding
from modelyard.core.clock import ManualClock
from modelyard.core.errors import AlreadyExists, Conflict, NotFound
from modelyard.core.principals import Membership, Principal, PrincipalKind
from modelyard.core.shares import Share
from modelyard.core.sign_in import GroupRule, Password, Provider
from modelyard.core.sign_in import Session as SignedIn
from modelyard.store.database import Session
from modelyard.store.feedback import Feedback
from modelyard.store.principals import RIGHTS
from modelyard.store.settings import STATE
from modelyard.testing.fresh_store import FreshStore


def person(name: str = "ana") -> Principal:
    """Somebody to store."""
    return Principal(id=0, workspace_id=1, kind=PrincipalKind.PERSON, name=name)


class StoreAccessContract(FreshStore):
    """Aggregates of who may do what."""

    def test_principals_are_found_and_changed_by_revision(self, session: Session) -> None:
        made = session.principals.add(person("a" * 200))
        service = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.SERVICE, name="ana"))
        session.principals.add(person())
        with pytest.raises(AlreadyExists):
            session.principals.add(person())
        assert session.principals.find(1, "ana") == service
        assert [found.name for found in session.principals.people()] == ["a" * 200, "ana"]
        linked = session.principals.change(
            Principal(id=made.id, workspace_id=1, kind=made.kind, name=made.name, issuer="https://login", subject="7"), 1
        )
        assert linked.revision == 2
        assert session.principals.of_subject("https://login", "7") == linked
        with pytest.raises(Conflict, match="at revision 2, not 1"):
            session.principals.change(made, 1)

    def test_memberships_are_what_rights_come_from(self, session: Session) -> None:
        moved = session.settings.count(RIGHTS)
        somebody = session.principals.add(person())
        wish = Membership(id=0, workspace_id=1, principal_id=somebody.id, roles=(Role.CONSUMER, Role.AUDITOR))
        made = session.memberships.put(wish, 0)
        assert session.memberships.list(1) == session.memberships.of(somebody.id) == [made]
        assert session.memberships.rights().of(1, somebody.id) >= {Action.INFER, Action.AUDIT}
        assert session.memberships.rights(somebody.id).of(2, somebody.id) == frozenset()
        with pytest.raises(Conflict, match="consumer, auditor at revision 1"):
            session.memberships.put(wish, 0)
        session.memberships.remove(1, somebody.id)
        with pytest.raises(NotFound):
            session.memberships.remove(1, somebody.id)
        assert session.settings.count(RIGHTS) == moved + 3

    def test_passwords_and_sessions_are_found_by_their_digests_alone(self, session: Session) -> None:
        somebody = session.principals.add(person())
        session.sign_in.put_password(Password(principal_id=somebody.id, hash="h", link_digest="a" * 64, link_until_ns=9))
        session.sign_in.put_password(Password(principal_id=somebody.id, hash="h2", failures=3))
        assert session.sign_in.of_link("a" * 64) is None
        assert session.sign_in.password(somebody.id) == Password(principal_id=somebody.id, hash="h2", failures=3)
        old = SignedIn(id=0, principal_id=somebody.id, digest="b" * 64, csrf="c", created_ns=1, expires_ns=5)
        session.sign_in.open(old)
        made = session.sign_in.open(SignedIn(id=0, principal_id=somebody.id, digest="d" * 64, csrf="c", created_ns=6, expires_ns=9))
        assert session.sign_in.session("b" * 64) is None  # its time was over
        assert session.sign_in.session("d" * 64) == made
        assert session.sign_in.close_all(somebody.id) == 1

    def test_providers_are_changed_by_revision(self, session: Session) -> None:
        rule = GroupRule(group="birds", workspace="birds", roles=(Role.DEVELOPER,))
        wish = Provider(name="corp", issuer="https://login", client_id="x", sealed_secret="s", mapping=(rule,))  # noqa: S106 - sealed
        made = session.providers.put(wish, 0)
        assert session.providers.get("corp") == made
        with pytest.raises(Conflict):
            session.providers.put(wish, 0)
        assert session.providers.put(made, 1).revision == 2
        session.providers.remove("corp")
        with pytest.raises(NotFound):
            session.providers.remove("corp")

    def test_a_certificate_stands_for_one_key(self, session: Session) -> None:
        key = session.keys.add(Key(id=0, workspace_id=1, public_id="k", digest="0" * 64))
        wish = Binding(id=0, workspace_id=1, key_id=key.id, certificate="subject:CN=pump")
        made = session.certificates.add(wish)
        with pytest.raises(AlreadyExists):
            session.certificates.add(wish)
        assert session.certificates.list(1) == [("k", made)]
        assert session.certificates.key_of("subject:CN=pump") == key
        session.certificates.remove(made)
        assert session.certificates.all() == []

    def test_shares_end_and_hold_again(self, session: Session, clock: ManualClock) -> None:
        other = session.workspaces.create("other").id
        wish = Share(id=0, workspace_id=1, deployment_id=7, deployment="d" * 63, borrower_id=other, name="w" * 63 + "~" + "d" * 63)
        before = session.settings.count(STATE)
        made = session.shares.add(wish)
        assert session.shares.find(1, wish.deployment, other) == made
        assert session.shares.given(1) == session.shares.received(other) == session.shares.all() == [made]
        assert session.shares.given(other) == session.shares.received(1) == []
        clock.advance(1.0)
        ended = session.shares.end(made)
        assert ended.ended_ns
        with pytest.raises(NotFound):
            session.shares.end(made)
        assert session.shares.find(1, wish.deployment, other) is None
        assert session.shares.all() == []
        assert session.shares.ever_given(1) == session.shares.ever_received(other) == [ended]
        assert session.shares.names(other) == {7: wish.name}
        assert session.shares.add(wish).id == made.id
        assert session.settings.count(STATE) == before + 3

    def test_a_later_report_takes_an_earlier_ones_place(self, session: Session) -> None:
        def report(value: float, at: int, request_id: str = "0" * 32) -> Feedback:
            return Feedback(request_id=request_id, workspace_id=1, deployment_id=2, version_id=3, value=value, time_ns=at)

        session.feedback.put([report(1.0, 1), report(2.0, 2)])
        session.feedback.put([report(3.0, 3), report(1.0, 4, "1" * 32)])
        [(version, outcomes)] = session.feedback.outcomes(2, 0).items()
        assert (version, outcomes.count, outcomes.sum, outcomes.squares) == (3, 2, 4.0, 10.0)
        assert session.feedback.expire(4) == 1
