"""The confined trial of a pushed model: a child process with limits loads it and runs it; this side only reads its answer.

What the model does to the child (crash, endless loop, terabytes) ends as InvalidArtifact here, in one sentence. This module knows
no runtime: the child does (``registry.trial``), and which command starts it is handed down by the wiring.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from modelyard.core.errors import Internal, InvalidArtifact, ModelyardError, error_codes
from modelyard.core.models import Profile
from modelyard.core.signature import Signature
from modelyard.core.unreadable import UNREADABLE

_LOG = logging.getLogger(__name__)
_ANSWER_LIMIT = 8 << 20
_LOG_LIMIT = 16 << 10
_STARTUP_SECONDS = 30.0
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
INLINE_FORMATS = frozenset({"onnx", "hf_onnx"})


class ProbeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial may use, and what a model may be to run inside a worker."""

    memory_bytes: int = 4 << 30
    """Address space beyond what the child has when it starts."""
    seconds: float = 120.0
    """Wall-clock and CPU time."""
    batch_rows: int = 8
    inline_bytes: int = 512 << 20
    """Largest growth of memory, and largest artifact, that may run inside a worker."""


class ProbeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the child reads from its standard input."""

    folder: str
    entry: str
    format: str
    memory_bytes: int
    seconds: float
    batch_rows: int
    own: str
    """An empty folder, all that may be written to."""


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial found."""

    signature: Signature
    profile: Profile


class ProbeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the child writes to its standard output: a result, or an error by code and message."""

    result: ProbeResult | None = None
    code: str = ""
    message: str = ""


Starting = Callable[[Path, str], tuple[Sequence[str], Mapping[str, str]]]
"""The command that tries the model in a folder, and what its environment has besides; may raise ModelyardError."""


class Prober:
    """Runs trials, at most ``parallel`` at a time. Safe to use from several threads.

    ``starting`` may give another command and a change of the environment for the model in a folder.
    """

    def __init__(
        self, command: Sequence[str], limits: ProbeLimits | None = None, *, parallel: int = 2, starting: Starting | None = None
    ) -> None:
        self._command = list(command)
        self._starting = starting
        self._limits = limits or ProbeLimits()
        self._turns = threading.BoundedSemaphore(parallel)

    def probe(self, folder: Path, entry: str, format_name: str, limits: ProbeLimits | None = None) -> ProbeResult:
        """Loads and runs the model whose main file is ``folder / entry``.

        Raises InvalidArtifact when it cannot be read or run within the limits.
        """
        allowed = limits or self._limits
        command, changes = self._starting(folder, format_name) if self._starting is not None else (self._command, {})
        with self._turns, tempfile.TemporaryDirectory(prefix="modelyard-trial-") as own, _Child(command, changes) as child:
            request = ProbeRequest(
                folder=str(folder),
                entry=entry,
                format=format_name,
                memory_bytes=allowed.memory_bytes,
                seconds=allowed.seconds,
                batch_rows=allowed.batch_rows,
                own=own,
            )
            answer = child.ask(msgspec.json.encode(request), allowed)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return _decided(_result(answer), format_name, size, allowed)


class _Child:
    """One trial process, gone with its whole process group when the block ends."""

    def __init__(self, command: Sequence[str], changes: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(os.environ) | dict(changes),
            start_new_session=True,
            bufsize=0,
        )
        self._log = b""

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        # The child leads a session of its own; as long as it is not waited for, its id cannot mean another group.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def ask(self, request: bytes, limits: ProbeLimits) -> ProbeAnswer:
        """The child's answer, or what its end says."""
        raw = self._talk(request, time.monotonic() + limits.seconds + _STARTUP_SECONDS)
        if raw is None:
            return _refusal(f"The model did not finish its trial within {limits.seconds:g} s; see that its loops end, or make it smaller.")
        if len(raw) > _ANSWER_LIMIT:
            return _refusal("The model describes itself at too great length; shorten the names and metadata in it.")
        with suppress(*UNREADABLE):
            return msgspec.json.decode(raw, type=ProbeAnswer)
        return self._ending(limits)

    def _talk(self, request: bytes, deadline: float) -> bytes | None:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        if stdin is None or stdout is None or stderr is None:
            raise Internal("The trial process has no pipes.")
        with suppress(BrokenPipeError):
            stdin.write(request)  # far smaller than a pipe's buffer
        stdin.close()
        answer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            selector.register(stderr, selectors.EVENT_READ)
            while selector.get_map() and len(answer) <= _ANSWER_LIMIT:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                for key, _ in selector.select(remaining):
                    chunk = os.read(key.fd, 65536)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is stdout:
                        answer += chunk
                    else:
                        self._log = (self._log + chunk)[-_LOG_LIMIT:]
        return answer

    def _ending(self, limits: ProbeLimits) -> ProbeAnswer:
        try:
            status = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            status = 0
        if status == -signal.SIGXCPU:
            return _refusal(f"The model used more than {limits.seconds:g} s of CPU time in its trial; see that its loops end.")
        if status == -signal.SIGKILL:
            return _refusal("The trial of the model was killed by the operating system, most likely because it took too much memory.")
        if status < 0:
            name = signal.Signals(-status).name
            return _refusal(f"The model crashed the process that tried it ({name}); export it again with a newer library.")
        _LOG.error("The trial process ended with status %d and no answer: %s", status, self._log.decode(errors="replace").strip()[-2000:])
        raise Internal("The process that tries models did not start or ended without an answer; its last words are in the log.")


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the child may know: nothing with a secret in it."""
    return {name: environment[name] for name in _PASSED_ON if name in environment} | _ONE_THREAD


def _refusal(message: str) -> ProbeAnswer:
    return ProbeAnswer(code=InvalidArtifact.code, message=message)


def _result(answer: ProbeAnswer) -> ProbeResult:
    if answer.result is not None:
        return answer.result
    kind: type[ModelyardError] = error_codes().get(answer.code, Internal)
    raise kind(answer.message)


def _decided(found: ProbeResult, format_name: str, size: int, limits: ProbeLimits) -> ProbeResult:
    reason = ""
    if format_name not in INLINE_FORMATS:
        reason = f"format {format_name} runs in a process of its own"
    elif size > limits.inline_bytes:
        reason = f"its files take {size} bytes, more than {limits.inline_bytes}"
    elif found.profile.memory_bytes > limits.inline_bytes:
        reason = f"it takes {found.profile.memory_bytes} bytes of memory, more than {limits.inline_bytes}"
    changes: dict[str, Any] = {"inline": not reason, "reason": reason}
    return msgspec.structs.replace(found, profile=msgspec.structs.replace(found.profile, **changes))
