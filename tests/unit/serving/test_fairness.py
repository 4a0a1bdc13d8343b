import threading
import time
from collections import Counter

import pytest

from modelyard.serving.fairness import FairThreads


@pytest.fixture
def threads():
    made = FairThreads(1)
    yield made
    made.shutdown(wait=True)


def held(threads, workspace=9):
    """Keeps the only thread busy until the event is set."""
    release, begun = threading.Event(), threading.Event()

    def run():
        begun.set()
        release.wait(20)

    threads.share(workspace).submit(run)
    begun.wait(20)
    return release


def test_workspaces_get_equal_time_however_many_and_long_their_runs_are(threads):
    release = held(threads)
    spent, ended = Counter(), []

    def run(workspace, seconds):
        time.sleep(seconds)
        spent[workspace] += seconds
        ended.append((workspace, dict(spent)))

    long, short = threads.share(1), threads.share(2)
    futures = [long.submit(run, 1, 0.02) for _ in range(30)] + [short.submit(run, 2, 0.002) for _ in range(100)]
    release.set()
    for future in futures:
        future.result(30)
    # When the short runs are through, the long ones have had about as much time, and not all of it.
    at_the_end_of_short = [sums for workspace, sums in ended if workspace == 2][-1]
    assert 0.1 < at_the_end_of_short[1] < 0.4


def test_a_lone_run_is_not_held_back_by_what_its_workspace_used_before(threads):
    share = threads.share(1)
    share.submit(time.sleep, 0.2).result(20)
    began = time.perf_counter()
    share.submit(int).result(20)
    assert time.perf_counter() - began < 0.15


def test_a_workspaces_own_runs_go_by_rank(threads):
    release = held(threads)
    order = []
    futures = [threads.share(1, rank).submit(order.append, rank) for rank in (2, 1, 0, 2, 0)]
    release.set()
    for future in futures:
        future.result(20)
    assert order == [0, 0, 1, 2, 2]


def test_errors_come_out_and_arguments_by_name_are_refused(threads):
    with pytest.raises(ZeroDivisionError):
        threads.share(1).submit(lambda: 1 / 0).result(20)
    with pytest.raises(TypeError):
        threads.share(1).submit(dict, a=1)
    assert threads.share(1).submit(max, 1, 2).result(20) == 2
