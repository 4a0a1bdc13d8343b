import msgspec
import pytest

from modelyard.core.deployments import DeploymentState, Target
from modelyard.core.errors import Conflict, InvalidRequest, NotFound
from modelyard.core.events import Actor
from modelyard.core.models import Artifact, Profile, Version
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.runtimes.base import TEXT_SIGNATURE
from modelyard.serving.deployments import DeploymentService
from modelyard.serving.reports import VersionReport, WorkerReport

ACTOR = Actor(name="key:boss", workspace_id=1)


@pytest.fixture
def reports():
    return []


@pytest.fixture
def service(store, reports):
    return DeploymentService(store, lambda: reports)


def spec(name, *shape, datatype=Datatype.FP32):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def add(store, model="m", inputs=(spec("x", -1, 4),), outputs=(spec("y", -1, 3),), profile=Profile(inline=True)):  # noqa: B008  # immutable
    with store.write() as session:
        made = session.models.ensure(1, model)
        artifact = Artifact(format="onnx", digest="e" * 64, files=(), entry="model.onnx")
        signature = Signature(inputs=inputs, outputs=outputs)
        version = Version(
            id=0, workspace_id=1, model_id=made.id, model=model, number=0, artifact=artifact, signature=signature, profile=profile
        )
        return session.versions.add(version)


def add_flagged(store):
    """A version whose optimization was judged worse than its parent."""
    made = add(store)
    verdict = {"kept": False, "reasons": ["worse: accuracy loses 0.2, more than 0.01"]}
    with store.write() as session:
        report = {"optimization": {"verdict": verdict}}
        return session.versions.add(msgspec.structs.replace(made, id=0, number=0, report=report))


def to(version="1", model="m", weight=100):
    return Target(model=model, version=version, weight=weight)


def audit(store):
    with store.read() as session:
        return [(event.action, event.subject) for event in session.audit.list(1)]


def test_a_deployment_is_written_with_its_audit_row(service, store):
    add(store)
    view = service.deploy(ACTOR, "d", [to()])
    assert (view.name, view.targets, view.versions, view.revision, view.state) == ("d", (to(),), (1,), 1, DeploymentState.PENDING)
    assert audit(store) == [("deployment.create", "d")]
    assert service.get(1, "d") == view
    assert service.list(1) == [view]


def test_workers_learn_of_it(service, store):
    add(store)
    with store.read() as session:
        before = session.settings.count("state")
    service.deploy(ACTOR, "d", [to()])
    service.undeploy(ACTOR, "d")
    with store.read() as session:
        assert session.settings.count("state") == before + 2


def test_a_change_is_a_new_revision_and_asking_again_is_none(service, store):
    add(store)
    add(store)
    service.deploy(ACTOR, "d", [to("1")], policy={"sticky": {"by": "key"}})
    assert service.deploy(ACTOR, "d", [to("1")]).revision == 1
    changed = service.deploy(ACTOR, "d", [to("1", weight=90), to("2", weight=10)])
    assert (changed.revision, changed.policy, changed.versions) == (2, {"sticky": {"by": "key"}}, (1, 2))
    assert service.deploy(ACTOR, "d", [to("2")], policy={}).policy == {}
    assert [action for action, _ in audit(store)] == ["deployment.update"] * 2 + ["deployment.create"]


def test_a_stale_revision_is_refused(service, store):
    add(store)
    add(store)
    with pytest.raises(Conflict, match="no deployment"):
        service.deploy(ACTOR, "d", [to()], expect_revision=1)
    service.deploy(ACTOR, "d", [to()])
    service.deploy(ACTOR, "d", [to("2")], expect_revision=1)
    with pytest.raises(Conflict, match="revision 2"):
        service.deploy(ACTOR, "d", [to("1")], expect_revision=1)


def test_versions_are_settled_as_people_mean_them(service, store):
    add(store)
    add(store)
    assert service.deploy(ACTOR, "a", [to("latest")]).targets[0].version == "2"
    assert service.deploy(ACTOR, "b", [to("")]).targets[0].version == "2"
    assert service.deploy(ACTOR, "c", [to("v1")]).targets[0].version == "1"
    with store.write() as session:
        session.aliases.set(1, "m", "champion", 1)
    view = service.deploy(ACTOR, "d", [to("")])
    assert (view.targets[0].version, view.versions) == ("champion", (1,))
    with store.write() as session:
        session.aliases.set(1, "m", "champion", 2)
    assert service.get(1, "d").versions == (2,)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([to(model="n")], "no model 'n'"),
        ([to("7")], "no version 7"),
        ([to("champoin")], "Did you mean 'champion'"),
    ],
)
def test_what_is_not_there_is_named(service, store, targets, message):
    add(store)
    with store.write() as session:
        session.aliases.set(1, "m", "champion", 1)
    with pytest.raises(NotFound, match=message):
        service.deploy(ACTOR, "d", targets)
    assert service.list(1) == []


def test_models_of_another_workspace_are_not_there(service, store):
    add(store)
    with store.write() as session:
        other = Actor(name="x", workspace_id=session.workspaces.create("other").id)
    with pytest.raises(NotFound):
        service.deploy(other, "d", [to()])


@pytest.mark.parametrize("targets", [[], [to(weight=0)], [to(weight=-1)], [to(), to()], [to("1"), to("v1")], [to("latest"), to("1")]])
def test_shares_that_make_no_sense_are_refused(service, store, targets):
    add(store)
    with pytest.raises(InvalidRequest):
        service.deploy(ACTOR, "d", targets)


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "-x", "x" * 64])
def test_a_name_that_clients_could_not_call_is_refused(service, store, name):
    add(store)
    with pytest.raises(InvalidRequest, match="cannot name"):
        service.deploy(ACTOR, name, [to()])


@pytest.mark.parametrize("policy", [{"x": object()}, {"x": "y" * 70000}])
def test_a_policy_is_json_of_bounded_size(service, store, policy):
    add(store)
    with pytest.raises(InvalidRequest):
        service.deploy(ACTOR, "d", [to()], policy=policy)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ((spec("z", -1, 4),), (spec("y", -1, 3),), "m@1 has the input 'x', which m@2 has not"),
        ((spec("x", -1, 4), spec("z", -1)), (spec("y", -1, 3),), "m@2 has the input 'z', which m@1 has not"),
        ((spec("x", -1, 5),), (spec("y", -1, 3),), "input 'x' is"),
        ((spec("x", -1, 4, datatype=Datatype.FP64),), (spec("y", -1, 3),), "FP32.*FP64"),
        ((spec("x", -1, 4),), (spec("other", -1, 3),), "output 'y'"),
        ((spec("x", -1, 4),), (spec("y", -1, 3, datatype=Datatype.INT64),), "output 'y' is"),
    ],
)
def test_targets_that_callers_could_tell_apart_are_refused(service, store, inputs, outputs, message):
    add(store)
    add(store, inputs=inputs, outputs=outputs)
    with pytest.raises(InvalidRequest, match=message):
        service.deploy(ACTOR, "d", [to("1"), to("2")])


def test_targets_may_differ_in_what_does_not_matter_to_callers(service, store):
    add(store, inputs=(spec("x", "rows", 4),))
    add(store, inputs=(spec("x", -1, 4),), outputs=(spec("y", -1, 7),))
    assert service.deploy(ACTOR, "d", [to("1"), to("2")]).versions == (1, 2)


def test_a_version_that_may_not_run_in_a_worker_can_be_deployed(service, store):
    add(store, profile=Profile(reason="it takes 9 GB"))
    assert service.deploy(ACTOR, "big", [Target(model="m", version="1")], {"replicas": {"min": 0}}).name == "big"


def test_undeploying_takes_the_name_away(service, store):
    add(store)
    service.deploy(ACTOR, "demo", [to()])
    service.undeploy(ACTOR, "demo")
    assert audit(store)[0] == ("deployment.remove", "demo")
    with pytest.raises(NotFound):
        service.get(1, "demo")
    with pytest.raises(NotFound):
        service.undeploy(ACTOR, "demo")


def test_a_mistyped_name_suggests_the_nearest(service, store):
    add(store)
    service.deploy(ACTOR, "penguins", [to()])
    with pytest.raises(NotFound, match="Did you mean 'penguins'"):
        service.status(1, "pengins")


def test_status_comes_from_the_workers(service, store, reports):
    version = add(store)
    service.deploy(ACTOR, "d", [to()])
    ready = {version.id: VersionReport(state=DeploymentState.READY)}
    reports.append(WorkerReport(slot=0, pid=1, snapshot=1, written_ns=0, versions=ready, deployments={1: 1}))
    assert service.get(1, "d").state is DeploymentState.READY
    failed = {version.id: VersionReport(state=DeploymentState.FAILED, reason="no memory")}
    reports.append(WorkerReport(slot=1, pid=2, snapshot=1, written_ns=0, versions=failed, deployments={1: 1}))
    status = service.status(1, "d")
    assert (status.state, status.reason) == (DeploymentState.DEGRADED, "m@1: no memory")
    assert status.versions[0].workers == {0: DeploymentState.READY, 1: DeploymentState.FAILED}


def test_what_failed_before_a_change_is_tried_again_after_it(service, store, reports):
    version = add(store)
    service.deploy(ACTOR, "d", [to()])
    failed = {version.id: VersionReport(state=DeploymentState.FAILED, reason="no GPU")}
    reports.append(WorkerReport(slot=0, pid=1, snapshot=1, written_ns=0, versions=failed, deployments={1: 1}))
    assert service.get(1, "d").state is DeploymentState.FAILED
    changed = service.deploy(ACTOR, "d", [to()], {"replicas": {"max": 2}})
    assert (changed.state, changed.reason) == (DeploymentState.LOADING, "")


def test_a_target_that_was_lost_is_told(service, store):
    add(store)
    with store.write() as session:
        session.aliases.set(1, "m", "champion", 1)
    service.deploy(ACTOR, "d", [to("champion")])
    with store.write() as session:
        session.aliases.remove(1, "m", "champion")
    assert "no alias 'champion'" in service.get(1, "d").reason


def test_a_policy_names_versions_that_exist_and_fit(service, store):
    add(store)
    add(store)
    add(store, model="other", inputs=(spec("z", -1, 4),))
    shadowed = service.deploy(ACTOR, "d", [to("1")], policy={"shadow": {"version": "m@2"}})
    assert shadowed.versions == (1, 2)
    for policy, said in (
        ({"shadow": {"version": "m@1"}}, "among the targets already"),
        ({"shadow": {"version": "other@1"}}, "cannot share a deployment"),
        ({"rollout": {"candidate": "m@2"}}, "rollout.candidate: m@2 is not among m@1"),
        ({"experiment": {"candidate": "m@1"}}, "is the only target"),
        ({"nonsense": 1}, "is no field"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            service.deploy(ACTOR, "d", [to("1")], policy=policy)
    with pytest.raises(NotFound):
        service.deploy(ACTOR, "d", [to("1")], policy={"shadow": {"version": "m@9"}})
    service.deploy(ACTOR, "d", [to("1")], policy={"shadow": {"version": "m@2"}, "rollout": {"candidate": "m@2", "steps": [50]}})
    with pytest.raises(InvalidRequest, match="take 'experiment' out"):
        service.deploy(ACTOR, "d", [to("1")], policy={"shadow": {"version": "m@2"}, "experiment": {"candidate": "m@2"}})


def test_targets_that_the_standing_policy_does_not_fit_are_refused(service, store):
    add(store)
    add(store)
    service.deploy(ACTOR, "d", [to("1"), to("2")], policy={"experiment": {"candidate": "m@2"}})
    with pytest.raises(InvalidRequest, match="take 'experiment' out of the policy"):
        service.deploy(ACTOR, "d", [to("1")])
    assert service.deploy(ACTOR, "d", [to("1")], policy={}).versions == (1,)


def test_a_graph_is_checked_when_it_is_deployed_and_takes_no_targets(service, store):
    add(store)
    add(store, model="after", inputs=(spec("v", -1, 3),), outputs=(spec("z", -1, 1),))
    graph = {"graph": {"kind": "sequence", "steps": ["m@1", "after@1"]}}
    assert service.deploy(ACTOR, "g", [], policy=graph).versions == (1, 1)
    with pytest.raises(InvalidRequest, match="has no targets"):
        service.deploy(ACTOR, "g", [to()])
    with pytest.raises(InvalidRequest, match="what comes before it gives"):
        service.deploy(ACTOR, "g", [], policy={"graph": {"kind": "sequence", "steps": ["after@1", "m@1"]}})
    with pytest.raises(NotFound):
        service.deploy(ACTOR, "g", [], policy={"graph": "m@7"})
    with pytest.raises(InvalidRequest, match="1 to 100 targets"):
        service.deploy(ACTOR, "g", [], policy={})
    assert service.deploy(ACTOR, "g", [to()], policy={}).versions == (1,)


@pytest.mark.parametrize("version", ["2", "latest", ""])
def test_a_flagged_version_answers_callers_only_when_somebody_accepts_it(service, store, version):
    add_flagged(store)
    with pytest.raises(Conflict, match=r"m@2 was flagged beside its parent: worse: accuracy.*--accept-flagged"):
        service.deploy(ACTOR, "d", [to(version)])
    assert audit(store) == []
    assert service.deploy(ACTOR, "d", [to(version)], accept_flagged=True).versions == (2,)
    with store.read() as session:
        assert session.audit.list(1)[0].after["accepted_flagged"] == ["m@2"]
    # What is served stands, and other parts of its deployment may change.
    assert service.deploy(ACTOR, "d", [to("2")], policy={"cache": {"seconds": 5}}).revision == 2


def test_a_flagged_version_may_shadow_but_not_join(service, store):
    add_flagged(store)
    assert service.deploy(ACTOR, "d", [to("1")], policy={"shadow": {"version": "m@2"}}).revision == 1
    with pytest.raises(Conflict, match="was flagged"):
        service.deploy(ACTOR, "d", [to("1"), to("2")], policy={})
    with pytest.raises(Conflict, match="was flagged"):
        service.deploy(ACTOR, "d", [to("1")], policy={"shadow": {"version": "m@2"}, "rollout": {"candidate": "m@2"}})


def test_steps_around_targets_are_checked_with_every_target(service, store):
    text, number, said = spec("text", -1, datatype=Datatype.BYTES), spec("x", -1, 4), spec("said", -1, datatype=Datatype.BYTES)
    add(store)
    add(store)
    add(store, "clean", (text,), (number,))
    add(store, "say", (spec("y", -1, 3),), (said,))
    view = service.deploy(ACTOR, "d", [to("1", weight=50), to("2", weight=50)], policy={"before": ["clean@1"], "after": ["say@1"]})
    assert view.policy == {"before": ["clean@1"], "after": ["say@1"]}
    add(store, "wrong", (text,), (spec("x", -1, 5),))
    add(store, "writer", TEXT_SIGNATURE.inputs, TEXT_SIGNATURE.outputs)
    with pytest.raises(InvalidRequest, match=r"m@1 takes 'x' as FP32 \[-1, 4\], but .* FP32 \[-1, 5\]"):
        service.deploy(ACTOR, "d", [to()], policy={"before": ["wrong@1"]})
    with pytest.raises(InvalidRequest, match="clean@1 is a target and a step"):
        service.deploy(ACTOR, "d", [to(), to(model="clean")], policy={"before": ["clean@1"]})
    with pytest.raises(NotFound, match="no model 'gone'"):
        service.deploy(ACTOR, "d", [to()], policy={"before": ["gone@1"]})
    with pytest.raises(InvalidRequest, match="nothing can stand around a model that generates"):
        service.deploy(ACTOR, "d", [to(model="writer")], policy={"before": ["clean@1"]})
    assert service.get(1, "d").revision == 1
