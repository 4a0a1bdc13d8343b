"""One process of a team: reads the order, meets the others, learns, and leaves what came out."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from modelyard.core.errors import ModelyardError
from modelyard.train.networks.device import Device, choose_device
from modelyard.train.networks.distributed.group import Group, ShardedGroup
from modelyard.train.networks.distributed.order import Order
from modelyard.train.networks.distributed.post import FolderPost, Learned, Post
from modelyard.train.networks.loop import Learner

logger = logging.getLogger(__name__)
_FELT_S = 2
_LOOPBACK = "lo" if sys.platform.startswith("linux") else "lo0"


def work(folder: str) -> None:
    """What PyTorch's launcher runs in every process; ``folder`` is the team's own.

    A refusal is written down and ends all members quietly, because starting them again would change nothing.
    """
    number = _speak()
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    if attempt and number == 0:
        logger.warning(
            "A worker was lost; all start again from the last checkpoint (%s of %s)", attempt, os.environ["TORCHELASTIC_MAX_RESTARTS"]
        )
    post = FolderPost(Path(folder))
    order = post.order()
    device = _device(order)
    _meet(device, Path(folder) / f"meeting-{attempt}")
    _attend(order, device, post)


def work_among(config: Mapping[str, Any]) -> None:
    """The same where the members have met already: what Ray Train runs in every process, with the ``post`` that its config names."""
    _speak()
    post: Post = config["post"]
    order = post.order()
    _attend(order, _device(order), post)


def _speak() -> int:
    """Lets the log say who speaks; this member's number."""
    number = int(os.environ["RANK"])
    logging.basicConfig(
        level=logging.INFO if number == 0 else logging.WARNING, stream=sys.stderr, format=f"worker {number}: %(message)s", force=True
    )
    return number


def _attend(order: Order, device: Device, post: Post) -> None:
    try:
        _learn(order, device, post)
    except ModelyardError as error:
        post.refuse(dist.get_rank(), error)
    except RuntimeError:
        if not post.refused():  # else it is the others' leaving that is felt
            logger.exception("ended with an error")
            time.sleep(_FELT_S)  # whoever was lost is to be noticed before those whom that leaves alone
            raise
    finally:
        dist.destroy_process_group()


def _device(order: Order) -> Device:
    device = choose_device(order.learning.precision)
    torch.set_num_threads(max(1, order.cores // order.learning.workers))
    if device.kind == "cuda" and torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"]):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return Device(f"cuda:{os.environ['LOCAL_RANK']}", device.half)
    return Device("cpu", device.half) if device.half is not torch.float16 else Device("cpu")


def _meet(device: Device, place: Path) -> None:
    """Through a file that only this job can open, and over the loopback interface: no port is open to others."""
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = _LOOPBACK
    size = int(os.environ["WORLD_SIZE"])
    kind = "nccl" if device.kind == "cuda" else "gloo"
    dist.init_process_group(kind, store=FileStore(str(place), size), rank=int(os.environ["RANK"]), world_size=size)


def _learn(order: Order, device: Device, post: Post) -> None:
    lesson, learning = order.lesson, order.learning
    team = (ShardedGroup if learning.sharded else Group)(device, shared_norms=learning.shares_norms)
    learner = Learner(lesson.module, lesson.objective, learning, device, order.checkpoints, seed=lesson.seed, team=team)

    def report(share: float, told: str) -> None:
        if team.rank == 0:
            post.report(share, told)

    if team.rank == 0:
        title = "a share of the network" if learning.sharded else "the network"
        logger.info("%d workers, each with %s, on %s", team.size, title, device.title)
    fit = learner.fit(lesson.train, lesson.validate, report)
    weights = team.weights(learner.module)
    if team.rank == 0:
        post.deliver(Learned(weights, fit))
