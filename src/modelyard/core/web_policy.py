"""What a deployment's policy says to the web: calls without a key, pages of other origins, caches in front."""

from __future__ import annotations

import re

import msgspec

from modelyard.core.errors import InvalidRequest

_ORIGIN = re.compile(r"(?:https?://[a-z0-9.\-]+(?::[0-9]{1,5})?|http://\[[0-9a-f:]+\](?::[0-9]{1,5})?)")
MOST_SECONDS = 365 * 86400
MOST_CALLS = 1 << 40


class Public(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Anybody may call, without a key. All such calls of the deployment count as one caller's, under limits of their own."""

    requests_per_second: int = 0
    """Of all callers without a key together; 0 for no such limit. Limits of deployment and workspace hold besides."""
    requests_per_minute: int = 0
    concurrent: int = 0
    requests_per_minute_by_address: int = 0
    """Of each client address (for IPv6, each network of 64 bits), counted by each worker for itself."""


class Cors(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Pages of these origins may call it from a browser."""

    origins: tuple[str, ...]
    """Like ``https://app.example``; ``*`` for all."""
    max_age_seconds: int = 600
    """How long a browser may remember that it may."""


class Caching(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answers to GET may be kept: a prediction depends on nothing but the version and the inputs."""

    max_age_seconds: int = 60
    """How long browsers and proxies may use an answer without asking; after a change of versions it is that much out of date."""
    stale_while_revalidate_seconds: int = 0
    """How much longer they may use it while they ask."""


def check_web(public: Public | None, cors: Cors | None, caching: Caching | None) -> None:
    """Raises InvalidRequest that names the field and what is wrong with it."""
    if public is not None:
        for name in public.__struct_fields__:
            if not 0 <= getattr(public, name) <= MOST_CALLS:
                raise _wrong(f"public.{name}", "it must be a positive number, or 0 for no such limit")
    if cors is not None:
        if not cors.origins:
            raise _wrong("cors.origins", "name at least one, like https://app.example")
        for origin in cors.origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise _wrong("cors.origins", f"{origin[:64]!r} is no origin; write scheme and host in lower case, like https://app.example")
        _check_seconds("cors.max_age_seconds", cors.max_age_seconds)
    if caching is not None:
        _check_seconds("caching.max_age_seconds", caching.max_age_seconds)
        _check_seconds("caching.stale_while_revalidate_seconds", caching.stale_while_revalidate_seconds)


def _check_seconds(name: str, value: int) -> None:
    if not 0 <= value <= MOST_SECONDS:
        raise _wrong(name, "it must be from 0 seconds to a year")


def _wrong(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"The policy cannot be used: {field}: {why}.")
