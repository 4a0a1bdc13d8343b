"""The job kind ``train``: the edge between a job's folder and the training itself.

The heavy libraries load only when a job runs, so that a missing extra is one clear sentence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from modelyard.core.errors import InvalidRequest
from modelyard.core.plugins import load_extra
from modelyard.evaluation.page import FILE, report_page
from modelyard.train.recipes.parse import AnyRecipe, parse_recipe, plan_of
from modelyard.train.recipes.table import TableRecipe


class Context(Protocol):
    """What a job's process gives to the work (``jobs/worker.py``)."""

    spec: dict[str, Any]
    """``{"recipe": {...}, "dataset": {"digest": ..., "filename": ..., "name": ...}}``."""
    folder: Path
    """The job's folder; results go to ``output`` in it."""
    inputs: dict[str, Path]
    """``data``: the file of the data set."""

    @property
    def state(self) -> Path:
        """Where checkpoints go."""

    def report(self, stage: str, fraction: float, message: str) -> None:
        """Tells how far the work is."""


_WORK = {
    "table": ("modelyard.train.pipeline:train", "train"),
    "images": ("modelyard.train.networks.image_job:train", "torch"),
    "text": ("modelyard.train.networks.text_job:train", "torch,text"),
    "encoder": ("modelyard.train.networks.encoder_job:train", "torch,text,lora"),
    "language_model": ("modelyard.train.language.job:train", "torch,llm"),
    "series": ("modelyard.train.networks.series_job:train", "torch"),
    "adapter": ("modelyard.train.language.adapter_job:train", "torch,llm,lora"),
}
"""Kind of recipe → what does the work, and the extra that it needs."""


def run(context: Context) -> dict[str, Any]:
    """Trains as the recipe says.

    Writes ``output/artifact`` and ``output/attachments``; gives ``model``, ``entry``, ``format``, ``metrics``, ``report``,
    ``classes`` and ``dataset_digest``. Raises ModelyardError with one sentence for whatever the owner can mend.
    """
    if "data" not in context.inputs:
        raise InvalidRequest("A training job needs its data as the input 'data'; submit it with a dataset.")
    recipe = parse_recipe(context.spec["recipe"])
    train = _loaded(*_WORK[recipe.kind])
    plan = plan_of(recipe)
    if plan is not None:
        _check_alone(recipe)
        search = _loaded("modelyard.train.tuning.job:train", "search")
        return _with_page(context, search(context, recipe, plan, train))
    return _with_page(context, train(context))


def _with_page(context: Context, result: dict[str, Any]) -> dict[str, Any]:
    """Lays the version's page beside its pictures."""
    attachments = context.folder / "output" / "attachments"
    page = report_page(result["model"], result["metrics"], result["report"], attachments)
    (attachments / FILE).write_bytes(page)
    return result


def _check_alone(recipe: AnyRecipe) -> None:
    if not isinstance(recipe, TableRecipe) and (recipe.learning.workers > 1 or recipe.learning.engine != "local"):
        raise InvalidRequest(
            "A search tries its recipes side by side, each in one process of this machine; set learning.workers to 1 and "
            "learning.engine to local, or search nothing."
        )


def _loaded(reference: str, extra: str) -> Any:
    return load_extra(reference, extra, "This training")
