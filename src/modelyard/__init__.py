"""Modelyard: a Model-as-a-Service platform. ``modelyard.connect()`` gives a client; everything else loads when used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.sdk.async_client import AsyncClient
    from modelyard.sdk.client import Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__", "connect"]

_LAZY = {"Client": "modelyard.sdk.client", "AsyncClient": "modelyard.sdk.async_client"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'modelyard' has no attribute {name!r}")


def connect(url: str | None = None, key: str | None = None) -> Client:
    """A synchronous client of the platform at ``url``; both arguments default to MODELYARD_URL and MODELYARD_KEY."""
    client: type[Client] = __getattr__("Client")
    return client(url=url, key=key)
