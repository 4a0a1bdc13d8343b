"""The contract of a Vertex AI prediction container: a health route and a predict route."""

from __future__ import annotations

from modelyard.protocols.vertex.routes import create_protocol as create_protocol
