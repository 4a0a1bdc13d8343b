"""The job kind ``train``: the edge between a job's folder and the training itself.

The heavy libraries load only when a job runs, so that a missing extra is one clear sentence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from modelyard.core.errors import InvalidRequest, Unsupported
from modelyard.core.plugins import load_string


class Context(Protocol):
    """What a job's process gives to the work (``jobs/worker.py``)."""

    spec: dict[str, Any]
    """``{"recipe": {...}, "dataset": {"digest": ..., "filename": ..., "name": ...}}``."""
    folder: Path
    """The job's folder; results go to ``output`` in it."""
    inputs: dict[str, Path]
    """``data``: the table's file."""

    def report(self, stage: str, fraction: float, message: str) -> None:
        """Tells how far the work is."""


def run(context: Context) -> dict[str, Any]:
    """Trains as the recipe says.

    Writes ``output/artifact/model.onnx`` and ``output/attachments/*``; gives ``model``, ``entry``, ``format``, ``metrics``, ``report``,
    ``classes`` and ``dataset_digest``. Raises ModelyardError with one sentence for whatever the owner can mend.
    """
    if "data" not in context.inputs:
        raise InvalidRequest("A training job needs its table as the input 'data'; submit it with a dataset.")
    try:
        train = load_string("modelyard.train.pipeline:train")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("modelyard"):
            raise
        raise Unsupported(f"Training needs the Python package {error.name!r}; install it with: pip install 'modelyard[train]'") from error
    result: dict[str, Any] = train(context)
    return result
