"""Declared state: a file says what shall be."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, note, print_json, print_table, progress
from modelyard.core.api import Applied, Change, ChangeKind
from modelyard.core.errors import InvalidRequest
from modelyard.sdk.client import Client
from modelyard.sdk.files import collect, detected_format, entry_of

app = typer.Typer(rich_markup_mode=None)
MARKS = {ChangeKind.CREATE: "+", ChangeKind.UPDATE: "~", ChangeKind.UNCHANGED: "=", ChangeKind.DELETE: "-"}


@app.callback()
def _group() -> None:
    """Declared state."""


@app.command(
    "apply",
    epilog=examples(
        "modelyard apply -f modelyard.yaml", "modelyard apply -f modelyard.yaml --plan", "modelyard apply -f modelyard.yaml --yes --prune"
    ),
)
def apply(
    file: Annotated[str, typer.Option("--file", "-f", help="The YAML document, or - for standard input.")] = "modelyard.yaml",
    plan_only: Annotated[bool, typer.Option("--plan", help="Show what would change, and change nothing.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Also delete what the sections of the file do not name.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Make the platform what a file says: models, deployments, members, keys, limits, prices, shares. The plan is shown first; doing it
    again changes nothing.
    """
    document = read_document(file, " with 'models', 'deployments' or 'keys'")
    folder = Path() if file == "-" else Path(file).parent
    with connected(timeout=600.0) as client:
        with progress("Uploading") as step:
            upload_local_files(client, document, folder, step)
        planned = client.platform.plan(document, prune=prune)
        changes = [change for change in planned.changes if change.change is not ChangeKind.UNCHANGED]
        if not as_json:
            _print_plan(planned.changes)
        if plan_only or not changes:
            if as_json:
                print_json(planned)
            return
        if not yes:
            _ask(len(changes), possible=not as_json and sys.stdin.isatty() and file != "-")
        done = client.platform.apply(document, prune=prune)
    if as_json:
        print_json(done)
    else:
        _print_done(done)


def _ask(changes: int, *, possible: bool) -> None:
    """Raises InvalidRequest where there is nobody to ask: silence is no consent."""
    if not possible:
        raise InvalidRequest(
            f"{changes} change(s) would be made, and nobody can be asked here; say --yes to make them, or --plan to see them."
        )
    typer.confirm(f"Make {changes} change(s)?", abort=True, err=True)


def read_document(file: str, wanted: str = "") -> dict[str, Any]:
    """The document in a file; ``wanted`` says what of.

    Raises InvalidRequest.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except OSError as error:
        raise InvalidRequest(f"{file!r} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{file!r} cannot be read: {' '.join(str(error).split())}.") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"{file!r} must be a mapping{wanted}.")
    return {_key(name): _with_texts(value) for name, value in found.items()}


def _with_texts(value: Any) -> Any:
    """The same with texts as keys: YAML reads some words and numbers as something else."""
    if isinstance(value, dict):
        return {_key(name): _with_texts(item) for name, item in value.items()}
    return [_with_texts(item) for item in value] if isinstance(value, list) else value


def _key(name: Any) -> str:
    return str(name).lower() if isinstance(name, bool) or name is None else str(name)


def upload_local_files(client: Client, document: dict[str, Any], folder: Path, step: Any) -> None:
    """Uploads what ``file:`` of a version names (a file, or a folder) and writes what it became in its place."""
    for model in _entries(document.get("models")):
        for version in _entries(model.get("versions")):
            if isinstance(version.get("file"), str):
                step(f"Uploading {version['file']}", 0.0)
                _upload(client, version, folder)


def _entries(section: Any) -> list[dict[str, Any]]:
    """The entries of a section, be it a mapping or a list; the server judges what is neither."""
    found = section.values() if isinstance(section, dict) else section
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, Iterable) and not isinstance(found, str) else []


def _upload(client: Client, version: dict[str, Any], folder: Path) -> None:
    files = collect(folder / version.pop("file"))
    uploaded = [(file.path, client.models.upload(file.source)) for file in files]
    version["files"] = [{"path": path, "digest": upload.digest} for path, upload in uploaded]
    version.setdefault("entry", entry_of(files))
    version.setdefault("format", detected_format(files))


def _print_plan(changes: tuple[Change, ...]) -> None:
    rows = [(MARKS[change.change], change.change, change.kind, change.name, change.detail) for change in changes]
    print_table(["", "change", "kind", "name", "detail"], rows, empty="The document names nothing.")


def _print_done(done: Applied) -> None:
    changed = sum(change.change is not ChangeKind.UNCHANGED for change in done.changes)
    note(f"{changed} change(s) made.")
    for key in done.keys:
        note(f"Key {key.id} ({key.label}); its secret is shown this once:")
        print(key.key)
