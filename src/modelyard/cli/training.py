"""From data to a version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from modelyard.cli.assignments import laid_over, read_settings
from modelyard.cli.connection import connected
from modelyard.cli.models import version_document
from modelyard.cli.output import Json, examples, note, print_json, print_table, progress
from modelyard.core.errors import InvalidRequest
from modelyard.core.jobs import Job, Limits
from modelyard.core.models import Version
from modelyard.sdk.client import Client
from modelyard.sdk.files import model_name_for

app = typer.Typer(rich_markup_mode=None)
BOARD = ("family", "metric", "mean", "std", "trials", "fit_seconds", "status", "note")
"""Columns of the leaderboard that people look at."""


TASKS = {"language-model": {"kind": "language_model"}, "forecast": {"kind": "series"}, "text-classification": {"kind": "text"}}
"""What of ``--task`` is a kind of recipe of its own; anything else is the recipe's field."""
BASED = {"text": "encoder", "encoder": "encoder"}
"""Kinds of recipes on texts → the kind that learns on from a version; an adapter of a language model otherwise."""


@app.callback()
def _group() -> None:
    """Training."""


@app.command(
    "train",
    epilog=examples(
        "modelyard train penguins.csv --target species --name penguins",
        "modelyard train houses.csv --target price --family forest --family linear --folds 10",
        "modelyard train photos/ --name photos --set network.kind=lenet --set learning.epochs=20",
        "modelyard train photos/ --workers 2",
        "modelyard train photos/ --workers 8 --engine ray",
        "modelyard train texts/ --task language-model --name writer",
        "modelyard train novels.csv --task text-classification --target novel",
        "modelyard train novels.csv --task text-classification --target novel --base minilm@1",
        "modelyard train climate.csv --task forecast --target value --set time=month --set horizon=12",
        "modelyard train talk.jsonl --task language-model --base writer@1",
        "modelyard train --recipe recipe.yaml",
    ),
)
def train(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A table or series (CSV, Parquet), images (a folder, .npz), or texts (a folder, .txt, .jsonl); or 'data' of the recipe."
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="The column to predict.")] = "",
    name: Annotated[str, typer.Option(help="Name of the model; by default made of the file's name.")] = "",
    recipe: Annotated[Path | None, typer.Option(help="A YAML file with everything; options given beside it win.")] = None,
    family: Annotated[list[str], typer.Option(help="Only this model family; may be repeated.")] = [],  # noqa: B006 - Typer copies it
    folds: Annotated[int | None, typer.Option(help="Folds of the cross-validation.")] = None,
    task: Annotated[
        str,
        typer.Option(
            help="forecast for a series; text-classification or language-model for texts; for tables classification or regression."
        ),
    ] = "",
    base: Annotated[str, typer.Option(help="With a task on texts: the version NAME@VERSION that is fine-tuned (LoRA).")] = "",
    workers: Annotated[
        int | None, typer.Option(help="Processes that learn one network together, each with its part of every batch.")
    ] = None,
    engine: Annotated[str, typer.Option(help="What starts them: local (this machine) or ray (the cluster that the settings name).")] = "",
    settings: Annotated[list[str], typer.Option("--set", help="FIELD=VALUE of the recipe, like learning.epochs=20.")] = [],  # noqa: B006
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or only queue the job.")] = True,
    as_json: Json = False,
) -> None:
    """Train a model on a table, images, a time series or texts, evaluate it on what it has not seen, and register it as a version."""
    wanted = laid_over(read_recipe(recipe, target=target, families=family or None, folds=folds), read_settings(settings))
    if task:
        wanted = laid_over(wanted, TASKS.get(task, {"task": task}))
    if base:
        wanted = laid_over(wanted, {"kind": BASED.get(wanted.get("kind", ""), "adapter"), "base": base})
    if workers is not None:
        wanted = laid_over(wanted, {"learning": {"workers": workers}})
    if engine:
        wanted = laid_over(wanted, {"learning": {"engine": engine}})
    data = _data(file, wanted.pop("data", ""), recipe)
    model = name or wanted.pop("name", "") or str(wanted.get("base", "")).partition("@")[0] or model_name_for(data)
    wanted.pop("name", None)
    with connected() as client:
        with progress("Uploading the data") as step:
            step("Uploading the data", 0.0)
            job = client.submit_training(data, name=model, recipe=wanted, limits=Limits())
            if wait:
                job = _followed(client, job, step)
        if not wait:
            _print_queued(job, as_json)
            return
        version = client.trained(job)
    if as_json:
        print_json(version_document(version) | {"job": job.id})
    else:
        _print_trained(version, job)


def _followed(client: Client, job: Job, step: Any) -> Job:
    try:
        return client.jobs.wait(job.id, on_progress=lambda now: step(now.message or now.stage, now.fraction), every=0.3)
    except KeyboardInterrupt:
        note(f"Job {job.id} goes on; follow it with 'modelyard logs {job.id} --follow', end it with 'modelyard cancel {job.id}'.")
        raise


def read_recipe(path: Path | None, **options: Any) -> dict[str, Any]:
    """The recipe file, with what the options say instead."""
    found: Any = {}
    if path is not None:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidRequest(f"The recipe {str(path)!r} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"The recipe {str(path)!r} must be a mapping, like 'target: species'.")
    return found | {key: value for key, value in options.items() if value}


def _data(given: Path | None, named: object, recipe: Path | None) -> Path:
    if given is not None:
        return given
    if isinstance(named, str) and named and recipe is not None:
        return recipe.parent / named
    raise InvalidRequest("Say what to train on: modelyard train FILE --target COLUMN, or modelyard train FOLDER of images")


def _print_queued(job: Job, as_json: bool) -> None:
    if as_json:
        print_json({"job": job.id, "status": job.status})
    else:
        print(f"Job {job.id} is queued; follow it with: modelyard logs {job.id} --follow")


def _print_trained(version: Version, job: Job) -> None:
    board = version.report.get("leaderboard")
    if isinstance(board, list) and board and isinstance(board[0], dict):
        headings = [name for name in BOARD if name in board[0]]
        print("leaderboard (cross-validation)")
        print_table([heading.replace("_", " ") for heading in headings], [[row.get(key) for key in headings] for row in board])
    print(f"\n{version.reference}, on held-out rows (job {job.id})")
    intervals = version.report.get("evaluation", {}).get("intervals", {})
    print_table(
        ["metric", "value", "95 % from", "to"],
        [(name, value, *(intervals.get(name, {}).get(end, "") for end in ("low", "high"))) for name, value in version.metrics.items()],
    )
    print(f"\nServe it with: modelyard deploy {version.reference}")
