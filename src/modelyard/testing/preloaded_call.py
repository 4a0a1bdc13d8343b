"""The caller's side of ``preloaded``, which starts in milliseconds because it imports next to nothing: SOCKET MODULE ARGUMENT..."""

from __future__ import annotations

import os
import signal
import socket
import sys


def main(address: str, arguments: list[str]) -> int:
    """Has the server run a module, and ends as it did."""
    environment = [f"{name}={value}" for name, value in os.environ.items()]
    request = "\0".join([str(len(arguments)), os.getcwd(), *arguments, *environment]).encode(errors="surrogateescape")  # noqa: PTH109 -- pathlib takes as long to import as all the rest
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(request)
        told = server.recv(2)
    status = int.from_bytes(told, "big", signed=True) if told else 1
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
