import threading

import pytest

from modelyard.serving.replicas.computing import MOST_UNSENT, Threads, Work

SECONDS = 20


@pytest.fixture
def threads():
    made = Threads(1)
    yield made
    made.close()


class Gate:
    """Work that holds its thread until it is let through."""

    def __init__(self):
        self.begun, self.open = threading.Event(), threading.Event()
        self.work = Work(self.compute)

    def compute(self):
        self.begun.set()
        assert self.open.wait(SECONDS)
        return lambda: None


def test_an_answer_leaves_while_the_next_is_computed(threads):
    gate, sent, by = Gate(), threading.Event(), []

    def send():
        by.append(threading.current_thread().name)
        sent.set()

    def next_one():
        assert sent.wait(SECONDS)  # or the answer before waits for this one
        return lambda: by.append(threading.current_thread().name) or ended.set()

    ended = threading.Event()
    threads.submit(gate.work)
    threads.submit(Work(lambda: send))
    threads.submit(Work(next_one))
    gate.open.set()
    assert ended.wait(SECONDS)
    assert by == ["send", "compute_0"]  # where nothing waits there is nobody to hurry for


def test_an_answer_that_must_go_first_goes_first(threads):
    gate, order, ended = Gate(), [], threading.Event()
    threads.submit(gate.work)
    threads.submit(Work(lambda: lambda: order.append("sent"), promptly=True))
    threads.submit(Work(lambda: order.append("next") or ended.set))
    gate.open.set()
    assert ended.wait(SECONDS)
    assert order == ["sent", "next"]


def test_answers_that_cannot_leave_hold_the_model_up(threads):
    gate, slow, sent, ended = Gate(), threading.Event(), [], threading.Event()
    threads.submit(gate.work)
    threads.submit(Work(lambda: lambda: slow.wait(SECONDS)))
    for number in range(MOST_UNSENT + 2):
        threads.submit(Work(lambda number=number: lambda: sent.append(number)))
    threads.submit(Work(lambda: ended.set))
    gate.open.set()
    assert ended.wait(SECONDS)
    assert sent[0] >= MOST_UNSENT - 2  # the first that found no room was sent by the thread that computed it
    slow.set()


def test_what_was_taken_back_is_not_computed_and_what_fails_ends_no_thread(threads, caplog):
    gate, computed, ended = Gate(), [], threading.Event()
    threads.submit(gate.work)
    assert gate.begun.wait(SECONDS)
    assert not gate.work.take()  # too late
    taken_back = Work(lambda: computed.append(1))
    threads.submit(taken_back)
    assert taken_back.take()
    threads.submit(Work(lambda: 1 // 0))
    threads.submit(Work(lambda: lambda: 1 // 0))
    threads.submit(Work(lambda: ended.set))
    gate.open.set()
    assert ended.wait(SECONDS)
    assert not computed
    threads.close()
    for thread in [one for one in threading.enumerate() if one.name == "send"]:
        thread.join(SECONDS)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2
