"""Secrets that a home makes for itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from modelyard.core.errors import Conflict, InvalidRequest
from modelyard.runtimes.remote_settings import sealing_context
from modelyard.server.settings import Settings
from modelyard.store.encryption import Sealer

FILE = "home.secret"
AUDIT_FILE = "audit.key"
WEBHOOK_FILE = "webhook.secret"
WEBHOOK_PREFIX = "whsec_"
_BYTES = 32


def home_secret(home: Path, purpose: str) -> bytes:
    """32 bytes for one purpose, derived from the home's own secret, which is made when it is missing and never leaves its file.

    Raises Conflict when that file is damaged.
    """
    text = _kept(home / FILE, lambda: secrets.token_hex(_BYTES))
    try:
        root = bytes.fromhex(text)
    except ValueError:
        root = b""
    if len(root) != _BYTES:
        raise Conflict(f"{home / FILE} is damaged; remove it, and the next start makes another.")
    return hmac.new(root, purpose.encode(), hashlib.sha256).digest()


def sealer(home: Path) -> Sealer:
    """What seals secrets for this home. Raises Conflict when its secret is damaged."""
    return Sealer(home_secret(home, "sealing"))


def unsealing(home: str, workspace_id: int) -> Callable[[str, str], str]:
    """Opens keys of a workspace's upstream endpoints; see ``LoadOptions.unseal``."""
    made = sealer(Path(home))
    return lambda sealed, origin: made.open(sealed, sealing_context(workspace_id, origin))


def audit_seed(home: Path) -> bytes:
    """The private key that signs the audit log, 32 bytes, made when it is missing and kept in its own file.

    Raises Conflict when that file is damaged.
    """
    text = _kept(home / AUDIT_FILE, lambda: secrets.token_hex(_BYTES))
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != _BYTES:
        raise Conflict(f"{home / AUDIT_FILE} is damaged; put the right one back, or remove it and the next start makes another.")
    return seed


def webhook_secret(settings: Settings) -> bytes:
    """What signs webhooks: the setting, or what the home made for itself, in the usual form ``whsec_BASE64``.

    Raises InvalidRequest when it cannot be read.
    """
    text = settings.webhook_secret or _kept(settings.home / WEBHOOK_FILE, _new_webhook_secret)
    if not text.startswith(WEBHOOK_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(WEBHOOK_PREFIX), validate=True)
    except ValueError:
        raise InvalidRequest("The webhook secret is no valid base64 after 'whsec_'; correct MODELYARD_WEBHOOK_SECRET.") from None


def _new_webhook_secret() -> str:
    return WEBHOOK_PREFIX + base64.b64encode(secrets.token_bytes(24)).decode()


def _kept(path: Path, make: Callable[[], str]) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    text = make()
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return text
