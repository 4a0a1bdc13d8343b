"""One child process of the supervisor, started again when it dies."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from modelyard.server.channel import Handover, ParentChannel

FIRST_DELAY = 0.05
LONGEST_DELAY = 10.0
STABLE_SECONDS = 20.0


@dataclass(frozen=True)
class Program:
    """How a child is started."""

    name: str
    command: tuple[str, ...]
    handover: Callable[[], Handover]
    descriptors: tuple[int, ...]
    """Inherited under the same numbers."""
    output: int
    """Where standard output and error go: tracebacks of a crash, mostly."""
    environment: Mapping[str, str]


@dataclass
class Child:
    """The state of one child."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    channel: ParentChannel | None = None
    ready: bool = False
    deaths: int = 0
    """Deaths in a row without a stable time between."""
    started: float = 0.0
    restart_at: float = 0.0
    asked_to_stop: bool = False

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def alive(self) -> bool:
        return self.process is not None

    def start(self, now: float) -> None:
        """Starts the process and hands it what it needs."""
        program = self.program
        self.channel = ParentChannel()
        self.process = subprocess.Popen(
            program.command,
            env=program.environment,
            stdin=self.channel.far.fileno(),
            stdout=program.output,
            stderr=program.output,
            pass_fds=program.descriptors,
            start_new_session=True,
        )
        self.ready, self.started = False, now
        with suppress(BrokenPipeError, ConnectionResetError):  # it died at once: noticed by the next look
            self.channel.hand_over(program.handover())

    @property
    def ended(self) -> bool:
        """Whether its process has ended and is not reaped yet."""
        return self.process is not None and self.process.poll() is not None

    def reap(self, now: float) -> int:
        """Lets go of a process that has ended and sets when to start the next one; its exit status."""
        assert self.process is not None
        code = self.process.wait()
        if now - self.started > STABLE_SECONDS:
            self.deaths = 0
        self.restart_at = now + min(FIRST_DELAY * 2**self.deaths, LONGEST_DELAY)
        self.deaths += 1
        self.process, self.ready = None, False
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        return code

    def signal(self, number: int) -> None:
        """Sends a signal to the process, if there is one."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)
