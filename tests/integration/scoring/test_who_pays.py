"""Whom the rows of a file are counted to, by what a job says of who submitted it."""

import pytest

from modelyard.core.access import Key
from modelyard.core.errors import PermissionDenied
from modelyard.core.jobs import Job
from modelyard.core.principals import Principal, PrincipalKind
from modelyard.engines.cluster import Cluster
from modelyard.server.wiring.scoring import ScoreJobs
from modelyard.store.database import Store


@pytest.fixture
def store(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path / 'test.db'}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def people(store):
    with store.write() as session:
        ana = session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.PERSON, name="ana"))
        session.principals.add(Principal(id=0, workspace_id=1, kind=PrincipalKind.PERSON, name="gone", disabled_ns=5))
        session.keys.add(Key(id=0, workspace_id=1, principal_id=ana.id, public_id="good", digest="a" * 64))
        session.keys.add(Key(id=0, workspace_id=1, principal_id=ana.id, public_id="ended", digest="b" * 64, revoked_ns=5))
    return ana


def told(store, created_by):
    job = Job(id=1, workspace_id=1, kind="predict", spec={}, created_by=created_by)
    return ScoreJobs(store, None, None, Cluster()).facts(job)["payer"]


@pytest.mark.parametrize(("created_by", "has_key"), [("key:good", True), ("person:ana", False)])
def test_rows_are_counted_to_whoever_asked(store, people, created_by, has_key):
    payer = told(store, created_by)
    assert payer["principal_id"] == people.id
    assert bool(payer["key_id"]) == has_key


@pytest.mark.parametrize("created_by", ["key:ended", "key:never", "person:gone", "person:nobody"])
def test_nobody_computes_for_who_is_there_no_more(store, people, created_by):
    with pytest.raises(PermissionDenied, match="there no more"):
        told(store, created_by)
