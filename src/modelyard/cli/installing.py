"""Programs that replicas start, in environments of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from modelyard.cli.output import Json, examples, note, print_fields, print_json, progress, size
from modelyard.core.errors import InvalidRequest
from modelyard.runtimes.programs import Program, Programs, build_of, program_of, size_of
from modelyard.server.settings_reading import assemble
from modelyard.store.home import Home

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Programs."""


@app.command(
    "install", epilog=examples("modelyard install vllm --dry-run", "modelyard install vllm", "modelyard install vllm --device cpu")
)
def install(
    name: Annotated[str, typer.Argument(help="The program: vllm.")],
    device: Annotated[str, typer.Option(help="What it computes on: cuda, cpu, or auto for the GPU of this machine.")] = "auto",
    requirements: Annotated[Path | None, typer.Option(help="A requirements file in place of the pinned version.")] = None,
    home: Annotated[Path | None, typer.Option(help="Whose replicas start it. [env: MODELYARD_HOME; default: ~/.modelyard]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be installed, where, and how large it is.")] = False,
    as_json: Json = False,
) -> None:
    """Make an environment with a program that replicas start, on the machine where they run.

    Packages come from the index that the PIP_ variables name, as pip reads them.
    """
    program = program_of(name)
    wanted, room = _wanted(program, device, requirements)
    settings = assemble(os.environ, {"home": home}).settings
    programs = Programs(Home(settings.home).programs, os.environ)
    if dry_run:
        plan: dict[str, object] = {"program": name, "requirements": wanted.strip(), "place": str(programs.folder / name)}
        print_json(plan | {"bytes": room}) if as_json else print_fields([*plan.items(), ("takes about", size(room) if room else "")])
        return
    large = f"; it takes about {size(room)} on the disk" if room else ""
    note(f"Installing {' '.join(wanted.split())} into {programs.folder / name}{large}.")
    with progress("Installing") as step:
        made = programs.install(program, wanted, room, step)
    former = programs.former(name)
    if as_json:
        print_json(msgspec.to_builtins(made) | {"path": programs.path(name), "former": [str(path) for path in former]})
        return
    print_fields(
        [("program", programs.path(name)), ("version", made.version), ("size", size(made.size)), ("took", f"{made.seconds:.0f} s")]
    )
    for path in former:
        note(f"Another one stays at {path} ({size(size_of(path))}); delete it when no replica of it runs any more.")


def _wanted(program: Program, device: str, requirements: Path | None) -> tuple[str, int]:
    """Lines of a requirements file, and the bytes that there must be room for."""
    if requirements is None:
        build = build_of(program, device)
        return build.requirement + "\n", build.bytes
    try:
        return requirements.read_text(encoding="utf-8"), 0
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{str(requirements)!r} cannot be read: {error}.") from error
