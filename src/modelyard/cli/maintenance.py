"""Backup, restore, garbage collection."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_fields, print_json, progress, size
from modelyard.core.durations import parse_duration
from modelyard.core.errors import AlreadyExists, InvalidRequest, NotFound
from modelyard.server.settings_reading import assemble
from modelyard.store.home import Home
from modelyard.store.restore import restore as restore_home

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
        with suppress(OSError):  # where nothing can be written, nothing was
            part.unlink()
    if as_json:
        print_json({"file": str(file), "size": written})
    else:
        print(f"Wrote {file} ({size(written)}).")


@app.command("restore", epilog=examples("modelyard restore modelyard-2027-01-01.backup --home ./restored"))
def restore(
    file: Annotated[Path, typer.Argument(help="What 'modelyard backup' wrote.")],
    home: Annotated[Path | None, typer.Option(help="An empty or new folder. [env: MODELYARD_HOME; default: ~/.modelyard]")] = None,
    database_url: Annotated[str | None, typer.Option(help="An empty database. [env: MODELYARD_DATABASE_URL]")] = None,
    blob_url: Annotated[str | None, typer.Option(help="An empty place for blobs. [env: MODELYARD_BLOB_URL]")] = None,
    as_json: Json = False,
) -> None:
    """Make a home from a backup. Nothing may run on that home, and it must be empty; start the platform on it afterwards."""
    if not file.is_file():
        raise NotFound(f"There is no file {str(file)!r}; give what 'modelyard backup' wrote.")
    settings = assemble(os.environ, {"home": home, "database_url": database_url, "blob_url": blob_url}).settings
    manifest = restore_home(file, Home(settings.home), database_url=settings.database_url, blob_url=settings.blob_url)
    if as_json:
        print_json({"home": str(settings.home), "rows": manifest.rows, "files": len(manifest.parts), "missing": manifest.missing})
    else:
        print(f"Restored {len(manifest.parts)} files and {manifest.rows} rows into {settings.home}.")
        print(f"Start it with: modelyard up --home {settings.home}")


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
