"""Which gRPC server carries the neutral handler with less work: ``grpc.aio`` on the loop, or threads that hand each call over to it.

A client process sends one-row ModelInfer messages, made once, over 4 channels with 32 calls in flight, to a server process with the
real protocol, gate, journal and model. Rounds are interleaved; the server's CPU time per call says more than the rate, because client
and server share the machine. Run: ``PYTHONPATH=src:tests python benchmarks/grpc/servers.py [seconds] [rounds]``.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CALLS = 32


def serve(kind: str) -> None:
    import grpc
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    from integration.open_inference_grpc.live_grpc import LiveGrpc
    from integration.served import half_plus_two
    from modelyard.server.fronts.grpc import GrpcExchange, _Methods
    from modelyard.server.fronts.grpc_callers import Caller, host_of
    from modelyard.server.fronts.grpc_calls import read_metadata

    class OnTheLoop(LiveGrpc):
        """The same with ``grpc.aio``."""

        async def start_more(self):
            class Awaited(GrpcExchange):
                __slots__ = ("waiter",)

                def _wake(self):
                    if self.waiter is not None:
                        self.waiter.set_result(None)

            async def run(body, context):
                headers, timeout = read_metadata(context, 60.0)
                exchange = Awaited(METHOD, body, headers, Caller(host_of(context.peer()), False, None), self.served.loop)
                exchange.waiter = None
                self.handler(exchange)
                if exchange.answer is None:
                    exchange.waiter = self.served.loop.create_future()
                    timer = self.served.loop.call_later(timeout, exchange.abort, None)
                    await exchange.waiter
                    timer.cancel()
                given, message = exchange.answer
                context.set_trailing_metadata(tuple((name.decode(), value.decode()) for name, value in given))
                return message

            self.server = grpc.aio.server()
            self.server.add_generic_rpc_handlers((_Methods({METHOD: grpc.unary_unary_rpc_method_handler(run)}),))
            self.grpc_port = self.server.add_insecure_port("127.0.0.1:0")
            await self.server.start()

        async def stop_more(self):
            await self.server.stop(1)

    with (OnTheLoop if kind == "aio" else LiveGrpc)(Path(tempfile.mkdtemp()), half_plus_two) as live:
        print(live.grpc_port, flush=True)
        for _ in sys.stdin:
            print(time.process_time(), flush=True)


async def load(port: int, seconds: float) -> int:
    import numpy as np
    from grpc import aio

    from integration.live import SCOPED
    from modelyard.protocols.open_inference_grpc.stubs import message

    request = message("ModelInferRequest")(model_name="demo", raw_input_contents=[np.ones(1, np.float32).tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    body, metadata, done, until = request.SerializeToString(), (("authorization", f"Bearer {SCOPED}"),), 0, time.monotonic() + seconds
    channels = [aio.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),)) for _ in range(4)]

    async def caller(call):
        nonlocal done
        while time.monotonic() < until:
            await call(body, metadata=metadata)
            done += 1

    await asyncio.gather(*[caller(channels[index % 4].unary_unary(METHOD)) for index in range(CALLS)])
    for channel in channels:
        await channel.close()
    return done


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
        return
    if sys.argv[1:2] == ["load"]:
        print(asyncio.run(load(int(sys.argv[2]), float(sys.argv[3]))))
        return
    seconds, rounds = float((sys.argv[1:2] or ["3"])[0]), int((sys.argv[2:3] or ["3"])[0])
    servers = {
        kind: subprocess.Popen([sys.executable, __file__, "serve", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for kind in ("aio", "threads")
    }
    ports = {kind: server.stdout.readline().strip() for kind, server in servers.items()}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in servers}

    def cpu(server):
        server.stdin.write("\n")
        server.stdin.flush()
        return float(server.stdout.readline())

    for _ in range(rounds):
        for kind, server in servers.items():
            before = cpu(server)
            out = subprocess.run([sys.executable, __file__, "load", ports[kind], str(seconds)], capture_output=True, text=True, check=True)
            calls = int(out.stdout)
            found[kind].append((calls / seconds, (cpu(server) - before) / calls * 1e6))
    for server in servers.values():
        server.communicate()
    for kind, rows in found.items():
        rate, cost = (statistics.median(column) for column in zip(*rows, strict=True))
        print(json.dumps({"server": kind, "calls_per_s": round(rate), "server_cpu_us_per_call": round(cost)}))


if __name__ == "__main__":
    main()
