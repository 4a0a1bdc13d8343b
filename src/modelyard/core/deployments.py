"""Deployments: what was wished for, and the state that workers act on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from modelyard.core.models import Artifact, Profile
from modelyard.core.signature import Signature


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A share of a deployment's traffic. ``version`` is a number or an alias; an alias is followed when it moves."""

    model: str
    version: str
    weight: int = 100


Reach = Literal["own", "network", "machine"]
"""What a replica may touch besides the model's files: nothing, the network as well, or whatever the platform's user may."""
_REACHES: tuple[Reach, ...] = ("own", "network", "machine")


class ReplicaPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many replica processes a version has, and what each may use."""

    min: Annotated[int, Meta(ge=0, le=64)] = 1
    """So many always run; 0 lets the last one end when nobody calls, and calls then wait for the next to start."""
    max: Annotated[int, Meta(ge=1, le=64)] = 1
    target: Annotated[float, Meta(gt=0)] = 4.0
    """Calls a replica may have, waiting ones included, before another is started."""
    idle_seconds: Annotated[float, Meta(ge=0)] = 300.0
    """How long a replica that is not needed stays."""
    start_seconds: Annotated[float, Meta(gt=0)] = 600.0
    """How long loading may take."""
    concurrency: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Calls that one computes at once; 0 leaves it to the model."""
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """For the libraries inside one call."""
    memory_bytes: Annotated[int, Meta(ge=0)] = 0
    """What one may use; 0 for no limit."""
    gpus: Annotated[int, Meta(ge=0, le=64)] = 0
    """GPUs that one gets for itself, of those the setting ``gpus`` names."""
    reach: Reach = "own"
    """``own`` confines it to reading the model and Python, and writing a folder of its own; anything wider needs the right ``trust``."""

    def joined(self, other: ReplicaPolicy) -> ReplicaPolicy:
        """What satisfies two deployments of one version: the larger of each."""
        numbers = [name for name in self.__struct_fields__ if name != "reach"]
        both: dict[str, Any] = {name: max(getattr(self, name), getattr(other, name)) for name in numbers}
        reach = max(self.reach, other.reach, key=_REACHES.index)
        return ReplicaPolicy(**both | {"target": min(self.target, other.target), "reach": reach})


class DeploymentState(StrEnum):
    """How far reality has come towards the wish."""

    PENDING = "pending"  # written, not yet seen by any worker
    LOADING = "loading"  # some worker is loading a version
    READY = "ready"  # every worker serves the wished versions
    DEGRADED = "degraded"  # some worker serves it, but not all, or not all versions
    FAILED = "failed"  # no worker can serve it; the reason is given


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The name that clients call, unique in its workspace."""

    id: int
    workspace_id: int
    name: str
    targets: tuple[Target, ...]
    policy: dict[str, Any] = {}
    created_ns: int = 0
    updated_ns: int = 0
    revision: int = 1
    """Grows with each change; an edit that names an older one is refused."""


class ServedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version as workers need it: everything to load and run it."""

    id: int
    model: str
    number: int
    artifact: Artifact
    signature: Signature
    profile: Profile
    aliases: tuple[str, ...] = ()
    """Aliases that point at it now; TensorFlow Serving calls them labels."""
    metadata: dict[str, Any] = {}
    workspace_id: int = 0
    replicas: ReplicaPolicy | None = None
    """Where it runs in replica processes; None where it runs inside workers."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved target: which loaded version gets which share."""

    version_id: int
    weight: int


class ServedDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment with its targets resolved to versions."""

    id: int
    workspace_id: int
    name: str
    revision: int
    routes: tuple[Route, ...]
    """A version that only the policy names has the weight 0: it is loaded, and answers calls that name it."""
    policy: dict[str, Any] = {}
    references: dict[str, int] = {}
    """Versions that the policy names, as it writes them → their ids."""
