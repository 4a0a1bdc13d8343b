"""Models and their versions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelyard.cli.connection import connected
from modelyard.cli.imported import print_import
from modelyard.cli.output import Json, examples, metrics_text, print_fields, print_json, print_table, size, when
from modelyard.core.errors import InvalidRequest
from modelyard.core.models import Version
from modelyard.core.signature import TensorSpec

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Models."""


@app.command("models", epilog=examples("modelyard models", "modelyard models --search peng --metric 'accuracy>=0.9'"))
def models(
    search: Annotated[str, typer.Option(help="Only names that contain this.")] = "",
    tag: Annotated[list[str], typer.Option(help="Only with this tag, NAME=VALUE; may be repeated.")] = [],  # noqa: B006 - Typer copies it
    metric: Annotated[str, typer.Option(help="Only with a version that satisfies this, like 'accuracy>=0.9'.")] = "",
    as_json: Json = False,
) -> None:
    """List models."""
    with connected() as client:
        found = client.models.list(search=search, tags=pairs(tag, "--tag"), metric=metric)
    if as_json:
        print_json(found)
        return
    rows = [
        (model.name, model.latest, [f"{alias}={number}" for alias, number in model.aliases.items()], when(model.created_ns))
        for model in found
    ]
    empty = "No model fits." if search or tag or metric else "There are no models; train one with: modelyard train FILE --target COLUMN"
    print_table(["model", "versions", "aliases", "created"], rows, empty=empty)


@app.command("versions", epilog=examples("modelyard versions penguins"))
def versions(model: Annotated[str, typer.Argument(help="Name of the model.")], as_json: Json = False) -> None:
    """List the versions of a model, newest first."""
    with connected() as client:
        found = client.models.versions(model)
        pointing = client.models.get(model).aliases
    if as_json:
        print_json([version_document(version) for version in found])
        return
    rows = [
        (
            version.number,
            [alias for alias, number in pointing.items() if number == version.number],
            metrics_text(version.metrics),
            version.artifact.format,
            size(version.artifact.size),
            version.digest[:12],
            when(version.created_ns),
        )
        for version in found
    ]
    print_table(["version", "aliases", "metrics", "format", "size", "digest", "created"], rows, empty=f"{model!r} has no versions.")


@app.command("show", epilog=examples("modelyard show penguins@1", "modelyard show penguins@champion --json"))
def show(reference: Annotated[str, typer.Argument(help="NAME, NAME@NUMBER or NAME@ALIAS.")], as_json: Json = False) -> None:
    """Show one version in full."""
    with connected() as client:
        found = client.models.version(reference)
        aliases = client.models.get(found.model).aliases
    if as_json:
        print_json(version_document(found))
        return
    print_version(found, [alias for alias, number in aliases.items() if number == found.number])


def version_document(version: Version) -> dict[str, Any]:
    """A version for ``--json``: what scripts want first, then everything."""
    head: dict[str, Any] = {"model": version.model, "version": version.number, "digest": version.digest, "metrics": version.metrics}
    rest = ("reference", "artifact", "signature", "profile", "report", "attachments", "card", "lineage", "tags", "created_ns", "created_by")
    return head | {name: getattr(version, name) for name in rest}


def print_version(version: Version, aliases: list[str]) -> None:
    """A version for people."""
    lineage = version.lineage
    print_fields(
        [
            ("version", version.reference),
            ("aliases", aliases),
            ("summary", version.card.summary),
            ("licence", version.card.license),
            ("digest", version.digest),
            ("format", f"{version.artifact.format}, {size(version.artifact.size)}"),
            ("created", f"{when(version.created_ns)} by {version.created_by}"),
            ("from", f"job {lineage.job_id}, data {lineage.dataset_digest[:12]}" if lineage.job_id else lineage.source),
            ("tags", [f"{name}={value}" for name, value in version.tags.items()]),
            ("one row", f"{version.profile.single_us / 1000:.3g} ms" if version.profile.single_us else ""),
        ]
    )
    print_import(version.report.get("import"))
    for title, specs in (("inputs", version.signature.inputs), ("outputs", version.signature.outputs)):
        print(f"\n{title}")
        print_table(["name", "datatype", "shape"], [_spec_row(spec) for spec in specs])
    if version.metrics:
        print("\nmetrics")
        print_table(["metric", "value"], list(version.metrics.items()))
    if version.attachments:
        print("\nattachments")
        print_table(["file", "size"], [(file.path, size(file.size)) for file in version.attachments])


def _spec_row(spec: TensorSpec) -> tuple[object, ...]:
    return spec.name, spec.datatype.value, str(spec.wire_shape)


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """``NAME=VALUE`` options as a dict.

    Raises InvalidRequest.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidRequest(f"{option} {text!r} must be NAME=VALUE.")
        found[name] = value
    return found
