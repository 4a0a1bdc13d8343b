import os
import threading

import msgspec
import pytest

from modelyard.core.jobs import Job, JobStatus
from modelyard.core.models import Artifact, ArtifactFile, Dataset
from modelyard.registry.garbage import collect_garbage
from modelyard.store.blobs import Blobs
from modelyard.testing.store_contract import version_of

DAY = 86400.0


@pytest.fixture
def blobs(tmp_path):
    return Blobs.open(str(tmp_path / "blobs"), tmp_path / "spool")


def name(store, digest):
    """A version that consists of one blob."""
    files = (ArtifactFile(path="m", digest=digest, size=1),)
    with store.write() as session:
        made = version_of(session, 1, "m", artifact=Artifact(format="onnx", digest=digest, files=files, entry="m"), attachments=())
        return session.versions.add(made)


def test_only_what_nothing_names_goes(store, blobs):
    version, dataset, waiting, ended, nothing = (blobs.put([content]).digest for content in (b"1", b"2", b"3", b"4", b"5"))
    name(store, version)
    with store.write() as session:
        session.datasets.add(Dataset(id=0, workspace_id=1, name="d", number=0, digest=dataset, size=1, filename="x"))
        session.jobs.add(Job(id=0, workspace_id=1, kind="train", spec={"files": [{"digest": waiting}]}))
        over = session.jobs.add(Job(id=0, workspace_id=1, kind="train", spec={"digest": ended}))
        session.jobs.update(over.id, status=JobStatus.CANCELLED)
    report = collect_garbage(store, blobs, 0.0)
    assert (report.removed, report.freed_bytes, report.kept, report.young) == (2, 2, 3, 0)
    assert {blob.digest for blob in blobs.list()} == {version, dataset, waiting}
    assert not blobs.exists(nothing)


def test_young_blobs_stay(store, blobs):
    digest = blobs.put([b"1"]).digest
    assert collect_garbage(store, blobs, DAY).young == 1
    assert blobs.exists(digest)


def test_what_was_deleted_goes(store, blobs):
    version = name(store, blobs.put([b"1"]).digest)
    with store.write() as session:
        session.versions.remove(version)
    assert collect_garbage(store, blobs, 0.0).removed == 1


class Interleaved:
    """Blobs whose listing lets somebody else act before the collection looks at what was listed."""

    def __init__(self, blobs, act):
        self._blobs, self._act = blobs, act

    def list(self):
        found = list(self._blobs.list())
        self._act()
        return iter(found)

    def __getattr__(self, wanted):
        return getattr(self._blobs, wanted)


def test_a_blob_that_is_named_after_the_listing_stays(store, blobs):
    digest = blobs.put([b"1"]).digest
    report = collect_garbage(store, Interleaved(blobs, lambda: name(store, digest)), 0.0)
    assert report.removed == 0
    assert blobs.exists(digest)


def test_a_blob_that_is_put_again_after_the_listing_stays(store, blobs, tmp_path):

    digest = blobs.put([b"1"]).digest
    [path] = (tmp_path / "blobs" / "sha256").glob("*/*")
    os.utime(path, (1, 1))
    report = collect_garbage(store, Interleaved(blobs, lambda: blobs.put([b"1"])), DAY)
    assert (report.removed, report.young) == (0, 1)
    assert blobs.exists(digest)


def test_a_collection_waits_for_whoever_is_about_to_name_a_blob(store, blobs):
    digest = blobs.put([b"1"]).digest
    inside, listed = threading.Event(), threading.Event()

    def push():
        with store.write() as session:
            inside.set()
            listed.wait(30)
            files = (ArtifactFile(path="m", digest=digest, size=1),)
            assert blobs.exists(digest)
            made = version_of(session, 1, "m", attachments=())
            session.versions.add(msgspec.structs.replace(made, artifact=Artifact(format="onnx", digest=digest, files=files, entry="m")))

    thread = threading.Thread(target=push)
    thread.start()
    inside.wait(30)
    report = collect_garbage(store, Interleaved(blobs, listed.set), 0.0)
    thread.join(30)
    assert report.removed == 0
    assert blobs.exists(digest)
