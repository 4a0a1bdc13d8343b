"""What every database must do for the registry. Subclass ``StoreContract`` in a test module and give it a ``database_url`` fixture
that names a new, empty database; ``store_state_contract`` holds the rest of the suite.
"""

from __future__ import annotations

import threading

import msgspec
import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.errors import AlreadyExists, Conflict, InvalidRequest, ModelyardError, NotFound
from modelyard.core.events import Actor
from modelyard.core.models import Artifact, ArtifactFile, Card, Dataset, Lineage, Profile, Version
from modelyard.core.signature import Signature, TensorSpec
from modelyard.core.tensors import Datatype
from modelyard.store.database import Session, Store
from modelyard.store.filters import MetricFilter
from modelyard.testing.fresh_store import FreshStore

PATIENCE = 30.0
SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", datatype=Datatype.FP32, shape=(-1, "features")),
        TensorSpec(name="s", datatype=Datatype.BYTES, shape=(-1,)),
    ),
    outputs=(TensorSpec(name="y", datatype=Datatype.INT64, shape=(-1,), description="größte"),),
    classes=("a", "b"),
)
ACTOR = Actor(name="ana", workspace_id=1, address="127.0.0.1", request_id="r1")


def version_of(session: Session, workspace_id: int, model: str, *, digest: str = "d" * 64, **changes: object) -> Version:
    """A version ready to be added, its model made when missing."""
    fields: dict[str, object] = {
        "id": 0,
        "workspace_id": workspace_id,
        "model_id": session.models.ensure(workspace_id, model).id,
        "model": model,
        "number": 0,
        "artifact": Artifact(
            format="onnx",
            digest=digest,
            entry="model.onnx",
            files=(ArtifactFile(path="data/w.bin", digest="b" * 64, size=2**40), ArtifactFile(path="model.onnx", digest=digest, size=7)),
        ),
        "signature": SIGNATURE,
        "profile": Profile(row_independent=True, single_us=12.5, inline=True),
        "metrics": {"accuracy": 0.95, "f1 macro": 0.5},
        "report": {"matrix": [[1, 2], [3, 4]], "none": None},
        "attachments": (ArtifactFile(path="plot.svg", digest="c" * 64, size=3),),
        "card": Card(summary="penguins \U0001f427", license="CC0-1.0"),
        "lineage": Lineage(dataset_digest="e" * 64, job_id=4, source="train", detail={"seed": 1}),
        "tags": {"team": "birds"},
        "created_by": "ana",
    }
    return Version(**(fields | changes))  # type: ignore[arg-type]  # the test says what it means


class StoreContract(FreshStore):
    """Aggregates of the registry, and what transactions promise."""

    def test_a_fresh_database_has_the_default_workspace_with_id_1(self, store: Store) -> None:
        with store.read() as session:
            default = session.workspaces.by_name("default")
            assert default is not None
            assert (default.id, session.workspaces.get(1)) == (1, default)

    def test_migrating_again_changes_nothing(self, store: Store) -> None:
        with store.write() as session:
            session.settings.put("a", "b")
        store.migrate()
        with store.read() as session:
            assert session.settings.get("a") == "b"

    def test_an_exception_undoes_the_whole_write(self, store: Store) -> None:
        def fail() -> None:
            with store.write() as session:
                session.models.ensure(1, "penguins")
                session.audit.append(ACTOR, "model.create", "penguins")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with store.read() as session:
            assert session.models.list(1) == []
            assert session.audit.list(1) == []

    def test_a_read_sees_one_moment_while_others_write(self, store: Store) -> None:
        with store.read() as before:
            assert before.settings.get("x") is None
            with store.write() as session:
                session.settings.put("x", "1")
            assert before.settings.get("x") is None
        with store.read() as after:
            assert after.settings.get("x") == "1"

    def test_a_read_cannot_write(self, store: Store) -> None:
        def write() -> None:
            with store.read() as session:
                session.settings.put("x", "1")

        with pytest.raises(ModelyardError):
            write()
        with store.write() as session:
            assert session.settings.get("x") is None
            session.settings.put("x", "2")

    def test_two_writers_take_turns(self, store: Store) -> None:
        inside, may_go, order = threading.Event(), threading.Event(), []

        def second() -> None:
            inside.wait(PATIENCE)
            may_go.set()
            with store.write() as session:
                order.append(session.settings.bump("n"))

        thread = threading.Thread(target=second)
        thread.start()
        with store.write() as session:
            inside.set()
            may_go.wait(PATIENCE)
            order.append(session.settings.bump("n"))
        thread.join(PATIENCE)
        assert order == [1, 2]

    def test_foreign_workspaces_are_refused(self, store: Store) -> None:
        def write() -> None:
            with store.write() as session:
                session.models.ensure(77, "penguins")

        with pytest.raises(Conflict):
            write()

    def test_workspace_names_are_taken_once(self, store: Store) -> None:
        with store.write() as session:
            made = session.workspaces.create("team")
            assert made.id > 1
            with pytest.raises(AlreadyExists):
                session.workspaces.create("team")
            with pytest.raises(InvalidRequest):
                session.workspaces.create("Not A Name")
            assert [workspace.name for workspace in session.workspaces.list()] == ["default", "team"]

    def test_a_version_comes_back_as_it_was_stored(self, store: Store, clock: ManualClock) -> None:
        with store.write() as session:
            stored = session.versions.add(version_of(session, 1, "penguins"))
        assert (stored.number, stored.created_ns) == (1, clock.time_ns())
        with store.read() as session:
            assert session.versions.get(1, "penguins", 1) == stored
            assert session.versions.by_id(stored.id) == stored
            assert session.versions.by_ids([stored.id, 999]) == [stored]
            assert session.versions.with_digest(1, "penguins", "d" * 64) == [stored]
            assert session.versions.artifact_digests() == {"b" * 64, "c" * 64, "d" * 64}

    def test_numbers_count_up_and_are_never_given_again(self, store: Store) -> None:
        with store.write() as session:
            first, second = (session.versions.add(version_of(session, 1, "m")) for _ in range(2))
            session.versions.remove(second)
            third = session.versions.add(version_of(session, 1, "m"))
            assert [first.number, third.number] == [1, 3]
            assert third.id > second.id
            assert [version.number for version in session.versions.list(1, "m")] == [3, 1]

    def test_numbers_are_consecutive_under_concurrent_writers(self, store: Store) -> None:
        def add() -> None:
            for _ in range(5):
                with store.write() as session:
                    session.versions.add(version_of(session, 1, "m"))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        with store.read() as session:
            assert [version.number for version in session.versions.list(1, "m")] == list(range(20, 0, -1))

    def test_other_workspaces_see_nothing(self, store: Store) -> None:
        with store.write() as session:
            other = session.workspaces.create("other").id
            session.versions.add(version_of(session, 1, "m"))
            session.aliases.set(1, "m", "champion", 1)
            assert session.models.get(other, "m") is None
            assert session.versions.get(other, "m", 1) is None
            assert session.versions.list(other, "m") == []
            assert session.aliases.history(other, "m", "champion") == []
            with pytest.raises(NotFound):
                session.aliases.set(other, "m", "champion", 1)
            assert session.versions.add(version_of(session, other, "m")).number == 1

    def test_a_version_cannot_be_added_to_a_foreign_model(self, store: Store) -> None:
        with store.write() as session:
            other = session.workspaces.create("other").id
            mine = msgspec.structs.replace(version_of(session, 1, "m"), workspace_id=other)
            with pytest.raises(NotFound):
                session.versions.add(mine)

    def test_models_are_found_by_name_tag_and_metric(self, store: Store) -> None:
        with store.write() as session:
            session.versions.add(version_of(session, 1, "penguins"))
            session.versions.add(version_of(session, 1, "churn", metrics={"accuracy": 0.5}, tags={}))
            session.models.update(1, "churn", description="who leaves", tags={"stage": "trial"})

            def names(**wanted: object) -> list[str]:
                return [model.name for model in session.models.list(1, **wanted)]  # type: ignore[arg-type]  # the test says what it means

            assert names() == ["churn", "penguins"]
            assert names(search="ENGU") == ["penguins"]
            assert names(search="%") == []
            assert names(tags={"stage": "trial"}) == ["churn"]
            assert names(tags={"team": "birds"}) == ["penguins"]
            assert names(tags={"team": "fish"}) == []
            assert names(metrics=[MetricFilter.parse("accuracy > 0.9")]) == ["penguins"]
            assert names(metrics=[MetricFilter.parse("accuracy<=0.95")]) == ["churn", "penguins"]
            assert names(metrics=[MetricFilter.parse("f1 macro=0.5"), MetricFilter.parse("accuracy>=0.5")]) == ["penguins"]
            assert names(metrics=[MetricFilter.parse("rmse<1")]) == []

    def test_a_model_tells_its_newest_version_and_aliases(self, store: Store) -> None:
        with store.write() as session:
            assert session.models.ensure(1, "m").latest == 0
            for _ in range(2):
                session.versions.add(version_of(session, 1, "m"))
            session.aliases.set(1, "m", "champion", 1)
            session.aliases.set(1, "m", "next", 2)
            model = session.models.need(1, "m")
            assert (model.latest, model.aliases) == (2, {"champion": 1, "next": 2})

    def test_versions_are_found_by_metric_and_tag(self, store: Store) -> None:
        with store.write() as session:
            for accuracy in (0.5, 0.8, 0.9):
                session.versions.add(version_of(session, 1, "m", metrics={"accuracy": accuracy}, tags={"at": str(accuracy)}))
            assert [found.number for found in session.versions.list(1, "m", metrics=[MetricFilter.parse("accuracy>=0.8")])] == [3, 2]
            assert [found.number for found in session.versions.list(1, "m", tags={"at": "0.5"})] == [1]
            assert [found.number for found in session.versions.list(1, "m", limit=1)] == [3]

    def test_aliases_move_and_remember(self, store: Store, clock: ManualClock) -> None:
        with store.write() as session:
            for _ in range(2):
                session.versions.add(version_of(session, 1, "m"))
            times = []
            for number in (1, 2, 2, 1):
                clock.advance(1)
                times.append(clock.time_ns())
                session.aliases.set(1, "m", "champion", number)
            session.aliases.remove(1, "m", "champion")
            assert session.aliases.history(1, "m", "champion") == [(0, times[3]), (1, times[3]), (2, times[1]), (1, times[0])]
            assert session.models.need(1, "m").aliases == {}
            with pytest.raises(NotFound):
                session.aliases.set(1, "m", "x", 9)
            with pytest.raises(NotFound):
                session.aliases.remove(1, "m", "champion")
            with pytest.raises(InvalidRequest):
                session.aliases.set(1, "m", "latest", 1)

    def test_a_version_that_an_alias_points_at_cannot_go(self, store: Store) -> None:
        with store.write() as session:
            version = session.versions.add(version_of(session, 1, "m"))
            session.aliases.set(1, "m", "champion", 1)

        def remove() -> None:
            with store.write() as session:
                session.versions.remove(version)

        with pytest.raises(Conflict):
            remove()
        with store.write() as session:
            with pytest.raises(Conflict):
                session.models.remove(1, "m")
            session.aliases.remove(1, "m", "champion")
            session.models.remove(1, "m")
            assert session.models.get(1, "m") is None
            assert session.versions.artifact_digests() == set()

    def test_datasets_are_numbered_by_name(self, store: Store) -> None:
        with store.write() as session:
            made = [
                session.datasets.add(
                    Dataset(
                        id=0,
                        workspace_id=1,
                        name="birds",
                        number=0,
                        digest=letter * 64,
                        size=3,
                        filename="b.csv",
                        schema={"columns": ["a"]},
                    )
                )
                for letter in "ab"
            ]
            assert [dataset.number for dataset in made] == [1, 2]
            assert session.datasets.get(1, "birds") == made[1]
            assert session.datasets.get(1, "birds", 1) == made[0]
            assert session.datasets.by_digest(1, "a" * 64) == made[0]
            assert session.datasets.list(1) == [made[1], made[0]]
            assert session.datasets.digests() == {"a" * 64, "b" * 64}
            assert session.datasets.get(2, "birds") is None

    def test_what_workers_must_learn_of_moves_the_state(self, store: Store) -> None:
        with store.write() as session:
            seen = [session.settings.count("state")]
            session.versions.add(version_of(session, 1, "m"))
            seen.append(session.settings.count("state"))
            session.aliases.set(1, "m", "champion", 1)
            seen.append(session.settings.count("state"))
            session.aliases.remove(1, "m", "champion")
            seen.append(session.settings.count("state"))
        assert seen == sorted(set(seen))

    def test_a_text_that_cannot_be_stored_is_refused_or_kept_whole(self, store: Store) -> None:
        text = "a\0b"
        try:
            with store.write() as session:
                session.settings.put("x", text)
        except InvalidRequest:
            return
        with store.read() as session:
            assert session.settings.get("x") == text
