"""Carries out what a container contract's caller wants: models loaded by name from where they lie, and unloaded again.

The controller runs one host. A model that is loaded becomes a version and a deployment like any other, so all that holds for these
holds for it: the confined trial, the audit log, workers that follow the snapshot, usage records.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from modelyard.core.deployments import DeploymentState, Target
from modelyard.core.errors import ModelyardError, NotFound, Unavailable
from modelyard.core.events import Actor
from modelyard.core.hosting import NAME_TAG, URL_TAG, Came, Told, Verb, Wish
from modelyard.core.models import NAME, Reference, Version
from modelyard.registry.service import Registry
from modelyard.serving.deployments import DeploymentService
from modelyard.serving.hosting_files import HostingFiles
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

logger = logging.getLogger(__name__)
ACTOR = Actor(name="contract", workspace_id=DEFAULT_WORKSPACE_ID)
START_SECONDS = 300.0
"""How long workers may take to load a model that ran in its trial."""
GARBAGE_SECONDS = 3600.0
"""Age below which a file that no version names any more stays: somebody may be pushing it."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM})
_RETRY_S = 30.0

Bring = Callable[[Actor, str, str, Mapping[str, str]], Version]
"""Makes a version (of a model of this name, with these tags) of what lies at a path or URL; raises ModelyardError, OSError."""


@dataclass(frozen=True, kw_only=True)
class HostOptions:
    """Bounds of what is loaded."""

    memory_bytes: int
    """What all models together may take, over all processes."""
    workers: int
    """Each has a copy of a model that runs inside workers."""
    first: str = ""
    """Path or URL of a model that is loaded at once."""
    first_name: str = "model"


class ModelHost:
    """Answers wishes one after the other. ``step`` is called again and again by one thread."""

    def __init__(
        self,
        files: HostingFiles,
        bring: Bring,
        registry: Registry,
        deployments: DeploymentService,
        *,
        propagate: Callable[[], bool],
        options: HostOptions,
    ) -> None:
        self._files, self._bring, self._registry, self._deployments = files, bring, registry, deployments
        self._propagate, self._options = propagate, options
        self._first_at = 0.0 if options.first else float("inf")

    def step(self) -> None:
        """Looks for wishes once, and carries out those that are there."""
        if time.monotonic() >= self._first_at:
            self._load_first()
        for identity in self._files.pending():
            self._files.tell(identity, self._carry_out(self._files.wish(identity)))

    def _load_first(self) -> None:
        told = self._carry_out(Wish(verb=Verb.LOAD, name=self._options.first_name, url=self._options.first))
        if told.came in {Came.DONE, Came.THERE}:
            self._first_at = float("inf")
            return
        logger.warning("The container's model cannot be served, trying again in %g s: %s", _RETRY_S, told.message)
        self._first_at = time.monotonic() + _RETRY_S

    def _carry_out(self, wish: Wish) -> Told:
        name = deployment_name(wish.name)
        try:
            if wish.verb is Verb.UNLOAD:
                return self._unload(wish, name)
            return self._load(wish, name)
        except Unavailable as error:
            return Told(came=Came.LATER, message=error.message)
        except ModelyardError as error:
            return Told(came=Came.REFUSED, message=error.message)
        except OSError as error:
            reason = error.strerror or str(error)
            came = Came.NO_ROOM if error.errno in _NO_ROOM else Came.REFUSED
            return Told(came=came, message=f"The model at {wish.url[:200]!r} cannot be read: {reason}.")

    def _load(self, wish: Wish, name: str) -> Told:
        if self._known(name) is not None:
            return Told(came=Came.THERE, message=f"A model {wish.name!r} is loaded already.")
        lacking = self._lacking(wish, _size(wish.url) * self._options.workers)
        if lacking is not None:
            return lacking
        version = self._bring(ACTOR, name, wish.url, {NAME_TAG: wish.name, URL_TAG: wish.url})
        lacking = self._lacking(wish, self._cost(version))
        if lacking is not None:
            self._registry.delete_model(ACTOR, name)
            return lacking
        self._deployments.deploy(ACTOR, name, [Target(model=name, version=str(version.number))])
        reason = self._until_ready(name)
        if reason:
            self._remove(name)
            return Told(came=Came.REFUSED, message=f"The model {wish.name!r} ran in its trial and cannot be served: {reason}")
        return Told(came=Came.DONE)

    def _until_ready(self, name: str) -> str:
        """Waits until every worker serves it; why that cannot be, where it cannot."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            self._propagate()
            found = self._deployments.get(DEFAULT_WORKSPACE_ID, name)
            if found.state is DeploymentState.READY:
                return ""
            if found.state is DeploymentState.FAILED:
                return found.reason
            time.sleep(0.02)
        return f"it is not ready after {START_SECONDS:g} s"

    def _unload(self, wish: Wish, name: str) -> Told:
        found = self._known(name)
        if found is None or found.tags.get(NAME_TAG) != wish.name:
            return Told(came=Came.NOT_THERE, message=f"No model {wish.name!r} is loaded.")
        self._remove(name)
        return Told(came=Came.DONE)

    def _remove(self, name: str) -> None:
        self._deployments.undeploy(ACTOR, name)
        self._propagate()
        self._registry.delete_model(ACTOR, name)
        self._registry.collect_garbage(GARBAGE_SECONDS)

    def _known(self, name: str) -> Version | None:
        """The version behind a deployment, where there is one of this name."""
        try:
            found = self._deployments.get(DEFAULT_WORKSPACE_ID, name)
            return self._registry.version(DEFAULT_WORKSPACE_ID, Reference(found.targets[0].model, found.targets[0].version))
        except (NotFound, IndexError):
            return None

    def _lacking(self, wish: Wish, bytes_needed: int) -> Told | None:
        """The refusal of a model that does not fit beside those that are there."""
        used = 0
        for deployment in self._deployments.list(DEFAULT_WORKSPACE_ID):
            found = self._known(deployment.name)
            used += self._cost(found) if found is not None else 0
        if used + bytes_needed <= self._options.memory_bytes:
            return None
        return Told(
            came=Came.NO_ROOM,
            message=f"The model {wish.name!r} takes about {bytes_needed} bytes beside the {used} of those that are loaded, which is more "
            f"than the {self._options.memory_bytes} that models may take; unload some.",
        )

    def _cost(self, version: Version) -> int:
        each = max(version.profile.memory_bytes, version.artifact.size)
        return each * (self._options.workers if version.profile.inline else 1)


def deployment_name(given: str) -> str:
    """The deployment of a model of the contract: its own name where that can name one, otherwise one made of it."""
    return given if NAME.fullmatch(given) else f"model-{sha256(given.encode()).hexdigest()[:24]}"


def _size(url: str) -> int:
    """Bytes of the files at a path; 0 where that is to be found out."""
    path = Path(url)
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else 0
