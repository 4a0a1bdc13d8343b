from modelyard.core.access import Key
from modelyard.core.deployments import ServedDeployment
from modelyard.core.limits import Limit, Measure, Scope, Window
from modelyard.core.prices import Price
from modelyard.core.shares import Share
from modelyard.serving.publisher import SnapshotPublisher, served_limits
from modelyard.store.snapshot import SnapshotReader, SnapshotWriter


def limit(number, scope, subject="", workspace_id=1):
    return Limit(
        id=number, workspace_id=workspace_id, scope=scope, subject=subject, measure=Measure.ROWS, window=Window.DAY, amount=7, revision=3
    )


def test_limits_are_bound_to_what_they_are_for_and_the_rest_is_left_out():
    deployments = [ServedDeployment(id=5, workspace_id=1, name="iris", revision=1, routes=())]
    keys = [Key(id=8, workspace_id=2, public_id="abc", digest="")]
    limits = [
        limit(1, Scope.PLATFORM),
        limit(2, Scope.WORKSPACE, workspace_id=2),
        limit(3, Scope.DEPLOYMENT, "iris"),
        limit(4, Scope.DEPLOYMENT, "iris", workspace_id=2),
        limit(5, Scope.KEY, "abc", workspace_id=2),
        limit(6, Scope.KEY, "gone"),
        limit(7, Scope.PRINCIPAL, "ana"),
        limit(8, Scope.PRINCIPAL, "gone"),
    ]
    found = [(served.id, served.subject_id) for served in served_limits(limits, deployments, keys, {(1, "ana"): 9})]
    assert found == [(1, 0), (2, 2), (3, 5), (5, 8), (7, 9)]


def test_a_limit_on_a_share_binds_the_borrower_alone_while_the_share_holds():
    deployments = [ServedDeployment(id=5, workspace_id=1, name="iris", revision=1, routes=())]
    share = Share(id=3, workspace_id=1, deployment_id=5, deployment="iris", borrower_id=2, name="default~iris")
    limits = [limit(1, Scope.SHARE, "iris/birds"), limit(2, Scope.SHARE, "iris/fish"), limit(3, Scope.SHARE, "iris/birds", workspace_id=2)]
    (found,) = served_limits(limits, deployments, [], {}, [share], workspaces={1: "default", 2: "birds"})
    assert (found.id, found.subject_id, found.workspace_id, found.subject) == (1, 5, 2, "iris/birds")
    assert list(served_limits(limits, deployments, [], {}, [], workspaces={1: "default", 2: "birds"})) == []


def test_limits_and_prices_reach_workers(store, tmp_path):
    writer = SnapshotWriter(tmp_path / "snapshot")
    publisher = SnapshotPublisher(store, writer)
    publisher.publish_if_changed()
    with store.write() as session:
        made = session.limits.add(limit(0, Scope.WORKSPACE))
        price = session.prices.add(Price(id=0, workspace_id=1, deployment="", currency="USD", call=5))
    assert publisher.publish_if_changed() == 2
    snapshot = SnapshotReader(tmp_path / "snapshot").load()
    (found,) = snapshot.limits
    assert (found.id, found.subject_id, found.amount, found.revision) == (made.id, 1, 7, 1)
    assert snapshot.prices == (price,)
    writer.close()
