"""Addresses of callers and of listeners: networks, and URLs of Unix sockets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from modelyard.core.errors import InvalidRequest

Network = IPv4Network | IPv6Network
UNIX = "unix"
"""The address of whoever calls through a Unix socket, whose file decides who may."""
_LONGEST_CHAIN = 32


def networks(text: str, source: str) -> tuple[Network, ...]:
    """Networks from text with commas, like ``10.0.0.0/8, 2001:db8::/32``; an address is a network of one.

    Raises InvalidRequest that names ``source``.
    """
    found = []
    for part in text.replace(",", " ").split():
        try:
            found.append(ip_network(part))
        except ValueError as error:
            raise InvalidRequest(f"{source} has {part!r}, which is no network: {error}; write 10.0.0.0/8 or 2001:db8::/32.") from None
    return tuple(found)


class NetworkRules:
    """Who may connect: nobody of ``denied``; of others everybody, or, where ``allowed`` names some, those only."""

    def __init__(self, allowed: Iterable[Network] = (), denied: Iterable[Network] = ()) -> None:
        self._allowed, self._denied = tuple(allowed), tuple(denied)
        self.admits = lru_cache(4096)(self._admits)
        """Whether an address may connect."""

    def __bool__(self) -> bool:
        return bool(self._allowed or self._denied)

    def _admits(self, address: str) -> bool:
        if address == UNIX:
            return True
        return not within(address, self._denied) and (not self._allowed or within(address, self._allowed))


class Proxies:
    """Which callers are proxies whose word on the client's address is taken; ``unix`` among them means Unix sockets."""

    def __init__(self, text: str, source: str) -> None:
        names = text.replace(",", " ").split()
        self._unix = UNIX in names
        self._networks = networks(" ".join(name for name in names if name != UNIX), source)
        self.trusts = lru_cache(4096)(self._trusts)
        """Whether the caller at an address is such a proxy."""

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def _trusts(self, address: str) -> bool:
        return self._unix if address == UNIX else within(address, self._networks)

    def client(self, headers: Mapping[bytes, bytes], peer: str) -> str:
        """The address of the client for whom ``peer`` calls, which is trusted: the last one in the chain that no trusted proxy has.

        Each proxy adds the address that it was called from, so what stands before an untrusted one may be made up. A part that is no
        address ends the chain.
        """
        for part in reversed(_chain(headers)):
            address = _address(part)
            if not address:
                return peer
            peer = address
            if not self.trusts(address):
                return address
        return peer

    @staticmethod
    def scheme(headers: Mapping[bytes, bytes]) -> str:
        """What a proxy that is trusted says its client speaks with it, ``http`` or ``https``; empty when it says neither."""
        forwarded = headers.get(b"forwarded")
        if forwarded is not None:
            said = _pair(_last(forwarded.decode("latin-1")), "proto")
        else:
            said = _last(headers.get(b"x-forwarded-proto", b"").decode("latin-1"))
        said = said.strip().lower()
        return said if said in {"http", "https"} else ""


def _last(text: str) -> str:
    """What the proxy nearest to us has added to a list."""
    return text.rpartition(",")[2]


def within(address: str, those: Iterable[Network]) -> bool:
    """Whether an address is in one of some networks; text that is no address is in none.

    An IPv4 caller of a listener for both kinds (``::ffff:10.0.0.1``) is what it is without the prefix.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in those)


def _chain(headers: Mapping[bytes, bytes]) -> list[str]:
    """Addresses from ``Forwarded`` (RFC 7239), or else ``X-Forwarded-For``, farthest first."""
    forwarded = headers.get(b"forwarded")
    if forwarded is not None:
        elements = forwarded.decode("latin-1").split(",")[-_LONGEST_CHAIN:]
        return [_pair(element, "for") for element in elements]
    value = headers.get(b"x-forwarded-for")
    return value.decode("latin-1").split(",")[-_LONGEST_CHAIN:] if value else []


def _pair(element: str, wanted: str) -> str:
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == wanted:
            return value.strip('"')
    return ""


def _address(text: str) -> str:
    """An address without port and brackets; empty for anything else, such as ``unknown``."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return ""
    return str(found.ipv4_mapped or found) if isinstance(found, IPv6Address) else str(found)


def socket_path(url: str) -> str:
    """The path of ``unix:/path``; empty for other URLs."""
    return url.removeprefix("unix:") if url.startswith("unix:") else ""
