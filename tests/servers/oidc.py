"""A real OpenID provider in a process of its own: oidc-provider-mock, with PKCE demanded around it, as other providers do themselves.

Run as a program it serves until its standard input ends, and says its port first.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

GROUPS = {"ana": ["ml-team", "staff"], "ben": ["staff"], "cleo": ["root"]}


@contextmanager
def running_provider() -> Iterator[str]:
    """A provider's issuer; its people and their groups are ``GROUPS``."""
    command = [sys.executable, "-W", "ignore", __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://localhost:{int(process.stdout.readline())}"
        process.stdin.close()
        process.wait(20)


class Pkce:
    """WSGI middleware: a code is given for a challenge, and exchanged for its verifier alone."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._challenges: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        asked = parse_qs(environ.get("QUERY_STRING", ""))
        if environ["PATH_INFO"].endswith("/token"):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            form = parse_qs(body.decode())
            verifier = form.get("code_verifier", [""])[0]
            made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
            if self._challenges.pop(form.get("code", [""])[0], "none") != made:
                start("400 Bad Request", [("content-type", "application/json")])
                return [json.dumps({"error": "invalid_grant"}).encode()]

        def starting(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            location = {name.lower(): value for name, value in headers}.get("location", "")
            code = parse_qs(urlsplit(location).query).get("code")
            if code and asked.get("code_challenge_method") == ["S256"]:
                self._challenges[code[0]] = asked["code_challenge"][0]
            return start(status, headers, *more)

        return self._inner(environ, starting)


def main() -> None:
    from oidc_provider_mock import User, app
    from werkzeug.serving import make_server

    users = [User(sub=name, claims={"preferred_username": name, "groups": groups}) for name, groups in GROUPS.items()]
    server = make_server("localhost", 0, Pkce(app(user_claims=users, require_nonce=True)), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
