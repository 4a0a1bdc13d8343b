"""A server in the form of a Hugging Face hub, in a thread: model information, and files of one revision of each model."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import unquote, urlsplit

from servers.threaded import Threaded

COMMIT = "1" * 40


class Hub(Threaded):
    """Serves folders as models by id. ``token`` is asked for where it is set; ``asked`` are the files that were fetched."""

    def __init__(self, models, token=""):
        super().__init__()
        self.models, self.token, self.asked = models, token, []

    def answer(self, handler):
        path = unquote(urlsplit(handler.path).path).strip("/")
        if self.token and handler.headers.get("authorization") != f"Bearer {self.token}":
            self.send(handler, 401, b"{}", {"x-error-code": "RepoNotFound"})
            return
        for identity, folder in self.models.items():
            info = f"api/models/{identity}"
            if path == info or path.startswith((f"{info}/revision/", f"{info}/tree/")):
                if path != info and path.rsplit("/", 1)[1] not in {COMMIT, "main"}:
                    self.send(handler, 404, b"{}", {"x-error-code": "RevisionNotFound"})
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
                self.send(handler, 200, json.dumps(told).encode(), {"content-type": "application/json"})
                return
            start = f"{identity}/resolve/{COMMIT}/"
            file = folder / path.removeprefix(start)
            if path.startswith(start) and file.is_file():
                content = file.read_bytes()
                if handler.command == "GET":
                    self.asked.append(path.removeprefix(start))
                self.send(handler, 200, content, {"x-repo-commit": COMMIT, "etag": f'"{_digest(file)}"'})
                return
        self.send(handler, 404, b"{}", {"x-error-code": "RepoNotFound"})


def _digest(file):
    return hashlib.sha1(file.read_bytes()).hexdigest()
