import threading

import pytest

from modelyard.core.deployments import Deployment, Target
from modelyard.core.errors import Conflict, InvalidArtifact, InvalidRequest, NotFound
from modelyard.core.events import Actor
from modelyard.core.models import Card, Lineage, Profile, Reference
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.registry.service import Registry
from modelyard.registry.submission import NewVersion
from modelyard.registry.validate import ProbeResult
from modelyard.store.blobs import Blobs

ACTOR = Actor(name="ana", workspace_id=1)
TENSOR = TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1,))
RESULT = ProbeResult(signature=Signature(inputs=(TENSOR,), outputs=(TENSOR,)), profile=Profile(inline=True))


class FakeProber:
    """Finds every model good, or raises what it is told."""

    def __init__(self):
        self.error = None
        self.then = lambda: None
        self.probed = []

    def probe(self, folder, entry, format_name):
        self.probed.append((folder, entry, format_name))
        if self.error is not None:
            raise self.error
        self.then()
        return RESULT


@pytest.fixture
def blobs(tmp_path):
    return Blobs.open(str(tmp_path / "blobs"), tmp_path / "spool")


@pytest.fixture
def prober():
    return FakeProber()


@pytest.fixture
def registry(store, blobs, prober):
    return Registry(store, blobs, prober, store.clock)


@pytest.fixture
def source(tmp_path):
    def make(content=b"graph", plot=None, **changes):
        folder = tmp_path / f"source-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(content)
        if plot is not None:
            attachments = tmp_path / f"{folder.name}-plots"
            attachments.mkdir()
            (attachments / "plot.svg").write_bytes(plot)
            changes["attachments"] = attachments
        return NewVersion(folder=folder, entry="model.onnx", format="onnx", **changes)

    return make


def audit(store, workspace_id=1):
    with store.read() as session:
        return [(event.action, event.subject) for event in reversed(session.audit.list(workspace_id))]


def deploy(store, name, model, version):
    with store.write() as session:
        session.deployments.add(Deployment(id=0, workspace_id=1, name=name, targets=(Target(model=model, version=version),)))


def test_a_version_is_stored_with_files_audit_and_what_the_trial_found(registry, store, source):
    version = registry.create_version(ACTOR, "m", source(plot=b"<svg/>", metrics={"accuracy": 0.9}, card=Card(license="CC0-1.0")))
    assert (version.number, version.signature, version.profile, version.created_by) == (1, RESULT.signature, RESULT.profile, "ana")
    assert registry.version(1, Reference("m")) == version
    with registry.open_file(version, "model.onnx") as stream:
        assert stream.read() == b"graph"
    with registry.open_attachment(version, "plot.svg") as stream:
        assert stream.read() == b"<svg/>"
    assert audit(store) == [("version.create", "m@1")]
    with pytest.raises(NotFound, match=r"Did you mean 'model.onnx'"):
        registry.open_file(version, "modle.onnx")


def test_handing_in_the_same_again_gives_the_version_that_is_there(registry, store, source, prober):
    report = {"pairs": [(1, 2)], "nan": float("nan")}
    first = registry.create_version(ACTOR, "m", source(report=report, lineage=Lineage(source="push")))
    again = registry.create_version(ACTOR, "m", source(report=report, lineage=Lineage(source="push")))
    assert again == first
    assert len(prober.probed) == 1
    assert len(audit(store)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"content": b"other"},
        {"metrics": {"a": 1.0}},
        {"tags": {"a": "b"}},
        {"card": Card(text="x")},
        {"lineage": Lineage(job_id=2)},
        {"report": {"a": 1}},
        {"plot": b"x"},
    ],
)
def test_any_difference_makes_a_new_version(registry, source, changes):
    registry.create_version(ACTOR, "m", source())
    assert registry.create_version(ACTOR, "m", source(**changes)).number == 2


def test_equal_content_of_another_model_is_a_version_of_its_own(registry, source):
    one, other = (registry.create_version(ACTOR, name, source()) for name in ("a", "b"))
    assert one.digest == other.digest
    assert one.id != other.id


def test_a_failed_trial_stores_nothing(registry, store, blobs, source, prober):
    prober.error = InvalidArtifact("It does not run.")
    with pytest.raises(InvalidArtifact):
        registry.create_version(ACTOR, "m", source())
    assert registry.models(1) == []
    assert audit(store) == []
    assert list(blobs.list()) == []


def test_files_that_change_during_the_trial_are_noticed(registry, source, prober):
    submission = source()
    prober.then = lambda: (submission.folder / "model.onnx").write_bytes(b"evil")
    with pytest.raises(InvalidArtifact, match="changed while"):
        registry.create_version(ACTOR, "m", submission)
    assert registry.models(1) == []


@pytest.mark.parametrize(
    "changes",
    [{"metrics": {"a": float("nan")}}, {"metrics": {'a"b': 1.0}}, {"tags": {"": "x"}}, {"tags": {"a": "x" * 2000}}, {"tags": {"a": "\0"}}],
)
def test_what_could_not_be_searched_for_is_refused(registry, source, changes):
    with pytest.raises(InvalidRequest):
        registry.create_version(ACTOR, "m", source(**changes))


def test_names_are_checked_before_anything_runs(registry, source, prober):
    with pytest.raises(InvalidRequest):
        registry.create_version(ACTOR, "No Name", source())
    assert prober.probed == []


def test_two_threads_that_push_at_once_get_consecutive_numbers(registry, source):
    submissions = [source(content=str(number).encode()) for number in range(8)]
    made = []
    threads = [
        threading.Thread(target=lambda part=part: made.extend(registry.create_version(ACTOR, "m", each).number for each in part))
        for part in (submissions[:4], submissions[4:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(made) == list(range(1, 9))


def test_a_foreign_workspace_sees_and_changes_nothing(registry, store, source):
    with store.write() as session:
        stranger = Actor(name="eve", workspace_id=session.workspaces.create("other").id)
    registry.create_version(ACTOR, "secret-model", source())
    registry.set_alias(ACTOR, Reference("secret-model"), "champion")
    for attempt in (
        lambda: registry.model(stranger.workspace_id, "secret-model"),
        lambda: registry.version(stranger.workspace_id, Reference("secret-model", "1")),
        lambda: registry.versions(stranger.workspace_id, "secret-model"),
        lambda: registry.set_alias(stranger, Reference("secret-model", "1"), "x"),
        lambda: registry.remove_alias(stranger, "secret-model", "champion"),
        lambda: registry.rollback(stranger, "secret-model", "champion"),
        lambda: registry.delete_model(stranger, "secret-model"),
        lambda: registry.update_model(stranger, "secret-model", description="x"),
        lambda: registry.compare(stranger.workspace_id, Reference("secret-model"), Reference("secret-model")),
        lambda: registry.alias_history(stranger.workspace_id, "secret-model", "champion"),
    ):
        with pytest.raises(NotFound, match=r"There is no model 'secret-model'\.$"):
            attempt()
    with pytest.raises(NotFound) as caught:
        registry.model(stranger.workspace_id, "secret-modle")
    assert "Did you mean" not in caught.value.message
    assert registry.models(stranger.workspace_id) == []


def test_unknown_names_suggest_the_nearest(registry, source):
    registry.create_version(ACTOR, "penguins", source())
    with pytest.raises(NotFound, match="Did you mean 'penguins'"):
        registry.model(1, "pengiuns")
    with pytest.raises(NotFound, match="Its newest is 1"):
        registry.version(1, Reference("penguins", "9"))


def test_models_and_versions_are_searched(registry, source):
    registry.create_version(ACTOR, "penguins", source(metrics={"accuracy": 0.95}, tags={"team": "birds"}))
    registry.create_version(ACTOR, "churn", source(metrics={"accuracy": 0.7}))
    assert [model.name for model in registry.models(1, metrics=["accuracy>0.9"])] == ["penguins"]
    assert [model.name for model in registry.models(1, search="chu")] == ["churn"]
    assert [version.number for version in registry.versions(1, "penguins", tags={"team": "birds"})] == [1]
    with pytest.raises(InvalidRequest):
        registry.models(1, metrics=["accuracy is high"])


def test_aliases_move_and_roll_back_with_their_audit(registry, store, source):
    for content in (b"1", b"2", b"3"):
        registry.create_version(ACTOR, "m", source(content=content))
        registry.set_alias(ACTOR, Reference("m", "latest"), "champion")
    registry.set_alias(ACTOR, Reference("m", "3"), "champion")
    assert registry.rollback(ACTOR, "m", "champion").number == 2
    assert registry.version(1, Reference("m")).number == 2
    assert registry.rollback(ACTOR, "m", "champion").number == 1
    with pytest.raises(Conflict):
        registry.rollback(ACTOR, "m", "champion")
    with pytest.raises(NotFound):
        registry.rollback(ACTOR, "m", "other")
    moves = [action for action, subject in audit(store) if subject == "m@champion"]
    assert moves == ["alias.set"] * 3 + ["alias.rollback"] * 2
    assert [number for number, _ in registry.alias_history(1, "m", "champion")] == [1, 2, 3, 2, 1]
    with store.read() as session:
        assert session.audit.first_broken(1) == 0


def test_what_is_used_cannot_be_deleted(registry, store, source):
    for content in (b"1", b"2"):
        registry.create_version(ACTOR, "m", source(content=content))
    registry.set_alias(ACTOR, Reference("m", "1"), "champion")
    deploy(store, "d", "m", "champion")
    with pytest.raises(Conflict, match="Deployment d uses m"):
        registry.delete_model(ACTOR, "m")
    with pytest.raises(Conflict, match="Deployment d uses m@1"):
        registry.delete_version(ACTOR, Reference("m", "1"))
    with pytest.raises(Conflict, match="follows m@champion"):
        registry.remove_alias(ACTOR, "m", "champion")
    registry.delete_version(ACTOR, Reference("m", "2"))
    with store.write() as session:
        session.deployments.remove(1, "d")
    with pytest.raises(Conflict, match="Alias champion points at m"):
        registry.delete_model(ACTOR, "m")
    registry.remove_alias(ACTOR, "m", "champion")
    registry.delete_model(ACTOR, "m")
    assert registry.models(1) == []
    assert [action for action, _ in audit(store)][-3:] == ["version.delete", "alias.remove", "model.delete"]


def test_a_model_is_described(registry, store, source):
    registry.create_version(ACTOR, "m", source())
    changed = registry.update_model(ACTOR, "m", description="birds", tags={"a": "b"})
    assert (changed.description, changed.tags) == ("birds", {"a": "b"})
    assert registry.update_model(ACTOR, "m", description="").tags == {"a": "b"}
    with pytest.raises(InvalidRequest):
        registry.update_model(ACTOR, "m", description="x" * 20_000)


def test_versions_are_compared_across_models(registry, source):
    registry.create_version(ACTOR, "a", source(metrics={"accuracy": 0.9}))
    registry.create_version(ACTOR, "b", source(metrics={"accuracy": 0.8}))
    found = registry.compare(1, Reference("a"), Reference("b"))
    assert (found.same_content, found.metrics[0].better) == (True, "a")


def flagged(*reasons):
    return {"optimization": {"verdict": {"kept": not reasons, "reasons": list(reasons)}}}


def test_a_flagged_version_takes_no_alias_and_says_why(registry, store, source):
    good = registry.create_version(ACTOR, "m", source(report=flagged()))
    bad = registry.create_version(ACTOR, "m", source(b"bad", report=flagged("slower: 2.00 times the time at batch 1")))
    with pytest.raises(Conflict, match=r"m@2 cannot take an alias.*slower: 2.00 times"):
        registry.set_alias(ACTOR, Reference("m", str(bad.number)), "champion")
    assert registry.set_alias(ACTOR, Reference("m", str(good.number)), "champion") == good
    assert registry.model(1, "m").aliases == {"champion": 1}
    assert [action for action, _ in audit(store)] == ["version.create", "version.create", "alias.set"]


def test_a_rollback_goes_to_no_flagged_version(registry, store, source):
    registry.create_version(ACTOR, "m", source(report=flagged("worse: f1_macro loses 0.2, more than 0.01")))
    registry.create_version(ACTOR, "m", source(b"good"))
    with store.write() as session:  # as an alias may have pointed before versions were judged
        session.aliases.set(1, "m", "champion", 1)
    registry.set_alias(ACTOR, Reference("m", "2"), "champion")
    with pytest.raises(Conflict, match="worse: f1_macro"):
        registry.rollback(ACTOR, "m", "champion")
    assert registry.model(1, "m").aliases == {"champion": 2}
