"""What calls used, and where the answer of one came from."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_fields, print_json, print_table, size
from modelyard.core.errors import InvalidRequest
from modelyard.core.usage import USAGE_GROUPS, UsageRow, UsageStep

app = typer.Typer(rich_markup_mode=None)
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_SHOWN = ("calls", "rows", "tokens_in", "tokens_out", "compute_us", "energy_uj", "bytes_in", "bytes_out")


@app.callback()
def _group() -> None:
    """Usage."""


@app.command(
    "usage",
    epilog=examples(
        "modelyard usage --by deployment,key --since 7d",
        "modelyard usage --step day --since 2027-01-01 --csv",
        "modelyard usage --by key --step month --export usage.parquet",
        "modelyard usage --shared --by deployment",
        "modelyard usage --mine --by deployment,key",
    ),
)
def usage(
    by: Annotated[str, typer.Option(help=f"What keeps sums apart, with commas: {', '.join(USAGE_GROUPS)}.")] = "deployment",
    since: Annotated[str, typer.Option(help="From when: how long ago, like 7d, or a date, like 2027-01-31.")] = "",
    until: Annotated[str, typer.Option(help="Before when, in the same forms.")] = "",
    step: Annotated[UsageStep, typer.Option(help="Length of the periods (UTC).")] = UsageStep.ALL,
    deployment: Annotated[str, typer.Option(help="Only calls of this one.")] = "",
    key: Annotated[str, typer.Option(help="Only calls with this key.")] = "",
    shared: Annotated[bool, typer.Option("--shared", help="Calls that other workspaces made of what this one shares with them.")] = False,
    mine: Annotated[bool, typer.Option("--mine", help="Only calls with your own keys; needs no right to read others'.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write a file of any length: .csv, .jsonl or .parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Show what calls used. Calls of the last seconds may be missing."""
    groups = [part.strip() for part in by.split(",") if part.strip()]
    wanted: dict[str, Any] = {
        "by": groups,
        "since": since,
        "until": until,
        "step": step,
        "deployment": deployment,
        "key": key,
    }
    if mine and (shared or export is not None):
        raise InvalidRequest("Your own usage is shown, not exported or shared; leave --mine or the other option out. --csv prints it.")
    if export is not None:
        _export(export, wanted | {"shared": shared}, as_json)
        return
    with connected() as client:
        found = client.me.usage(**wanted) if mine else client.platform.usage(**wanted | {"shared": shared})
    if as_json:
        print_json(found)
    elif as_csv:
        named = (["start"] if step is not UsageStep.ALL else []) + (["workspace"] if shared else []) + groups
        columns = [*named, *UsageRow.__struct_fields__[UsageRow.__struct_fields__.index("calls") :]]
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows([_value(row, name) for name in columns] for row in found)
    else:
        _print(found, step, groups)


@app.command("trace", epilog=examples("modelyard trace 3f9c2a7d1e8b40560000000000000007"))
def trace(
    request_id: Annotated[str, typer.Argument(help="The x-modelyard-request-id of an answer, or its x-request-id if the call sent none.")],
    as_json: Json = False,
) -> None:
    """Show one call, and where its answer came from: key, deployment, version, job, data set."""
    with connected() as client:
        found = client.platform.trace(request_id)
    if as_json:
        print_json(found)
        return
    fields: list[tuple[str, object]] = [
        ("request", found.request_id),
        ("time", datetime.fromtimestamp(found.time_ns / 1e9, UTC).astimezone().isoformat(timespec="milliseconds")),
        ("status", found.status),
        ("protocol", f"{found.protocol}, {found.kind}"),
        ("key", f"{found.key} ({found.key_label})" if found.key_label else found.key),
        ("deployment", found.deployment),
        ("version", found.version),
        ("combined", ", ".join(found.combined)),
        ("digest", found.version_digest),
        ("job", f"{found.job} ({found.job_kind})" if found.job_kind else found.job or ""),
        ("source", found.source),
        ("data set", found.dataset),
        ("data digest", found.dataset_digest),
        ("rows", found.rows or ""),
        ("queue", f"{found.queue_us} µs"),
        ("compute", f"{found.compute_us} µs"),
        ("energy", "not reported" if found.energy_uj is None else f"{found.energy_uj / 1e6:.6g} J"),
    ]
    print_fields(fields)


def _export(file: Path, wanted: dict[str, Any], as_json: bool) -> None:
    kind = FORMATS.get(file.suffix.lower())
    if kind is None:
        raise InvalidRequest(f"{file.name!r} does not say which kind of file to write; end it with one of {', '.join(FORMATS)}.")
    part = file.with_name(f".{file.name}.part")
    try:
        with connected(timeout=600.0) as client, part.open("wb") as out:
            written = client.platform.export_usage(out, format=kind, **wanted)
        part.replace(file)
    except OSError as error:
        raise InvalidRequest(f"{str(file)!r} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
    if as_json:
        print_json({"file": str(file), "size": written})
    else:
        print(f"Wrote {file} ({size(written)}).")


def _print(found: Sequence[UsageRow], step: UsageStep, groups: Sequence[str]) -> None:
    named = [name for name in USAGE_GROUPS if name in groups]
    if any(row.workspace for row in found):
        named.insert(0, "workspace")
    # Columns that say nothing are left out.
    said = {"energy_uj": "compute_us"}
    sums = [name for name in _SHOWN if name == "calls" or any(getattr(row, said.get(name, name)) for row in found)]
    columns = [*(["start"] if step is not UsageStep.ALL else []), *named, *sums]
    headings = [{"compute_us": "compute ms", "energy_uj": "energy J"}.get(name, name.replace("_", " ")) for name in columns]
    print_table(headings, [[_shown(row, name) for name in columns] for row in found], empty="There is no usage in this time.")


def _shown(row: UsageRow, name: str) -> object:
    if name == "key" and row.key_label:
        return f"{row.key} ({row.key_label})"
    if name == "energy_uj":
        return "not reported" if row.energy_uj is None else f"{row.energy_uj / 1e6:.3f}"
    if name == "compute_us":
        return f"{row.compute_us / 1000:.1f}"
    return _value(row, name)


def _value(row: UsageRow, name: str) -> object:
    if name == "start":
        return datetime.fromtimestamp(row.start_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%MZ")
    return msgspec.structs.asdict(row)[name]
