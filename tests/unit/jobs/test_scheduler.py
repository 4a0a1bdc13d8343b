"""How jobs move: who runs first, and what follows from each kind of ending."""

import pytest

from modelyard.core.errors import InvalidData, Unavailable
from modelyard.core.jobs import JobStatus, Limits, Progress
from modelyard.engines.base import Ending
from modelyard.jobs.progress import ProgressLine


def test_job_runs_and_its_result_is_stored(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.run_until_started(scheduler)
    assert bench.get(job).status is JobStatus.RUNNING
    assert bench.get(job).pid == 1001
    assert bench.engine.tasks["task-0"].command == ("run", str(bench.home.jobs / str(job.id)), "x:run")
    bench.engine.end("task-0", result={"ok": {"accuracy": 1}})
    bench.tick(scheduler)
    bench.tick(scheduler)
    done = bench.get(job)
    assert (done.status, done.result, done.pid) == (JobStatus.SUCCEEDED, {"accuracy": 1, "stored": True}, 0)
    assert done.progress == Progress(stage="done", fraction=1.0, eta_seconds=0.0)
    assert not (bench.home.jobs / str(job.id) / "output").exists()


def test_higher_priority_runs_first_and_equals_by_age(bench):
    first, second, urgent = bench.submit(), bench.submit(), bench.submit(priority=5)
    scheduler = bench.scheduler()
    order = []
    for _ in range(3):
        bench.run_until_started(scheduler)
        order.append(int(bench.engine.tasks[bench.engine.last].folder.name))
        bench.engine.end(bench.engine.last, result={"error": "no", "code": "x"})
        bench.tick(scheduler)
    assert order == [urgent.id, first.id, second.id]


def test_no_more_jobs_run_than_may(bench):
    for _ in range(3):
        bench.submit()
    scheduler = bench.scheduler(concurrency=2)
    bench.run_until_started(scheduler)
    bench.tick(scheduler)
    assert len(bench.engine.tasks) == 2
    assert len(bench.queue.list(1, status=JobStatus.QUEUED)) == 1


def test_inputs_are_fetched_before_the_process_starts(bench):
    job = bench.queue.submit(bench.actor, "train", {"inputs": {"data.csv": "abc"}})
    bench.run_until_started(bench.scheduler())
    assert bench.fetched == ["abc"]
    assert (bench.home.jobs / str(job.id) / "inputs" / "data.csv").read_text() == "abc"


def test_refusal_by_the_job_itself_is_not_tried_again(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.run_until_started(scheduler)
    bench.engine.end("task-0", code=1, result={"error": "Column 'y' is missing.", "code": "invalid_data"})
    bench.tick(scheduler)
    assert (bench.get(job).status, bench.get(job).error) == (JobStatus.FAILED, "Column 'y' is missing.")
    assert bench.finished == []


def test_crash_is_tried_again_and_then_failed(bench):
    job, scheduler = bench.submit(), bench.scheduler(attempts=2)
    bench.run_until_started(scheduler)
    bench.engine.end("task-0", Ending.CRASHED, code=-11)
    bench.tick(scheduler)
    assert bench.get(job).attempt == 2
    bench.tick(scheduler)
    bench.engine.end("task-1", Ending.CRASHED, code=-11)
    bench.tick(scheduler)
    failed = bench.get(job)
    assert failed.status is JobStatus.FAILED
    assert "SIGSEGV in attempt 2" in failed.error


def test_result_that_is_whole_counts_although_the_process_crashed_at_its_end(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.run_until_started(scheduler)
    bench.engine.end("task-0", Ending.CRASHED, code=-6, result={"ok": {}})
    bench.tick(scheduler)
    bench.tick(scheduler)
    assert bench.get(job).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("ending", "memory", "sentence"),
    [
        (Ending.WALL, 0, "longer than the 9 s it may"),
        (Ending.MEMORY, 300 * 2**20, "more than the 200 MiB"),
        (Ending.MEMORY, 5, "The system killed the job because memory ran out"),
    ],
)
def test_limits_fail_a_job_at_once_with_advice(bench, ending, memory, sentence):
    job = bench.submit(limits=Limits(memory_bytes=200 * 2**20, wall_seconds=9))
    scheduler = bench.scheduler(memory_bytes=1, wall_seconds=1)
    bench.run_until_started(scheduler)
    assert bench.engine.tasks["task-0"].memory_bytes == 200 * 2**20
    bench.engine.end("task-0", ending, code=-9, memory=memory)
    bench.tick(scheduler)
    assert bench.get(job).status is JobStatus.FAILED
    assert sentence in bench.get(job).error


def test_running_job_is_cancelled_when_its_processes_are_gone(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.run_until_started(scheduler)
    assert bench.queue.cancel(bench.actor, job.id).status is JobStatus.RUNNING
    bench.tick(scheduler)
    assert bench.engine.cancelled == ["task-0"]
    bench.engine.end("task-0", Ending.CANCELLED, code=-15)
    bench.tick(scheduler)
    assert bench.get(job).status is JobStatus.CANCELLED


def test_result_that_cannot_be_stored_fails_the_job_with_the_reason(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.finish_error = InvalidData("The graph does not run.")
    bench.run_until_started(scheduler)
    bench.engine.end("task-0", result={"ok": {}})
    bench.tick(scheduler)
    bench.tick(scheduler)
    assert bench.get(job).error == "The graph does not run."


def test_fault_of_ours_is_not_shown(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.finish_error = ValueError("secret detail")
    bench.run_until_started(scheduler)
    bench.engine.end("task-0", result={"ok": {}})
    bench.tick(scheduler)
    bench.tick(scheduler)
    assert "secret" not in bench.get(job).error
    assert "fault of the platform" in bench.get(job).error


def test_storing_is_tried_again_while_the_database_is_away(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.finish_error = Unavailable("Away.")
    bench.run_until_started(scheduler)
    bench.engine.end("task-0", result={"ok": {}})
    bench.tick(scheduler)
    bench.tick(scheduler)
    assert bench.get(job).status is JobStatus.RUNNING
    bench.finish_error = None
    bench.tick(scheduler)
    bench.tick(scheduler)
    assert bench.get(job).status is JobStatus.SUCCEEDED


def test_progress_reaches_the_database_with_an_estimate(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.run_until_started(scheduler)
    line = ProgressLine(time_ns=bench.clock.time_ns() + 10_000_000_000, stage="fitting", fraction=0.25, message="forest")
    import msgspec

    (bench.home.jobs / str(job.id) / "progress.jsonl").write_bytes(msgspec.json.encode(line) + b"\n")
    scheduler.tick()
    assert bench.get(job).progress == Progress(stage="fitting", fraction=0.25, message="forest", eta_seconds=30.0)


def test_next_controller_starts_a_left_job_again(bench):
    job, dead = bench.submit(), bench.scheduler()
    bench.run_until_started(dead)
    heir = bench.scheduler()
    heir.recover()
    assert bench.engine.reclaimed == [bench.home.jobs / str(job.id)]
    assert bench.get(job).status is JobStatus.QUEUED
    bench.run_until_started(heir)
    assert bench.get(job).attempt == 2
    bench.scheduler().recover()
    assert bench.get(job).status is JobStatus.FAILED
    assert "The platform was killed" in bench.get(job).error


def test_next_controller_stores_a_result_that_was_left(bench):
    job, dead = bench.submit(), bench.scheduler()
    bench.run_until_started(dead)
    bench.engine.end("task-0", result={"ok": {}})
    heir = bench.scheduler()
    heir.recover()
    bench.tick(heir)
    assert bench.get(job).status is JobStatus.SUCCEEDED
    assert bench.finished == [job.id]


def test_next_controller_ends_a_job_that_was_to_be_cancelled(bench):
    job, dead = bench.submit(), bench.scheduler()
    bench.run_until_started(dead)
    bench.queue.cancel(bench.actor, job.id)
    bench.scheduler().recover()
    assert bench.get(job).status is JobStatus.CANCELLED


def test_orderly_stop_costs_no_attempt(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.run_until_started(scheduler)
    scheduler.close()
    assert bench.get(job).status is JobStatus.QUEUED
    assert bench.get(job).attempt == 0


def test_orderly_stop_waits_for_a_result_that_is_being_stored(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.run_until_started(scheduler)
    bench.engine.end("task-0", result={"ok": {}})
    scheduler.tick()
    scheduler.close()
    assert bench.get(job).status is JobStatus.SUCCEEDED


def test_kind_that_is_gone_fails_its_jobs(bench):
    job, scheduler = bench.submit(), bench.scheduler()
    bench.kinds.clear()
    scheduler.tick()
    assert "knows no job of kind 'train'" in bench.get(job).error
