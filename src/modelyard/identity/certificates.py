"""Client certificates that stand for keys: whoever shows one in the TLS handshake need not send the key."""

from __future__ import annotations

from modelyard.core.access import Certificate, Grant, Key
from modelyard.core.bindings import FINGERPRINT, SUBJECT, Binding, parse_binding
from modelyard.core.clock import Clock
from modelyard.core.errors import Conflict, NotFound
from modelyard.core.events import Actor
from modelyard.identity.bounds import check_lent, check_reach
from modelyard.identity.keys import grant_of, within_rights
from modelyard.store.database import Session, Store


class CertificateService:
    """Binds and unbinds; each change with its audit row in the same transaction. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def bind(self, actor: Actor, public_id: str, certificate: str, within: Grant) -> Binding:
        """Lets a certificate stand for a key that reaches no further than ``within``.

        Raises InvalidRequest, NotFound, PermissionDenied, Conflict for a certificate that stands for a valid key already.
        """
        written = parse_binding(certificate)
        with self._store.write() as session:
            key = _need(session, actor.workspace_id, public_id)
            check_lent(key, within)
            if not self._valid(key):
                raise Conflict(f"Key {public_id!r} is revoked or has expired; bind the certificate to a valid one.")
            held = session.certificates.find(written)
            if held is not None:
                owner = session.certificates.key_of(written)
                if owner is not None and self._valid(owner):
                    raise Conflict("This certificate stands for a key already; unbind it there first.")
                session.certificates.remove(held)
            wish = Binding(id=0, workspace_id=actor.workspace_id, key_id=key.id, certificate=written, created_by=actor.name)
            made = session.certificates.add(wish)
            session.audit.append(actor, "key.bind", public_id, after={"certificate": written})
            return made

    def unbind(self, actor: Actor, public_id: str, certificate: str, within: Grant) -> None:
        """The certificate stands for the key no more. Raises NotFound, PermissionDenied, InvalidRequest."""
        written = parse_binding(certificate)
        with self._store.write() as session:
            key = _need(session, actor.workspace_id, public_id)
            check_reach(key, within)
            held = session.certificates.find(written)
            if held is None or held.key_id != key.id:
                raise NotFound(f"Key {public_id!r} is not bound to that certificate.")
            session.certificates.remove(held)
            session.audit.append(actor, "key.unbind", public_id, before={"certificate": written})

    def list(self, workspace_id: int) -> list[tuple[str, Binding]]:
        """Bindings of a workspace, each with the public id of its key."""
        with self._store.read() as session:
            return session.certificates.list(workspace_id)

    def grant(self, certificate: Certificate) -> Grant | None:
        """What a certificate that was shown stands for; None for nothing, or a key that is not valid."""
        with self._store.read() as session:
            for written in (FINGERPRINT + certificate.fingerprint, SUBJECT + certificate.subject):
                key = session.certificates.key_of(written)
                if key is not None and self._valid(key):
                    bounded = within_rights(key, session.memberships.rights(key.principal_id).of(key.workspace_id, key.principal_id))
                    return grant_of(bounded) if bounded is not None else None
        return None

    def _valid(self, key: Key) -> bool:
        return not key.revoked_ns and not 0 < key.expires_ns <= self._clock.time_ns()


def _need(session: Session, workspace_id: int, public_id: str) -> Key:
    key = session.keys.get(workspace_id, public_id)
    if key is None:
        raise NotFound(f"There is no key {public_id!r}.")
    return key
