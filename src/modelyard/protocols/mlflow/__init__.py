"""MLflow's scoring protocol (``/invocations``), as ``mlflow models serve`` speaks it."""

from __future__ import annotations

from modelyard.protocols.mlflow.routes import PROTOCOL as PROTOCOL
