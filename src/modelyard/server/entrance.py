"""The way into a listener: which networks may connect, what is spoken on the connection, and whose word on addresses is taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modelyard.core.addresses import NetworkRules, Proxies, networks
from modelyard.core.errors import InvalidRequest
from modelyard.server.certificates import Certificates, TlsFiles
from modelyard.server.settings import PREFIX, Settings

LISTENERS = ("inference", "grpc", "management")


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """Of one listener. All of it is looked at when a connection is accepted, nothing with each call."""

    rules: NetworkRules = field(default_factory=NetworkRules)
    proxies: Proxies = field(default_factory=lambda: Proxies("", ""))
    certificates: Certificates | None = None
    """None where plain text is spoken."""
    handshake_seconds: float = 10.0
    most_handshakes: int = 1024
    """Handshakes under way at the same time; more connections are closed at once."""

    @property
    def asks_for_certificates(self) -> bool:
        return self.certificates is not None and self.certificates.files.client_ca is not None


OPEN = Entrance()
"""Admits everybody and speaks plain text: for a listener that others cannot reach."""


def entrance(settings: Settings, listener: str) -> Entrance:
    """That of ``inference``, ``grpc`` or ``management``. Raises InvalidRequest for settings that cannot be used."""
    which = "management_" if listener == "management" else ""
    files = tls_files(settings, listener)
    names = (f"{which}allow_networks", f"{which}deny_networks")
    lists = [networks(getattr(settings, name), PREFIX + name.upper()) for name in names]
    return Entrance(
        rules=NetworkRules(*lists),
        proxies=Proxies(settings.trusted_proxies, f"{PREFIX}TRUSTED_PROXIES"),
        certificates=Certificates(files, ("h2",) if listener == "grpc" else ("http/1.1",)) if files is not None else None,
        handshake_seconds=settings.tls_handshake_seconds,
        most_handshakes=max(16, settings.max_connections // 4),
    )


def tls_files(settings: Settings, listener: str) -> TlsFiles | None:
    """The files of a listener that speaks TLS."""
    if not settings.tls_certificate or listener not in _named(settings.tls_listeners, "TLS_LISTENERS"):
        return None
    asked = settings.tls_client_ca and listener in _named(settings.tls_client_listeners, "TLS_CLIENT_LISTENERS")
    return TlsFiles(
        certificate=Path(settings.tls_certificate),
        key=Path(settings.tls_key or settings.tls_certificate),
        client_ca=Path(settings.tls_client_ca) if asked else None,
        required=settings.tls_clients == "required",
    )


def needs_private_way(settings: Settings) -> bool:
    """Whether the controller could not simply call the inference listener as anybody else on this machine does."""
    return bool(tls_files(settings, "inference") or settings.allow_networks or settings.deny_networks or settings.socket)


def check(settings: Settings) -> None:
    """Raises InvalidRequest when some listener could not be opened with these settings; the certificate is read by way of trial."""
    if not settings.tls_certificate and (settings.tls_key or settings.tls_client_ca):
        raise InvalidRequest(f"{PREFIX}TLS_KEY and {PREFIX}TLS_CLIENT_CA need {PREFIX}TLS_CERTIFICATE, the file of the certificate.")
    for listener in LISTENERS:
        entrance(settings, listener)
    if set(settings.socket_mode) - set("01234567") or len(settings.socket_mode) not in (3, 4):
        raise InvalidRequest(f"{PREFIX}SOCKET_MODE is {settings.socket_mode!r}; write the rights of the socket's file in octal, like 660.")


def _named(text: str, setting: str) -> set[str]:
    names = set(text.replace(",", " ").split())
    unknown = names.difference(LISTENERS)
    if unknown:
        raise InvalidRequest(f"{PREFIX}{setting} names {min(unknown)!r}; listeners are {', '.join(LISTENERS)}.")
    return names
