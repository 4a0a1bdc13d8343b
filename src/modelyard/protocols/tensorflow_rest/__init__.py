"""The TensorFlow Serving REST API (``/v1/models/...``)."""

from __future__ import annotations

from modelyard.protocols.tensorflow_rest.routes import PROTOCOL as PROTOCOL
