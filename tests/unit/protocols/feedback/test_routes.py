import asyncio
import threading

import pytest

from modelyard.core.clock import ManualClock
from modelyard.core.errors import Unavailable
from modelyard.core.signature import Signature
from modelyard.protocols.feedback.routes import create_protocol
from unit.protocols.fakes import FakeExchange, FakePlane, drive_exchange, make_exchange

REQUEST = "0123456789abcdef" * 2
PLANE = FakePlane(Signature(inputs=(), outputs=()), dict)


def post(body, write=lambda _: None):
    """The answer of a route that answers later, on a loop of its own."""

    async def main():
        answered = asyncio.Event()

        class Exchange(FakeExchange):
            __slots__ = ()

            def respond(self, *answer):
                super().respond(*answer)
                answered.set()

        exchange = make_exchange("POST", "/v1/deployments/demo/feedback", body, None, Exchange)
        drive_exchange(create_protocol(write, ManualClock()), PLANE, exchange)
        async with asyncio.timeout(20):
            await answered.wait()
        return exchange.answer

    return asyncio.run(main())


@pytest.mark.parametrize(("outcome", "value"), [(True, 1.0), (False, 0.0), (2.5, 2.5), (-3, -3.0)])
def test_a_report_is_written_down_before_it_is_accepted(outcome, value):
    written = []
    assert post({"request_id": REQUEST.upper(), "outcome": outcome}, written.append).status == 202
    (report,) = written
    assert (report.request_id, report.workspace_id, report.value) == (REQUEST, 1, value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "The body is no report"),
        (b'{"outcome": 1}', "missing required field 'request_id'"),
        (b'{"request_id": "x", "outcome": 1}', "32 hexadecimal digits"),
        ({"request_id": REQUEST, "outcome": "good"}, "The body is no report"),
        ({"request_id": REQUEST, "outcome": 1, "more": 2}, "unknown field 'more'"),
        (b'{"request_id": "' + REQUEST.encode() + b'", "outcome": 1e999}', "report"),
    ],
)
def test_what_is_no_report_is_refused_in_a_sentence(body, said):
    answer = post(body)
    assert answer.status == 400
    assert said in answer.body.decode()


def test_a_disk_that_is_slow_holds_up_no_other_call():
    loops = []
    post({"request_id": REQUEST, "outcome": 1}, lambda _: loops.append(threading.current_thread() is threading.main_thread()))
    assert loops == [False]


def test_a_report_that_cannot_be_kept_is_not_accepted():
    def refuse(_):
        raise Unavailable("The report cannot be written down now: No space left on device.", retry_after=5.0)

    assert post({"request_id": REQUEST, "outcome": 1}, refuse).status == 503
