"""Calls that wait for each other: for enough of them, for the delay, and never for ever."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from modelyard.core.errors import Unavailable
from modelyard.core.policy import Batching
from modelyard.serving.gathering import Gathering


class Clock:
    def __init__(self):
        self.timers = []

    def later(self, seconds, run):
        self.timers.append((seconds, run))

    def fire(self):
        for _, run in self.timers:
            run()
        self.timers = []


class Call:
    def __init__(self, rows=1):
        self.rows, self.outcomes = rows, []
        self.done = self.outcomes.append
        self.statistics = SimpleNamespace(failure=lambda _us: None)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def batcher():
    return SimpleNamespace(most_rows=64)


def test_calls_leave_together_when_there_are_enough(clock, batcher):
    gone = []
    submit = Gathering(Batching(max_rows=4, delay_ms=5), batcher, clock.later).before(gone.append)
    calls = [Call(), Call(2), Call(), Call()]
    for call in calls[:2]:
        submit(call)
    assert (gone, [seconds for seconds, _ in clock.timers]) == ([], [0.005])
    submit(calls[2])
    assert gone == calls[:3]
    submit(calls[3])
    clock.timers.pop(0)[1]()  # that of the first ones
    assert gone == calls[:3]
    clock.fire()
    assert gone == calls


def test_a_delay_of_nothing_holds_nobody_and_sets_the_size_of_runs(clock, batcher):
    gathering = Gathering(Batching(max_rows=8), batcher, clock.later)
    submit = print
    assert gathering.before(submit) is submit
    assert batcher.most_rows == 8
    gathering.release()
    assert batcher.most_rows == 64


def test_a_change_of_policy_lets_everybody_through(clock, batcher):
    gone = []
    gathering = Gathering(Batching(delay_ms=900), batcher, clock.later)
    submit = gathering.before(gone.append)
    submit(Call())
    gathering.release()
    assert len(gone) == 1
    clock.fire()
    assert len(gone) == 1


def test_a_call_for_which_there_is_no_room_hears_so_when_it_leaves(clock, batcher):
    def full(_call):
        raise Unavailable("Too many calls wait.")

    submit = Gathering(Batching(max_rows=2, delay_ms=5), batcher, clock.later).before(full)
    calls = [Call(), Call()]
    for call in calls:
        submit(call)
    assert [type(call.outcomes[0]) for call in calls] == [Unavailable, Unavailable]
