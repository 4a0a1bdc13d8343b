"""Whom a client talks to: arguments first, then the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from modelyard.core.errors import InvalidRequest
from modelyard.sdk.trust import address as as_http

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """Where the platform is, and as whom to call it."""

    url: str
    key: str
    workspace: str = ""
    """For callers who may act in several; empty for the key's own."""
    inference_url: str
    """Empty to ask the management API."""
    timeout: float
    """Seconds for one answer to begin, or one piece of it to arrive."""
    retries: int
    """How often a call that may be repeated is tried again."""


def client_settings(
    url: str | None,
    key: str | None,
    *,
    workspace: str | None = None,
    inference_url: str | None = None,
    timeout: float = 60.0,
    retries: int = 3,
) -> ClientSettings:
    """Fills in what was not given from MODELYARD_URL, MODELYARD_KEY, MODELYARD_WORKSPACE and MODELYARD_INFERENCE_URL.

    Raises InvalidRequest for an address that is neither http, https nor a Unix socket.
    """
    chosen = (url or os.environ.get("MODELYARD_URL") or DEFAULT_URL).rstrip("/")
    inference = (inference_url or os.environ.get("MODELYARD_INFERENCE_URL") or "").rstrip("/")
    for address in filter(None, (chosen, inference)):
        if not address.startswith(("http://", "https://", "unix:/")):
            raise InvalidRequest(f"{address!r} is not an address of a Modelyard server; it must begin with http://, https:// or unix:/.")
    secret = key if key is not None else os.environ.get("MODELYARD_KEY", "")
    place = workspace if workspace is not None else os.environ.get("MODELYARD_WORKSPACE", "")
    return ClientSettings(
        url=as_http(chosen), key=secret.strip(), workspace=place.strip(), inference_url=as_http(inference), timeout=timeout, retries=retries
    )
