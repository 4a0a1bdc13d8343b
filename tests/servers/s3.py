"""An S3-compatible server on loopback for tests: moto's, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class S3Server:
    """A running server."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def bucket(self) -> str:
        """The URL of a new, empty bucket, with what a client needs to reach it."""
        name = f"test-{uuid.uuid4().hex}"
        httpx.put(f"{self.endpoint}/{name}", timeout=30).raise_for_status()
        return f"s3://{name}/blobs?endpoint_url={self.endpoint}&key=test&secret=test"


@contextmanager
def running() -> Iterator[S3Server]:
    """A server for as long as the block lasts; it ends when this process does, because its standard input closes."""
    process = subprocess.Popen([sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("The S3 server did not start; is moto[server] installed?")
        yield S3Server(int(line))
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()
