"""A large file goes on where its connection broke, and is what it was when it has arrived."""

import contextlib
import hashlib
import socket
import threading
from urllib.parse import urlsplit

import httpx
import pytest

from management import ADMIN
from modelyard import Client
from modelyard.core.api import UploadProgress
from modelyard.core.errors import Conflict, InvalidArtifact, InvalidRequest, TooLarge, Unavailable
from modelyard.sdk import files


class CuttingProxy:
    """Forwards connections and breaks each one after so many bytes from the client, as often as it is told."""

    def __init__(self, url, after, times):
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._after, self.left = after, times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._listener.settimeout(0.05)
        self._closed = threading.Event()
        self._ends, self._threads = [], []
        self._accepting = threading.Thread(target=self._run)
        self._accepting.start()

    def _run(self):
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            near.setblocking(True)
            far = socket.create_connection(self._target)
            self._ends += [near, far]
            for source, target, counted in ((near, far, True), (far, near, False)):
                self._threads.append(threading.Thread(target=self._carry, args=(source, target, counted)))
                self._threads[-1].start()

    def _carry(self, source, target, counted):
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if counted and self.left > 0 and passed > self._after:
                    self.left -= 1
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._closed.set()
        self._accepting.join(10)
        self._listener.close()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for end in self._ends:
            end.close()


@pytest.fixture
def small_pieces(monkeypatch):
    for module in ("modelyard.sdk.resources.models", "modelyard.sdk.async_resources.models"):
        monkeypatch.setattr(f"{module}.PIECEWISE", 1 << 16)
        monkeypatch.setattr(f"{module}.UPLOAD_PIECE", 160_000)
    assert files.PIECEWISE == 32 << 20


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * 3200)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_broken_upload_goes_on_from_what_arrived(url, large, small_pieces):
    path, digest = large
    proxy = CuttingProxy(url, after=400_000, times=2)
    seen = []
    with Client(proxy.url, ADMIN) as client:
        done = client.models.upload(path, on_bytes=seen.append)
    proxy.close()
    assert (done.digest, done.size) == (digest, path.stat().st_size)
    assert proxy.left == 0
    assert seen == sorted(seen)
    assert seen[-1] == done.size


def test_another_client_goes_on_as_well(url, large, small_pieces, monkeypatch):
    path, digest = large
    monkeypatch.setattr("modelyard.sdk.resources.models.RESUMPTIONS", 0)
    proxy = CuttingProxy(url, after=400_000, times=1000)
    with Client(proxy.url, ADMIN, retries=0) as client, pytest.raises(Unavailable):
        client.models.upload(path)
    proxy.close()
    headers = {"authorization": f"Bearer {ADMIN}"}
    before = httpx.get(f"{url}/api/v1/uploads/{digest}", headers=headers).json()
    assert (before["received"] > 0, before["done"]) == (True, False)
    seen = []
    with Client(url, ADMIN) as client:
        assert client.models.upload(path, on_bytes=seen.append).digest == digest
    assert seen[0] > before["received"]


def test_what_does_not_fit_is_refused(url, large):
    path, digest = large
    content = path.read_bytes()
    with Client(url, ADMIN) as client:
        send = client.models._transport.send_piece

        def piece(data, offset, size, name=digest):
            return send(UploadProgress, f"/api/v1/uploads/{name}", data, {"offset": offset, "size": size})

        piece(content[:1000], 0, len(content))
        with pytest.raises(Conflict, match="1000 bytes have arrived"):
            piece(content[:1000], 0, len(content))
        with pytest.raises(InvalidRequest, match="of a file of 1500 bytes"):
            piece(content[1000:2000], 1000, 1500)
        with pytest.raises(TooLarge):
            piece(b"x", 1000, 1 << 60)
        with pytest.raises(InvalidRequest, match="64 digits"):
            piece(b"x", 0, 1, name="secret")
        with pytest.raises(InvalidArtifact, match="not the file with this digest"):
            piece(b"something else", 0, 14, name="0" * 64)
        # It is forgotten, so it may be sent again.
        with pytest.raises(InvalidArtifact):
            piece(b"something else", 0, 14, name="0" * 64)
