"""The queue as people see it."""

import pytest

from modelyard.core.errors import Conflict, InvalidRequest, NotFound
from modelyard.core.events import Actor
from modelyard.core.jobs import JobStatus, Limits


def test_submission_is_audited(bench):
    job = bench.submit(priority=3)
    with bench.store.read() as session:
        event = session.audit.list(1)[0]
    assert (event.action, event.subject, event.actor) == ("job.submit", f"job/{job.id}", "ada")


def test_unknown_kind_names_the_nearest(bench):
    with pytest.raises(InvalidRequest, match="Did you mean 'train'"):
        bench.queue.submit(bench.actor, "trian", {})


@pytest.mark.parametrize("changes", [{"priority": 1001}, {"limits": Limits(memory_bytes=-1)}, {"limits": Limits(attempts=11)}])
def test_bounds_are_stated(bench, changes):
    with pytest.raises(InvalidRequest):
        bench.submit(**changes)


def test_huge_spec_is_refused(bench):
    with pytest.raises(InvalidRequest, match="dataset"):
        bench.queue.submit(bench.actor, "train", {"rows": "x" * 2**21})


def test_waiting_job_is_cancelled_at_once(bench):
    job = bench.submit()
    assert bench.queue.cancel(bench.actor, job.id).status is JobStatus.CANCELLED
    with pytest.raises(Conflict, match="already cancelled"):
        bench.queue.cancel(bench.actor, job.id)


def test_job_of_another_workspace_is_not_there(bench):
    job = bench.submit()
    stranger = Actor(name="eve", workspace_id=2)
    with pytest.raises(NotFound):
        bench.queue.get(2, job.id)
    with pytest.raises(NotFound):
        bench.queue.cancel(stranger, job.id)
    with pytest.raises(NotFound):
        bench.queue.log(2, job.id)


def test_log_is_read_from_an_offset_without_splitting_characters(bench):
    job = bench.submit()
    folder = bench.home.jobs / str(job.id)
    folder.mkdir()
    whole = "größe\n".encode()
    (folder / "log.txt").write_bytes(whole[:3])
    first = bench.queue.log(1, job.id)
    assert (first.text, first.next_offset) == ("gr", 2)
    (folder / "log.txt").write_bytes(whole)
    second = bench.queue.log(1, job.id, first.next_offset)
    assert (second.text, second.next_offset) == ("öße\n", len(whole))
    assert bench.queue.log(1, job.id, second.next_offset).text == ""


def test_log_of_a_job_that_has_not_begun_is_empty(bench):
    assert bench.queue.log(1, bench.submit().id).text == ""


def test_log_shows_no_secrets(bench):
    job = bench.submit()
    folder = bench.home.jobs / str(job.id)
    folder.mkdir()
    (folder / "log.txt").write_text("using my_abcdef12_supersecretsupersecret now\n")
    assert "supersecret" not in bench.queue.log(1, job.id).text
