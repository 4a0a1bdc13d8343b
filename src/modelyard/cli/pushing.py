"""Bringing a model of any format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.hub import brought
from modelyard.cli.models import pairs, print_version, version_document
from modelyard.cli.output import Json, examples, print_json, progress
from modelyard.core.errors import InvalidRequest
from modelyard.core.models import Card
from modelyard.sdk.async_resources.models import Said
from modelyard.sdk.files import model_name_for
from modelyard.sdk.mlflow_models import named_in

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Bringing models."""


@app.command(
    "push",
    epilog=examples(
        "modelyard push model.onnx --name churn",
        "modelyard push pipeline.skops --sample rows.csv --tag team=crm",
        "modelyard push model.joblib --trust",
        "modelyard push models:/churn/3 --name churn",
        "modelyard push hf:ORG/NAME --name words",
        "modelyard push adapter --base words@1 --name words",
    ),
)
def push(
    path: Annotated[
        str, typer.Argument(help="A model file, the folder of one, models:/NAME/VERSION of MLflow's, or hf:ORG/NAME of a Hugging Face hub.")
    ],
    name: Annotated[str, typer.Option(help="Name of the model; by default made of the file's name.")] = "",
    format_name: Annotated[str, typer.Option("--format", help="The model's format; auto looks at the content.")] = "auto",
    sample: Annotated[
        Path | None, typer.Option(help="Rows (CSV) or tensors (.npz) to compare the conversion with the original on.")
    ] = None,
    signature: Annotated[
        list[str],
        typer.Option(help="An input like 'x:FP32[-1,4]', where the format does not say it; may be repeated."),
    ] = [],  # noqa: B006 - Typer copies it
    output: Annotated[list[str], typer.Option(help="Name of an output, in order; may be repeated.")] = [],  # noqa: B006 - Typer copies it
    trust: Annotated[bool, typer.Option("--trust", help="Open a format that can run its maker's code, in confinement.")] = False,
    base: Annotated[str, typer.Option(help="NAME@VERSION of the language model that an adapter changes.")] = "",
    tag: Annotated[list[str], typer.Option(help="NAME=VALUE, kept with the version; may be repeated.")] = [],  # noqa: B006 - Typer copies it
    metric: Annotated[list[str], typer.Option(help="NAME=NUMBER that you measured; may be repeated.")] = [],  # noqa: B006 - Typer copies it
    summary: Annotated[str, typer.Option(help="A sentence for the model card.")] = "",
    license_name: Annotated[str, typer.Option("--license", help="Licence for the model card, like Apache-2.0.")] = "",
    as_json: Json = False,
) -> None:
    """Register a model you bring: converted to ONNX, proved equal, measured, and tried in confinement before it is accepted."""
    measured = {key: _number(key, value) for key, value in pairs(metric, "--metric").items()}
    # The confined trial may take as long as its own limit allows.
    with connected(timeout=300.0) as client, progress("Uploading") as step, brought(path, step) as found:
        said: Said = {
            "format": format_name,
            "trust": trust,
            "signature": signature,
            "outputs": output,
            "base": base,
            "on_step": lambda now: step(now.message or now.stage, now.fraction),
        }
        if sample is not None:
            said["sample"] = sample
        version = client.models.push(
            found.path,
            name or model_name_for(Path(named_in(path) or found.path)),
            card=Card(summary=summary, license=license_name),
            tags=found.tags | pairs(tag, "--tag"),
            metrics=measured,
            on_progress=lambda file, sent, total: step(f"Uploading {file}" if sent < total else "Trying it out", sent / max(total, 1)),
            **said,
        )
    if as_json:
        print_json(version_document(version))
        return
    print_version(version, [])
    print(f"\nServe it with: modelyard deploy {version.reference}")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(f"--metric {name}={text!r} is not a number.") from None
