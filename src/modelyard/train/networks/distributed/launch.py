"""Starts the processes of a team, through PyTorch's elastic launcher or Ray Train, and brings home what they learned."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from modelyard.core.errors import JobFailed, error_codes
from modelyard.engines.cluster import on_ray
from modelyard.jobs.folder import JobFolder
from modelyard.jobs.progress import ProgressTail
from modelyard.train.cores import cores
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.distributed.member import work
from modelyard.train.networks.distributed.order import Order, write_order
from modelyard.train.networks.distributed.post import ORDER, FolderPost
from modelyard.train.networks.lesson import Lesson, Site
from modelyard.train.networks.loop import Fit, Report
from modelyard.train.recipes.learning import Learning

_LOUD = (
    "torch.distributed.elastic.agent.server.api",
    "torch.distributed.elastic.multiprocessing.api",
    "torch.distributed.elastic.multiprocessing.errors.error_handler",
    "torch.multiprocessing.spawn",
)
"""What tells of a lost worker in tracebacks of the launcher; the members' own are in the log, and the end is told in a sentence."""
_LOOK_S = 0.2
_GRACE_S = 3
_START = "forkserver" if sys.platform == "linux" else "spawn"
"""With a server of forks, PyTorch is imported once for all members, however often they are started."""
_IMPORTED = ["modelyard.train.networks.distributed.member", "torch._dynamo"]
"""By that server; optimizers import the second."""


def learn_together(lesson: Lesson, learning: Learning, checkpoints: Checkpoints, *, site: Site, report: Report) -> Fit:
    """See ``lesson.learn``."""
    scratch = site.folder
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700, parents=True)
    with _told(scratch, report):
        _STARTS[learning.engine](Order(lesson, learning, checkpoints, cores()), site)
    post = FolderPost(scratch)
    refusal = post.refusal()
    if refusal is not None:
        raise error_codes()[refusal.code](refusal.error)
    learned = post.learned()
    shutil.rmtree(scratch)
    lesson.module.load_state_dict(learned.weights)
    lesson.module.eval()
    return learned.fit


def _start_here(order: Order, site: Site) -> None:
    write_order(order, site.folder / ORDER)
    multiprocessing.set_forkserver_preload(_IMPORTED)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        elastic_launch(_config(order.learning, site.folder), work)(str(site.folder))
    except ChildFailedError as error:
        raise JobFailed(_sentence(error, order.learning)) from None
    except SignalException:
        raise JobFailed("The training was asked to end; its last checkpoint is kept.") from None


def _start_on_ray(order: Order, site: Site) -> None:
    on_ray("modelyard.train.networks.distributed.ray_start:start", site.cluster)(order, site)


_STARTS = {"local": _start_here, "ray": _start_on_ray}


def _config(learning: Learning, scratch: Path) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=learning.workers,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=str(scratch / "rendezvous"),
        rdzv_configs={"store_type": "file"},
        max_restarts=learning.restarts,
        start_method=_START,
        local_addr="127.0.0.1",
        shutdown_timeout=_GRACE_S,
    )


@contextmanager
def _told(scratch: Path, report: Report) -> Iterator[None]:
    """Hands on what member 0 reports."""
    tail, ended = ProgressTail(JobFolder(scratch).progress, time.time_ns()), threading.Event()

    def follow() -> None:
        while True:
            last = ended.wait(_LOOK_S)
            if tail.read():
                report(tail.latest.fraction, tail.latest.message)
            if last:
                return

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _sentence(error: ChildFailedError, learning: Learning) -> str:
    rank, failure = error.get_first_failure()
    times = f", and {learning.restarts} new starts did not help" if learning.restarts else ""
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        why = f"was killed by {name}"
        if name == "SIGKILL":
            why += ", as the system does when memory runs out"
    else:
        said = failure.message if isinstance(failure.message, str) else str(failure.message.get("message", ""))
        why = f"ended with {' '.join(said.split())[:300] or f'exit code {failure.exitcode}'}"
    return (
        f"Worker {rank} of {learning.workers} (counted from 0) {why}{times}; the last checkpoint is kept. "
        "See the job's log; with fewer workers or a smaller batch, resume it."
    )
