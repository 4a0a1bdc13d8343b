"""Modelyard: a Model-as-a-Service platform. ``modelyard.connect()`` gives a client; everything else loads when used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.core.models import Version
    from modelyard.sdk.async_client import AsyncClient
    from modelyard.sdk.client import Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__", "connect", "log_model"]

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


def log_model(model: Any, name: str, **said: Any) -> Version:
    """Registers a model in memory with the platform of MODELYARD_URL; see ``Client.log_model`` for what may be said of it."""
    with connect() as client:
        return client.log_model(model, name, **said)
