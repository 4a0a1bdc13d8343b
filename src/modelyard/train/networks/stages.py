"""A training's way from a job to its results, which is the same for every network."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from modelyard.engines.cluster import Cluster
from modelyard.train.job import Context
from modelyard.train.naming import model_name
from modelyard.train.networks.checkpoint import Checkpoints
from modelyard.train.networks.device import Device
from modelyard.train.networks.lesson import Site
from modelyard.train.networks.loop import Fit
from modelyard.train.recipes.learning import Learning

SPANS = {"read": (0.0, 0.08), "learn": (0.08, 0.9), "export": (0.9, 0.95), "evaluate": (0.95, 0.99)}
"""The share of the whole that each stage takes."""


_BASE_FILE = "base."
"""Inputs of the job with such names are its base's files, in the order of their paths."""


class Served(NamedTuple):
    """How an artifact is served: what its format is, and where it is entered."""

    format: str
    entry: str = "model.onnx"


class Stages:
    """The folders of a job, and how far it is."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.dataset: Mapping[str, Any] = context.spec.get("dataset") or {}
        self.path: Path = context.inputs["data"]
        self.name = str(self.dataset.get("filename") or self.path.name)
        self.site = Site(context.folder / "team", msgspec.convert(context.spec.get("cluster", {}), Cluster))
        self.output = context.folder / "output"
        self.artifact, self.attachments = (self.output / part for part in ("artifact", "attachments"))
        for folder in (self.artifact, self.attachments):
            folder.mkdir(parents=True, exist_ok=True)

    def lay_base(self, folder: Path) -> str:
        """Lays the files of the version that is learned on from into ``folder``; how it is called."""
        base = self._context.spec["base"]
        for at, path in enumerate(sorted(base["files"])):
            place = folder / path
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(self._context.inputs[f"{_BASE_FILE}{at}"], place)
        return str(base["reference"])

    def report(self, stage: str, fraction: float, message: str) -> None:
        first, last = SPANS[stage]
        self._context.report(stage, round(first + (last - first) * fraction, 4), message)

    def done(self, message: str) -> None:
        self._context.report("done", 1.0, message)

    def fingerprint(self, learning: Learning, facts: list[Any]) -> str:
        """Of this data and these facts: what must be the same for a checkpoint to be of any use. How fast to learn, and for how long,
        may change.
        """
        batches = [learning.validation_size, learning.batch_size, learning.accumulation, learning.workers, learning.sharded]
        every = [str(self.dataset.get("digest") or ""), batches, *facts]
        return hashlib.sha256(json.dumps(every, sort_keys=True).encode()).hexdigest()

    def checkpoints(self, learning: Learning, fingerprint: str) -> Checkpoints:
        return Checkpoints(self._context.state, fingerprint, learning.checkpoint_seconds)

    def result(
        self, name: str, served: Served, *, metrics: dict[str, float], report: dict[str, Any], classes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """What ``train.job.run`` gives. Without a ``name`` the model is called as the data are."""
        found = {
            "model": name or model_name(str(self.dataset.get("name") or self.name)),
            "entry": served.entry,
            "format": served.format,
            "metrics": metrics,
            "report": report,
            "dataset_digest": str(self.dataset.get("digest") or ""),
        }
        return found | {"classes": list(classes)} if classes else found


def training_report(fit: Fit, device: Device, learning: Learning) -> dict[str, Any]:
    """How learning went, as plain data."""
    return {
        "device": device.title,
        "workers": learning.workers,
        "engine": learning.engine,
        "epochs": len(fit.history),
        "best_epoch": fit.best_epoch,
        "stopped_early": fit.stopped_early,
        "resumed_at": fit.resumed_at,
        "seconds": round(sum(entry["seconds"] for entry in fit.history), 3),
        "history": fit.history,
    }
