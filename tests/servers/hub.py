"""A server in the form of a Hugging Face hub, in a thread: model information, and files of one revision of each model."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "1" * 40


class Hub:
    """Serves folders as models by id. ``token`` is asked for where it is set; ``asked`` are the files that were fetched."""

    def __init__(self, models, token=""):
        self.models, self.token, self.asked = models, token, []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                owner.answer(self, body=True)

            def do_HEAD(self):
                owner.answer(self, body=False)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def answer(self, handler, *, body):
        path = unquote(urlsplit(handler.path).path).strip("/")
        if self.token and handler.headers.get("authorization") != f"Bearer {self.token}":
            self._send(handler, 401, b"{}", {"x-error-code": "RepoNotFound"}, body)
            return
        for identity, folder in self.models.items():
            info = f"api/models/{identity}"
            if path == info or path.startswith((f"{info}/revision/", f"{info}/tree/")):
                if path != info and path.rsplit("/", 1)[1] not in {COMMIT, "main"}:
                    self._send(handler, 404, b"{}", {"x-error-code": "RevisionNotFound"}, body)
                    return
                files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
                if "/tree/" in path:
                    told = [
                        {"type": "file", "path": str(file.relative_to(folder)), "size": file.stat().st_size, "oid": _digest(file)}
                        for file in files
                    ]
                else:
                    names = [{"rfilename": str(file.relative_to(folder))} for file in files]
                    told = {"id": identity, "modelId": identity, "sha": COMMIT, "siblings": names, "tags": [], "private": False}
                self._send(handler, 200, json.dumps(told).encode(), {"content-type": "application/json"}, body)
                return
            start = f"{identity}/resolve/{COMMIT}/"
            file = folder / path.removeprefix(start)
            if path.startswith(start) and file.is_file():
                content = file.read_bytes()
                if body:
                    self.asked.append(path.removeprefix(start))
                self._send(handler, 200, content, {"x-repo-commit": COMMIT, "etag": f'"{_digest(file)}"'}, body)
                return
        self._send(handler, 404, b"{}", {"x-error-code": "RepoNotFound"}, body)

    def _send(self, handler, status, content, headers, body):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        if body:
            handler.wfile.write(content)


def _digest(file):
    return hashlib.sha1(file.read_bytes()).hexdigest()
