"""The supervisor: holds the home and the listening sockets, starts the controller and the workers, and keeps them running.

It is the parent that never does work of its own, so that it has nothing to crash on. It imports no web framework, no database
library and no NumPy. ``run`` is for a terminal, ``python -m modelyard.server.supervisor`` for ``detach.py``.
"""

from __future__ import annotations

import logging
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType

import msgspec

from modelyard import __version__
from modelyard.core.errors import ModelyardError
from modelyard.observability.logging import configure
from modelyard.server import entrance
from modelyard.server.channel import Handover, Said
from modelyard.server.child import Child, Program
from modelyard.server.instance import HomeLock, Instance
from modelyard.server.listen import grpc_address
from modelyard.server.listeners import Listeners, open_listeners
from modelyard.server.settings import PREFIX, Settings
from modelyard.store.home import Home
from modelyard.store.upgrade import prepare_home

logger = logging.getLogger("modelyard.supervisor")
ENGINE_DELAY = 1.0
"""Seconds that the engine leaves the processor to the others at a start: they answer calls without it."""
HARD_MARGIN = 5.0
CONTROLLER_SECONDS = 20.0
EARLY_DEATHS = 5
MAX_OUTPUT_BYTES = 16 * 2**20


class Told(StrEnum):
    """What the supervisor tells whoever started it."""

    LISTENING = "listening"  # text: inference URL and management URL
    ADMIN_KEY = "admin_key"  # text: the bootstrap key, made at the first start of a home
    READY = "ready"  # every process serves
    WARNING = "warning"  # text: a process died and is started again
    STOPPING = "stopping"  # calls in flight are ended
    FATAL = "fatal"  # text: why the platform cannot run


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing told."""

    told: Told
    text: str = ""
    inference_url: str = ""
    management_url: str = ""
    grpc_address: str = ""


Tell = Callable[[Notice], None]


@dataclass(frozen=True)
class Commands:
    """How the children are started; a worker's slot is added to its command for people who list processes."""

    controller: tuple[str, ...] = (sys.executable, "-m", "modelyard.server.entrypoints.controller")
    worker: tuple[str, ...] = (sys.executable, "-m", "modelyard.server.entrypoints.worker")
    engine: tuple[str, ...] = (sys.executable, "-m", "modelyard.server.entrypoints.engine")


PRODUCT = Commands()


def run(settings: Settings, tell: Tell, commands: Commands = PRODUCT) -> int:
    """Runs the platform until it is stopped by SIGTERM or SIGINT; the exit status. Call it on the main thread.

    Raises Conflict when the home is in use or of a newer version, and when a port is taken.
    """
    home = Home(settings.home)
    entrance.check(settings)
    with ExitStack() as stack:
        lock = stack.enter_context(HomeLock(home))
        kept = prepare_home(home)
        listeners = stack.enter_context(open_listeners(settings, home))
        configure("supervisor", settings.log_level, home.logs)
        if kept is not None:
            logger.info("The home was upgraded; what it was before is kept in %s", kept)
        output = os.open(home.logs / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, output)
        if os.fstat(output).st_size > MAX_OUTPUT_BYTES:
            os.ftruncate(output, 0)
        base = Base(settings, lock, listeners, output, commands)
        return Supervisor(base, tell).run()


@dataclass(frozen=True)
class Base:
    """What a supervisor holds from its start to its end."""

    settings: Settings
    lock: HomeLock
    listeners: Listeners
    output: int
    commands: Commands


class Supervisor:
    """The loop over signals, children's words and due restarts."""

    def __init__(self, base: Base, tell: Tell) -> None:
        settings = base.settings
        self._settings, self._lock, self._tell = settings, base.lock, tell
        self._home = Home(settings.home)
        self._listeners = listeners = base.listeners
        self._urls = listeners.urls(settings)
        self._grpc = grpc_address(listeners.grpc) if listeners.grpc is not None else ""
        self._output = base.output
        self._boot = secrets.token_hex(16)
        self._environment = child_environment(os.environ)
        self._selector = selectors.DefaultSelector()
        self._asked = 0
        self._was_ready = False
        self._fatal = ""
        self._started_ns = time.time_ns()
        self._controller = self._child("controller", base.commands.controller, listeners.management)
        self._engine = self._child("engine", base.commands.engine)
        self._engine.restart_at = time.monotonic() + ENGINE_DELAY
        self._workers = [
            self._child(f"worker-{slot}", base.commands.worker, listeners.inference, slot) for slot in range(settings.worker_count)
        ]

    def run(self) -> int:
        """Starts everything, keeps it running, and stops it in order."""
        with self._signals():
            self._publish()
            self._tell(self._notice(Told.LISTENING))
            where = {"inference_url": self._urls[0], "management_url": self._urls[1], "grpc_address": self._grpc}
            logger.info("Started", extra=where | {"version": __version__})
            while not self._asked and not self._fatal:
                self._start_due()
                self._wait(self._next_due())
            if not self._fatal:
                self._tell(Notice(told=Told.STOPPING))
            self._stop(self._workers, self._settings.drain_seconds + HARD_MARGIN if not self._fatal else 2.0)
            # Replicas answer workers until these have ended.
            self._stop([self._engine, self._controller], max(CONTROLLER_SECONDS, self._settings.drain_seconds + HARD_MARGIN))
        if self._fatal:
            logger.error(self._fatal)
            self._tell(Notice(told=Told.FATAL, text=self._fatal))
        logger.info("Stopped")
        return 1 if self._fatal else 0

    def _child(self, name: str, command: tuple[str, ...], listener: socket.socket | None = None, slot: int = 0) -> Child:
        private = self._listeners.private if name.startswith("worker") else None

        def handover() -> Handover:
            return Handover(
                settings=self._settings.encode(),
                parent=os.getpid(),
                name=name,
                slot=slot,
                descriptor=listener.fileno() if listener is not None else -1,
                private=private.fileno() if private is not None else -1,
                private_url=self._listeners.private_url(self._urls[0]),
                inference_url=self._urls[0],
                management_url=self._urls[1],
                grpc_address=self._grpc,
                boot=self._boot,
            )

        # Children hold the lock too: after a kill of the supervisor nobody else can use the home before they are gone.
        descriptors = (self._lock.descriptor, *[held.fileno() for held in (listener, private) if held is not None])
        shown = (*command, str(slot)) if name.startswith("worker") else command
        return Child(Program(name, shown, handover, descriptors, self._output, self._environment))

    def _children(self) -> list[Child]:
        return [self._controller, self._engine, *self._workers]

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children():
            if child.alive or child.restart_at > now:
                continue
            child.start(now)
            if child.channel is not None:
                self._selector.register(child.channel.socket, selectors.EVENT_READ, child)

    def _next_due(self) -> float | None:
        now = time.monotonic()
        waiting = [child.restart_at - now for child in self._children() if not child.alive]
        return max(0.0, min(waiting)) if waiting else None

    def _wait(self, timeout: float | None) -> None:
        """Sleeps until a signal, a child's word or the timeout, and takes in what has happened."""
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, Child):
                self._listen_to(key.data)
            else:
                self._wakeup.recv(4096)
        for child in self._children():
            if child.ended:
                self._listen_to(child)
                self._mute(child)
                self._bury(child, child.reap(time.monotonic()))

    def _mute(self, child: Child) -> None:
        if child.channel is not None and child.channel.socket in self._selector.get_map():
            self._selector.unregister(child.channel.socket)

    def _listen_to(self, child: Child) -> None:
        if child.channel is None:
            return
        lines = list(child.channel.read())
        if not child.channel.open:
            self._mute(child)
        for line in lines:
            if line.said is Said.ADMIN_KEY:
                self._tell(Notice(told=Told.ADMIN_KEY, text=line.text))
            elif line.said is Said.READY:
                child.ready = True
                self._note_ready()
            elif line.said is Said.FATAL and not self._was_ready:
                self._fatal = line.text

    def _note_ready(self) -> None:
        if self._was_ready or not all(child.ready for child in self._children()):
            return
        self._was_ready = True
        self._publish()
        logger.info("Ready after %.2f s", (time.time_ns() - self._started_ns) / 1e9)
        self._tell(self._notice(Told.READY))

    def _notice(self, told: Told) -> Notice:
        return Notice(told=told, inference_url=self._urls[0], management_url=self._urls[1], grpc_address=self._grpc)

    def _bury(self, child: Child, code: int) -> None:
        if self._asked or self._fatal or child.asked_to_stop:
            return
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        text = f"The {child.name} {how} and is started again."
        logger.warning(text)
        if self._was_ready:
            self._tell(Notice(told=Told.WARNING, text=text))
        elif child.deaths >= EARLY_DEATHS:
            self._fatal = f"The {child.name} {how}, {EARLY_DEATHS} times before it was ready; see {self._home.logs}."

    def _stop(self, children: list[Child], patience: float) -> None:
        """Asks children to end and kills those that have not after ``patience`` seconds; a second request to stop kills at once."""
        asked_before = self._asked
        until = time.monotonic() + patience
        for child in children:
            child.asked_to_stop = True
            child.signal(signal.SIGTERM)
        killed = False
        while any(child.alive for child in children):
            if not killed and (time.monotonic() >= until or self._asked > max(1, asked_before)):
                killed = True
                for child in children:
                    if child.alive:
                        logger.warning("The %s is killed: it did not end in time", child.name)
                    child.signal(signal.SIGKILL)
            self._wait(max(0.05, until - time.monotonic()) if not killed else 1.0)

    def _publish(self) -> None:
        self._lock.publish(
            Instance(
                pid=os.getpid(),
                inference_url=self._urls[0],
                management_url=self._urls[1],
                grpc_address=self._grpc,
                version=__version__,
                started_ns=self._started_ns,
                ready=self._was_ready,
            )
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals wake the loop through a socket; the ways they were handled before are put back."""
        self._wakeup, writer = socket.socketpair()
        with self._wakeup, writer:
            self._wakeup.setblocking(False)
            writer.setblocking(False)
            self._selector.register(self._wakeup, selectors.EVENT_READ)
            before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)}
            handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_signal)
            try:
                yield
            finally:
                signal.set_wakeup_fd(before)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                self._selector.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature of signal handlers
        if number != signal.SIGCHLD:
            self._asked += 1


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What children inherit: no setting of ours, least of all a secret, since those are handed over privately."""
    kept = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
    # Many threads would otherwise each keep an arena of freed memory.
    kept.setdefault("MALLOC_ARENA_MAX", "2")
    return kept


def main() -> int:
    """Runs detached: settings come as JSON on standard input, notices go as JSON lines to standard output until all is ready."""
    settings = Settings.decode(msgspec.json.decode(sys.stdin.buffer.readline()))
    open_ended = True

    def tell(notice: Notice) -> None:
        nonlocal open_ended
        if open_ended:
            try:
                os.write(1, msgspec.json.encode(notice) + b"\n")
            except BrokenPipeError:
                open_ended = False
        if notice.told in {Told.READY, Told.FATAL} and open_ended:
            open_ended = False
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.close(null)

    try:
        return run(settings, tell)
    except ModelyardError as error:
        tell(Notice(told=Told.FATAL, text=error.message))
        return 1


if __name__ == "__main__":
    sys.exit(main())
