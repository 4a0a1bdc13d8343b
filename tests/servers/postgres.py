"""A real PostgreSQL for tests: found, or installed; never skipped."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60.0
_PACKAGE = "pgserver"  # PyPI: wheels that carry the server's binaries
_PR_SET_PDEATHSIG = 1


class PostgresServer:
    """A running server that listens on a Unix socket in a folder of its own."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def drop(self, url: str) -> None:
        """Removes a database, whoever is still connected."""
        self.sql(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def sql(self, statement: str) -> None:
        command = [self._binaries / "psql", "-h", self._folder, "-U", "postgres", "-qc", statement, "postgres"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextmanager
def running() -> Iterator[PostgresServer]:
    """A server for as long as the block lasts; it ends with this process, too."""
    binaries = find_binaries() or _install()
    folder = Path(tempfile.mkdtemp(prefix="modelyard-pg-", dir="/tmp"))  # short: it is the path of a socket
    owner = _owner()
    try:
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data = folder / "data"
        initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, timeout=120, cwd=folder, **_as(owner))
        settings = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "full_page_writes=off", "max_connections=60"]
        command = [binaries / "postgres", "-D", data, *(part for setting in settings for part in ("-c", setting))]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **_as(owner), **_DYING)
        try:
            server = PostgresServer(binaries, folder)
            _wait(server, process, folder / "log")
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # "fast": open transactions are rolled back
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, newest version first."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        places.append(Path(on_path).resolve().parent)
    config = shutil.which("pg_config")
    if config:
        places.append(Path(subprocess.run([config, "--bindir"], capture_output=True, text=True).stdout.strip()))
    return next((place for place in places if all((place / name).exists() for name in ("initdb", "postgres", "psql"))), None)


def _install() -> Path:
    attempts = []
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]):
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            attempts.append(f"{' '.join(command)}: {done.returncode} {done.stderr[-500:]}")
        found = find_binaries()
        if found is not None:
            return found
    target = Path(tempfile.gettempdir()) / f"modelyard-{_PACKAGE}-{os.geteuid()}"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, _PACKAGE], capture_output=True, text=True
    )
    attempts.append(f"pip install {_PACKAGE}: {done.returncode} {done.stderr[-500:]}")
    for initdb in target.glob("**/bin/initdb"):
        return initdb.parent
    raise RuntimeError("PostgreSQL is needed by these tests and could not be installed:\n" + "\n".join(attempts))


def _owner() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):  # the server refuses to run as root
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("There is no unprivileged user to run PostgreSQL as.")


def _as(owner: pwd.struct_passwd | None) -> dict[str, object]:
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    if owner is None:
        return {"env": environment}
    return {"env": environment, "user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


_DYING = {"preexec_fn": _die_with_parent}  # sets one flag, after the change of user


def _wait(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            server.sql("SELECT 1")
        except subprocess.CalledProcessError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
