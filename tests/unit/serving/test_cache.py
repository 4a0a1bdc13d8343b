import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.errors import DeadlineExceeded, Internal, Unavailable
from modelyard.core.inference import InferRequest, InferResponse
from modelyard.core.policy import Cache
from modelyard.serving.cache import ResponseCache, _key
from modelyard.serving.replica import Waiting
from modelyard.serving.statistics import CallStatistics
from unit.serving.test_policies import Served, call, rows


class Version:
    """Answers when it is told to."""

    def __init__(self, wanted=None):
        self.now, self.asked = 0.0, []
        self.cache = ResponseCache(wanted or Cache(), lambda: self.now)
        self.submit = self.cache.before(self.asked.append, 1, "digest")
        self.counts = CallStatistics()

    def call(self, value, outputs=(), submit=None):
        answers = []
        array = value if isinstance(value, np.ndarray) else np.array([[value]], np.float32)
        (submit or self.submit)(Waiting({"x": array}, outputs, 1, 0, InferRequest({}), self.counts, answers.append))
        return answers

    def answer(self, outcome=None, place=0):
        call = self.asked.pop(place)
        call.done(outcome or InferResponse({"y": call.inputs["x"] * 2}, "m", 1, 7, 1, queue_us=5, compute_us=9))


def test_an_answer_is_given_again_until_its_time_is_over():
    version = Version(Cache(seconds=10))
    first = version.call(1)
    version.answer()
    again = version.call(1)
    assert (first[0].cached, again[0].cached, again[0].compute_us) == (False, True, 0)
    assert again[0].outputs["y"].tolist() == [[2.0]]
    assert version.counts.succeeded == 1
    version.now = 10.0
    assert version.call(1) == []
    assert len(version.asked) == 1


def test_what_differs_is_asked_anew():
    version = Version()
    version.call(1)
    version.answer()
    other_digest, other_workspace = (
        version.cache.before(version.asked.append, 1, "other"),
        version.cache.before(version.asked.append, 2, "digest"),
    )
    for answers in (
        version.call(2),
        version.call(1, outputs=("y",)),
        version.call(np.array([[1]], np.float64)),
        version.call(np.array([1], np.float32)),
        version.call(1, submit=other_digest),
        version.call(1, submit=other_workspace),
    ):
        assert answers == []
    assert len(version.asked) == 6


def test_equal_calls_under_way_are_computed_once():
    version = Version()
    leader, follower = version.call(1), version.call(1)
    assert len(version.asked) == 1
    version.answer()
    assert (leader[0].cached, follower[0].cached) == (False, True)
    alone = Version(Cache(coalesce=False))
    alone.call(1), alone.call(1)
    assert len(alone.asked) == 2


def test_an_error_is_shared_but_never_kept_and_nobody_dies_of_anothers_deadline():
    version = Version()
    waiting = [version.call(1) for _ in range(3)]
    version.answer(Internal("It broke."))
    assert [type(answers[0]) for answers in waiting] == [Internal] * 3
    waiting = [version.call(1) for _ in range(3)]
    version.answer(DeadlineExceeded("Too late."))
    assert [bool(answers) for answers in waiting] == [True, False, False]
    assert len(version.asked) == 1
    version.answer()
    assert [answers[0].cached for answers in waiting[1:]] == [False, True]


def test_a_refused_call_leaves_nothing_behind():
    version = Version()

    def refuse(_):
        raise Unavailable("Full.")

    submit = version.cache.before(refuse, 1, "digest")
    for _ in range(2):
        with pytest.raises(Unavailable):
            version.call(1, submit=submit)


def test_memory_is_bounded_and_the_least_recently_used_goes_first():
    version = Version(Cache(max_bytes=3000))
    for value in (1, 2, 3):
        version.call(value)
        version.answer()
    assert version.call(1)
    for value in (4, 5, 6):
        version.call(value)
        version.answer()
    assert version.cache.size <= 3000
    assert version.call(1)
    assert not version.call(2)
    version.asked.clear()
    version.call(np.zeros((1, 10_000), np.float32))
    version.answer()
    assert not version.call(np.zeros((1, 10_000), np.float32))


def test_kept_answers_do_not_hold_a_batch_and_cannot_be_changed():
    version = Version()
    version.call(1)
    whole = np.zeros((1000, 1), np.float32)
    version.answer(InferResponse({"y": whole[:1]}, "m", 1, 7, 1))
    kept = version.call(1)[0].outputs["y"]
    assert kept.base is None
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1


VALUES = st.lists(st.binary(max_size=4), min_size=1, max_size=4)


@given(VALUES, VALUES)
def test_texts_have_one_key_exactly_if_they_are_equal(a, b):
    calls = [Waiting({"x": np.array(values, object)}, (), 1, 0, InferRequest({}), CallStatistics(), print) for values in (a, b)]
    assert (_key(b"p", calls[0]) == _key(b"p", calls[1])) == (a == b)


def test_a_deployments_policy_puts_the_cache_in_front(tmp_path):

    async def main():
        served = Served(tmp_path, {"cache": {"seconds": 60}}, lambda inputs: {"y": inputs["x"]})
        outcomes = [await call(served.plane, {"x": rows(1)}) for _ in range(3)]
        assert [outcome.cached for outcome in outcomes] == [False, True, True]
        served.compose()
        assert (await call(served.plane, {"x": rows(1)})).cached

    asyncio.run(main())
