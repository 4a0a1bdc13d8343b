"""Refusals of a right, on their way into the audit log."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Why(StrEnum):
    """Which right was missing."""

    ACTION = "action"  # the key may not do that
    SCOPE = "scope"  # the key is for other deployments
    NETWORK = "network"  # the key is for other networks
    SIGN_IN = "sign-in"  # no password, or none that was right
    MORE = "more"  # others, of which there were too many to tell them apart


Same = tuple[int, str, Why, str]


class Refusal(msgspec.Struct, kw_only=True):
    """Refusals of one right to one caller in one place, counted from the first one that was not yet told."""

    workspace_id: int
    actor: str
    """As audit rows name it: ``key:1f3a9``."""
    why: Why
    place: str
    """The route that was asked, as the platform names it."""
    subject: str
    """What the first one asked for."""
    reason: str
    """What it was told."""
    address: str = ""
    """Where the first one came from."""
    request_id: str = ""
    first_ns: int = 0
    last_ns: int = 0
    count: int = 1

    @property
    def same(self) -> Same:
        """Refusals that agree in this are counted together. Nothing that the caller makes up is in it."""
        return self.workspace_id, self.actor, self.why, self.place

    def join(self, later: Refusal) -> None:
        """Counts later ones with it."""
        self.count += later.count
        self.first_ns, self.last_ns = min(self.first_ns, later.first_ns), max(self.last_ns, later.last_ns)


Entries = dict[Same, Refusal]


def gather(found: Entries, refusal: Refusal, most: int) -> None:
    """Takes a refusal in: one entry for each right, caller and place; beyond ``most``, one for each workspace that counts the rest."""
    if refusal.same not in found and len(found) >= most:
        refusal = msgspec.structs.replace(refusal, actor="", why=Why.MORE, place="", subject="", reason="", address="", request_id="")
    known = found.setdefault(refusal.same, refusal)
    if known is not refusal:
        known.join(refusal)
