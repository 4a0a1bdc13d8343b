"""What a key may be made for: nothing without sense, and nothing that whoever asks does not hold."""

from __future__ import annotations

import math
from ipaddress import ip_network

import msgspec

from modelyard.core.access import Action, Grant, Key
from modelyard.core.durations import LONGEST
from modelyard.core.errors import InvalidRequest, PermissionDenied

LONGEST_OVERLAP = 90 * 86400.0
MOST_NETWORKS = 64


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to issue."""

    label: str = ""
    actions: tuple[Action, ...] = (Action.INFER,)
    deployments: tuple[str, ...] = ()
    """Names it may call; empty for every deployment of the workspace."""
    networks: tuple[str, ...] = ()
    """Where it may be used from, like ``10.0.0.0/8``; empty for everywhere."""
    expires_seconds: float = 0.0
    """From now; 0 for never. ``core.durations.parse_expiry`` reads what people write."""
    principal: str = ""
    """The member whose key it is; empty for whoever asks."""


def check_new(new: NewKey) -> None:
    """Raises InvalidRequest for what no key can be."""
    if not new.actions:
        raise InvalidRequest("A key needs at least one action, like 'infer'.")
    if len(new.label) > 200 or not new.label.isprintable():
        raise InvalidRequest("A key's label has at most 200 printable characters.")
    if not math.isfinite(new.expires_seconds) or not 0 <= new.expires_seconds <= LONGEST:
        raise InvalidRequest("A key expires after a positive time of at most a hundred years, or never (0).")
    if len(new.networks) > MOST_NETWORKS:
        raise InvalidRequest(f"A key names at most {MOST_NETWORKS} networks; join some of them.")
    for network in new.networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise InvalidRequest(f"{network[:60]!r} is no network ({error}); write it like 10.0.0.0/8 or 2001:db8::/32.") from None


def check_overlap(seconds: float) -> None:
    """Raises InvalidRequest for a time in which two secrets of a key cannot both be valid."""
    if not math.isfinite(seconds) or not 0 <= seconds <= LONGEST_OVERLAP:
        raise InvalidRequest(f"The secret before stays valid for 0 to {LONGEST_OVERLAP / 86400:.0f} days, like 24h.")


def check_within(new: NewKey, grant: Grant, now_ns: int) -> None:
    """Raises PermissionDenied when ``new`` could do, call, be used from or outlast what the holder of ``grant`` cannot."""
    more = set(new.actions) - grant.actions
    if more:
        raise PermissionDenied(f"A key can only hand out its own rights; yours lacks {', '.join(sorted(more))}.")
    if grant.deployments and not (new.deployments and grant.deployments.issuperset(new.deployments)):
        raise PermissionDenied(f"Your key is for {', '.join(sorted(grant.deployments))} only; name deployments among them.")
    if grant.networks and not (new.networks and all(_inside(network, grant.networks) for network in new.networks)):
        raise PermissionDenied(f"Your key is for use from {', '.join(grant.networks)} only; name networks inside of them.")
    if grant.expires_ns and not 0 < new.expires_seconds <= (grant.expires_ns - now_ns) / 1e9:
        raise PermissionDenied("Your key expires; a key that it creates must expire no later.")


def check_reach(key: Key, grant: Grant) -> None:
    """Raises PermissionDenied for a key that may do or call what the holder of ``grant`` may not: it is not the holder's to change."""
    covered = not grant.deployments or (key.deployments and grant.deployments.issuperset(key.deployments))
    if not covered or not grant.actions.issuperset(key.actions):
        raise PermissionDenied(f"Key {key.public_id!r} has rights that yours lacks, so it is not yours to change; ask whoever holds them.")


def check_lent(key: Key, grant: Grant) -> None:
    """The same, and for a key that may be used from where the holder of ``grant`` may not, or outlasts it.

    For what lets somebody use the key: another secret of it, or a certificate that stands for it.
    """
    check_reach(key, grant)
    if grant.networks and not (key.networks and all(_inside(network, grant.networks) for network in key.networks)):
        raise PermissionDenied(
            f"Key {key.public_id!r} may be used from elsewhere than {', '.join(grant.networks)}, and yours may not; use one that may."
        )
    if grant.expires_ns and not 0 < key.expires_ns <= grant.expires_ns:
        raise PermissionDenied(f"Key {key.public_id!r} outlasts yours, which expires; use one that lasts as long.")


def _inside(network: str, those: tuple[str, ...]) -> bool:
    inner = ip_network(network)
    return any(inner.version == outer.version and inner.subnet_of(outer) for outer in map(ip_network, those))  # type: ignore[arg-type]
