"""A team's way to its job where they share no folder: through a desk on the cluster, which the job empties."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from modelyard.core.errors import ModelyardError
from modelyard.train.networks.checkpoint import Shelf
from modelyard.train.networks.distributed.order import Order, pack_order, unpack_order
from modelyard.train.networks.distributed.post import FolderPost, Learned, packed

_LOOK_S = 0.3
_QUIET_S = 0.1
Told = tuple[float, str]


class News:
    """What came to the desk since somebody looked."""

    def __init__(self) -> None:
        self.told: Told | None = None
        self.checkpoint: tuple[int, bytes] | None = None
        self.refusals: list[tuple[int, type[ModelyardError], str]] = []
        self.learned: bytes | None = None


class Desk:
    """Runs as an actor on the job's own machine, so that it outlives the members, wherever they are lost."""

    def __init__(self, newest: bytes | None) -> None:
        """``newest`` is the checkpoint that an earlier attempt left."""
        self._newest = newest
        self._refused = False
        self._news = News()

    def tell(self, share: float, told: str) -> None:
        self._news.told = (share, told)

    def keep(self, step: int, content: bytes) -> None:
        self._newest = content
        self._news.checkpoint = (step, content)

    def newest(self) -> bytes | None:
        return self._newest

    def refuse(self, number: int, kind: type[ModelyardError], message: str) -> None:
        self._refused = True
        self._news.refusals.append((number, kind, message))

    def refused(self) -> bool:
        return self._refused

    def deliver(self, learned: bytes) -> None:
        self._news.learned = learned

    def news(self) -> News:
        found, self._news = self._news, News()
        return found


class DeskShelf:
    """Where members keep checkpoints: at the desk, until the job has them in its own folder."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def keep(self, step: int, content: bytes | memoryview) -> bool:
        ray.get(self._desk.keep.remote(step, bytes(content)))
        return True

    def contents(self) -> Iterator[tuple[str, bytes]]:
        newest = ray.get(self._desk.newest.remote())
        return iter([] if newest is None else [("newest", newest)])


class DeskPost:
    """See ``Post``; the order comes through Ray's store, once to each machine."""

    def __init__(self, desk: Any, parcel: Any) -> None:
        self._desk, self._parcel = desk, parcel
        self._next = 0.0

    def order(self) -> Order:
        return unpack_order(ray.get(self._parcel))

    def report(self, share: float, told: str) -> None:
        if time.monotonic() >= self._next or share >= 1:
            self._next = time.monotonic() + _QUIET_S
            self._desk.tell.remote(share, told)

    def refuse(self, number: int, error: ModelyardError) -> None:
        ray.get(self._desk.refuse.remote(number, type(error), error.message))

    def refused(self) -> bool:
        return bool(ray.get(self._desk.refused.remote()))

    def deliver(self, learned: Learned) -> None:
        ray.get(self._desk.deliver.remote(packed(learned)))


@contextmanager
def posted(order: Order, folder: FolderPost) -> Iterator[DeskPost]:
    """A desk for a team; what comes to it is laid into the job's own folders while the team works, and when it has ended.

    Raises RayError when the desk was lost.
    """
    shelf = order.checkpoints.shelf
    newest = next((content for _, content in shelf.contents()), None)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk = ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote(newest)
    sent = Order(order.lesson, order.learning, order.checkpoints.kept_on(DeskShelf(desk)), order.cores)
    parcel = ray.put(pack_order(sent))
    ended = threading.Event()

    def follow() -> None:
        with suppress(RayError):  # the last look tells of it
            while not ended.wait(_LOOK_S):
                _lay(ray.get(desk.news.remote()), folder, shelf)

    thread = threading.Thread(target=follow, name="desk", daemon=True)
    thread.start()
    try:
        yield DeskPost(desk, parcel)
    finally:
        ended.set()
        thread.join()
        _lay(ray.get(desk.news.remote()), folder, shelf)


def _lay(news: News, folder: FolderPost, shelf: Shelf) -> None:
    if news.told is not None:
        folder.report(*news.told)
    if news.checkpoint is not None:
        shelf.keep(*news.checkpoint)
    for number, kind, message in news.refusals:
        folder.refuse(number, kind(message))
    if news.learned is not None:
        folder.lay(news.learned)
