"""Backup, restore, garbage collection."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_fields, print_json, progress, size
from modelyard.core.durations import parse_duration
from modelyard.core.errors import AlreadyExists, InvalidRequest

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Maintenance."""


@app.command("backup", epilog=examples("modelyard backup modelyard-2027-01-01.backup"))
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
    as_json: Json = False,
) -> None:
    """Write everything the platform keeps to one file, while it runs.

    The file holds the hashes of keys: keep it as safe as the home itself.
    """
    if file.exists() and not force:
        raise AlreadyExists(f"{str(file)!r} exists already; choose another name, or overwrite it with --force.")
    part = file.with_name(f".{file.name}.part")
    try:
        with connected() as client, progress("Saving") as step, os.fdopen(_private(part), "wb") as out:
            written = client.platform.backup(out, on_bytes=lambda done: step(f"Saving, {size(done)}", 0.0))
        part.replace(file)
    except OSError as error:
        raise InvalidRequest(f"{str(file)!r} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
    if as_json:
        print_json({"file": str(file), "size": written})
    else:
        print(f"Wrote {file} ({size(written)}).")


@app.command("gc", epilog=examples("modelyard gc", "modelyard gc --older-than 7d"))
def collect_garbage(
    older_than: Annotated[
        str, typer.Option(help="Only what was uploaded before this, like 7d; the platform has a floor of its own.")
    ] = "1d",
    as_json: Json = False,
) -> None:
    """Delete stored bytes that no version, data set or job refers to."""
    seconds = parse_duration(older_than)
    with connected(timeout=3600.0) as client:
        report = client.platform.collect_garbage(min_age_seconds=seconds)
    if as_json:
        print_json(report)
    else:
        freed = report.pop("freed_bytes", 0)
        print_fields([*((name.replace("_", " "), value) for name, value in report.items()), ("freed", size(freed))])


def _private(path: Path) -> int:
    """A new file that only its owner can read."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
