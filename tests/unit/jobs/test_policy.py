"""Whose turn it is, and who may start: exact cases, and properties that hold for every state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.resources import EVERYTHING, NOTHING, Resources
from modelyard.jobs.policy import Aging, Policy, Pool, Quota, Running, Waiting, choose, in_turn, turn

AGING = Aging()
FOUR = Pool(Resources(4.0, 100, 1))


def waiting(job_id, cores=1.0, seconds=60.0, at=0.0, **more):
    return Waiting(job_id, more.pop("workspace", 1), Resources(cores, more.pop("memory", 0), more.pop("gpus", 0)), seconds, at, **more)


def ordered(policy, jobs, used=None, pool=FOUR):
    line = sorted(jobs, key=lambda job: (turn(policy, job, pool.capacity, AGING), job.id))
    return [job.id for job in in_turn(policy, line, used or {}, pool)]


def ids(chosen):
    return [job.id for job in chosen]


class TestTurns:
    jobs = (waiting(1, 1, 600, 0), waiting(2, 4, 30, 1), waiting(3, 2, 3000, 2, priority=5))

    @pytest.mark.parametrize(
        ("policy", "order"),
        [
            (Policy.FIRST_COME, [1, 2, 3]),
            (Policy.SHORTEST, [2, 1, 3]),
            (Policy.LARGEST, [3, 1, 2]),
            (Policy.PRIORITY, [3, 1, 2]),
            (Policy.FAIR, [3, 1, 2]),
        ],
    )
    def test_order(self, policy, order):
        assert ordered(policy, self.jobs) == order

    def test_waiting_makes_up_for_length_and_priority(self):
        old = waiting(1, seconds=600.0, at=0.0)
        assert ordered(Policy.SHORTEST, [old, waiting(2, seconds=30.0, at=5000.0)]) == [2, 1]
        assert ordered(Policy.SHORTEST, [old, waiting(2, seconds=30.0, at=6000.0)]) == [1, 2]
        assert ordered(Policy.PRIORITY, [old, waiting(2, at=601.0, priority=1)]) == [1, 2]

    def test_shares_alternate_and_remember_what_was_used(self):
        jobs = [waiting(at, workspace=1 + (at >= 3), at=at) for at in range(6)]
        assert ordered(Policy.FAIR, jobs) == [0, 3, 1, 4, 2, 5]
        assert ordered(Policy.FAIR, jobs, used={1: 150.0}) == [3, 4, 5, 0, 1, 2]
        twice = Pool(FOUR.capacity, quotas={2: Quota(share=2.0)})
        assert ordered(Policy.FAIR, jobs, pool=twice) == [0, 3, 4, 1, 5, 2]


class TestChoice:
    def test_everything_that_fits_starts_in_turn(self):
        assert ids(choose([waiting(1), waiting(2, 2), waiting(3), waiting(4)], [], FOUR, 0)) == [1, 2, 3]

    def test_places_are_kept(self):
        assert ids(choose([waiting(1), waiting(2)], [Running(1, Resources(1), 9)], Pool(Resources(9), jobs=2), 0)) == [1]

    def test_small_job_may_pass_when_it_ends_before_the_reservation(self):
        running = [Running(1, Resources(3), 100.0)]
        line = [waiting(1, 4, 50), waiting(2, 1, 99), waiting(3, 1, 99)]
        assert ids(choose(line, running, FOUR, 0)) == [2]

    def test_long_job_may_not_pass_what_it_would_delay(self):
        running = [Running(1, Resources(3), 100.0)]
        assert ids(choose([waiting(1, 4, 50), waiting(2, 1, 101)], running, FOUR, 0)) == []

    def test_long_job_may_pass_beside_the_reservation(self):
        running = [Running(1, Resources(3), 100.0)]
        line = [waiting(1, 3, 50), waiting(2, 1, 10_000), waiting(3, 1, 10_000)]
        assert ids(choose(line, running, FOUR, 0)) == [2]

    def test_quota_holds_a_workspace_back_and_nobody_else(self):
        pool = Pool(Resources(4), quotas={1: Quota(Resources(1, 2**40, 9)), 2: Quota(EVERYTHING, jobs=1)})
        line = [waiting(1), waiting(2), waiting(3, workspace=2), waiting(4, workspace=2), waiting(5, workspace=3)]
        assert ids(choose(line, [], pool, 0)) == [1, 3, 5]

    def test_job_larger_than_the_pool_blocks_nobody_and_is_explained(self):
        line = [waiting(1, 5), waiting(2, gpus=2), waiting(3)]
        assert ids(choose(line, [], FOUR, 0)) == [3]
        assert FOUR.refuses(1, Resources(5, 0, 0)) == "needs more than the pool has: 5 cores of 4"
        assert FOUR.refuses(1, Resources(1, 2**31, 2)) == "needs more than the pool has: 2.0 GiB of memory of 0.0, 2 GPUs of 1"
        assert FOUR.refuses(1, Resources(4, 100, 1)) == ""

    def test_thirds_of_a_core_fill_it(self):
        assert len(choose([waiting(at, 1 / 3) for at in range(4)], [], Pool(Resources(1.0)), 0)) == 3


amounts = st.builds(Resources, st.sampled_from([0.5, 1.0, 2.0, 4.0, 8.0]), st.integers(0, 8), st.integers(0, 2))
workspaces = st.integers(1, 3)
quotas = st.dictionaries(
    workspaces, st.builds(Quota, amounts.map(lambda most: most._replace(memory_bytes=9, gpus=9)), st.integers(0, 4), st.floats(0.1, 10))
)
pools = st.builds(Pool, amounts.map(lambda has: has._replace(cores=has.cores * 2)), st.integers(1, 8), quotas)
jobs = st.builds(Waiting, st.integers(), workspaces, amounts, st.floats(1, 1e5), st.floats(0, 1e6), st.integers(-3, 3))
lines = st.lists(jobs, max_size=25, unique_by=lambda job: job.id)


@st.composite
def states(draw):
    """A pool with jobs that really run in it, and a line in turn."""
    pool, policy, now_s = draw(pools), draw(st.sampled_from(Policy)), 1e6
    before = choose(draw(lines), [], pool, now_s)
    running = [Running(job.workspace_id, job.needs, now_s + draw(st.floats(-1e4, 1e5))) for job in before]
    line = sorted(draw(lines), key=lambda job: (turn(policy, job, pool.capacity, AGING), job.id))
    return list(in_turn(policy, line, draw(st.dictionaries(workspaces, st.floats(0, 1e6))), pool)), running, pool, now_s


def total(jobs):
    sum_ = NOTHING
    for job in jobs:
        sum_ = sum_.plus(job.needs)
    return sum_


@given(states())
def test_nothing_is_given_out_twice(state):
    line, running, pool, now_s = state
    chosen = choose(line, running, pool, now_s)
    now = [*running, *chosen]
    assert len({job.id for job in chosen}) == len(chosen) <= len(line)
    assert total(now).within(pool.capacity)
    assert len(now) <= pool.jobs
    for workspace, quota in pool.quotas.items():
        mine = [job for job in now if job.workspace_id == workspace]
        assert not mine or (total(mine).within(quota.most) and len(mine) <= quota.jobs)


@given(states())
def test_no_room_is_left_that_the_first_in_line_could_use(state):
    """Work-conserving: the first job that stays behind finds no place, no room, or its workspace's quota used up."""
    line, running, pool, now_s = state
    chosen = choose(line, running, pool, now_s)
    now = [*running, *_ends(chosen, now_s)]
    for job in line:
        if job in chosen or not job.needs.within(pool.capacity):
            continue
        assert len(now) >= pool.jobs or not choose([job], now, pool, now_s)
        break


@given(states())
def test_reservation_of_the_first_that_waits_is_not_put_off(state):
    """Had nobody passed it, the first job that found no room would start no earlier."""
    line, running, pool, now_s = state
    chosen = choose(line, running, pool, now_s)
    first = next((job for job in line if job not in chosen and not pool.refuses(job.workspace_id, job.needs)), None)
    if first is None or pool.quotas.get(first.workspace_id) is not None:
        return
    before = [job for job in chosen if line.index(job) < line.index(first)]
    alone, together = (_starts(first, [*running, *_ends(some, now_s)], pool, now_s) for some in (before, chosen))
    assert together <= alone


def _ends(jobs, now_s):
    return [Running(job.workspace_id, job.needs, now_s + job.seconds) for job in jobs]


def _starts(job, running, pool, now_s):
    """The earliest time at which the job fits, by the predicted ends."""
    free = pool.capacity.minus(total(running))
    at_s = now_s
    for other in sorted(running, key=lambda other: other.ends_s):
        if job.needs.within(free):
            break
        free, at_s = free.plus(other.needs), max(at_s, other.ends_s)
    return at_s


@given(lines.filter(len), st.sampled_from([policy for policy in Policy if policy is not Policy.FAIR]))
def test_everybody_is_first_in_the_end(line, policy):
    """No starvation under aging: whatever is submitted late enough stands behind all that wait now."""
    late = Waiting(-1, 1, Resources(1.0), 1.0, 1e6 + 1e9, 3)
    last = max(turn(policy, job, FOUR.capacity, AGING) for job in line)
    assert turn(policy, late, FOUR.capacity, AGING) > last
