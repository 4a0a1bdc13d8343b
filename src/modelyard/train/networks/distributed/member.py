"""One process of a team: reads the order, meets the others, learns, and leaves what came out."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from modelyard.core.errors import ModelyardError
from modelyard.jobs.folder import Outcome, write_atomically
from modelyard.jobs.worker import JobContext
from modelyard.train.networks.device import Device, choose_device
from modelyard.train.networks.distributed.group import Group, ShardedGroup
from modelyard.train.networks.distributed.order import Order, read_order
from modelyard.train.networks.loop import Learner

logger = logging.getLogger(__name__)
ORDER, LEARNED = "order.pickle", "learned.pt"
REFUSALS = "refusal-*.json"
"""One of each member that refused: all see a loss that is no number."""
STAGE = "learn"
_LOOPBACK = "lo" if sys.platform.startswith("linux") else "lo0"


def work(folder: str) -> None:
    """What PyTorch's launcher runs in every process; ``folder`` is the team's own.

    A refusal is written down and ends all members quietly, because starting them again would change nothing.
    """
    scratch, number = Path(folder), int(os.environ["RANK"])
    logging.basicConfig(level=logging.INFO if number == 0 else logging.WARNING, stream=sys.stderr, format=f"worker {number}: %(message)s")
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    if attempt and number == 0:
        logger.warning(
            "A worker was lost; all start again from the last checkpoint (%s of %s)", attempt, os.environ["TORCHELASTIC_MAX_RESTARTS"]
        )
    order = read_order(scratch / ORDER)
    device = _device(order)
    _meet(device, scratch / f"meeting-{attempt}")
    try:
        _learn(order, device, scratch)
    except ModelyardError as error:
        write_atomically(scratch / REFUSALS.replace("*", str(number)), msgspec.json.encode(Outcome(error=error.message, code=error.code)))
    except RuntimeError:
        if not any(scratch.glob(REFUSALS)):  # else it is the others' leaving that is felt
            logger.exception("ended with an error")
            raise
    finally:
        dist.destroy_process_group()


def _device(order: Order) -> Device:
    device = choose_device(order.learning.precision)
    torch.set_num_threads(max(1, order.cores // order.learning.workers))
    if device.kind == "cuda" and torch.cuda.device_count() >= order.learning.workers:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return Device(f"cuda:{os.environ['LOCAL_RANK']}", device.half)
    return Device("cpu", device.half) if device.half is not torch.float16 else Device("cpu")


def _meet(device: Device, place: Path) -> None:
    """Through a file that only this job can open, and over the loopback interface: no port is open to others."""
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = _LOOPBACK
    size = int(os.environ["WORLD_SIZE"])
    kind = "nccl" if device.kind == "cuda" else "gloo"
    dist.init_process_group(kind, store=FileStore(str(place), size), rank=int(os.environ["RANK"]), world_size=size)


def _learn(order: Order, device: Device, scratch: Path) -> None:
    lesson, learning = order.lesson, order.learning
    team = ShardedGroup(device) if learning.sharded else Group(device)
    learner = Learner(lesson.module, lesson.objective, learning, device, order.checkpoints, seed=lesson.seed, team=team)
    context = JobContext(spec={}, folder=scratch)

    def report(share: float, told: str) -> None:
        if team.rank == 0:
            context.report(STAGE, share, told)

    if team.rank == 0:
        title = "a share of the network" if learning.sharded else "the network"
        logger.info("%d workers, each with %s, on %s", team.size, title, device.title)
    fit = learner.fit(lesson.train, lesson.validate, report)
    weights = team.weights(learner.module)
    if team.rank == 0:
        part = scratch / f"{LEARNED}.part"
        torch.save({"weights": weights, "fit": asdict(fit)}, part)
        part.replace(scratch / LEARNED)
