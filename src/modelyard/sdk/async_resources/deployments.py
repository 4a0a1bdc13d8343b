"""The names that clients call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard.core.api import DeploymentView, LogChunk
from modelyard.core.deployments import DeploymentState, Target
from modelyard.core.errors import DeadlineExceeded, NotFound, Unavailable
from modelyard.core.rollout import RolloutView
from modelyard.sdk.async_resources.models import AsyncModels
from modelyard.sdk.async_transport import AsyncTransport
from modelyard.sdk.files import is_file_or_folder, model_name_for, quoted, target_of
from modelyard.sdk.waiting import async_sleep


class AsyncDeployments:
    """What is served."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> list[DeploymentView]:
        return await self._transport.fetch(list[DeploymentView], "GET", "/api/v1/deployments")

    async def get(self, name: str) -> DeploymentView:
        return await self._transport.fetch(DeploymentView, "GET", f"/api/v1/deployments/{quoted(name)}")

    async def put(
        self,
        name: str,
        targets: Sequence[Target | str],
        *,
        policy: Mapping[str, Any] | None = None,
        revision: int = 0,
        accept_flagged: bool = False,
    ) -> DeploymentView:
        """Makes the deployment ``name`` route to ``targets``; with ``revision``, only if nobody changed it since.

        A version that was flagged beside the one it was optimized from is refused unless ``accept_flagged``.
        """
        body: dict[str, Any] = {
            "targets": [msgspec.to_builtins(_target(target)) for target in targets],
            "policy": None if policy is None else dict(policy),
            "revision": revision,
        }
        if accept_flagged:
            body["accept_flagged"] = True
        return await self._transport.fetch(DeploymentView, "PUT", f"/api/v1/deployments/{quoted(name)}", json=body)

    async def policy(self, name: str) -> dict[str, Any]:
        """The policy of ``name``; empty where there is none, or no such deployment."""
        try:
            return dict((await self.get(name)).policy)
        except NotFound:
            return {}

    async def with_steps(
        self, name: str, *, before: Sequence[str | Path] = (), after: Sequence[str | Path] = (), policy: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """A policy with Python functions before and after the targets of ``name``: its own, or ``policy`` where that is given.

        Each is a version (``clean@1``), or a Python file or folder, which is pushed as a model called after the deployment and the file;
        pushing what is there already gives the version that is there. Gives ``policy`` itself when there is nothing to add.
        """
        if not before and not after:
            return None if policy is None else dict(policy)
        found = await self.policy(name) if policy is None else dict(policy)
        models = AsyncModels(self._transport)
        for place, steps in (("before", before), ("after", after)):
            if steps:
                found[place] = [await _step(models, name, str(step)) for step in steps]
        return found

    async def delete(self, name: str) -> None:
        """Stops serving ``name``; calls that are under way are answered."""
        await self._transport.fetch(type(None), "DELETE", f"/api/v1/deployments/{quoted(name)}")

    async def log(self, name: str, version: str = "", offset: int = 0) -> LogChunk:
        """What the replica processes of a version (``model@number``; the first one by default) wrote from ``offset`` on."""
        params = {"version": version, "offset": offset}
        return await self._transport.fetch(LogChunk, "GET", f"/api/v1/deployments/{quoted(name)}/log", params=params)

    async def rollout(self, name: str) -> RolloutView:
        """Where its versions stand against each other, and what its rules would do now."""
        return await self._transport.fetch(RolloutView, "GET", f"/api/v1/deployments/{quoted(name)}/rollout")

    async def decide(self, name: str, step: Literal["promote", "roll-back"]) -> RolloutView:
        """Ends a rollout by hand, whatever its rules say."""
        return await self._transport.fetch(RolloutView, "POST", f"/api/v1/deployments/{quoted(name)}/rollout", json={"step": step})

    async def wait(self, name: str, *, timeout: float = 60.0, every: float = 0.1) -> DeploymentView:
        """The deployment once every worker serves it.

        Raises Unavailable when it cannot be served, DeadlineExceeded after ``timeout`` seconds; it goes on loading.
        """
        until = time.monotonic() + timeout
        while True:
            found = await self.get(name)
            if found.state is DeploymentState.READY:
                return found
            if found.state is DeploymentState.FAILED:
                raise Unavailable(f"Deployment {name!r} cannot be served: {found.reason or 'see the server log'}")
            if time.monotonic() >= until:
                why = f" ({found.reason})" if found.reason else ""
                raise DeadlineExceeded(f"Deployment {name!r} is still {found.state}{why} after {timeout:g} seconds; see: modelyard status")
            await async_sleep(every)


async def _step(models: AsyncModels, name: str, step: str) -> str:
    """The reference of a step, which is pushed where it is a file or folder."""
    if not is_file_or_folder(step):
        return step
    path = Path(step)
    return (await models.push(path, f"{name}-{model_name_for(path)}"[:63].strip("-._"))).reference


def _target(target: Target | str) -> Target:
    return target if isinstance(target, Target) else target_of(target)
