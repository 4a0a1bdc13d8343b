"""Virtual environments that models bring in a ``requirements.txt``: built once for each content, kept in the home.

Building runs the code of packages, so only models that were pushed with the right ``trust`` get here. The environment sees no package
of the platform's own; the platform's code reaches it by ``PYTHONPATH``, of which it needs no more than msgspec and NumPy.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import modelyard
from modelyard.core.errors import InvalidArtifact, Unavailable

logger = logging.getLogger(__name__)
REQUIREMENTS = "requirements.txt"
NEEDED = ("msgspec>=0.19", "numpy>=2.0")
"""What the platform's own code needs there."""
BUILD_SECONDS = 1800.0
MADE = "modelyard-ready"
"""The file in an environment that is whole."""
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_PREFIXES = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """How to start a program for a model."""

    executable: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, module: str) -> tuple[str, ...]:
        """The command that runs one of the platform's modules."""
        return self.executable, "-m", module


class Environments:
    """The environments of one machine, shared by its processes. ``environment`` is the outer one, for the package index's settings."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = pip_settings(environment)

    def of(self, model: Path) -> Interpreter:
        """The interpreter for the model in a folder: the platform's own where it brings no requirements.

        Builds what is missing, which may take minutes. Raises InvalidArtifact with pip's own complaint when they cannot be installed.
        """
        requirements = model / REQUIREMENTS
        if not requirements.is_file():
            return Interpreter()
        place = self._folder / environment_digest(requirements.read_bytes())
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with turn(place.with_suffix(".lock")):
            if not (place / MADE).exists():
                self._build(place, requirements)
        (place / MADE).touch()
        return Interpreter(str(place / "bin" / "python"), {"PYTHONPATH": str(self._package()), "VIRTUAL_ENV": str(place)})

    def prune(self, min_age_seconds: float) -> int:
        """Removes environments that nobody has asked for lately; how many went. A process that runs in one keeps what it has loaded."""
        removed = 0
        for place in list(self._folder.iterdir()) if self._folder.is_dir() else ():
            made = place / MADE
            if made.exists() and time.time() - made.stat().st_mtime >= min_age_seconds:
                shutil.rmtree(place, ignore_errors=True)
                removed += 1
        return removed

    def _build(self, place: Path, requirements: Path) -> None:
        logger.info("Building the environment %s", place.name[:12])
        began = time.monotonic()
        self._run(venv_command(place), "cannot be given an environment")
        options = ["--disable-pip-version-check", "--no-input", "--quiet"]
        self._run([*pip_command(place), "install", *options, *NEEDED, "-r", str(requirements)], "cannot be installed")
        (place / MADE).touch()
        logger.info("Built the environment %s in %.0f s", place.name[:12], time.monotonic() - began)

    def _run(self, command: list[str], what: str) -> None:
        try:
            done = subprocess.run(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=BUILD_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InvalidArtifact(f"The model's {REQUIREMENTS} {what} within {BUILD_SECONDS:g} s.") from None
        except OSError as error:
            raise Unavailable(f"An environment cannot be built: {error.strerror}.") from error
        if done.returncode:
            logger.warning("An environment cannot be built: %s", done.stderr.strip()[-4000:])
            raise InvalidArtifact(f"The model's {REQUIREMENTS} {what}: {complaint(done.stderr)}")

    def _package(self) -> Path:
        """A folder that holds this package and nothing else, for ``PYTHONPATH``."""
        folder = self._folder / "platform"
        link = folder / "modelyard"
        source = Path(modelyard.__file__).resolve().parent
        folder.mkdir(mode=0o700, exist_ok=True)
        if not link.is_symlink() or link.readlink() != source:
            fresh = folder / f".{os.getpid()}"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(source)
            fresh.replace(link)
        return folder


def pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that says how packages are fetched."""
    return {name: value for name, value in environment.items() if name in _PASSED_ON or name.startswith(_PREFIXES)}


def venv_command(place: Path) -> list[str]:
    """What makes an empty environment. It gets no pip where the platform's own can serve it, which saves seconds."""
    return [sys.executable, "-m", "venv", "--clear", *(["--without-pip"] if find_spec("pip") is not None else []), str(place)]


def pip_command(place: Path) -> list[str]:
    """What runs pip for it."""
    python = str(place / "bin" / "python")
    return [sys.executable, "-m", "pip", "--python", python] if find_spec("pip") is not None else [python, "-m", "pip"]


def environment_digest(requirements: bytes) -> str:
    """What an environment is known by: the requirements, what the platform needs, and the Python that runs it."""
    hashed = hashlib.sha256(requirements)
    for part in (*NEEDED, sys.version, sys.executable):
        hashed.update(b"\0" + part.encode())
    return hashed.hexdigest()[:40]


def complaint(output: str) -> str:
    """The line of pip's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    said = (errors or lines or ["the reason is in the log"])[-1].removeprefix("ERROR:").strip()
    return said[:300].rstrip(".") + "."


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Only one process builds an environment; the others wait for it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
