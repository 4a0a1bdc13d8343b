"""How the client talks to servers: whom it trusts, what it shows, and Unix sockets as addresses."""

from __future__ import annotations

import os
import ssl

from modelyard.core.addresses import socket_path
from modelyard.core.errors import InvalidRequest

_SUFFIX = ".socket"


def tls() -> ssl.SSLContext:
    """Trusts the authorities in the file MODELYARD_CA, or those of the system; shows the certificate in MODELYARD_CERTIFICATE, whose
    key is in MODELYARD_CERTIFICATE_KEY or in the same file.

    Raises InvalidRequest for files that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=os.environ.get("MODELYARD_CA") or None)
    except OSError as error:
        raise InvalidRequest(f"MODELYARD_CA cannot be read as PEM certificates: {error.strerror or error}.") from error
    certificate = os.environ.get("MODELYARD_CERTIFICATE")
    if certificate:
        try:
            context.load_cert_chain(certificate, os.environ.get("MODELYARD_CERTIFICATE_KEY") or None, password="")
        except OSError as error:
            raise InvalidRequest(
                f"MODELYARD_CERTIFICATE and MODELYARD_CERTIFICATE_KEY cannot be used: {error.strerror or error}."
            ) from error
    return context


def address(url: str) -> str:
    """A URL as HTTP has it: ``unix:/path`` becomes a host that stands for the path."""
    path = socket_path(url)
    return f"http://{path.encode().hex()}{_SUFFIX}" if path else url


def socket_of(host: str) -> str:
    """The path of the Unix socket that such a host stands for; empty for any other host."""
    if not host.endswith(_SUFFIX):
        return ""
    try:
        return bytes.fromhex(host.removesuffix(_SUFFIX)).decode()
    except ValueError:
        return ""


def shown(url: str) -> str:
    """The URL as people write it."""
    path = socket_of(url.removeprefix("http://"))
    return f"unix:{path}" if path else url
