"""Who changed what, or was refused, and whether that log is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_fields, print_json, print_table, size, when
from modelyard.core.errors import InvalidRequest
from modelyard.core.events import AuditReport
from modelyard.ledger.audit import verify_export

app = typer.Typer(rich_markup_mode=None)
audit = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Show, check and export who changed what.")
app.add_typer(audit, name="audit", epilog=examples("modelyard audit list", "modelyard audit verify"))


@app.callback()
def _group() -> None:
    """Audit."""


@audit.command("list", epilog=examples("modelyard audit list --limit 20"))
def listed(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    before: Annotated[int, typer.Option(min=0, help="Only rows older than the one with this number.")] = 0,
    as_json: Json = False,
) -> None:
    """List changes and refusals of rights, newest first."""
    with connected() as client:
        found = client.platform.audit(limit=limit, before=before)
    if as_json:
        print_json(found)
        return
    rows = [(event.id, when(event.time_ns), event.actor, event.action, event.subject, event.address) for event in found]
    print_table(["row", "time", "who", "did", "what", "from"], rows, empty="Nothing was changed yet.")


@audit.command("verify", epilog=examples("modelyard audit verify", "modelyard audit verify audit.jsonl --trust PUBLIC_KEY"))
def verify(
    file: Annotated[Path | None, typer.Argument(help="An export to check here, without the platform.", exists=True, dir_okay=False)] = None,
    trust: Annotated[list[str], typer.Option(help="A public key that may have signed it; may be repeated.")] = [],  # noqa: B006 - Typer copies it
    as_json: Json = False,
) -> None:
    """Check every row against the chain of hashes and the signed heads; the status is 1 when one was changed, removed or moved."""
    if file is not None and not trust:
        raise InvalidRequest("An export is checked by the key that signed it: add --trust with what 'modelyard audit key' prints.")
    if file is not None:
        with file.open("rb") as lines:
            report = verify_export(lines, trust)
    else:
        with connected(timeout=600.0) as client:
            report = client.platform.verify_audit(trust=trust)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.findings:
        raise typer.Exit(1)


@audit.command("export", epilog=examples("modelyard audit export audit.jsonl"))
def export(file: Annotated[Path, typer.Argument(help="The file to write.")], as_json: Json = False) -> None:
    """Write the whole log with its signed heads as JSON lines."""
    part = file.with_name(f".{file.name}.part")
    try:
        with connected(timeout=600.0) as client, part.open("wb") as out:
            written = client.platform.export_audit(out)
        part.replace(file)
    except OSError as error:
        raise InvalidRequest(f"{str(file)!r} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
    if as_json:
        print_json({"file": str(file), "size": written})
    else:
        print(f"Wrote {file} ({size(written)}).")


@audit.command("key", epilog=examples("modelyard audit key"))
def key(as_json: Json = False) -> None:
    """Print the public key (Ed25519, hexadecimal) that signs the log."""
    with connected() as client:
        found = client.platform.audit_key()
    if as_json:
        print_json({"public_key": found})
    else:
        print(found)


def _print(report: AuditReport) -> None:
    for finding in report.findings:
        print(f"{finding.fault.upper()}: {finding.text}")
    head = report.head
    fields: list[tuple[str, object]] = [("rows", report.events), ("signed heads", report.heads)]
    if head is not None:
        fields += [("last signed", f"row {head.event_id}, {when(head.time_ns)}"), ("its hash", head.hash)]
    print_fields(fields)
    print("The log is NOT whole." if report.findings else "The log is whole.")
