"""From the table of jobs to who starts: policies, needs, pools and changes that others make."""

import msgspec
import pytest

from modelyard.core.errors import InvalidRequest, NotFound
from modelyard.core.events import Actor
from modelyard.core.jobs import JobStatus, Limits, WorkspacePool
from modelyard.core.resources import Resources
from modelyard.jobs.dispatch import Dispatcher, DispatchOptions
from modelyard.jobs.line import Usage
from modelyard.jobs.policy import Policy
from modelyard.jobs.pools import PoolService
from modelyard.jobs.queue import JobQueue

MACHINE = Resources(8.0, 800, 2)


@pytest.fixture
def dispatcher(bench):
    def make(**options):
        return Dispatcher(bench.store, DispatchOptions(**{"jobs": 4, "capacity": MACHINE, **options}), bench.clock)

    return make


def ended(bench, seconds, model):
    """A job that ran, in the table."""
    made = bench.queue.submit(bench.actor, "train", {"model": model})
    now = bench.clock.time_ns()
    with bench.store.write() as session:
        session.jobs.update(made.id, status=JobStatus.RUNNING, started_ns=now)
        return session.jobs.update(made.id, status=JobStatus.SUCCEEDED, ended_ns=now + int(seconds * 1e9))


def test_a_job_that_names_nothing_gets_an_equal_part(bench, dispatcher):
    made = dispatcher()
    assert made.needs(bench.submit()) == Resources(2.0, 200, 0)
    assert made.needs(bench.submit(limits=Limits(cores=0.5, memory_bytes=7, gpus=1))) == Resources(0.5, 7, 1)


def test_a_job_of_several_workers_holds_what_each_of_them_may_use_and_a_core_each_at_least(bench):
    made = Dispatcher(bench.store, DispatchOptions(jobs=4, capacity=MACHINE), bench.clock, lambda job: job.spec.get("workers", 1))
    job = bench.queue.submit(bench.actor, "train", {"workers": 3}, limits=Limits(cores=1.5, memory_bytes=7, gpus=1))
    assert made.needs(job) == Resources(4.5, 7, 3)
    assert made.needs(bench.queue.submit(bench.actor, "train", {"workers": 6})) == Resources(6.0, 200, 0)
    elsewhere = bench.queue.submit(bench.actor, "train", {"workers": 0}, limits=Limits(cores=64, gpus=8))
    assert made.needs(elsewhere) == Resources(2.0, 200, 0)
    assert made.needs(bench.queue.submit(bench.actor, "train", {})) == Resources(2.0, 200, 0)
    assert made.refuses(1, Limits(cores=3.0), 2) == ""
    assert made.refuses(1, Limits(cores=3.0), 3) == "needs more than the pool has: 9 cores of 8"


def test_shortest_first_goes_by_what_the_like_have_taken(bench, dispatcher):
    ended(bench, 900, "slow"), ended(bench, 3, "quick")
    slow, quick = (bench.queue.submit(bench.actor, "train", {"model": model}) for model in ("slow", "quick"))
    made = dispatcher(policy=Policy.SHORTEST)
    made.learn_from_history()
    assert made.choose([]) == [quick.id, slow.id]
    assert dispatcher(policy=Policy.FIRST_COME).choose([]) == [slow.id, quick.id]


def test_what_is_submitted_or_cancelled_is_seen_when_told_or_in_a_while(bench, dispatcher):
    made = dispatcher()
    assert made.choose([]) == []
    first = bench.submit()
    assert made.choose([]) == [], "nobody has told it"
    made.wake()
    assert made.choose([]) == [first.id]
    bench.queue.cancel(bench.actor, first.id)
    second = bench.submit()
    bench.clock.advance(6)
    assert made.choose([]) == [second.id]


def test_jobs_that_hold_the_machine_leave_no_room(bench, dispatcher):
    large = bench.submit(limits=Limits(cores=7.0))
    bench.submit(limits=Limits(cores=2.0))
    assert dispatcher().choose([msgspec.structs.replace(large, started_ns=bench.clock.time_ns())]) == []


def test_pools_bound_a_workspace_and_say_so_at_submission(bench, dispatcher):
    made = dispatcher()
    pools = PoolService(bench.store, MACHINE, made.wake)
    pools.set(bench.actor, "default", WorkspacePool(workspace_id=0, cores=3.0))
    queue = JobQueue(bench.store, bench.home, bench.kinds, bench.clock, made.wake, refuses=made.refuses)
    first, second = (queue.submit(bench.actor, "train", {}) for _ in range(2))
    assert made.choose([]) == [first.id]
    assert made.choose([first]) == []
    with pytest.raises(InvalidRequest, match="needs more than its workspace may have: 4 cores of 3"):
        queue.submit(bench.actor, "train", {}, limits=Limits(cores=4.0))
    with pytest.raises(InvalidRequest, match="needs more than the pool has: 3 GPUs of 2"):
        queue.submit(bench.actor, "train", {}, limits=Limits(gpus=3))
    pools.set(bench.actor, "default", WorkspacePool(workspace_id=0))
    assert made.choose([]) == [first.id, second.id]


def test_fair_share_remembers_what_a_workspace_has_had(bench, dispatcher):
    with bench.store.write() as session:
        other = session.workspaces.create("other").id
    for seconds in (3600, 3600, 3600, 60, 60, 60, 60):
        ended(bench, seconds, "big")
    mine = [bench.submit() for _ in range(2)]
    theirs = [bench.queue.submit(Actor(name="bo", workspace_id=other), "train", {}) for _ in range(2)]
    made = dispatcher(policy=Policy.FAIR)
    made.learn_from_history()
    assert made.choose([]) == [job.id for job in (*theirs, *mine)]


def test_usage_fades():
    usage = Usage(half_life_s=100)
    usage.add(1, 80.0, 0.0)
    usage.add(1, 10.0, 100.0)
    assert usage.at(100.0) == {1: 50.0}
    assert usage.at(300.0)[1] == pytest.approx(12.5)
    assert usage.at(50.0)[1] == 50.0, "a clock set back makes nothing of it"


def test_changes_of_pools_are_audited_and_bad_ones_refused(bench):
    pools = PoolService(bench.store, MACHINE, lambda: None)
    made = pools.set(bench.actor, "default", WorkspacePool(workspace_id=9, jobs=2, share=3.0))
    assert (made.workspace, made.jobs, made.share, made.platform_cores) == ("default", 2, 3.0, 8.0)
    with bench.store.read() as session:
        event = session.audit.list(1)[0]
    assert (event.action, event.subject, event.before["jobs"], event.after["jobs"]) == ("pool.set", "workspace:default", 0, 2)
    with pytest.raises(NotFound, match="Did you mean 'default'"):
        pools.set(bench.actor, "defualt", WorkspacePool(workspace_id=1))
    for bad in ({"cores": -1.0}, {"share": 0.0}, {"memory_bytes": -1}):
        with pytest.raises(InvalidRequest):
            pools.set(bench.actor, "default", WorkspacePool(workspace_id=1, **bad))


def test_gpus_are_given_one_by_one_and_hidden_from_the_rest(bench):
    dispatch = {"capacity": Resources(8.0, 2**40, 2)}
    jobs = [bench.submit(limits=Limits(gpus=gpus)) for gpus in (1, 0, 1, 1)]
    scheduler = bench.scheduler(concurrency=4, dispatch=dispatch, devices=("4", "7"))
    bench.run_until_started(scheduler)
    seen = {int(task.folder.name): task.environment["CUDA_VISIBLE_DEVICES"] for task in bench.engine.tasks.values()}
    assert seen == {jobs[0].id: "4", jobs[1].id: "", jobs[2].id: "7"}
    assert bench.get(jobs[3]).status is JobStatus.QUEUED
    bench.engine.end("task-0", result={"error": "no", "code": "x"})
    bench.tick(scheduler)
    bench.tick(scheduler)
    assert bench.engine.tasks[bench.engine.last].environment == {"CUDA_VISIBLE_DEVICES": "4"}
