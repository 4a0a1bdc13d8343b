"""A version that runs in replica processes, as one replica to a worker's batcher: balances, retries, gives up.

A call goes to the replica with the fewest calls. A replica that dies fails only what it was computing: a call that it had not
begun, or that may be repeated, is computed once more elsewhere. While no replica is ready, calls wait in the batcher until one is,
until their time runs out, or until the engine says that none can be had.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from math import ceil
from pathlib import Path
from typing import Protocol

import msgspec

from modelyard.core.deployments import ServedVersion
from modelyard.core.errors import DeadlineExceeded, ModelyardError, Unavailable
from modelyard.core.frames import DRAINING, Ask, Failure, Frame, Op, Ran, tensors_of
from modelyard.core.generation import Cancel, Emit, GenerateRequest
from modelyard.core.tensors import Array
from modelyard.serving.replica import Outcome, Result, Waiting, join, may_batch, rows_are_alike, split
from modelyard.serving.replicas.generation import RemoteGeneration
from modelyard.serving.replicas.link import ReplicaLink
from modelyard.serving.replicas.places import Places, ReplicaState

BRIDGED_US = 10_000.0
"""Of computing that is sent to a replica ahead, so that it need not wait for the next call: the way of an answer to its caller and of the
next call back takes no longer, mostly, although others use the cores."""
MOST_AHEAD = 4
"""Runs sent ahead, at most. It is one where rows of several calls are computed together: those that wait here form larger batches."""
_LEARN = 0.1
"""Share of a new measurement in the running estimate."""
FRESH_NS = 50_000_000
"""How long what a replica last said of its other callers is believed."""


class Sendable(Protocol):
    """What can be sent to a replica, and may wait for one."""

    def send(self, link: ReplicaLink, *, tell: bool) -> None:
        """Goes to this replica; ``tell`` asks it to say when it begins."""

    def refuse(self, error: ModelyardError) -> None:
        """Ends it with an error."""

    def expire(self, now_ns: int) -> bool:
        """Ends it when its time has run out; whether it did."""


Taken = Callable[[Outcome, int], None]
"""Called once with what came of a computation, and the microseconds that it took."""
_read_ran = msgspec.msgpack.Decoder(Ran).decode
_read_failure = msgspec.msgpack.Decoder(Failure).decode
_encode_ask = msgspec.msgpack.Encoder().encode


class RemoteReplica:
    """Belongs to the event loop. ``freed`` is called when calls that wait may be begun, or must be refused."""

    def __init__(self, version: ServedVersion) -> None:
        self.signature = version.signature
        self.uniform = rows_are_alike(version.signature)
        self._joined = version.profile.row_independent and may_batch(version.signature)
        self._run_us = version.profile.single_us
        """What a run takes."""
        self.freed: Callable[[], None] = lambda: None
        self.ready_ns = 0
        """When one last became ready after none was."""
        self.calls = 0
        """That were ever begun."""
        self._places: Places | None = None
        self._links: dict[str, ReplicaLink] = {}
        self._connecting: dict[str, asyncio.Task[None]] = {}
        self._runs: set[_Run] = set()
        self._held: list[Sendable] = []
        """What waits for a replica: computations that lost theirs, generations before there is one."""
        self._generations: set[RemoteGeneration] = set()

    # -- what a batcher needs --

    @property
    def refusal(self) -> ModelyardError | None:
        """Why calls that wait should wait no longer."""
        places = self._places
        if places is None or not places.reason or self.ready:
            return None
        return Unavailable(f"No replica of this version can be had: {places.reason}", retry_after=5.0)

    def concurrent(self, _most: int) -> int:
        """Runs that may be under way now, those that are included."""
        ahead = self._ahead
        free = sum([_free(link, ahead) for link in self._links.values() if link.usable])
        return len(self._runs) + max(0, free - len(self._held))

    def size(self, inputs: dict[str, Array], rows: int) -> int:
        return rows if self.uniform else sum([array.size for array in inputs.values()])

    def learn(self, _size: int, taken_us: float) -> None:
        self._run_us += (taken_us - self._run_us) * (_LEARN if self._run_us else 1.0)

    @property
    def _ahead(self) -> int:
        """Runs that a replica is sent beyond those it computes."""
        if self._joined or not self._run_us:
            return 1
        return max(1, min(MOST_AHEAD, ceil(BRIDGED_US / self._run_us)))

    def begin(
        self, batch: list[Waiting], _size: int, _inline_us: float, _executor: Executor | None, ended: Callable[[Result], None]
    ) -> Result | None:
        """Sends a batch to a replica; see ``batching.Runs``."""
        self.calls += len(batch)
        run = _Run(self, batch, ended)
        self._runs.add(run)
        run.start()
        return None

    def generate(self, request: GenerateRequest, emit: Emit) -> Cancel:
        """Begins a generation as ``GenerativeModel.generate`` does; here all of it happens on the event loop."""
        self.calls += 1
        generation = RemoteGeneration(self, request, emit)
        self._generations.add(generation)
        self.dispatch(generation)
        return generation.cancel

    def close(self) -> None:
        """Lets go of the replicas, which end when the engine says so."""
        for task in self._connecting.values():
            task.cancel()
        for link in list(self._links.values()):
            link.disconnect()

    # -- what the reconciler tells --

    @property
    def ready(self) -> bool:
        """Whether a replica takes calls."""
        return any(link.usable for link in self._links.values())

    @property
    def asleep(self) -> bool:
        """Whether none runs because nobody calls; the first call wakes one."""
        return self._places is not None and not self._places.wanted and not self._places.reason

    @property
    def expected(self) -> bool:
        """Whether a ready replica is about to be reached."""
        return self._places is not None and self._places.ready > 0 and not self.ready

    @property
    def stage(self) -> str:
        """How far a replica is that calls wait for."""
        places = self._places
        if places is None or not places.wanted:
            return "asleep"
        if places.ready:
            return "connecting"
        return "loading" if any(place.state is ReplicaState.STARTING for place in places.replicas) else "preparing"

    @property
    def outstanding(self) -> int:
        """Calls under way."""
        return sum([len(run.batch) for run in self._runs]) + len(self._generations)

    def place(self, places: Places | None) -> None:
        """Takes where the replicas are now."""
        self._places = places
        known = {place.name: place for place in places.replicas} if places is not None else {}
        for name, link in self._links.items():
            there = known.get(name)
            if there is None or there.state is ReplicaState.DRAINING:
                link.draining = True
        self.connect()
        self.freed()

    def reconsider(self) -> None:
        """Forgets why none could be had, until that is told again."""
        if self._places is not None:
            self._places = msgspec.structs.replace(self._places, reason="", wanted=max(1, self._places.wanted))

    def connect(self) -> None:
        """Connects to replicas that are ready and not connected yet."""
        for place in self._places.replicas if self._places is not None else ():
            if place.state is ReplicaState.READY and place.name not in self._links and place.name not in self._connecting:
                self._connecting[place.name] = asyncio.get_running_loop().create_task(self._connect(place.name, Path(place.socket)))

    def sweep(self, now_ns: int) -> None:
        """Gives up calls whose time has run out, or whose clients went away."""
        for run in [run for run in self._runs if run.expired(now_ns)]:
            run.give_up()
        refusal, held, self._held = self.refusal, self._held, []
        for waiting in held:
            if refusal is not None:
                waiting.refuse(refusal)
            elif not waiting.expire(now_ns):
                self._held.append(waiting)

    async def _connect(self, name: str, path: Path) -> None:
        try:
            self._links[name] = await ReplicaLink.open(name, path, self._opened, self._closed)
        except OSError:
            pass  # it has just ended, or is about to listen: the next look tries again if it is still told of
        finally:
            self._connecting.pop(name, None)

    def _opened(self, link: ReplicaLink) -> None:
        if not any(other.usable for other in self._links.values() if other is not link):
            self.ready_ns = time.monotonic_ns()
        self._links[link.name] = link
        self._resume()

    def _closed(self, link: ReplicaLink) -> None:
        if self._links.get(link.name) is link:
            del self._links[link.name]
        self._resume()

    def _resume(self) -> None:
        held, self._held = self._held, []
        for computation in held:
            self.dispatch(computation)
        self.freed()

    # -- what runs need --

    def dispatch(self, computation: Sendable) -> None:
        """Sends it to the replica with the fewest calls, or keeps it until there is one."""
        now_ns = time.monotonic_ns()
        usable = [link for link in self._links.values() if link.usable]
        if not usable:
            self._held.append(computation)
            return
        link = min(usable, key=lambda link: _load(link, now_ns))
        tell = link.hello is not None and not link.hello.repeatable
        computation.send(link, tell=tell)

    def drop(self, computation: Sendable) -> None:
        """Forgets one that waits."""
        if computation in self._held:
            self._held.remove(computation)

    def ended(self, run: _Run) -> None:
        self._runs.discard(run)

    def generated(self, generation: RemoteGeneration) -> None:
        self._generations.discard(generation)


def _free(link: ReplicaLink, ahead: int) -> int:
    hello = link.hello
    return max(0, hello.concurrency + ahead - len(link.calls)) if hello is not None else 0


def _load(link: ReplicaLink, now_ns: int) -> int:
    others = link.others if now_ns - link.others_ns < FRESH_NS else 0
    return len(link.calls) + others


class _Computation:
    """Inputs on their way through some replica."""

    def __init__(self, pool: RemoteReplica, inputs: dict[str, Array], outputs: tuple[str, ...], taken: Taken) -> None:
        self._pool, self._inputs, self._outputs = pool, inputs, outputs
        self._taken: Taken | None = taken
        self._link: ReplicaLink | None = None
        self._number = 0
        self._began = False
        self._repeated = False

    def send(self, link: ReplicaLink, *, tell: bool) -> None:
        self._link, self._began = link, not tell
        self._number = link.ask(Op.INFER, self, _encode_ask(Ask(self._outputs, tell)), self._inputs)

    def answered(self, frame: Frame) -> None:
        if frame.head.op == Op.BEGAN:
            self._began = True
        elif frame.head.op == Op.RESULT:
            ran = _read_ran(frame.head.payload)
            if self._link is not None:
                self._link.note(ran.outstanding)
            self.end(tensors_of(frame), ran.compute_us)
        else:
            failure = _read_failure(frame.head.payload)
            if failure.code == DRAINING and self._taken is not None:
                self._pool.dispatch(self)
            else:
                self.end(failure.error(), 0)

    def lost(self) -> None:
        link = self._link
        repeatable = link is not None and link.hello is not None and link.hello.repeatable
        if self._taken is None:
            return
        if self._began and (self._repeated or not repeatable):
            why = "a second time" if self._repeated else "and calls of this model are not repeated"
            self.end(Unavailable(f"The replica ended while it computed this call, {why}; try again.", retry_after=1.0), 0)
            return
        self._repeated = self._repeated or self._began
        self._pool.dispatch(self)

    def refuse(self, error: ModelyardError) -> None:
        self.end(error, 0)

    def expire(self, _now_ns: int) -> bool:
        """Its run looks at the time."""
        return False

    def end(self, outcome: Outcome, taken_us: int) -> None:
        taken, self._taken = self._taken, None
        if taken is not None:
            taken(outcome, taken_us)

    def cancel(self) -> None:
        """Nobody waits any more; ``taken`` is not called."""
        self._taken = None
        self._pool.drop(self)
        if self._link is not None:
            self._link.cancel(self._number)


class _Run:
    """A batch under way: together where it is of several calls, and one by one where that failed."""

    def __init__(self, pool: RemoteReplica, batch: list[Waiting], ended: Callable[[Result], None]) -> None:
        self._pool, self.batch, self._ended = pool, batch, ended
        self._outcomes: list[Outcome] = []
        self._taken_us = 0
        self._now: _Computation | None = None

    def start(self) -> None:
        if len(self.batch) == 1:
            self._next()
        else:
            self._compute(join(self.batch), (), self._together)

    def expired(self, now_ns: int) -> bool:
        return all(0 < call.request.deadline_ns <= now_ns for call in self.batch[len(self._outcomes) :])

    def give_up(self) -> None:
        if self._now is not None:
            self._now.cancel()
        late = DeadlineExceeded("The call's time ran out while it was computed; allow it longer, or send less at once.")
        self._outcomes += [late] * (len(self.batch) - len(self._outcomes))
        self._end()

    def _compute(self, inputs: dict[str, Array], outputs: tuple[str, ...], taken: Taken) -> None:
        self._now = _Computation(self._pool, inputs, outputs, taken)
        self._pool.dispatch(self._now)

    def _together(self, outcome: Outcome, taken_us: int) -> None:
        self._taken_us += taken_us
        if isinstance(outcome, Unavailable):
            self._outcomes = [outcome] * len(self.batch)
            self._end()
            return
        apart = None if isinstance(outcome, ModelyardError) else split(self.batch, outcome)
        if apart is None:
            self._next()
        else:
            self._outcomes = apart
            self._end()

    def _next(self) -> None:
        call = self.batch[len(self._outcomes)]
        self._compute(call.inputs, call.outputs, self._alone)

    def _alone(self, outcome: Outcome, taken_us: int) -> None:
        self._taken_us += taken_us
        self._outcomes.append(outcome)
        if len(self._outcomes) == len(self.batch):
            self._end()
        else:
            self._next()

    def _end(self) -> None:
        self._pool.ended(self)
        self._ended(Result(self._outcomes, self._taken_us, self._taken_us))
