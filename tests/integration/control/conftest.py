"""The management API over a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from management import ADMIN, Platform, adder, running
from modelyard.control.app import create_app


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running(tmp_path) as made:
        yield made


@pytest.fixture
def url(platform: Platform) -> Iterator[str]:
    """The API behind a real socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(platform.services), log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    # The socket listens already: a client waits in its queue until the server accepts.
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    """An administrator's plain HTTP client."""
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {ADMIN}"}, timeout=60) as client:
        yield client


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "adder.onnx"
    path.write_bytes(adder())
    return path
