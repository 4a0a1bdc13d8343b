"""Files written behind an event loop."""

import logging
import threading
import time

from modelyard.store.scribe import Scribe


def test_work_is_done_in_order_and_all_of_it_before_the_end():
    scribe, done = Scribe(), []
    for number in range(20):
        assert scribe.behind(lambda number=number: done.append(number))
    scribe.close()
    assert done == list(range(20))


def test_a_disk_that_does_not_answer_keeps_nobody_waiting():
    scribe, free, done = Scribe(most=3), threading.Event(), []
    began = time.monotonic()
    taken = [scribe.behind(lambda: done.append(free.wait(30))) for _ in range(5)]
    assert time.monotonic() - began < 5
    assert taken == [True, True, True, False, False]
    free.set()
    scribe.close()
    assert done == [True, True, True]


def test_what_fails_is_told_and_the_next_is_done(caplog):
    scribe, done = Scribe(), []
    with caplog.at_level(logging.ERROR):
        scribe.behind(lambda: 1 / 0)
        scribe.behind(lambda: done.append(1))
        scribe.close()
    assert done == [1]
    assert "could not be written" in caplog.text
