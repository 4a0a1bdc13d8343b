"""The gRPC front with handlers that answer, fail, wait or go on for ever."""

import asyncio

import grpc
import pytest
from grpc import aio

from modelyard.core.errors import Conflict
from modelyard.core.exchange import Abort
from modelyard.server.fronts.grpc import GrpcConfig, GrpcFront
from modelyard.server.fronts.grpc_streams import IN_FLIGHT

UNARY, STREAM = "/test.Service/Unary", "/test.Service/Stream"


def run(handler, client, **limits):
    """What ``client`` gives, called with a channel to a front that carries ``handler``."""

    async def both():
        front = GrpcFront(handler, [UNARY], [STREAM], GrpcConfig(address="127.0.0.1:0", **limits))
        port = await front.start()
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await client(channel)
        finally:
            await front.drain(5)

    return asyncio.run(asyncio.wait_for(both(), 30))


def test_a_call_is_an_exchange():
    seen = []

    def handler(exchange):
        seen.append(exchange)
        exchange.respond(200, [(b"x-request-id", b"7"), (b"content-type", b"x")], [exchange.body, memoryview(b"!")])

    async def client(channel):
        call = channel.unary_unary(UNARY)(
            b"hi", metadata=(("x-api-key", "a"), ("x-api-key", "b"), ("accept-encoding", "gzip"), ("some-bin", b"1"))
        )
        return await call, dict(await call.trailing_metadata())

    assert run(handler, client) == (b"hi!", {"x-request-id": "7"})
    (exchange,) = seen
    assert (exchange.method, exchange.path, exchange.query, exchange.peer, exchange.secure) == ("POST", UNARY, "", "127.0.0.1", False)
    assert exchange.headers[b"x-api-key"] == b"a, b"
    assert not exchange.headers.keys() & {b"accept-encoding", b"some-bin", b"grpc-timeout"}


def test_an_answer_with_a_status_is_an_error():
    def handler(exchange):
        exchange.respond(404, ((b"grpc-status", b"5"), (b"grpc-message", b"no %C3%A4"), (b"retry-after", b"3")), b"")

    async def client(channel):
        with pytest.raises(aio.AioRpcError) as refused:
            await channel.unary_unary(UNARY)(b"")
        return refused.value.code(), refused.value.details(), refused.value.trailing_metadata()["retry-after"]

    assert run(handler, client) == (grpc.StatusCode.NOT_FOUND, "no ä", "3")


def test_pieces_of_an_answer_become_one_message_and_a_second_answer_is_an_error():
    def handler(exchange):
        with pytest.raises(RuntimeError):
            exchange.send(b"early")
        with pytest.raises(RuntimeError):
            exchange.finish()
        exchange.start(200, ())
        with pytest.raises(RuntimeError):
            exchange.start(200, ())
        exchange.send(b"a")
        exchange.send(b"b")
        exchange.finish()
        with pytest.raises(RuntimeError):
            exchange.respond(200, (), b"")
        with pytest.raises(RuntimeError):
            exchange.send(b"late")

    async def client(channel):
        return await channel.unary_unary(UNARY)(b"")

    assert run(handler, client) == b"ab"


def test_unknown_methods_are_unimplemented():
    async def client(channel):
        with pytest.raises(aio.AioRpcError) as refused:
            await channel.unary_unary("/test.Service/Other")(b"")
        return refused.value.code()

    assert run(lambda exchange: None, client) is grpc.StatusCode.UNIMPLEMENTED


def test_a_handler_that_takes_too_long_is_told():
    reasons = []

    def handler(exchange):
        exchange.on_abort = reasons.append

    async def client(channel):
        with pytest.raises(aio.AioRpcError) as refused:
            await channel.unary_unary(UNARY)(b"")
        return refused.value.code()

    assert run(handler, client, call_timeout_s=0.05) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reasons == [Abort.TIMED_OUT]


def test_the_clients_deadline_and_its_going_away_reach_the_handler():
    arrived, aborted, headers = asyncio.Event(), asyncio.Event(), []

    def handler(exchange):
        def on_abort(reason):
            exchange.respond(200, (), b"dropped")
            headers.append((exchange.headers.get(b"grpc-timeout"), reason))
            aborted.set()

        exchange.on_abort = on_abort
        arrived.set()

    async def client(channel):
        call = channel.unary_unary(UNARY)(b"", timeout=25)
        await arrived.wait()
        call.cancel()
        await aborted.wait()

    run(handler, client)
    ((timeout, reason),) = headers
    assert timeout.endswith(b"u")
    assert 10**6 < int(timeout[:-1]) < 30 * 10**6
    assert reason is Abort.DISCONNECTED


def test_a_streams_messages_are_computed_together_and_answered_in_order():
    waiting = []

    def handler(exchange):
        waiting.append(exchange)
        if len(waiting) == IN_FLIGHT:
            while waiting:
                last = waiting.pop()
                last.respond(200, (), last.body)

    async def client(channel):
        async def messages():
            for number in range(3 * IN_FLIGHT):
                yield str(number).encode()

        return [int(text) async for text in channel.stream_stream(STREAM)(messages())]

    assert run(handler, client) == list(range(3 * IN_FLIGHT))


def test_a_stream_that_is_left_lets_go_of_what_it_computes():
    exchanges, arrived, gone = [], asyncio.Event(), asyncio.Event()

    def handler(exchange):
        exchanges.append(exchange)
        arrived.set()
        exchange.on_abort = lambda reason: gone.set()

    async def client(channel):
        call = channel.stream_stream(STREAM)()
        await call.write(b"1")
        await arrived.wait()
        call.cancel()
        await gone.wait()

    run(handler, client)
    assert exchanges[0].aborted is Abort.DISCONNECTED


def test_an_error_status_ends_a_stream():
    def handler(exchange):
        exchange.respond(401, ((b"grpc-status", b"16"), (b"grpc-message", b"who")), b"")

    async def client(channel):
        call = channel.stream_stream(STREAM)()
        await call.write(b"1")
        with pytest.raises(aio.AioRpcError) as refused:
            async for _ in call:
                pass
        return refused.value.code(), refused.value.details()

    assert run(handler, client) == (grpc.StatusCode.UNAUTHENTICATED, "who")


def test_a_stream_without_messages_ends_and_frees_its_place():
    async def client(channel):
        refused = []
        for _ in range(2):
            call = channel.stream_stream(STREAM)()
            with pytest.raises(aio.AioRpcError) as error:
                async for _ in call:
                    pass
            refused.append((error.value.code(), error.value.details()))
        return refused

    idle = (grpc.StatusCode.DEADLINE_EXCEEDED, "The stream was idle for too long.")
    assert run(lambda exchange: None, client, idle_timeout_s=0.05, max_streams=1) == [idle, idle]


def test_streams_leave_room_for_other_calls():
    async def client(channel):
        first = channel.stream_stream(STREAM)()
        await first.write(b"1")
        assert await first.read() == b"1"
        second = channel.stream_stream(STREAM)()
        with pytest.raises(aio.AioRpcError) as refused:
            await second.read()
        assert await channel.unary_unary(UNARY)(b"2") == b"2"
        first.cancel()
        return refused.value.code()

    assert run(lambda exchange: exchange.respond(200, (), exchange.body), client, max_streams=1) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_calls_under_way_are_answered_while_it_drains():
    async def both():
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def handler(exchange):
            arrived.set()
            loop.call_later(0.1, exchange.respond, 200, (), b"done")

        front = GrpcFront(handler, [UNARY], [], GrpcConfig(address="127.0.0.1:0"))
        port = await front.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(UNARY)(b"")
            await arrived.wait()
            await front.drain(10)
            return await call

    assert asyncio.run(asyncio.wait_for(both(), 30)) == b"done"


def test_an_address_that_cannot_be_bound_is_said():
    async def start():
        await GrpcFront(lambda exchange: None, [], [], GrpcConfig(address="192.0.2.1:1")).start()

    with pytest.raises(Conflict, match="MODELYARD_GRPC_PORT"):
        asyncio.run(start())


def test_workers_share_the_port():
    async def both():
        fronts = [GrpcFront(lambda exchange: exchange.respond(200, (), b"ok"), [UNARY], [], GrpcConfig(address="127.0.0.1:0"))]
        port = await fronts[0].start()
        fronts.append(GrpcFront(lambda exchange: exchange.respond(200, (), b"ok"), [UNARY], [], GrpcConfig(address=f"127.0.0.1:{port}")))
        assert await fronts[1].start() == port
        await fronts[0].drain(1)
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = await channel.unary_unary(UNARY)(b"")
        await fronts[1].drain(1)
        return answer

    assert asyncio.run(asyncio.wait_for(both(), 30)) == b"ok"
