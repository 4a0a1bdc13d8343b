"""The controller's part of batches, with a real queue, database and folder; nobody works on the jobs but the test."""

from __future__ import annotations

import json

import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.events import Actor
from modelyard.core.jobs import JobStatus
from modelyard.jobs.kinds import JobKind
from modelyard.jobs.queue import JobQueue
from modelyard.serving.batches.files import BATCH_PREFIX, FILE_PREFIX, Batch, BatchFiles, Started, StoredFile, new_id
from modelyard.serving.batches.intake import KIND, BatchIntake
from modelyard.store.database import Store
from modelyard.store.home import Home

LINE = {"custom_id": "one", "method": "POST", "url": "/v1/embeddings", "body": {"input": "a"}}
DAY = 86400.0


class World:
    def __init__(self, folder):
        self.clock = ManualClock()
        home = Home(folder)
        home.create()
        self.store = Store.open(f"sqlite:///{folder}/db", self.clock)
        self.store.migrate()
        self.files = BatchFiles(home.batches)
        kind = JobKind(run="", check=lambda _, spec: spec, inputs=lambda _: {}, finish=lambda *_: {})
        self.queue = JobQueue(self.store, home, {KIND: kind}, self.clock, lambda: None)
        self.start()

    def start(self):
        self.intake = BatchIntake(self.files, self.queue, self.store, self.clock, retention_seconds=30 * DAY)

    def submit(self, seconds=DAY):
        now = self.clock.time_ns()
        owner = {"workspace_id": 1, "key_id": 5, "created_ns": now}
        content = json.dumps(LINE).encode()
        file = StoredFile(id=new_id(FILE_PREFIX, now), name="x", purpose="batch", size=len(content), expires_ns=now + int(1e9), **owner)
        self.files.add_file(file, content)
        expires = now + int(seconds * 1e9)
        made = Batch(id=new_id(BATCH_PREFIX, now), endpoint="/v1/embeddings", file_id=file.id, window="x", expires_ns=expires, **owner)
        self.files.add(made)
        return made

    def jobs(self, status=None):
        return self.queue.list(1, status=status)

    def end(self, status, error=""):
        (job,) = self.jobs(JobStatus.QUEUED)
        with self.store.write() as session:
            session.jobs.update(job.id, status=JobStatus.RUNNING)
            session.jobs.update(job.id, status=status, error=error)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.store.close()


def test_an_open_batch_has_one_job_at_a_time(world):
    batch = world.submit()
    for _ in range(3):
        world.intake.tick()
    world.start()  # the controller was killed and starts again
    world.intake.tick()
    (job,) = world.jobs()
    assert (job.kind, job.spec["batch"]) == (KIND, batch.id)
    world.end(JobStatus.SUCCEEDED)  # its turn was over, and lines are left
    world.intake.tick()
    assert [job.status for job in world.jobs()] == [JobStatus.QUEUED, JobStatus.SUCCEEDED]


def test_a_cancelled_batch_that_waits_needs_no_job(world):
    batch = world.submit()
    world.intake.tick()
    world.files.cancel(batch, world.clock.time_ns())
    world.intake.tick()
    assert world.files.ended(batch).status == "cancelled"
    assert [job.status for job in world.jobs()] == [JobStatus.CANCELLED]
    world.intake.tick()
    assert len(world.jobs()) == 1
    assert world.files.open() == []


def test_who_cancels_the_job_means_the_batch(world):
    batch = world.submit()
    world.intake.tick()
    world.queue.cancel(Actor(name="somebody", workspace_id=1), world.jobs()[0].id)
    world.intake.tick()
    world.intake.tick()
    assert world.files.ended(batch).status == "cancelled"
    assert len(world.jobs()) == 1


def test_time_that_ends_in_the_queue_ends_the_batch(world):
    batch = world.submit(seconds=60)
    world.intake.tick()
    world.files.start(batch, Started(total=1, time_ns=1))
    world.clock.advance(61)
    world.intake.tick()
    ended = world.files.ended(batch)
    assert (ended.status, ended.counts.failed) == ("expired", 1)
    told = json.loads(world.files.data(1, ended.error_id).read_text())
    assert (told["custom_id"], told["error"]["code"]) == ("one", "batch_expired")


def test_jobs_that_fail_again_and_again_fail_the_batch(world):
    batch = world.submit()
    for _ in range(3):
        world.intake.tick()
        world.end(JobStatus.FAILED, "It broke.")
    world.intake.tick()
    ended = world.files.ended(batch)
    assert (ended.status, ended.faults[0].message) == ("failed", "It broke.")
    assert len(world.jobs()) == 3


def test_while_a_job_works_the_batch_is_its_own_affair(world):
    batch = world.submit()
    with world.files.turn(batch):
        world.files.cancel(batch, world.clock.time_ns())
        world.intake.tick()
        assert world.files.ended(batch) is None
    world.intake.tick()
    assert world.files.ended(batch) is not None


def test_files_and_batches_go_when_their_time_is_over(world):
    batch = world.submit()
    world.intake.tick()
    world.clock.advance(70)
    world.intake.tick()
    assert world.files.file(1, batch.file_id) is not None  # an open batch still reads it
    world.files.cancel(batch, world.clock.time_ns())
    world.intake.tick()
    world.clock.advance(70)
    world.intake.tick()
    assert world.files.file(1, batch.file_id) is None
    assert world.files.batches(1) == [batch]
    world.clock.advance(31 * DAY)
    world.intake.tick()
    assert world.files.batches(1) == []


def test_an_id_from_outside_never_reaches_the_disk(world):
    for name in ("../../etc/passwd", "batch_x", "", "file-" + "a" * 43):
        assert world.files.batch(1, name) is None
        assert world.files.file(1, name) is None
        with pytest.raises(ValueError, match="no id"):
            world.files.data(1, name)
