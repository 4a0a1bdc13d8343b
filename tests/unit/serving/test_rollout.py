"""Rollouts over a real database: what is measured, decided, and done about it."""

import secrets
import threading

import msgspec
import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.cost import Cost
from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.events import Actor
from modelyard.core.models import Artifact, Profile, Version
from modelyard.core.rollout import Decision, Outcomes, Step, Tally
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.core.usage import CallKind, ProtocolId
from modelyard.gate.journal import Journal
from modelyard.ledger.trace import Tracer
from modelyard.registry.service import Registry
from modelyard.serving.deployments import DeploymentService
from modelyard.serving.feedback import FeedbackFile, Report
from modelyard.serving.feedback_intake import KEEP_NS, FeedbackIntake, reports_in
from modelyard.serving.rollout import RolloutService, wished
from modelyard.serving.tallies import Tallies, tallies_path
from modelyard.store.database import Store
from modelyard.store.line_files import LineFolder

BOSS = Actor(name="key:boss", workspace_id=1)
POLICY = {"rollout": {"candidate": "m@2", "steps": [50], "hold_seconds": 10, "rules": {"max_error_rate": 0.1}, "alias": "champion"}}


class Platform:
    def __init__(self, folder):
        self.folder, self.clock = folder, ManualClock()
        self.store = Store.open(f"sqlite:///{folder / 'test.db'}", self.clock)
        self.store.migrate()
        self.deployments = DeploymentService(self.store, list)
        self.registry = Registry(self.store, None, None, self.clock)
        self.rollouts = RolloutService(self.store, self.deployments, self.registry, folder, self.clock)
        self.versions = [self.add(), self.add()]

    def add(self):
        spec = [TensorSpec(name=name, datatype=Datatype.FP32, shape=(-1, 2)) for name in "xy"]
        with self.store.write() as session:
            model = session.models.ensure(1, "m")
            version = Version(
                id=0,
                workspace_id=1,
                model_id=model.id,
                model="m",
                number=0,
                artifact=Artifact(format="onnx", digest="e" * 64, files=(), entry="model.onnx"),
                signature=Signature(inputs=(spec[0],), outputs=(spec[1],)),
                profile=Profile(inline=True),
            )
            return session.versions.add(version)

    def deploy(self, weights, policy=POLICY):
        targets = [Target(model="m", version=version, weight=weight) for version, weight in weights.items()]
        return self.deployments.deploy(BOSS, "d", targets, policy=policy)

    def deployment(self) -> Deployment:
        with self.store.read() as session:
            return session.deployments.get(1, "d")

    def weights(self):
        return {target.version: target.weight for target in self.deployment().targets}

    def count(self, calls, errors=0, version=1):
        deployment = self.deployment()
        tallies = Tallies(tallies_path(self.folder, 0), lambda *_: None)
        tally = Tally()
        for _ in range(calls - errors):
            tally.answered(1000.0)
        for _ in range(errors):
            tally.failed()
        tallies.of(deployment.id, deployment.revision).versions[self.versions[version].id] = tally
        tallies.export()

    def later(self, seconds):
        self.clock.advance(seconds)

    def actions(self):
        with self.store.read() as session:
            return [(event.action, event.actor) for event in session.audit.list(1)]


@pytest.fixture
def platform(tmp_path):
    made = Platform(tmp_path)
    yield made
    made.store.close()


def test_a_candidate_that_keeps_the_rules_gets_everything_and_the_alias(platform):
    platform.deploy({"1": 90, "2": 10})
    platform.rollouts.step()
    assert platform.weights() == {"1": 90, "2": 10}
    assert platform.rollouts.status(1, "d").decision.reason == "0 of 100 calls are there"
    platform.count(200)
    platform.later(20)
    platform.rollouts.step()
    assert platform.weights() == {"1": 5000, "2": 5000}
    assert platform.rollouts.status(1, "d").versions[1].calls == 0  # a step counts for itself
    platform.count(200)
    platform.rollouts.step()
    assert platform.weights() == {"1": 5000, "2": 5000}
    platform.later(20)
    platform.rollouts.step()
    assert platform.weights() == {"champion": 100}
    assert platform.deployment().policy == {}
    with platform.store.read() as session:
        assert session.models.get(1, "m").aliases == {"champion": 2}
    assert platform.actions()[:3] == [("rollout.promote", "rollout"), ("deployment.update", "rollout"), ("alias.set", "rollout")]
    past = platform.rollouts.status(1, "d").history
    assert [decision.action for decision in past] == ["rollout.promote", "rollout.advance"]
    assert past[0].reason == "every rule is kept over 200 calls"


def test_a_candidate_that_breaks_a_rule_gets_nothing_any_more(platform):
    platform.deploy({"1": 90, "2": 10}, POLICY | {"sticky": {"by": "key"}, "experiment": {"candidate": "m@2"}})
    platform.count(200, 40)
    platform.rollouts.step()
    assert platform.weights() == {"1": 90}
    assert platform.deployment().policy == {"sticky": {"by": "key"}}
    assert platform.rollouts.status(1, "d").history[0].action == "rollout.roll-back"
    assert platform.rollouts.status(1, "d").decision.step is Step.NONE
    before = platform.actions()
    platform.rollouts.step()
    assert platform.actions() == before


def test_whoever_changes_the_deployment_meanwhile_wins(platform, caplog):
    platform.deploy({"1": 90, "2": 10})
    platform.count(200)
    platform.later(20)
    with platform.store.read() as session:
        stale = platform.rollouts._find(session, platform.deployment())
    platform.deploy({"1": 80, "2": 20})
    with pytest.raises(Exception, match="revision"):
        platform.rollouts._carry_out(stale, Decision(step=Step.ADVANCE, reason="", percent=50), BOSS)
    assert platform.weights() == {"1": 80, "2": 20}


def test_people_may_end_a_rollout(platform):
    platform.deploy({"1": 90, "2": 10})
    platform.rollouts.decide(BOSS, "d", Step.ROLL_BACK)
    assert platform.weights() == {"1": 90}
    assert platform.actions()[0] == ("rollout.roll-back", "key:boss")
    with pytest.raises(InvalidRequest, match="declares no rollout"):
        platform.rollouts.decide(BOSS, "d", Step.PROMOTE)
    with pytest.raises(InvalidRequest, match="happens by itself"):
        platform.rollouts.decide(BOSS, "d", Step.ADVANCE)
    with pytest.raises(NotFound):
        platform.rollouts.status(1, "e")


def test_a_shadow_that_gets_calls_is_a_shadow_no_longer(platform):
    rules = {"min_agreement": 0.9, "min_calls": 5}
    platform.deploy({"1": 100}, {"shadow": {"version": "m@2"}, "rollout": {"candidate": "m@2", "steps": [0.125], "rules": rules}})
    deployment = platform.deployment()
    targets, policy = wished(deployment, Decision(step=Step.ADVANCE, reason="", percent=0.125), Target(model="m", version="2", weight=0))
    assert [(target.version, target.weight) for target in targets] == [("1", 9988), ("2", 12)]
    assert policy == {"rollout": {"candidate": "m@2", "steps": [0.125], "rules": {"min_calls": 5}}}
    assert platform.deployments.deploy(BOSS, "d", targets, policy=policy).revision == 2


def test_an_experiment_compares_what_is_counted_and_reported(platform):
    platform.deploy({"1": 50, "2": 50}, {"experiment": {"candidate": "m@2"}})
    view = platform.rollouts.status(1, "d")
    assert [comparison.metric for comparison in view.comparisons] == ["errors", "latency", "outcome"]
    assert view.candidate == "m@2"


def test_reports_find_the_version_that_answered(platform):
    platform.deploy({"1": 50, "2": 50}, {"experiment": {"candidate": "m@2"}})
    deployment = platform.deployment()
    journal = Journal(platform.folder / "journal", secrets.token_bytes(16), 0, segment_bytes=16384)
    prefix = secrets.token_bytes(8)
    ids = [prefix + number.to_bytes(8, "big") for number in range(1, 5)]
    for place, request_id in enumerate(ids):
        caller = (request_id, 1 if place < 3 else 2, 1, deployment.id)
        cost = Cost(rows=1, version_id=platform.versions[place % 2].id)
        journal.append(caller, 200, cost, ProtocolId.RECORDS, CallKind.INFER, 1, 1)
    folder = platform.folder / "feedback"
    folder.mkdir()
    file = FeedbackFile(folder, 0)
    intake = FeedbackIntake(platform.store, LineFolder(folder), Tracer(platform.store, platform.folder / "journal"))
    assert intake.take() == 0
    now = platform.clock.time_ns()
    for request_id, value in [*zip(ids, (1.0, 0.0, 3.0, 1.0), strict=True), (secrets.token_bytes(16), 9.0), (ids[1], 0.5)]:
        file.append(Report(request_id=request_id.hex(), workspace_id=1, value=value, time_ns=now))
    (folder / "1.jsonl").write_bytes(b'{"request_id": "half')
    assert intake.take() == 4  # the foreign workspace's and the unknown one are dropped; one was reported twice
    assert not list(folder.iterdir())
    with platform.store.read() as session:
        found = session.feedback.outcomes(deployment.id, now)
        assert session.feedback.outcomes(deployment.id, now + 1) == {}
    first, second = (version.id for version in platform.versions)
    assert found == {first: Outcomes(count=2, sum=4.0, squares=10.0), second: Outcomes(count=1, sum=0.5, squares=0.25)}
    assert platform.rollouts.status(1, "d").versions[0].mean_outcome == 2.0
    intake.expire(now + KEEP_NS + 1)
    with platform.store.read() as session:
        assert session.feedback.outcomes(deployment.id, 0) == {}
    journal.close()


def _write(folder, count):
    file = FeedbackFile(folder, 0)
    for _ in range(count):
        file.append(Report(request_id="0" * 32, workspace_id=1, value=1.0, time_ns=1))


def test_no_report_is_lost_between_writing_and_taking(tmp_path):
    writer = threading.Thread(target=_write, args=(tmp_path, 2000))
    writer.start()
    taker, seen = LineFolder(tmp_path), 0
    while True:
        alive = writer.is_alive()
        for path in taker.take():
            seen += len(list(reports_in(path)))
            path.unlink()
        if not alive:
            break
    writer.join()
    assert seen == 2000


def test_a_decision_is_plain_data():
    made = Decision(step=Step.WAIT, reason="x")
    assert msgspec.json.decode(msgspec.json.encode(made), type=Decision) == made
