"""Secrets at rest: sealed with a key of their own, which is sealed with the home's (envelope encryption, AES-256-GCM).

A sealed text can be kept anywhere, for it opens only with the secret of the home, or of the nodes together, and in the context that it was
sealed for, such as the workspace and the host that it may be sent to.
"""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from modelyard.core.errors import InvalidRequest

PREFIX = "sealed1."
_KEY, _NONCE, _TAG = 32, 12, 16
_WRAPPED = _NONCE + _KEY + _TAG


class Sealer:
    """Seals and opens with a master key of 32 bytes; ``former`` ones open what was sealed with them."""

    def __init__(self, master: bytes, *former: bytes) -> None:
        self._master = AESGCM(master)
        self._opening = (self._master, *map(AESGCM, former))

    def seal(self, secret: str, context: str) -> str:
        """``secret`` as printable text; never the same twice."""
        key = AESGCM.generate_key(8 * _KEY)
        wrapping, nonce = os.urandom(_NONCE), os.urandom(_NONCE)
        wrapped = self._master.encrypt(wrapping, key, context.encode())
        body = AESGCM(key).encrypt(nonce, secret.encode(), context.encode())
        return PREFIX + base64.urlsafe_b64encode(wrapping + wrapped + nonce + body).decode().rstrip("=")

    def open(self, sealed: str, context: str) -> str:
        """What was sealed.

        Raises InvalidRequest for anything that this home, or a node that shares its secret, did not seal for this context.
        """
        try:
            if not sealed.startswith(PREFIX):
                raise ValueError(sealed[:8])
            text = sealed.removeprefix(PREFIX)
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            key = self._unwrap(data[:_NONCE], data[_NONCE:_WRAPPED], context.encode())
            return AESGCM(key).decrypt(data[_WRAPPED : _WRAPPED + _NONCE], data[_WRAPPED + _NONCE :], context.encode()).decode()
        except (ValueError, InvalidTag):
            raise InvalidRequest("A sealed secret cannot be opened: it was sealed by another home or for something else.") from None

    def _unwrap(self, nonce: bytes, wrapped: bytes, context: bytes) -> bytes:
        *former, last = self._opening
        for master in former:
            try:
                return master.decrypt(nonce, wrapped, context)
            except InvalidTag:
                continue
        return last.decrypt(nonce, wrapped, context)
