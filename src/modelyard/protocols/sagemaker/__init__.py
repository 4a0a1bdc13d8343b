"""The contract of a SageMaker inference container: ``/ping`` and ``/invocations``."""

from __future__ import annotations

from modelyard.protocols.sagemaker.routes import create_protocol as create_protocol
