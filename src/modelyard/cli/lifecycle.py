"""Starting and stopping the platform on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.output import Json, examples, note, print_json
from modelyard.server.detach import start_detached
from modelyard.server.instance import stop
from modelyard.server.settings_reading import assemble
from modelyard.server.supervisor import Notice, Told, run
from modelyard.store.home import Home

app = typer.Typer(rich_markup_mode=None)
HomeOption = Annotated[Path | None, typer.Option(help="Folder that holds everything. [env: MODELYARD_HOME; default: ~/.modelyard]")]


@app.callback()
def _group() -> None:
    """Start and stop."""


@app.command("up", epilog=examples("modelyard up", "modelyard up --home ./home --port 9000 --management-port 9080 --detach"))
def up(
    home: HomeOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [env: MODELYARD_HOST; default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port for calls of models. [env: MODELYARD_PORT; default: 8000]")] = None,
    management_port: Annotated[
        int | None, typer.Option(help="Port of the management API. [env: MODELYARD_MANAGEMENT_PORT; default: 8080]")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for calls over gRPC; -1 turns it off. [env: MODELYARD_GRPC_PORT; default: 8001]")
    ] = None,
    contract: Annotated[
        str | None,
        typer.Option(help="sagemaker or vertex: fulfil that container contract, on port 8080, without keys. [env: MODELYARD_CONTRACT]"),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer calls. [env: MODELYARD_WORKERS; default: one a core]")] = None,
    database_url: Annotated[str | None, typer.Option(help="sqlite:///… or postgresql://… [env: MODELYARD_DATABASE_URL]")] = None,
    blob_url: Annotated[str | None, typer.Option(help="A folder or s3://bucket/prefix. [env: MODELYARD_BLOB_URL]")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return once the platform is ready and leave it running.")] = False,
) -> None:
    """Start the platform and serve until Ctrl-C.

    The first start of a home prints an admin key, once.
    """
    flags = {
        "home": home,
        "host": host,
        "port": port,
        "management_port": management_port,
        "grpc_port": grpc_port,
        "contract": contract,
        "workers": workers,
        "database_url": database_url,
        "blob_url": blob_url,
    }
    assembled = assemble(os.environ, flags)
    for warning in assembled.warnings:
        note(warning)
    if detach:
        stopping = "modelyard down" if home is None else f"modelyard down --home {home}"
        raise typer.Exit(0 if start_detached(assembled.settings, lambda notice: _tell_detached(notice, stopping)) else 1)
    raise typer.Exit(run(assembled.settings, _tell))


@app.command("down", epilog=examples("modelyard down", "modelyard down --home ./home"))
def down(
    home: HomeOption = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for calls in flight to end.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Stop the platform that runs on a home; calls in flight are answered first."""
    root = assemble(os.environ, {"home": home}).settings.home
    found = stop(Home(root), timeout)
    if as_json:
        print_json({"home": str(root), "stopped": found is not None, "pid": found.pid if found else None})
    elif found is None:
        note(f"Nothing runs on {root}.")
    else:
        print(f"Stopped (process {found.pid}).")


def _tell(notice: Notice) -> None:
    """Shows what the supervisor tells, to be read while it runs."""
    if notice.told is Told.LISTENING:
        print(f"Inference:  {notice.inference_url}\nManagement: {notice.management_url}", flush=True)
        if notice.grpc_address:
            print(f"gRPC:       {notice.grpc_address}", flush=True)
    elif notice.told is Told.ADMIN_KEY:
        print(_key_text(notice.text), flush=True)
    elif notice.told is Told.READY:
        print("Ready. Ctrl-C stops.", flush=True)
        _tell_address(notice)
    elif notice.told is Told.STOPPING:
        print("Stopping: calls in flight are answered first.", flush=True)
    elif notice.told is Told.FATAL:
        note(f"Error: {notice.text}")
    else:
        note(notice.text)


def _tell_detached(notice: Notice, stopping: str) -> None:
    if notice.told is Told.READY:
        print(f"Ready, in the background; stop it with: {stopping}", flush=True)
        _tell_address(notice)
    else:
        _tell(notice)


def _tell_address(notice: Notice) -> None:
    """How the CLI finds a platform that is not where it looks by default."""
    url = notice.management_url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - shown, not bound
    if url != "http://127.0.0.1:8080" and os.environ.get("MODELYARD_URL", "") != url:
        print(f"  export MODELYARD_URL={url}", flush=True)


def _key_text(secret: str) -> str:
    return f"Admin key, shown this once:\n\n  export MODELYARD_KEY={secret}\n"
