"""Jobs in real processes: queue, scheduler, engine and the entry point of the child."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from modelyard.core.clock import SystemClock
from modelyard.core.events import Actor
from modelyard.core.jobs import JobStatus, Limits
from modelyard.engines.local import LocalEngine
from modelyard.jobs.dispatch import DispatchOptions
from modelyard.jobs.kinds import JobKind
from modelyard.jobs.queue import JobQueue
from modelyard.jobs.scheduler import JobScheduler, SchedulerOptions
from modelyard.store.database import Store
from modelyard.store.home import Home
from modelyard.testing.engine_contract import alive, wait_until_gone

HERE = str(Path(__file__).parent)
COMMAND = (sys.executable, "-m", "modelyard.server.entrypoints.job")
PATIENCE = 30


class Yard:
    """A queue with a scheduler that runs on a thread."""

    def __init__(self, folder):
        self.home = Home(folder)
        self.home.create()
        self.store = Store.open(f"sqlite:///{self.home.database}")
        self.store.migrate()
        self.stored = []
        names = ("succeed", "refuse", "family", "forever", "crash_once", "greedy")
        self.kinds = {name: self._kind(name) for name in names}
        self.actor = Actor(name="ada", workspace_id=1)
        self.scheduler = self.new_scheduler()
        self.queue = JobQueue(self.store, self.home, self.kinds, SystemClock(), self.scheduler.wake)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.scheduler.run, args=(self.stop,))

    def _kind(self, name):
        return JobKind(
            run=f"kinds_for_tests:{name}", check=lambda _, spec: spec, inputs=lambda job: {"data.txt": "abc"}, finish=self._finish
        )

    def _finish(self, job, folder, result):
        self.stored.append((folder / "output" / "made.txt").read_text() if job.kind == "succeed" else "")
        return result

    def new_scheduler(self):
        python_path = os.pathsep.join([HERE, *sys.path])
        return JobScheduler(
            store=self.store,
            home=self.home,
            engine=LocalEngine({"PATH": os.environ["PATH"], "PYTHONPATH": python_path}),
            kinds=self.kinds,
            fetch=lambda digest, to: to.write_text(digest),
            options=SchedulerOptions(command=COMMAND, dispatch=DispatchOptions(jobs=2), grace_seconds=0.5),
            clock=SystemClock(),
        )

    def submit(self, kind, **limits):
        return self.queue.submit(self.actor, kind, {}, limits=Limits(**limits))

    def until(self, job, wanted=None):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.queue.get(1, job.id)
            if wanted(found) if wanted else found.status.ended:
                return found
            time.sleep(0.02)
        raise AssertionError(f"Job {found} did not get there: {self.log(job)}")

    def until_log(self, job, text):
        self.until(job, lambda _: text in self.log(job))
        return self.log(job)

    def log(self, job):
        return self.queue.log(1, job.id).text

    def close(self):
        self.stop.set()
        self.scheduler.wake()
        self.thread.join(PATIENCE)
        self.store.close()


@pytest.fixture
def yard(tmp_path):
    made = Yard(tmp_path / "home")
    made.thread.start()
    yield made
    made.close()


def test_job_succeeds_with_inputs_progress_log_and_result(yard):
    job = yard.submit("succeed")
    done = yard.until(job)
    assert (done.status, done.result, done.error) == (JobStatus.SUCCEEDED, {"rows": 3}, "")
    assert yard.stored == ["ABC"]
    assert "hello from the job" in yard.log(job)
    assert done.started_ns <= done.ended_ns


def test_refusal_is_one_sentence_in_the_answer_and_in_the_log(yard):
    job = yard.submit("refuse")
    failed = yard.until(job)
    assert (failed.status, failed.error) == (JobStatus.FAILED, "Column 'y' is missing.")
    assert "The job was refused: Column 'y' is missing." in yard.log(job)
    assert "Traceback" not in yard.log(job)


def test_cancelled_job_ends_with_its_grandchildren(yard):
    job = yard.submit("family")
    grandchild = int(yard.until_log(job, "pid ").split("pid ")[1].split()[0])
    pid = yard.queue.get(1, job.id).pid
    yard.queue.cancel(yard.actor, job.id)
    assert yard.until(job).status is JobStatus.CANCELLED
    wait_until_gone(grandchild)
    wait_until_gone(pid)


def test_crash_is_tried_again(yard):
    done = yard.until(yard.submit("crash_once"))
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2)


def test_time_limit_is_kept(yard):
    failed = yard.until(yard.submit("forever", wall_seconds=0.5))
    assert failed.status is JobStatus.FAILED
    assert "longer than the 0.5 s" in failed.error


def test_memory_limit_is_kept_with_advice(yard):
    failed = yard.until(yard.submit("greedy", memory_bytes=200_000_000))
    assert failed.status is JobStatus.FAILED
    assert "raise the job's memory limit" in failed.error
    assert failed.attempt == 1


def test_orderly_stop_ends_the_process_and_the_next_start_goes_on(yard):
    job = yard.submit("forever")
    yard.until_log(job, "ready")
    pid = yard.queue.get(1, job.id).pid
    yard.stop.set()
    yard.scheduler.wake()
    yard.thread.join(PATIENCE)
    assert not alive(pid)
    assert yard.queue.get(1, job.id).status is JobStatus.QUEUED
