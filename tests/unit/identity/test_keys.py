import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.access import ALL_ACTIONS, Action, Key, Role
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, Unauthenticated
from modelyard.core.events import Actor
from modelyard.core.principals import Membership, Principal, PrincipalKind
from modelyard.gate.authenticate import Authenticator
from modelyard.identity.bounds import NewKey, check_within
from modelyard.identity.first import administrator, bootstrap
from modelyard.identity.keys import KeyService, grant_of, masked, secret_digest

ACTOR = Actor(name="key:boss", workspace_id=1)
GIVEN = "a-given-admin-key-0123456789"
DAY_NS = 86_400_000_000_000


class Keys(KeyService):
    """The service with a first administrator, who asks where nobody is named."""

    def create(self, actor, new, within=None):
        return super().create(actor, new, within or self.boss)

    def bootstrap(self, secret):
        return bootstrap(self._store, self._clock, secret)


@pytest.fixture
def keys(store, clock):
    made = Keys(store, clock)
    with store.write() as session:
        principal = administrator(session).id
    made.boss = grant_of(keys_of(Action, principal_id=principal))
    return made


def audit(store):
    with store.read() as session:
        return [(event.actor, event.action, event.subject) for event in session.audit.list(1)]


def state(store):
    with store.read() as session:
        return session.settings.count("state")


def test_a_key_is_shown_once_and_stored_as_a_hash(keys, store, tmp_path):
    key, secret = keys.create(ACTOR, NewKey(label="shop", deployments=("iris",)))
    assert secret.startswith(f"my_{key.public_id}_")
    assert len(secret.rpartition("_")[2]) == 40
    assert key.digest == secret_digest(secret)
    assert keys.list(1) == [key] == [keys.get(1, key.public_id)]
    assert secret.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("test.db*"))
    assert audit(store) == [("key:boss", "key.create", key.public_id)]


def test_the_audit_row_has_neither_secret_nor_hash(keys, store):
    key, secret = keys.create(ACTOR, NewKey())
    with store.read() as session:
        (event,) = session.audit.list(1)
    assert secret not in str(event)
    assert key.digest not in str(event)


def test_a_list_can_show_a_key_without_its_secret(keys):
    key, secret = keys.create(ACTOR, NewKey())
    assert masked(key) == f"my_{key.public_id}_…"
    assert secret[-10:] not in masked(key)


def test_secrets_are_never_equal(keys):
    assert len({keys.create(ACTOR, NewKey())[1] for _ in range(20)}) == 20


def test_every_change_reaches_the_workers(keys, store):
    before = state(store)
    key, _ = keys.create(ACTOR, NewKey())
    assert state(store) == before + 1
    keys.revoke(ACTOR, key.public_id)
    assert state(store) == before + 2


def test_expiry_counts_from_now(keys, clock):
    key, _ = keys.create(ACTOR, NewKey(expires_seconds=86400.0))
    assert key.expires_ns == clock.time_ns() + DAY_NS
    assert keys.create(ACTOR, NewKey())[0].expires_ns == 0


def test_a_key_for_a_deployment_that_is_not_there_names_the_nearest(keys):
    with pytest.raises(NotFound, match="Did you mean 'iris'"):
        keys.create(ACTOR, NewKey(deployments=("irsi",)))
    assert keys.list(1) == []


@pytest.mark.parametrize(
    "new",
    [
        NewKey(actions=()),
        NewKey(label="x" * 201),
        NewKey(label="a\nb"),
        NewKey(expires_seconds=-1.0),
        NewKey(expires_seconds=float("nan")),
        NewKey(expires_seconds=float("inf")),
        NewKey(expires_seconds=1e12),
    ],
)
def test_nonsense_is_refused(keys, new):
    with pytest.raises(InvalidRequest):
        keys.create(ACTOR, new)


@given(held=st.sets(st.sampled_from(Action), min_size=1), wanted=st.sets(st.sampled_from(Action), min_size=1))
def test_nobody_hands_out_rights_they_do_not_hold(held, wanted):
    refused = False
    try:
        check_within(NewKey(actions=tuple(wanted)), grant_of(keys_of(held)), 0)
    except PermissionDenied:
        refused = True
    assert refused == (not wanted <= held)


def keys_of(actions, **changes):
    return Key(**({"id": 1, "workspace_id": 1, "public_id": "p", "digest": "", "actions": tuple(actions)} | changes))


def test_a_scoped_or_expiring_key_hands_out_no_wider_one(keys, clock):
    scoped = grant_of(keys_of(Action, deployments=("iris",), principal_id=keys.boss.principal_id))
    for deployments in ((), ("churn",), ("iris", "churn")):
        with pytest.raises(PermissionDenied):
            keys.create(ACTOR, NewKey(deployments=deployments), within=scoped)
    assert keys.create(ACTOR, NewKey(deployments=("iris",)), within=scoped)
    expiring = grant_of(keys_of(Action, expires_ns=clock.time_ns() + DAY_NS, principal_id=keys.boss.principal_id))
    for seconds in (0.0, 86401.0):
        with pytest.raises(PermissionDenied):
            keys.create(ACTOR, NewKey(expires_seconds=seconds), within=expiring)
    assert keys.create(ACTOR, NewKey(expires_seconds=86400.0), within=expiring)


def test_revoking_is_final_and_repeatable(keys, store, clock):
    key, _ = keys.create(ACTOR, NewKey())
    revoked = keys.revoke(ACTOR, key.public_id)
    clock.advance(5)
    assert keys.revoke(ACTOR, key.public_id).revoked_ns == revoked.revoked_ns
    assert [action for _, action, _ in audit(store)] == ["key.revoke", "key.create"]


def test_a_key_of_another_workspace_cannot_be_seen_or_revoked(keys, store):
    key, _ = keys.create(ACTOR, NewKey())
    with store.write() as session:
        other = session.workspaces.create("other")
    stranger = Actor(name="key:x", workspace_id=other.id)
    with pytest.raises(NotFound):
        keys.revoke(stranger, key.public_id)
    with pytest.raises(NotFound):
        keys.get(other.id, key.public_id)
    assert keys.list(other.id) == []


def test_a_mistyped_key_names_the_nearest(keys):
    key, _ = keys.create(ACTOR, NewKey())
    with pytest.raises(NotFound, match=f"Did you mean '{key.public_id}'"):
        keys.revoke(ACTOR, key.public_id[:-1])


def test_the_first_start_makes_one_admin_key(keys, store):
    secret = keys.bootstrap(None)
    (key,) = keys.list(1)
    assert key.digest == secret_digest(secret)
    assert set(key.actions) == ALL_ACTIONS
    assert keys.bootstrap(None) is None
    assert len(keys.list(1)) == 1
    assert audit(store) == [("system", "key.create", key.public_id)]


def test_the_last_admin_key_stays(keys):
    keys.bootstrap(None)
    (first,) = keys.list(1)
    with pytest.raises(Conflict, match="create another"):
        keys.revoke(ACTOR, first.public_id)
    keys.create(ACTOR, NewKey(actions=tuple(Action)))
    assert keys.revoke(ACTOR, first.public_id).revoked_ns


def test_a_given_admin_key_counts_and_another_one_takes_its_place(keys):
    assert keys.bootstrap(GIVEN) is None
    assert keys.bootstrap(GIVEN) is None
    assert keys.bootstrap(None) is None
    (first,) = keys.list(1)
    keys.bootstrap(GIVEN + "x")
    old, new = keys.list(1)
    assert old.public_id == first.public_id
    assert old.revoked_ns
    assert (new.digest, new.revoked_ns) == (secret_digest(GIVEN + "x"), 0)
    with pytest.raises(Conflict, match="revoked"):
        keys.bootstrap(GIVEN)


def test_nodes_of_one_database_do_not_take_each_others_admin_key_away(store, clock, keys, caplog):
    bootstrap(store, clock, GIVEN, "first")
    with pytest.raises(Conflict, match="Another node works on this database with another MODELYARD_ADMIN_KEY"):
        bootstrap(store, clock, GIVEN + "x", "second")
    (key,) = keys.list(1)
    assert not key.revoked_ns
    for secret in (GIVEN, None):
        bootstrap(store, clock, secret, "second")
    with store.write() as session:
        session.nodes.leave("second")
    bootstrap(store, clock, GIVEN + "x", "first")  # alone, it may change its own
    assert keys.list(1)[0].revoked_ns
    assert f"key {key.public_id}, which was given then, is revoked" in caplog.text
    assert GIVEN not in caplog.text


def test_a_lesser_key_does_not_become_admin(keys):
    _, secret = keys.create(ACTOR, NewKey())
    with pytest.raises(Conflict):
        keys.bootstrap(secret)


@pytest.mark.parametrize("secret", ["short", "with spaces in between", "ümlaut-and-long-enough", "x" * 513, "line\nbreak-long-enough"])
def test_a_weak_or_unsendable_admin_key_is_refused(keys, secret):
    with pytest.raises(InvalidRequest):
        keys.bootstrap(secret)


def test_the_database_grants_as_the_snapshot_does(keys, clock):
    key, secret = keys.create(ACTOR, NewKey(deployments=("iris",), expires_seconds=60.0))
    door = Authenticator(keys, clock)
    headers = {b"x-api-key": secret.encode()}
    assert door.authenticate(headers, "", "10.1.2.3") == grant_of(key)
    clock.advance(60)
    with pytest.raises(Unauthenticated):
        door.authenticate(headers, "", "10.1.2.3")
    other, secret = keys.create(ACTOR, NewKey())
    keys.revoke(ACTOR, other.public_id)
    with pytest.raises(Unauthenticated):
        door.authenticate({b"x-api-key": secret.encode()}, "", "10.1.2.3")


def member(store, name="web", roles=(Role.CONSUMER,), **more):
    with store.write() as session:
        made = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.SERVICE, name=name))
        session.memberships.put(Membership(id=0, workspace_id=1, principal_id=made.id, roles=roles, **more), 0)
    return made


def test_a_key_of_a_member_does_no_more_than_the_member_may(keys, store):
    member(store)
    with pytest.raises(PermissionDenied, match="give it a role"):
        keys.create(ACTOR, NewKey(principal="web", actions=(Action.READ,)))
    with pytest.raises(NotFound, match=r"no member 'wep'.*Did you mean 'web'"):
        keys.create(ACTOR, NewKey(principal="wep"))
    key, _ = keys.create(ACTOR, NewKey(principal="web"))
    assert keys.grant(bytes.fromhex(key.digest)).actions == {Action.INFER}


def test_a_role_that_is_reduced_later_reduces_keys_that_are_there(keys, store):
    made = member(store, roles=(Role.DEVELOPER,), trust=True)
    key, _ = keys.create(ACTOR, NewKey(principal="web", actions=(Action.INFER, Action.DEPLOY, Action.TRUST)))
    digest = bytes.fromhex(key.digest)
    assert keys.grant(digest).actions == {Action.INFER, Action.DEPLOY, Action.TRUST}
    for roles, held in (
        ((Role.CONSUMER,), {Action.INFER}),
        ((Role.AUDITOR,), None),
        ((Role.OWNER,), {Action.INFER, Action.DEPLOY, Action.TRUST}),
    ):
        with store.write() as session:
            current = session.memberships.get(1, made.id)
            session.memberships.put(Membership(id=0, workspace_id=1, principal_id=made.id, roles=roles, trust=True), current.revision)
        found = keys.grant(digest)
        assert (found.actions if found else None) == held
    with store.write() as session:
        session.memberships.remove(1, made.id)
    assert keys.grant(digest) is None


def test_keys_of_a_disabled_principal_open_nothing(keys, store, clock):
    made = member(store)
    key, _ = keys.create(ACTOR, NewKey(principal="web"))
    with store.write() as session:
        session.principals.change(Principal(id=made.id, workspace_id=1, kind=made.kind, name=made.name, disabled_ns=5), made.revision)
    assert keys.grant(bytes.fromhex(key.digest)) is None


def test_a_key_without_a_principal_opens_nothing(keys, store):
    with store.write() as session:
        session.keys.add(Key(id=0, workspace_id=1, public_id="old", digest="a" * 64))
    assert keys.grant(bytes.fromhex("a" * 64)) is None


def door(keys, clock):
    authenticator = Authenticator(keys, clock)

    def opens(secret, peer="10.1.2.3"):
        return authenticator.authenticate({b"authorization": b"Bearer " + secret.encode()}, "", peer)

    return opens


def test_rotation_gives_another_secret_and_lets_the_old_one_live_on_for_its_overlap(keys, clock, store):
    key, old = keys.create(ACTOR, NewKey(label="shop"))
    made, new = keys.rotate(ACTOR, key.public_id, 3600.0, keys.boss)
    opens = door(keys, clock)
    assert (made.public_id, made.id, made.label) == (key.public_id, key.id, "shop")
    assert opens(old).key_id == opens(new).key_id == key.id
    clock.advance(3601)
    with pytest.raises(Unauthenticated):
        opens(old)
    assert opens(new).key_id == key.id
    assert audit(store)[0] == ("key:boss", "key.rotate", key.public_id)


def test_rotation_without_an_overlap_ends_every_older_secret(keys, clock):
    key, first = keys.create(ACTOR, NewKey())
    second = keys.rotate(ACTOR, key.public_id, 3600.0, keys.boss)[1]
    with pytest.raises(Conflict, match="without an overlap"):
        keys.rotate(ACTOR, key.public_id, 3600.0, keys.boss)
    third = keys.rotate(ACTOR, key.public_id, 0.0, keys.boss)[1]
    opens = door(keys, clock)
    assert opens(third)
    for gone in (first, second):
        with pytest.raises(Unauthenticated):
            opens(gone)


def test_rotation_renews_a_time_of_life_but_not_beyond_that_of_whoever_asks(keys, clock):
    key, _ = keys.create(ACTOR, NewKey(expires_seconds=86400.0))
    clock.advance(43200)
    made, _ = keys.rotate(ACTOR, key.public_id, 0.0, keys.boss)
    assert made.expires_ns == clock.time_ns() + DAY_NS
    clock.advance(3600)
    bounded = grant_of(keys_of(Action, expires_ns=made.expires_ns, principal_id=keys.boss.principal_id))
    assert keys.rotate(ACTOR, key.public_id, 0.0, bounded)[0].expires_ns == made.expires_ns


def test_a_key_that_has_ended_is_not_rotated(keys, clock):
    key, _ = keys.create(ACTOR, NewKey())
    keys.revoke(ACTOR, key.public_id)
    with pytest.raises(Conflict, match="not valid any more"):
        keys.rotate(ACTOR, key.public_id, 60.0, keys.boss)
    for overlap in (-1.0, float("nan"), 1e9):
        with pytest.raises(InvalidRequest):
            keys.rotate(ACTOR, key.public_id, overlap, keys.boss)


def test_a_revoked_key_opens_with_neither_of_its_secrets(keys, clock):
    key, old = keys.create(ACTOR, NewKey())
    new = keys.rotate(ACTOR, key.public_id, 3600.0, keys.boss)[1]
    keys.revoke(ACTOR, key.public_id)
    for secret in (old, new):
        with pytest.raises(Unauthenticated):
            door(keys, clock)(secret)


def test_a_key_for_networks_is_refused_from_elsewhere(keys, clock):
    _, secret = keys.create(ACTOR, NewKey(networks=("10.0.0.0/8", "2001:db8::/32")))
    opens = door(keys, clock)
    for peer in ("10.9.9.9", "::ffff:10.0.0.1", "2001:db8::7"):
        assert opens(secret, peer)
    for peer in ("11.0.0.1", "2001:db9::1", "unix", "", "10.0.0.300"):
        with pytest.raises(PermissionDenied, match="made for"):
            opens(secret, peer)


@pytest.mark.parametrize("networks", [("10.0.0.1/8",), ("all",), ("10.0.0.0/33",), ("10.0.0.0/8",) * 65])
def test_what_is_no_network_is_refused(keys, networks):
    with pytest.raises(InvalidRequest):
        keys.create(ACTOR, NewKey(networks=networks))


def test_a_key_for_networks_hands_out_none_for_more(keys):
    inner = grant_of(keys_of(Action, networks=("10.0.0.0/8",), principal_id=keys.boss.principal_id))
    for networks in ((), ("11.0.0.0/8",), ("0.0.0.0/0",), ("2001:db8::/32",)):
        with pytest.raises(PermissionDenied):
            keys.create(ACTOR, NewKey(networks=networks), within=inner)
    assert keys.create(ACTOR, NewKey(networks=("10.4.0.0/16",)), within=inner)
