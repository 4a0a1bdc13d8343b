"""Who calls: the key in the headers, and the grant it resolves to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_network
from typing import Protocol
from urllib.parse import unquote

from modelyard.core.access import Certificate, Grant
from modelyard.core.addresses import within
from modelyard.core.bindings import digests_of
from modelyard.core.clock import Clock, SystemClock
from modelyard.core.errors import MissingKey, PermissionDenied, Unauthenticated

LONGEST_KEY = 512
"""Longer secrets are refused unread; an admin key given from outside may be as long."""
_QUERY_NAMES = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token"})
_OWN_KEY = "my_"
_HOW = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
_UNKNOWN = "The key is not valid: it is unknown, revoked or expired. Check it, or ask whoever runs this server for a new one."


class WrongNetwork(PermissionDenied):
    """A valid key, from where it may not be used."""

    def __init__(self, grant: Grant, peer: str) -> None:
        super().__init__(f"Key {grant.public_id!r} may not be used from {peer[:60]!r}; call from a network that it is made for.")
        self.grant = grant
        """The key's."""


class Grants(Protocol):
    """Where grants are found: a worker's snapshot, or the controller's database."""

    def grant(self, digest: bytes) -> Grant | None:
        """The grant of the key with this SHA-256, compared in constant time; it may have expired. None when there is none."""

    @property
    def seen_ns(self) -> int:
        """A wall-clock time that has surely passed; 0 when none is known. Keeps an expired key dead over a restart."""


class Authenticator:
    """Finds out who calls. May be used from several threads when its ``grants`` may."""

    def __init__(self, grants: Grants, clock: Clock | None = None) -> None:
        self._grants = grants
        self._time_ns = (clock or SystemClock()).time_ns
        self._latest_ns = 0

    def authenticate(self, headers: Mapping[bytes, bytes], query: str, peer: str) -> Grant:
        """The grant of the key in the headers (names in lower case, repeated fields joined by ``, ``) of a call from ``peer``.

        Raises Unauthenticated when there is no key, it is not valid, several differ, or one stands in the query string;
        PermissionDenied when the key is for other networks.
        """
        if query and _key_in_query(query):
            raise Unauthenticated(f"A key in the address ends up in logs and histories, so it is refused; {_HOW}, and replace that key.")
        secret = headers.get(b"authorization")
        if secret is not None:
            secret = secret[7:] if secret[:7] == b"Bearer " else _bearer(secret)
            if b"x-api-key" in headers or b"api-key" in headers:
                _only_one(secret, headers)
        else:
            secret = _bare_key(headers)
        if len(secret) > LONGEST_KEY:
            raise Unauthenticated(f"The key is longer than {LONGEST_KEY} bytes; {_HOW}.")
        grant = self._grants.grant(sha256(secret).digest())
        if grant is None:
            raise Unauthenticated(_UNKNOWN)
        self.check(grant, peer)
        return grant

    def check(self, grant: Grant, peer: str, seen_ns: int = 0) -> None:
        """Whether a grant is valid now, and from ``peer``; ``seen_ns`` is a wall-clock time that has surely passed. Raises as above."""
        # A clock that is set back must not bring an expired key to life again.
        now = max(self._time_ns(), self._latest_ns, seen_ns)
        self._latest_ns = now
        if grant.expires_ns and grant.expires_ns <= max(now, self._grants.seen_ns):
            raise Unauthenticated(_UNKNOWN)
        if grant.networks and not reachable_from(grant.networks, peer):
            raise WrongNetwork(grant, peer)

    def certified(self, certificate: Certificate, peer: str) -> Grant | None:
        """The grant of the valid key that a client's certificate stands for, where there is one that may be used from ``peer``."""
        now = self._latest_ns = max(self._time_ns(), self._latest_ns)
        for digest in digests_of(certificate):
            grant = self._grants.grant(digest)
            if grant is not None and not 0 < grant.expires_ns <= max(now, self._grants.seen_ns):
                return grant if not grant.networks or reachable_from(grant.networks, peer) else None
        return None


@lru_cache(4096)
def reachable_from(networks: tuple[str, ...], peer: str) -> bool:
    """Whether an address lies in one of some networks; what is no address, like a Unix socket, lies in none."""
    return within(peer, map(ip_network, networks))


def _bearer(value: bytes) -> bytes:
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() != b"bearer" or not rest:
        raise Unauthenticated(f"The Authorization header must be 'Bearer KEY'; {_HOW}.")
    return rest


def _bare_key(headers: Mapping[bytes, bytes]) -> bytes:
    secret = headers.get(b"x-api-key")
    other = headers.get(b"api-key")
    if secret is None:
        secret = other
    elif other is not None and other != secret:
        raise _several()
    if not secret:
        raise MissingKey(f"This needs a key; {_HOW}.")
    return secret


def _only_one(secret: bytes, headers: Mapping[bytes, bytes]) -> None:
    if _bare_key(headers) != secret:
        raise _several()


def _several() -> Unauthenticated:
    return Unauthenticated("Several different keys came in the headers of one request; send one.")


def _key_in_query(query: str) -> bool:
    """Whether a parameter is one that people put keys into, or any value looks like a key of ours."""
    for pair in query.replace(";", "&").split("&"):
        name, _, value = pair.partition("=")
        if not value:
            continue
        if unquote(name).lower() in _QUERY_NAMES or unquote(value).startswith(_OWN_KEY):
            return True
    return False
