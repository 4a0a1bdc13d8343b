"""Client certificates that stand for keys."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from modelyard.cli.connection import connected
from modelyard.cli.output import Json, examples, print_json, print_table, when
from modelyard.core.bindings import FINGERPRINT, SUBJECT
from modelyard.core.errors import InvalidRequest

app = typer.Typer(rich_markup_mode=None)
certificates = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Let client certificates stand for keys.")
app.add_typer(
    certificates,
    name="certificates",
    epilog=examples("modelyard certificates bind k7f3a9 --file client.pem", "modelyard certificates list"),
)
KeyArgument = Annotated[str, typer.Argument(help="Id of the key, as 'keys list' shows it.")]
FileOption = Annotated[Path | None, typer.Option(help="PEM file of the certificate.")]
SubjectOption = Annotated[str, typer.Option(help="Its subject, for any certificate with it: 'CN=pump-7,O=Example'.")]


@app.callback()
def _group() -> None:
    """Certificates."""


@certificates.command("bind", epilog=examples("modelyard certificates bind k7f3a9 --subject 'CN=pump-7,O=Example'"))
def bind(key: KeyArgument, file: FileOption = None, subject: SubjectOption = "", as_json: Json = False) -> None:
    """Let a certificate stand for a key: whoever shows it needs no key."""
    with connected() as client:
        made = client.certificates.bind(key, _written(file, subject))
    if as_json:
        print_json(made)
    else:
        print(f"{made.certificate} stands for key {key}.")


@certificates.command("list", epilog=examples("modelyard certificates list"))
def listed(as_json: Json = False) -> None:
    """List certificates with their keys."""
    with connected() as client:
        found = client.certificates.list()
    if as_json:
        print_json(found)
        return
    rows = [(binding.key, binding.certificate, binding.created_by, when(binding.created_ns)) for binding in found]
    print_table(["key", "certificate", "by", "since"], rows, empty="No certificate stands for a key.")


@certificates.command("unbind", epilog=examples("modelyard certificates unbind k7f3a9 --file client.pem"))
def unbind(key: KeyArgument, file: FileOption = None, subject: SubjectOption = "", as_json: Json = False) -> None:
    """End that; the certificate alone is refused within a second."""
    written = _written(file, subject)
    with connected() as client:
        client.certificates.unbind(key, written)
    if as_json:
        print_json({"key": key, "certificate": written, "bound": False})
    else:
        print(f"{written} stands for key {key} no more.")


def _written(file: Path | None, subject: str) -> str:
    if (file is None) == (not subject):
        raise InvalidRequest("Say which certificate: --file client.pem, or --subject 'CN=…'.")
    if file is None:
        return SUBJECT + subject
    try:
        text = file.read_text()
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----", begin)
        return FINGERPRINT + sha256(ssl.PEM_cert_to_DER_cert(text[begin:end] + "-----END CERTIFICATE-----\n")).hexdigest()
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidRequest(f"{file} has no certificate in PEM form.") from error
