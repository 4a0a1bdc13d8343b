"""Plain records by column name (``/v1/deployments/...``), with an OpenAPI document for each deployment."""

from __future__ import annotations

from modelyard.protocols.records.routes import PROTOCOL as PROTOCOL
