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
SHARED_FILE = "sealing.secret"
"""Where several nodes are to open what one of them has sealed: the same in each home, put there by whoever runs them."""
AUDIT_FILE = "audit.key"
WEBHOOK_FILE = "webhook.secret"
WEBHOOK_PREFIX = "whsec_"
_BYTES = 32


def home_secret(home: Path, purpose: str) -> bytes:
    """32 bytes for one purpose, derived from the home's own secret, which is made when it is missing and never leaves its file.

    Raises Conflict when that file is damaged.
    """
    text = _kept(home / FILE, lambda: secrets.token_hex(_BYTES))
    root = _decoded(text)
    if not root:
        raise Conflict(f"{home / FILE} is damaged; remove it, and the next start makes another.")
    return _derived(root, purpose)


def sealer(home: Path, purpose: str = "sealing") -> Sealer:
    """What seals secrets for this home, or for all nodes where they share ``sealing.secret``; what the home sealed before that still opens.

    Raises Conflict when a secret is damaged.
    """
    own, path = home_secret(home, purpose), home / SHARED_FILE
    try:
        root = _decoded(path.read_text().strip())
    except FileNotFoundError:
        return Sealer(own)
    except OSError as error:
        raise Conflict(f"{path} cannot be read ({error.strerror}); let the platform's user read it.") from error
    if not root:
        raise Conflict(f"{path} must hold 64 hexadecimal digits, the same on every node: openssl rand -hex 32 makes them.")
    return Sealer(_derived(root, purpose), own)


def unsealing(home: str, workspace_id: int) -> Callable[[str, str], str]:
    """Opens keys of a workspace's upstream endpoints; see ``LoadOptions.unseal``."""
    made = sealer(Path(home))
    return lambda sealed, origin: made.open(sealed, sealing_context(workspace_id, origin))


def audit_seed(home: Path) -> bytes:
    """The private key that signs the audit log, 32 bytes, made when it is missing and kept in its own file.

    Raises Conflict when that file is damaged.
    """
    text = _kept(home / AUDIT_FILE, lambda: secrets.token_hex(_BYTES))
    seed = _decoded(text)
    if not seed:
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


def _decoded(text: str) -> bytes:
    """A secret of 32 bytes from its digits; empty when they are no such secret."""
    try:
        root = bytes.fromhex(text)
    except ValueError:
        return b""
    return root if len(root) == _BYTES else b""


def _derived(root: bytes, purpose: str) -> bytes:
    return hmac.new(root, purpose.encode(), hashlib.sha256).digest()


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
