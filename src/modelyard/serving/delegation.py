"""How the controller calls in the name of a key that it does not know.

Of a key only the digest is stored, so nobody can repeat it. Each valid key therefore has a twin: a secret derived from a secret of
the home, published to workers beside the key with the same grant (for calls only). It ends when its key does, is never written
down, and can be derived by the controller alone.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from modelyard.core.access import Action, Key


class Delegation:
    """Twins of keys under one secret of the home (at least 16 random bytes)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def secret_of(self, key_id: int) -> str:
        """What to send instead of the key."""
        return "twin_" + hmac.new(self._secret, f"modelyard twin of key {key_id}".encode(), hashlib.sha256).hexdigest()

    def twin(self, key: Key) -> Key | None:
        """The entry to publish beside ``key``; None for a key that may not call. Where from is no matter: that was asked at submission."""
        if Action.INFER not in key.actions:
            return None
        digest = hashlib.sha256(self.secret_of(key.id).encode()).hexdigest()
        return msgspec.structs.replace(key, digest=digest, actions=(Action.INFER,), networks=())

    def headers(self, key_id: int) -> dict[str, str]:
        """Headers that make a call the key's own."""
        return {"authorization": f"Bearer {self.secret_of(key_id)}"}
