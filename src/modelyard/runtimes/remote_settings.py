"""``remote.json``: where a model is computed that somebody else serves."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from modelyard.core.errors import InvalidArtifact, InvalidRequest
from modelyard.core.signature import Signature
from modelyard.core.unreadable import UNREADABLE


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place that computes it."""

    url: str
    """Of the protocol's root: ``https://api.example.com/v1``, or ``http://host:8000`` for Open Inference."""
    model: str
    """Its name there."""
    sealed_key: str = ""
    """What ``modelyard seal URL`` printed for its key; empty where it needs none."""

    @property
    def origin(self) -> str:
        """Scheme, host and port: whom the key may be shown to."""
        return origin_of(self.url)


class RemoteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    protocol: Literal["openai", "open_inference"]
    endpoints: Annotated[tuple[Endpoint, ...], Meta(min_length=1, max_length=16)]
    """In the order in which they are tried."""
    signature: Signature | None = None
    """Of an Open Inference model."""
    connect_seconds: Annotated[float, Meta(gt=0)] = 5.0
    timeout_seconds: Annotated[float, Meta(gt=0)] = 120.0
    """Between two signs of life of one attempt."""
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """Attempts after the first one, over all endpoints; none is made once something of an answer was given."""
    retry_budget: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Retries that all calls together may make, as a share of the calls, so that an outage is not made worse."""
    breaker_failures: Annotated[int, Meta(ge=1)] = 5
    """Failures in a row after which an endpoint is left alone."""
    breaker_seconds: Annotated[float, Meta(gt=0)] = 15.0
    """For so long; then one call tries it."""
    concurrency: Annotated[int, Meta(ge=1, le=1024)] = 64
    """Calls under way at once from one replica."""


def parse_settings(content: bytes, entry: str = "remote.json") -> RemoteSettings:
    """The settings in a file.

    Raises InvalidArtifact that names the field.
    """
    try:
        found = msgspec.json.decode(content, type=RemoteSettings)
    except UNREADABLE as error:
        raise InvalidArtifact(f"{entry!r} cannot be used: {error}.") from None
    for endpoint in found.endpoints:
        try:
            origin_of(endpoint.url)
        except InvalidRequest as error:
            raise InvalidArtifact(f"{entry!r} cannot be used: {error.message}") from None
    if found.protocol == "open_inference" and found.signature is None:
        raise InvalidArtifact(f"{entry!r} needs a signature: the inputs and outputs of the Open Inference model.")
    return found


def origin_of(url: str) -> str:
    """Scheme, host and port of an address.

    Raises InvalidRequest when it is none that can be called.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InvalidRequest(f"{url!r} is no address of an endpoint; write it like https://api.example.com/v1, without a key or a query.")
    return f"{parts.scheme}://{parts.hostname}:{port or (443 if parts.scheme == 'https' else 80)}"


def sealing_context(workspace_id: int, url: str) -> str:
    """What a key is sealed for: one workspace's calls of one host."""
    return f"upstream key of workspace {workspace_id} for {origin_of(url)}"
