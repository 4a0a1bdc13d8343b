"""Nobody gets to use a key that reaches beyond their own: not by another secret of it, nor by a certificate that stands for it."""

import msgspec
import pytest

from modelyard.core.access import ALL_ACTIONS, Action, Grant
from modelyard.core.errors import Conflict, PermissionDenied
from modelyard.core.events import Actor
from modelyard.identity.bounds import NewKey
from modelyard.identity.certificates import CertificateService
from modelyard.identity.first import administrator
from modelyard.identity.keys import KeyService, add_key

ACTOR = Actor(name="key:boss", workspace_id=1)
HOUR_NS = 3_600_000_000_000


@pytest.fixture
def boss(store):
    """The grant of an administrator."""
    with store.write() as session:
        principal = administrator(session).id
    return Grant(workspace_id=1, key_id=99, public_id="boss", actions=ALL_ACTIONS, deployments=frozenset(), principal_id=principal)


def key(store, boss, clock, **fields):
    with store.write() as session:
        return add_key(session, ACTOR, 1, boss.principal_id, NewKey(**fields), clock.time_ns())[0].public_id


BEYOND = {
    "rights": ({}, {"actions": frozenset({Action.KEYS})}, "has rights that yours lacks"),
    "deployments": ({"deployments": ("iris", "churn")}, {"deployments": frozenset({"iris"})}, "has rights that yours lacks"),
    "all deployments": ({}, {"deployments": frozenset({"iris"})}, "has rights that yours lacks"),
    "every network": ({}, {"networks": ("10.0.0.0/8",)}, r"elsewhere than 10\.0\.0\.0/8"),
    "other networks": ({"networks": ("10.0.0.0/8", "11.0.0.0/8")}, {"networks": ("10.0.0.0/8",)}, "elsewhere than"),
    "for ever": ({}, {"hours": 1}, "outlasts yours"),
    "for longer": ({"expires_seconds": 3601.0}, {"hours": 1}, "outlasts yours"),
}
WITHIN = {
    "anything": ({}, {}),
    "a deployment": ({"deployments": ("iris",)}, {"deployments": frozenset({"iris", "churn"})}),
    "a network inside": ({"networks": ("10.4.0.0/16",)}, {"networks": ("10.0.0.0/8",)}),
    "as long": ({"expires_seconds": 3600.0}, {"hours": 1}),
}


def holder(boss, clock, hours=0, **fields):
    return msgspec.structs.replace(boss, expires_ns=clock.time_ns() + hours * HOUR_NS if hours else 0, **fields)


@pytest.mark.parametrize("case", BEYOND)
def test_a_key_that_reaches_further_is_neither_rotated_nor_lent(store, clock, boss, case):
    fields, held, said = BEYOND[case]
    public_id = key(store, boss, clock, **fields)
    before = KeyService(store, clock).get(1, public_id)
    with pytest.raises(PermissionDenied, match=said):
        KeyService(store, clock).rotate(ACTOR, public_id, 0.0, holder(boss, clock, **held))
    with pytest.raises(PermissionDenied, match=said):
        CertificateService(store, clock).bind(ACTOR, public_id, "subject:CN=x", holder(boss, clock, **held))
    assert KeyService(store, clock).get(1, public_id) == before
    assert CertificateService(store, clock).list(1) == []


@pytest.mark.parametrize("case", WITHIN)
def test_a_key_that_reaches_no_further_is(store, clock, boss, case):
    fields, held = WITHIN[case]
    public_id = key(store, boss, clock, **fields)
    within = holder(boss, clock, **held)
    assert KeyService(store, clock).rotate(ACTOR, public_id, 0.0, within)[1]
    assert CertificateService(store, clock).bind(ACTOR, public_id, "subject:CN=x", within).certificate == "subject:CN=x"


def test_a_binding_is_ended_by_whoever_may_change_the_key_however_long_theirs_lasts(store, clock, boss):
    certificates, public_id = CertificateService(store, clock), key(store, boss, clock)
    certificates.bind(ACTOR, public_id, "subject:CN=x", boss)
    with pytest.raises(PermissionDenied):
        certificates.unbind(ACTOR, public_id, "subject:CN=x", holder(boss, clock, deployments=frozenset({"iris"})))
    certificates.unbind(ACTOR, public_id, "subject:CN=x", holder(boss, clock, hours=1, networks=("10.0.0.0/8",)))
    assert certificates.list(1) == []


def test_an_old_secret_within_its_overlap_gives_nobody_a_new_one(store, clock, boss):
    """Whoever found it could otherwise end that of its holder."""
    keys, public_id = KeyService(store, clock), key(store, boss, clock, actions=(Action.SELF,))
    old = keys.get(1, public_id).digest
    keys.rotate(ACTOR, public_id, 3600.0, boss)
    found = keys.grant(bytes.fromhex(old))
    assert found.expires_ns == clock.time_ns() + HOUR_NS
    with pytest.raises(PermissionDenied, match="outlasts yours"):
        keys.rotate(ACTOR, public_id, 0.0, found)
    with pytest.raises(Conflict, match="rotated already"):
        keys.rotate(ACTOR, public_id, 60.0, boss)
