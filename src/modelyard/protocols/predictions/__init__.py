"""Asynchronous prediction (``/v1/deployments/{name}/predictions``): submit now, fetch the stored result later."""

from __future__ import annotations

from modelyard.protocols.predictions.routes import create_protocol as create_protocol
