"""A real nginx for tests: found, or installed; never skipped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_temp_path {folder}/proxy;
  proxy_cache_path {folder}/cache keys_zone=predictions:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {upstream};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_cache predictions;
      proxy_cache_revalidate on;
      add_header X-Cache $upstream_cache_status always;
    }}
  }}
}}
"""


@contextmanager
def caching(upstream: str) -> Iterator[str]:
    """The URL of an nginx that caches what ``upstream`` lets it keep."""
    binary = found()
    folder = Path(tempfile.mkdtemp(prefix="modelyard-nginx-", dir="/tmp"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, upstream=upstream))
    process = subprocess.Popen([binary, "-e", folder / "error.log", "-p", folder, "-c", config], stdin=subprocess.DEVNULL)
    try:
        _wait(port, process, folder / "error.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def found() -> str:
    """Where nginx is; installs it where it is not."""
    return _binary() or _install()


def _binary() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _install() -> str:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    attempts = []
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "nginx"]):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        attempts.append(f"{' '.join(command)}: {done.returncode} {done.stderr[-500:]}")
    binary = _binary()
    if binary is None:
        raise RuntimeError("nginx is needed by these tests and could not be installed:\n" + "\n".join(attempts))
    return binary


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nginx did not start:\n{log.read_text(errors='replace')[-2000:]}")
