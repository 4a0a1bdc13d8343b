"""Shares: a deployment of one workspace that another one's keys may call."""

from __future__ import annotations

from enum import StrEnum

import msgspec

SEPARATOR = "~"
"""Between the owner's name and the deployment's. No name may hold it, and every protocol's path and model name can."""
LONGEST = 127
"""Characters that the name of a shared deployment may have: two names, and what stands between them."""


def shared_name(owner: str, deployment: str) -> str:
    """What the other workspace calls the deployment."""
    return f"{owner}{SEPARATOR}{deployment}"


def share_subject(deployment: str, borrower: str) -> str:
    """What a limit on one workspace's calls of a shared deployment is for, as its owner says it."""
    return f"{deployment}/{borrower}"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A share as stored. Kept when it has ended, so that old bills can say what was called."""

    id: int
    workspace_id: int
    """The owner's."""
    deployment_id: int
    deployment: str
    """What the owner calls it."""
    borrower_id: int
    """The workspace whose keys may call it."""
    name: str
    """What the borrower calls it: fixed when it is shared, whatever is renamed later."""
    created_by: str = ""
    created_ns: int = 0
    ended_ns: int = 0
    """0 while it holds."""


class ServedShare(msgspec.Struct, frozen=True, kw_only=True):
    """A share as workers need it."""

    id: int
    borrower_id: int
    name: str
    deployment_id: int


class Direction(StrEnum):
    """From whom to whom."""

    GIVEN = "given"  # this workspace's deployment, for another one
    RECEIVED = "received"  # another one's deployment, for this workspace


class ShareView(msgspec.Struct, frozen=True, kw_only=True):
    """A share as one of its two workspaces sees it."""

    direction: Direction
    deployment: str
    """The name in this workspace: what its own keys call."""
    workspace: str
    """The other one."""
    name: str
    """What the borrower calls."""
    created_by: str = ""
    """Told to the owner only."""
    created_ns: int = 0
