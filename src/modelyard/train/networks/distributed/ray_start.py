"""Starts the processes of a team through Ray Train, again when one is lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ray.exceptions import RayActorError, RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

from modelyard.core.errors import JobFailed
from modelyard.engines.cluster import LOCAL
from modelyard.engines.ray_cluster import check_room, joined
from modelyard.train.networks.device import choose_device
from modelyard.train.networks.distributed.member import work_among
from modelyard.train.networks.distributed.order import Order, write_order
from modelyard.train.networks.distributed.post import ORDER, FolderPost, Post
from modelyard.train.networks.distributed.ray_post import posted
from modelyard.train.networks.lesson import Site
from modelyard.train.recipes.learning import Learning


def start(order: Order, site: Site) -> None:
    """Runs the team to its end.

    Raises JobFailed when a worker was lost more often than the recipe allows, and Unavailable when the cluster is not there or has no room.
    """
    learning, cluster = order.learning, site.cluster
    part = {"CPU": float(cluster.cores)}
    if cluster.gpus or (cluster.address == LOCAL and choose_device(learning.precision).kind == "cuda"):
        part["GPU"] = float(cluster.gpus or 1)
    with joined(cluster, cluster.cores * learning.workers):
        check_room(cluster, [part] * learning.workers)
        try:
            with _post(order, site) as post:
                _trainer(post, learning, part, site).fit()
        except (TrainingFailedError, RayError) as error:
            raise JobFailed(_sentence(error, learning)) from None


def _trainer(post: Post, learning: Learning, part: Mapping[str, float], site: Site) -> TorchTrainer:
    return TorchTrainer(
        work_among,
        train_loop_config={"post": post},
        torch_config=TorchConfig(backend="nccl" if "GPU" in part else "gloo"),
        scaling_config=ScalingConfig(num_workers=learning.workers, use_gpu="GPU" in part, resources_per_worker=dict(part)),
        run_config=RunConfig(
            name=uuid.uuid4().hex,
            storage_path=str(site.folder / "ray"),
            failure_config=FailureConfig(max_failures=learning.restarts, controller_failure_limit=learning.restarts),
        ),
    )


@contextmanager
def _post(order: Order, site: Site) -> Iterator[Post]:
    """Files on this machine; elsewhere what Ray carries."""
    folder = FolderPost(site.folder)
    if site.cluster.address == LOCAL:
        write_order(order, site.folder / ORDER)
        yield folder
    else:
        threads = max(1, round(site.cluster.cores)) * order.learning.workers
        with posted(replace(order, cores=threads), folder) as post:
            yield post


def _sentence(error: Exception, learning: Learning) -> str:
    times = f", and {learning.restarts} new starts did not help" if learning.restarts else ""
    who, why = "The training", f"ended with {_told(error)}"
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        # When one dies the others fail, because they hear nothing of it any more.
        failures = {rank: getattr(failure, "health_check_failure", failure) for rank, failure in error.worker_failures.items()}
        rank, failure = min(failures.items(), key=lambda found: (not isinstance(found[1], RayActorError), found[0]))
        who = f"Worker {rank} of {learning.workers} (counted from 0)"
        lost = isinstance(failure, RayActorError)
        why = "was lost: killed, as the system does when memory runs out, or with its machine" if lost else f"ended with {_told(failure)}"
    elif isinstance(error, ControllerError):
        who, why = "The workers", f"could not be started: {_told(error)}"
    return f"{who} {why}{times}; the last checkpoint is kept. See the job's log; with fewer workers or a smaller batch, resume it."


def _told(error: BaseException) -> str:
    """Its last line: Ray puts whole tracebacks before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
