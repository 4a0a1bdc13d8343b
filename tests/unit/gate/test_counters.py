import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from modelyard.core.errors import Unavailable
from modelyard.gate import counters as module
from modelyard.gate.counters import GRANTED, LIMIT, SPENT, TAKEN, WINDOW, Awaited, Counters


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "limits"


@pytest.fixture
def opened(folder):
    made = []

    def open_counters(capacity=8):
        made.append(Counters(folder, capacity=capacity))
        return made[-1]

    yield open_counters
    for counters in made:
        counters.close()


def test_processes_see_each_others_cells(opened):
    one, two = opened(), opened()
    with one.locked():
        base = one.place(7)
        one.begin(base, 100, 5)
    with two.locked():
        assert two.place(7) == base
    assert (two.words[base + WINDOW], two.words[base + GRANTED]) == (100, 5)
    assert one.holder == two.holder


def test_each_process_has_a_seat_of_its_own_and_a_closed_one_is_free_again(opened):
    one, two = opened(), opened()
    assert (one.sit(), two.sit()) == (0, 1)
    assert two.seats == 2
    one.close()
    assert opened().sit() == 0


def test_what_a_dead_process_held_is_free_and_what_it_spent_stays_spent(opened, folder):
    mine = opened()
    mine.sit()
    with mine.locked():
        base = mine.place(3)
        mine.begin(base, 1, 100)
    code = (
        "import sys, time; from pathlib import Path; from modelyard.gate.counters import *\n"
        f"c = Counters(Path({str(folder)!r}), capacity=8); seat = c.sit()\n"
        f"c.words[{base} + TAKEN + seat] = 30; c.words[{base} + SPENT + seat] = 4\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        assert mine.used(base) == 30
        mine.reclaim()
        assert mine.used(base) == 30, "it lives"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        mine.reclaim()
        assert (mine.used(base), mine.spent(base)) == (4, 4)
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        child.wait()
        child.stdout.close()


def test_overspent_units_count(opened):
    counters = opened()
    seat = counters.sit()
    with counters.locked():
        base = counters.place(1)
        counters.begin(base, 1, 10)
    counters.words[base + TAKEN + seat], counters.words[base + SPENT + seat] = 3, 8
    assert counters.used(base) == 8


def test_a_lock_that_is_held_is_not_waited_for_long(opened):
    one, two = opened(), opened()
    with one.locked(), pytest.raises(Awaited) as refused, two.locked():
        pass
    assert isinstance(refused.value.instead, Unavailable)
    with two.locked():
        pass


def test_more_limits_than_there_is_room_for_are_refused(opened):
    counters = opened(capacity=2)
    with counters.locked():
        counters.place(1)
        second = counters.place(2)
        with pytest.raises(Unavailable, match="more than 2"):
            counters.place(3)
        counters.clear(second)
        assert counters.place(3) == second
        assert counters.words[second + LIMIT] == 3


def test_counters_outlive_processes_but_not_the_machines_start(folder, monkeypatch):
    first = Counters(folder, capacity=4)
    holder = first.holder
    with first.locked():
        base = first.place(1)
        first.begin(base, 9, 50)
    first.close()
    again = Counters(folder, capacity=4)
    assert (again.holder, again.words[base + GRANTED]) == (holder, 50)
    again.close()
    monkeypatch.setattr(module, "_boot", lambda: 12345)
    restarted = Counters(folder, capacity=4)
    assert restarted.holder != holder
    assert (restarted.words[base + GRANTED], restarted.places()) == (0, {})
    restarted.close()


def test_a_monotonic_clock_that_began_anew_means_the_same(folder, monkeypatch):
    first = Counters(folder, capacity=4)
    holder = first.holder
    first.close()
    monkeypatch.setattr(time, "monotonic_ns", lambda: 5)
    again = Counters(folder, capacity=4)
    assert again.holder != holder
    again.close()
