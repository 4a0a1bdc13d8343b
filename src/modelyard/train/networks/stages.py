"""A training's way from a job to its results, which is the same for every network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.train.job import Context
from modelyard.train.naming import model_name
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import Device
from modelyard.train.networks.loop import Fit
from modelyard.train.recipes.learning import Learning

_SPANS = {"read": (0.0, 0.08), "learn": (0.08, 0.9), "export": (0.9, 0.95), "evaluate": (0.95, 0.99)}
"""The share of the whole that each stage takes."""


class Stages:
    """The folders of a job, and how far it is."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.dataset: Mapping[str, Any] = context.spec.get("dataset") or {}
        self.path: Path = context.inputs["data"]
        self.name = str(self.dataset.get("filename") or self.path.name)
        self.scratch = context.folder / "team"
        self.artifact, self.attachments = (context.folder / "output" / part for part in ("artifact", "attachments"))
        for folder in (self.artifact, self.attachments):
            folder.mkdir(parents=True, exist_ok=True)

    def report(self, stage: str, fraction: float, message: str) -> None:
        first, last = _SPANS[stage]
        self._context.report(stage, round(first + (last - first) * fraction, 4), message)

    def done(self, message: str) -> None:
        self._context.report("done", 1.0, message)

    def checkpoints(self, learning: Learning, facts: list[Any]) -> Checkpoints:
        """Those of this data and these facts: what must be the same for a checkpoint to be of any use."""
        every = [str(self.dataset.get("digest") or ""), *facts]
        fingerprint = hashlib.sha256(json.dumps(every, sort_keys=True).encode()).hexdigest()
        return Checkpoints(self._context.state, fingerprint, learning.checkpoint_seconds)

    def result(
        self, name: str, *, model_format: str, metrics: dict[str, float], report: dict[str, Any], classes: list[str]
    ) -> dict[str, Any]:
        """What ``train.job.run`` gives."""
        return {
            "model": name or model_name(str(self.dataset.get("name") or self.name)),
            "entry": "model.onnx",
            "format": model_format,
            "metrics": metrics,
            "report": report,
            "classes": classes,
            "dataset_digest": str(self.dataset.get("digest") or ""),
        }


def training_report(fit: Fit, device: Device) -> dict[str, Any]:
    """How learning went, as plain data."""
    return {
        "device": device.title,
        "epochs": len(fit.history),
        "best_epoch": fit.best_epoch,
        "stopped_early": fit.stopped_early,
        "resumed_at": fit.resumed_at,
        "seconds": round(sum(entry["seconds"] for entry in fit.history), 3),
        "history": fit.history,
    }
