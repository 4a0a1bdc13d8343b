"""Threads that compute, shared fairly: workspaces in turn by what their runs really take, a workspace's own deployments by priority.

Deficit round robin (Shreedhar and Varghese 1995, "Efficient fair queuing using deficit round robin"): each workspace that has runs
waiting is given a quantum of time when its turn comes, and may begin runs while it has any left. What a run really took is taken off
when it ends, so nobody gains by runs that take longer than they did before.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

QUANTUM_S = 0.005
RANKS = 3
"""High, normal and low."""


class _Run(NamedTuple):
    step: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: Future[Any]


class _Share:
    """One workspace's runs that wait, by rank, and the time that it may still use in this round."""

    def __init__(self) -> None:
        self.lines: tuple[deque[_Run], ...] = tuple(deque() for _ in range(RANKS))
        self.left_s = 0.0
        self.mean_s = 0.0

    def next(self) -> _Run | None:
        """Takes the first run of the highest rank."""
        return next((line.popleft() for line in self.lines if line), None)

    @property
    def waits(self) -> bool:
        return any(self.lines)


class FairThreads:
    """A pool of threads. ``share`` gives each workspace its way in; callable from any thread."""

    def __init__(self, threads: int, name: str = "compute") -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._lock = threading.RLock()  # a run may have ended before its callback is set
        self._shares: dict[int, _Share] = {}
        self._turns: deque[int] = deque()
        """Workspaces with runs waiting."""

    def share(self, workspace_id: int, rank: int = 1) -> Executor:
        """An executor whose runs count for a workspace; of its own runs, lower ranks go first."""
        return _Way(self, workspace_id, rank)

    def shutdown(self, *, wait: bool = False) -> None:
        """Begins nothing any more."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def enqueue(self, workspace_id: int, rank: int, run: _Run) -> None:
        """Takes a run; it begins when its turn comes."""
        with self._lock:
            share = self._shares.setdefault(workspace_id, _Share())
            if not share.waits:
                share.left_s = min(share.left_s, 0.0)  # time is not saved up while nothing waits; debts stay
                self._turns.append(workspace_id)
            share.lines[rank].append(run)
            self._begin()

    def _begin(self) -> None:
        """Begins what threads are free for. The lock is held."""
        while self._free and self._turns:
            workspace_id = self._turns[0]
            share = self._shares[workspace_id]
            if share.left_s <= 0 and len(self._turns) > 1:
                share.left_s += QUANTUM_S
                self._turns.rotate(-1)
                continue
            run = share.next()
            if run is None or not share.waits:
                self._turns.popleft()
            if run is not None:
                self._free -= 1
                expected_s, began = share.mean_s, time.perf_counter()
                share.left_s -= expected_s
                inner = self._pool.submit(run.step, *run.arguments)
                inner.add_done_callback(partial(self._ended, run, share, expected_s, began))

    def _ended(self, run: _Run, share: _Share, expected_s: float, began: float, done: Future[Any]) -> None:
        taken_s = time.perf_counter() - began
        with self._lock:
            self._free += 1
            share.left_s += expected_s - taken_s
            share.mean_s += 0.2 * (taken_s - share.mean_s)
            if not done.cancelled():
                self._begin()
        error = None if done.cancelled() else done.exception()
        if done.cancelled():
            run.future.cancel()
        elif error is not None:
            run.future.set_exception(error)
        else:
            run.future.set_result(done.result())


class _Way(Executor):
    """One workspace's way into the threads."""

    def __init__(self, threads: FairThreads, workspace_id: int, rank: int) -> None:
        self._threads, self._workspace_id, self._rank = threads, workspace_id, rank

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if kwargs:
            raise TypeError("Runs are given their arguments by place.")
        future: Future[Any] = Future()
        self._threads.enqueue(self._workspace_id, self._rank, _Run(fn, args, future))
        return future
