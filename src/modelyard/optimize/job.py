"""The job kind ``optimize``: a confined child applies passes in order, and measures what each makes beside the version it began with.

This process opens no graph: a brought model may crash, or worse, what runs it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from modelyard.core.errors import Internal
from modelyard.core.unreadable import UNREADABLE
from modelyard.engines.confined import Errand, run_confined
from modelyard.optimize.pages import write_pages
from modelyard.optimize.spec import Made, OptimizeSpec, Request
from modelyard.registry.artifacts import check_path

_WORK = {"onnx": "modelyard.optimize.work:run", "openvino": "modelyard.optimize.language.work:run"}
"""By the format of the version."""
_SECONDS = 6 * 3600.0


class Context(Protocol):
    """What a job's process gives to the work (``jobs/worker.py``)."""

    spec: dict[str, Any]
    folder: Path
    inputs: dict[str, Path]
    """The parent's files by their place in the spec, counted from 0; ``data`` and ``recipe`` where its rows are known."""

    @property
    def output(self) -> Path: ...

    def report(self, stage: str, fraction: float = -1.0, message: str = "") -> None:
        """Tells how far the work is."""


def run(context: Context) -> dict[str, Any]:
    """Gives ``{"made": [...]}``; the files of each child are in ``output/N``.

    Raises ModelyardError with one sentence for whatever the owner can mend; nothing is stored then.
    """
    spec = msgspec.convert(context.spec, OptimizeSpec)
    context.report("read", 0.02, f"reading {spec.model}@{spec.number}")
    work = context.folder / "work"
    shutil.rmtree(work, ignore_errors=True)  # an earlier attempt's
    shutil.rmtree(context.output, ignore_errors=True)
    made = children(context, spec, work, context.report)
    (work / "output").rename(context.output)
    for at in range(len(made)):
        keep_recipe(context, context.output / str(at))
    write_pages(context.output, spec, made, {})
    context.report("store", 0.97, "trying the children and storing them")
    shutil.rmtree(work, ignore_errors=True)
    found: dict[str, Any] = msgspec.to_builtins({"made": made})
    return found


def children(context: Context, spec: OptimizeSpec, work: Path, report: Callable[[str, float, str], None]) -> list[Made]:
    """Has the passes applied in ``work``, where the files of each child are in ``output/N`` then.

    Raises ModelyardError with one sentence.
    """
    parent = lay_out(context, spec, work / "parent")
    wanted = (*(("data", "recipe") if spec.rows is not None else ()), *(("samples",) if spec.samples is not None else ()))
    rows = {name: str(context.inputs[name]) for name in wanted}
    request = Request(spec=spec, parent=str(parent), **rows)
    errand = Errand(
        work=_WORK[spec.format], details=msgspec.Raw(msgspec.json.encode(request)), readable=tuple(rows.values()), seconds=_SECONDS
    )

    def on_stage(told: str) -> None:
        stage, _, rest = told.partition("\n")
        fraction, _, message = rest.partition("\n")
        report(stage, float(fraction) if fraction.replace(".", "", 1).isdigit() else -1.0, message)

    outcome = run_confined(work, errand, on_stage, doing="Optimizing the model")
    try:
        return msgspec.json.decode(outcome, type=list[Made])
    except UNREADABLE as error:
        raise Internal("What optimized the model answered with nothing that can be read; the job's log has its last words.") from error


def keep_recipe(context: Context, child: Path) -> None:
    """Lays the recipe of the parent's training beside a child, so that a child of it finds its rows too."""
    if "recipe" in context.inputs:
        (child / "attachments").mkdir(exist_ok=True)
        shutil.copy(context.inputs["recipe"], child / "attachments" / "recipe.yaml")


def lay_out(context: Context, spec: OptimizeSpec, folder: Path) -> Path:
    """The parent's files in a folder of their own."""
    for at, path in enumerate(sorted(spec.files)):
        place = folder / check_path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(context.inputs[str(at)], place)
    return folder
