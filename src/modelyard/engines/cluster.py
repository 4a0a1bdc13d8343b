"""Which Ray cluster work of several processes goes to: plain data between settings and jobs."""

from __future__ import annotations

import os
import secrets
import sys
from typing import Any

import msgspec

from modelyard.core.plugins import load_extra

LOCAL = "local"
_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""It takes an address of the network for itself otherwise, whatever it is told."""
_LOOPBACK = ("127.", "localhost:", "[::1]:")


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it is, and what each worker gets of it."""

    address: str = LOCAL
    """``local`` starts one on this machine for the work and ends it with the work; else that of one that runs."""
    wait_seconds: float = 60.0
    """How long the work waits for room there."""
    cores: float = 1.0
    """Of each worker."""
    gpus: int = 0
    """Of each worker."""


def _read_at_load(address: str) -> dict[str, str]:
    """What Ray reads when it is loaded, and never again: whether it stays on loopback, and the word that opens a cluster of our own."""
    if address == LOCAL:
        return _ON_LOOPBACK | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return _ON_LOOPBACK if address.startswith(_LOOPBACK) else {}


def on_ray(reference: str, cluster: Cluster) -> Any:
    """The object at an import string, of a module that needs Ray.

    Raises Unsupported where Ray is not installed.
    """
    if "ray" not in sys.modules:
        os.environ.update(_read_at_load(cluster.address))
    return load_extra(reference, "ray", "The engine ray")
