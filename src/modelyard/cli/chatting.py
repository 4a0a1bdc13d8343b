"""Talking with a language model in the terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, note, print_json
from modelyard.core.errors import InvalidRequest, ModelyardError
from modelyard.sdk.client import Client

app = typer.Typer(rich_markup_mode=None)
PROMPT = "> "
HELP = "An empty line does nothing, /clear forgets what was said, /exit or Ctrl-D ends; Ctrl-C ends an answer."


@app.callback()
def _group() -> None:
    """Talking with models."""


@app.command(
    "chat",
    epilog=examples(
        "modelyard chat words",
        "modelyard chat words --message 'Hello!' --max-tokens 60",
        "modelyard chat words@2 --system 'Be brief.' --json < questions.txt",
    ),
)
def chat(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment, or NAME@VERSION.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Say this, print the answer, and end.")] = "",
    system: Annotated[str, typer.Option(help="What the model is told before everything else.")] = "",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, max=2.0, help="0 always takes the likeliest token.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes answers repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Talk with a language model: each line is a message, and the whole conversation goes with it.

    Without --message lines are read from the terminal, or from standard input.
    """
    options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    given = {name: value for name, value in options.items() if value is not None}
    with connected(timeout=300.0) as client:
        talk = Conversation(client, deployment, system, given, quiet=as_json)
        if message:
            talk.say(message)
        elif sys.stdin.isatty():
            _converse(talk)
        else:
            lines = [line.strip() for line in sys.stdin if line.strip()]
            if not lines:
                raise InvalidRequest("There is nothing to say; give --message, or lines on standard input.")
            for line in lines:
                talk.say(line)
    if as_json:
        print_json({"deployment": deployment, "messages": talk.messages, "finish": talk.finish, "usage": talk.usage})


class Conversation:
    """What was said so far; ``quiet`` shows nothing of it."""

    def __init__(self, client: Client, deployment: str, system: str, options: dict[str, Any], *, quiet: bool) -> None:
        self._client, self._deployment, self._options, self._quiet = client, deployment, options, quiet
        self._first = [{"role": "system", "content": system}] if system else []
        self.messages: list[dict[str, str]] = list(self._first)
        self.finish = ""
        self.usage: dict[str, Any] = {}

    def clear(self) -> None:
        """Forgets everything but the system's message."""
        self.messages = list(self._first)

    def say(self, text: str) -> None:
        """Says something and shows the answer as it comes. What was not answered whole is not remembered."""
        asked = [*self.messages, {"role": "user", "content": text}]
        answer = ""
        try:
            for piece in self._client.inference.chat(self._deployment, asked, **self._options):
                answer += piece.text
                if not self._quiet:
                    sys.stdout.write(piece.text)
                    sys.stdout.flush()
                if piece.usage is not None:
                    self.finish, self.usage = piece.finish, piece.usage
        finally:
            if answer and not self._quiet:
                sys.stdout.write("\n")
        self.messages = [*asked, {"role": "assistant", "content": answer}]


def _converse(talk: Conversation) -> None:
    note(HELP)
    while True:
        try:
            line = input(PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            note("")
            return
        if line == "/exit":
            return
        if line == "/clear":
            talk.clear()
        elif line.startswith("/"):
            note(HELP)
        elif line:
            _answered(talk, line)


def _answered(talk: Conversation, line: str) -> None:
    try:
        talk.say(line)
    except KeyboardInterrupt:
        note("(ended)")
    except ModelyardError as error:
        note(f"Error: {error.message}")
