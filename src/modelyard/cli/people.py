"""People, passwords and providers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, note, print_json, print_table, when
from modelyard.core.errors import InvalidRequest

app = typer.Typer(rich_markup_mode=None)
people = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Add, list, invite and disable people.")
providers = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Say which OpenID providers people sign in with.")
app.add_typer(people, name="people", epilog=examples("modelyard people add ana", "modelyard people list"))
app.add_typer(providers, name="providers", epilog=examples("modelyard providers set corp provider.yaml", "modelyard providers list"))
Name = Annotated[str, typer.Argument(help="Name of the person.")]
ProviderName = Annotated[str, typer.Argument(help="Name of the provider, as it stands in addresses.")]


@app.callback()
def _group() -> None:
    """People."""


@people.command("add", epilog=examples("modelyard people add ana --display 'Ana Silva'"))
def add(
    name: Name,
    display: Annotated[str, typer.Option(help="A name for reading.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="Administers the platform.")] = False,
    as_json: Json = False,
) -> None:
    """Add a person; the one-time token with which it sets a password is shown this once."""
    with connected() as client:
        made = client.people.add(name, display=display, admin=admin)
    if as_json:
        print_json(made)
        return
    note(f"Person {made.name} is there. The one-time token, valid until {when(made.until_ns)}, to set a password with: modelyard password")
    print(made.token)


@people.command("invite", epilog=examples("modelyard people invite ana"))
def invite(name: Name, as_json: Json = False) -> None:
    """Make another one-time token, for whoever forgot a password."""
    with connected() as client:
        made = client.people.invite(name)
    if as_json:
        print_json(made)
        return
    note(f"The one-time token, valid until {when(made.until_ns)}:")
    print(made.token)


@people.command("list", epilog=examples("modelyard people list"))
def listed(as_json: Json = False) -> None:
    """List everybody."""
    with connected() as client:
        found = client.people.list()
    if as_json:
        print_json(found)
        return
    rows = [
        (person.name, person.display, "yes" if person.admin else "", person.issuer or "password", "disabled" if person.disabled_ns else "")
        for person in found
    ]
    print_table(["person", "name", "admin", "signs in with", "state"], rows, empty="There are no people yet.")


@people.command("disable", epilog=examples("modelyard people disable ana"))
def disable(name: Name, as_json: Json = False) -> None:
    """Take every right from a person: sessions end, keys are refused within a second."""
    _disabled(name, True, as_json)


@people.command("enable", epilog=examples("modelyard people enable ana"))
def enable(name: Name, as_json: Json = False) -> None:
    """Give a disabled person its rights back."""
    _disabled(name, False, as_json)


@app.command("password", epilog=examples("modelyard password", "modelyard password --token-file token.txt < password.txt"))
def password(
    token_file: Annotated[
        Path | None, typer.Option(help="File with the one-time token; it is asked for when left out.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Set a password with the one-time token of 'people add' or 'people invite'; both are asked for, or lines of standard input."""
    token = token_file.read_text().strip() if token_file is not None else _asked("One-time token", confirm=False).strip()
    with connected() as client:
        client.people.set_password(token, _asked("New password", confirm=True))
    print("The password is set; sign in with: modelyard login NAME")


@app.command("login", epilog=examples("modelyard login ana --workspace birds"))
def login(
    name: Name,
    workspace: Annotated[str, typer.Option(help="Where the key shall work; needed by members of several.")] = "",
    to: Annotated[Path, typer.Option("--to", help="The file for the key, readable by you alone.")] = Path("~/.modelyard/key"),
) -> None:
    """Sign in with a password; a key that is valid for hours goes into a file that only you can read."""
    with connected() as client:
        issued = client.people.sign_in(name, _asked("Password", confirm=False), workspace=workspace)
    path = to.expanduser()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(issued.key + "\n")
    part.replace(path)
    print(f'Signed in until {when(issued.expires_ns)}; use the key with: export MODELYARD_KEY="$(cat {path})"')


@providers.command("set", epilog=examples("modelyard providers set corp provider.yaml --secret-file secret.txt"))
def put(
    name: ProviderName,
    file: Annotated[Path, typer.Argument(help="YAML with issuer, client_id, groups_claim and mapping.", exists=True, dir_okay=False)],
    secret_file: Annotated[Path | None, typer.Option(help="File with the client secret.", exists=True, dir_okay=False)] = None,
    as_json: Json = False,
) -> None:
    """Make an OpenID provider known, or change it."""
    document = yaml.safe_load(file.read_text())
    if not isinstance(document, dict):
        raise InvalidRequest(f"{file} must hold a mapping with issuer, client_id and mapping.")
    if secret_file is not None:
        document["client_secret"] = secret_file.read_text().strip()
    with connected() as client:
        made = client.providers.put(name, document)
    if as_json:
        print_json(made)
    else:
        print(f"People sign in with {made.issuer} at: GET /api/v1/sign-in/oidc/{made.name}")


@providers.command("list", epilog=examples("modelyard providers list"))
def list_providers(as_json: Json = False) -> None:
    """List OpenID providers, without their secrets."""
    with connected() as client:
        found = client.providers.list()
    if as_json:
        print_json(found)
        return
    rows = [(provider.name, provider.issuer, provider.client_id, [rule.group for rule in provider.mapping]) for provider in found]
    print_table(["provider", "issuer", "client", "groups"], rows, empty="There are no providers.")


@providers.command("remove", epilog=examples("modelyard providers remove corp"))
def remove(name: ProviderName, as_json: Json = False) -> None:
    """Forget an OpenID provider."""
    with connected() as client:
        client.providers.remove(name)
    if as_json:
        print_json({"name": name, "removed": True})
    else:
        print(f"Nobody signs in with {name} any more.")


def _disabled(name: str, disabled: bool, as_json: bool) -> None:
    with connected() as client:
        made = client.people.disable(name, disabled=disabled)
    if as_json:
        print_json(made)
    else:
        print(f"{name} is {'disabled' if disabled else 'enabled'}.")


def _asked(prompt: str, *, confirm: bool) -> str:
    """A secret from the terminal, without showing it, or the first line of what is piped in."""
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm))
    return sys.stdin.readline().rstrip("\n")
