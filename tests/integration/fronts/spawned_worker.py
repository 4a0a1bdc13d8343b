"""A worker with the real front, spawned by tests: ``spawned_worker.py DESCRIPTOR SLOT BOARD``. Ends on SIGTERM by draining."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from modelyard.core.exchange import Exchange
from modelyard.server.balance import LoadBoard
from modelyard.server.fronts.http1 import Http1Front
from modelyard.server.fronts.limits import FrontConfig
from modelyard.server.listen import Acceptor, inherit_listener


def answer(exchange: Exchange) -> None:
    body = b"%d" % os.getpid()
    if exchange.path == "/slow":
        asyncio.get_running_loop().call_later(0.3, exchange.respond, 200, (), body)
    else:
        exchange.respond(200, (), body)


async def main() -> None:
    descriptor, slot, board = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    front = Http1Front(answer, FrontConfig(drain_grace_s=0.2))
    acceptor = Acceptor(front, inherit_listener(descriptor), LoadBoard(board, 2), slot)
    front.accept_from(acceptor)
    acceptor.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await stop.wait()
    print(await front.drain(5), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
