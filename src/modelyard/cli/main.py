"""Finds the command that was meant and runs it; turns errors into one sentence and an exit status."""

from __future__ import annotations

import difflib
import io
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from modelyard import __version__
from modelyard.cli.table import COMMANDS
from modelyard.core.errors import ModelyardError

EPILOG = """Example:

\b
  modelyard up --detach
  modelyard train penguins.csv --target species --name penguins
  modelyard deploy penguins@1"""
INTERRUPTED = 130


def load(name: str) -> Any:
    """The command called ``name``, from its module."""
    app: typer.Typer = import_module(COMMANDS[name].module).app
    command: Any = typer.main.get_command(app)
    return command.commands[name]


class LazyGroup(TyperGroup):
    """Knows all commands by the table, and loads one when it is run."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is Typer's
        if cmd_name not in COMMANDS:
            return None
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name].summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself instead of its stand-in, or a refusal that names the nearest."""
        wanted = args[0]
        if wanted in COMMANDS:
            return wanted, load(wanted), args[1:]
        if not ctx.resilient_parsing and not wanted.startswith("-"):
            near = difflib.get_close_matches(wanted, list(COMMANDS), n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {wanted!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is Typer's
        """Commands under the heading of their section."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items() if entry.section == section])


app = typer.Typer(
    cls=LazyGroup,
    name="modelyard",
    help="Train a model or bring one, and serve it versioned, measured and governed.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"modelyard {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Train a model or bring one, and serve it versioned, measured and governed."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 refused or failed, 2 not understood, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without an ellipsis shows a question mark, not a traceback
    try:
        typer.main.get_command(app)(arguments, prog_name="modelyard")
    except ModelyardError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"Error: {error}.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
