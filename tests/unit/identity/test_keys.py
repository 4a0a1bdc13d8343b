import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.access import ALL_ACTIONS, Action, Key
from modelyard.core.clock import ManualClock
from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, Unauthenticated
from modelyard.core.events import Actor
from modelyard.gate.authenticate import Authenticator
from modelyard.identity.keys import KeyService, NewKey, check_within, grant_of, masked, secret_digest
from modelyard.store.database import Store

ACTOR = Actor(name="key:boss", workspace_id=1)
GIVEN = "a-given-admin-key-0123456789"
DAY_NS = 86_400_000_000_000


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    store = Store.open(f"sqlite:///{tmp_path / 'test.db'}", clock)
    store.migrate()
    with store.write() as session:
        for name in ("iris", "churn"):
            session.deployments.add(Deployment(id=0, workspace_id=1, name=name, targets=(Target(model="m", version="1"),)))
    yield store
    store.close()


@pytest.fixture
def keys(store, clock):
    return KeyService(store, clock)


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
    scoped = grant_of(keys_of(Action, deployments=("iris",)))
    for deployments in ((), ("churn",), ("iris", "churn")):
        with pytest.raises(PermissionDenied):
            keys.create(ACTOR, NewKey(deployments=deployments), within=scoped)
    assert keys.create(ACTOR, NewKey(deployments=("iris",)), within=scoped)
    expiring = grant_of(keys_of(Action, expires_ns=clock.time_ns() + DAY_NS))
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
    assert door.authenticate(headers, "") == grant_of(key)
    clock.advance(60)
    with pytest.raises(Unauthenticated):
        door.authenticate(headers, "")
    other, secret = keys.create(ACTOR, NewKey())
    keys.revoke(ACTOR, other.public_id)
    with pytest.raises(Unauthenticated):
        door.authenticate({b"x-api-key": secret.encode()}, "")
