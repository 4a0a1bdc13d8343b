"""Who calls over gRPC: address, certificate, and whether its network is admitted.

gRPC's library accepts connections itself, so networks are looked at with each call, where some are named.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc

from modelyard.core.access import Certificate
from modelyard.server.certificates import Certificates, certificate_of
from modelyard.server.entrance import Entrance
from modelyard.server.fronts.grpc_calls import FORBIDDEN, Context, conclude


class Caller(NamedTuple):
    """Who makes a call."""

    peer: str
    secure: bool
    certificate: Certificate | None


def introduce(entrance: Entrance) -> Callable[[Context, Mapping[bytes, bytes]], Caller]:
    """What makes a caller of a call's context and metadata; it ends the call of a caller who is not admitted."""
    rules, proxies = entrance.rules, entrance.proxies
    secure, certified = entrance.certificates is not None, entrance.asks_for_certificates

    def plainly(context: Context, _headers: Mapping[bytes, bytes]) -> Caller:
        return Caller(host_of(context.peer()), secure, None)

    def carefully(context: Context, headers: Mapping[bytes, bytes]) -> Caller:
        peer = host_of(context.peer())
        if not rules.admits(peer):
            conclude(FORBIDDEN, context)
        if proxies.trusts(peer):
            peer = proxies.client(headers, peer)
        return Caller(peer, secure, _shown(context) if certified else None)

    return carefully if rules or proxies or certified else plainly


def listen(server: Any, address: str, certificates: Certificates | None) -> int:
    """Adds the port to a server; 0 when it cannot be bound. New certificates are taken in with the next handshake after a change."""
    if certificates is None:
        return int(server.add_insecure_port(address))
    files, current = certificates.files, certificates.pems

    def configuration() -> Any:
        pems = certificates.pems
        return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], pems.client_ca)

    def changed() -> Any:
        nonlocal current
        certificates.refresh()
        if certificates.pems is current:
            return None
        current = certificates.pems
        return configuration()

    asked = files.client_ca is not None and files.required
    return int(server.add_secure_port(address, grpc.dynamic_ssl_server_credentials(configuration(), changed, asked)))


def host_of(peer: str) -> str:
    """``ipv4:10.0.0.1:1234`` and ``ipv6:%5B::1%5D:1234`` without what is not the address; ``unix`` for a Unix socket."""
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return "unix"
    return unquote(rest).rpartition(":")[0].strip("[]").removeprefix("::ffff:")


def _shown(context: Context) -> Certificate | None:
    for pem in context.auth_context().get("x509_pem_cert", ()):
        return _read(bytes(pem))
    return None


@lru_cache(1024)
def _read(pem: bytes) -> Certificate:
    return certificate_of(ssl.PEM_cert_to_DER_cert(pem.decode()))
