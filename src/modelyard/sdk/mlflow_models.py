"""Models that a tracking server of MLflow keeps, fetched by the client's own MLflow."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from modelyard.core.errors import InvalidArtifact, Unsupported

SCHEMES = ("models:/", "runs:/", "mlflow-artifacts:/")


def is_mlflow_reference(text: str) -> bool:
    """Whether this names a model of a tracking server, like ``models:/churn/3`` or ``models:/churn@champion``."""
    return text.startswith(SCHEMES)


def named_in(reference: str) -> str:
    """The model's own name in a reference; empty where it has none."""
    return reference.removeprefix("models:/").partition("/")[0].partition("@")[0] if reference.startswith("models:/") else ""


def fetch_mlflow_model(reference: str, folder: Path) -> Path:
    """Downloads a model's files to ``folder``, from the server that MLFLOW_TRACKING_URI names; the folder that holds them.

    Nothing of it is opened. Raises Unsupported without MLflow, InvalidArtifact when the server has no such model.
    """
    try:
        mlflow = import_module("mlflow")
        artifacts = import_module("mlflow.artifacts")
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"{reference!r} is fetched with MLflow, which is not installed here ({error.name}); install it with: pip install mlflow-skinny"
        ) from None
    try:
        return Path(artifacts.download_artifacts(artifact_uri=reference, dst_path=str(folder)))
    except (mlflow.MlflowException, OSError) as error:
        raise InvalidArtifact(
            f"{reference!r} cannot be fetched from {mlflow.get_tracking_uri()}: {' '.join(str(error).split())[:300]}. "
            "Does MLFLOW_TRACKING_URI name the right server?"
        ) from None
