"""Webhooks as the Standard Webhooks specification says: what is signed, and which addresses are safe to call.

Workers check URLs with this, so it imports no HTTP client.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from modelyard.core.errors import InvalidRequest

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA = frozenset(
    {ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("168.63.129.16")}
)
"""Where clouds answer a machine about itself, beside the link-local addresses."""
_MAX_URL = 2000


@dataclass(frozen=True, kw_only=True)
class WebhookPolicy:
    """Which addresses webhooks may go to, and how long they may take."""

    allow_link_local: bool = False
    """Link-local addresses and those of cloud metadata services."""
    allow_loopback: bool = False
    """This machine itself."""
    timeout_seconds: float = 10.0

    def permits(self, address: _Address) -> bool:
        """Whether a webhook may be sent to ``address``."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback:
            return self.allow_loopback
        if address.is_link_local or address in _METADATA:
            return self.allow_link_local
        return not (address.is_unspecified or address.is_multicast)


def check_url(url: str, policy: WebhookPolicy) -> SplitResult:
    """The parts of a webhook's URL; looks at the text only and resolves no name.

    Raises InvalidRequest that says what is wrong.
    """
    if len(url) > _MAX_URL:
        raise InvalidRequest(f"The webhook's URL is longer than {_MAX_URL} characters.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidRequest("The webhook's URL cannot be read; give one like https://example.org/hook.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidRequest("The webhook's URL must begin with http:// or https:// and name a host.")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidRequest("The webhook's URL has characters that must be percent-encoded.")
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest("The webhook's URL may not carry a user name or password.")
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return parts
    if not policy.permits(literal):
        raise InvalidRequest(f"The webhook's address {host} is not allowed: it is link-local, of a metadata service or of this machine.")
    return parts


def resolve(parts: SplitResult, policy: WebhookPolicy) -> list[str]:
    """The addresses to connect to, instead of the name, which could lead elsewhere a moment later. All of them must be allowed.

    Raises InvalidRequest for an address that is not allowed, OSError when the name has none.
    """
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        if not policy.permits(ipaddress.ip_address(address.partition("%")[0])):
            raise InvalidRequest(f"The webhook's host {host!r} has the address {address}, which is not allowed.")
    return list(dict.fromkeys(found))


def signature_headers(secret: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers by which a receiver knows the sender, the message and its age."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digest = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{digest}"}
