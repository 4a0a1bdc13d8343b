"""TLS of the listeners: contexts that follow their files, and who a client's certificate says it is.

Files are looked at now and then, without a notification service. A new pair serves the handshakes that begin after it; a broken one is
logged once and the old one stays.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from modelyard.core.access import Certificate
from modelyard.core.errors import InvalidRequest

logger = logging.getLogger(__name__)
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; those of 1.3 are all good."""
_Marks = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """Where a listener's certificates are, as PEM."""

    certificate: Path
    """With intermediate certificates after it."""
    key: Path
    client_ca: Path | None = None
    """Whose certificates clients may show; None asks for none."""
    required: bool = True
    """Whether clients without a certificate are refused."""


@dataclass(frozen=True)
class Pems:
    """Contents of the files."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The current certificates of the listeners that share some files.

    Raises InvalidRequest when they cannot be used. ``refresh`` belongs to one thread; the attributes may be read from any.
    """

    def __init__(self, files: TlsFiles, protocols: tuple[str, ...] = ("http/1.1",)) -> None:
        self.files = files
        self._protocols = protocols
        self._marks = _marks(files)
        try:
            self.pems = _read(files)
            self.context = self._build()
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"The listener's certificate cannot be used: {_reason(files, error)}") from None

    def refresh(self) -> bool:
        """Takes in files that have changed; whether there are new ones. Never raises: what cannot be used is logged."""
        try:
            marks = _marks(self.files)
            if marks == self._marks:
                return False
            self._marks = marks
            pems, context = _read(self.files), self._build()
            if _marks(self.files) != marks:
                self._marks = ()  # they change this moment
                return False
        except (OSError, ValueError) as error:
            logger.error("The new certificate is not used, the one before stays: %s", _reason(self.files, error))  # noqa: TRY400
            return False
        self.pems, self.context = pems, context
        logger.info("The listener's certificate was replaced", extra={"certificate": str(self.files.certificate)})
        return True

    def following(self) -> ssl.SSLContext:
        """A context for servers that keep theirs: each handshake goes on with the current one."""
        outer = self._build()

        def switch(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self.context

        outer.sni_callback = switch
        return outer

    def _build(self) -> ssl.SSLContext:
        files = self.files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(list(self._protocols))
        # An empty password, so that an encrypted key is refused and nobody is asked on a terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if files.required else ssl.CERT_OPTIONAL
        return context


def shown_by(transport: Any) -> Certificate | None:
    """The certificate that the client of a TLS connection showed and that was verified."""
    tls = transport.get_extra_info("ssl_object")
    encoded = tls.getpeercert(binary_form=True) if tls is not None else None
    return certificate_of(encoded) if encoded else None


def certificate_of(encoded: bytes) -> Certificate:
    """What a certificate (DER) says of its holder."""
    from cryptography import x509  # costs memory, and is needed only where clients show certificates

    subject = x509.load_der_x509_certificate(encoded).subject.rfc4514_string()
    return Certificate(fingerprint=sha256(encoded).hexdigest(), subject=subject)


Showing = Callable[[Any], Certificate | None]
"""Reads the client's certificate off a transport."""


def _read(files: TlsFiles) -> Pems:
    return Pems(files.certificate.read_bytes(), files.key.read_bytes(), files.client_ca.read_bytes() if files.client_ca else None)


def _marks(files: TlsFiles) -> _Marks:
    found = [path.stat() for path in (files.certificate, files.key, files.client_ca) if path is not None]
    return tuple([(state.st_mtime_ns, state.st_size, state.st_ino) for state in found])


def _reason(files: TlsFiles, error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        named = f"{files.certificate}, {files.key}" + (f" and {files.client_ca}" if files.client_ca else "")
        what = error.reason or str(error)
        return f"{named} do not fit together or are no PEM without password ({what})."
    if isinstance(error, OSError):
        return f"{error.filename or files.certificate}: {error.strerror}."
    return f"{error}."
