"""How keys are bound to client certificates: by the certificate itself, or by its subject.

A binding reads ``sha256:…`` (the certificate's SHA-256 in hex) or ``subject:CN=pump-7,O=Example`` (RFC 4514).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha3_256

import msgspec

from modelyard.core.access import Certificate
from modelyard.core.errors import InvalidRequest

FINGERPRINT, SUBJECT = "sha256:", "subject:"
LONGEST = 1024


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """A key that callers with a certificate need not send."""

    id: int
    workspace_id: int
    key_id: int
    certificate: str
    created_by: str = ""
    created_ns: int = 0


@lru_cache(4096)
def digests_of(certificate: Certificate) -> tuple[bytes, bytes]:
    """Under which digests a snapshot has the keys that a certificate may be bound to, the narrower binding first."""
    return digest_of(FINGERPRINT + certificate.fingerprint), digest_of(SUBJECT + certificate.subject)


def digest_of(binding: str) -> bytes:
    """The digest of a binding, among those of keys' secrets. Another function makes it, so no secret can be found that has the same."""
    return sha3_256(b"modelyard certificate " + binding.encode()).digest()


def parse_binding(text: str) -> str:
    """The one way in which a binding is written. Raises InvalidRequest."""
    if len(text) > LONGEST or not text.isprintable():
        raise InvalidRequest(f"A certificate's binding has at most {LONGEST} printable characters.")
    if text.startswith(SUBJECT) and text[len(SUBJECT) :].strip():
        return SUBJECT + text[len(SUBJECT) :].strip()
    digits = text.removeprefix(FINGERPRINT).replace(":", "").lower()
    if text.startswith(FINGERPRINT) and len(digits) == 64 and not set(digits) - set("0123456789abcdef"):
        return FINGERPRINT + digits
    raise InvalidRequest(
        f"{text[:80]!r} names no certificate; write sha256: and its SHA-256 fingerprint in hex, or subject: and its subject,"
        " like subject:CN=pump-7,O=Example"
    )
