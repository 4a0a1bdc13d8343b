"""People of the platform, their passwords and their sessions; each change with its audit row in the same transaction.

A password is hashed with argon2id. Wrong ones block the name for a time that doubles with each, whoever sends them, and an unknown
name costs as much time as a wrong password, gets the same answers and is blocked alike.

Whoever signs in is nobody yet: methods are given a ``visitor``, an actor of whom address and request are known.
"""

from __future__ import annotations

import hashlib
import re
import secrets

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from modelyard.core.clock import Clock
from modelyard.core.errors import AlreadyExists, Conflict, InvalidRequest, NotFound, Unauthenticated
from modelyard.core.events import Actor
from modelyard.core.principals import Principal, PrincipalKind
from modelyard.core.sign_in import Invitation, Password, Person, Session
from modelyard.identity.attempts import Attempts, blocked_until, check_block
from modelyard.store.database import Session as StoreSession
from modelyard.store.database import Store
from modelyard.store.workspaces import DEFAULT_WORKSPACE_ID

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256
INVITATION_S = 3 * 86400
SESSION_S = 12 * 3600
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@+-]{0,198}[A-Za-z0-9])?")
_WRONG = "The name or the password is wrong."
People = list[Person]


class PeopleService:
    """Adds people and signs them in. Safe to use from several threads."""

    def __init__(self, store: Store, clock: Clock, hasher: PasswordHasher | None = None) -> None:
        self._store, self._clock = store, clock
        self._hasher = hasher or PasswordHasher()
        self._decoy = self._hasher.hash(secrets.token_hex(16))
        self._attempts = Attempts()

    def list(self) -> People:
        with self._store.read() as session:
            return [Person.of(principal) for principal in session.principals.people()]

    def add(self, actor: Actor, name: str, *, display: str = "", admin: bool = False) -> Invitation:
        """A new person without a password, and the one-time token that sets one. Raises AlreadyExists, InvalidRequest."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name[:60]!r} cannot name a person: use letters, digits and . _ @ + -, at most 200 of them.")
        if len(display) > 200 or not display.isprintable():
            raise InvalidRequest("A name for reading has at most 200 printable characters.")
        with self._store.write() as session:
            if session.principals.named(DEFAULT_WORKSPACE_ID, PrincipalKind.PERSON, name) is not None:
                raise AlreadyExists(f"There is a person {name!r} already.")
            wish = Principal(
                id=0,
                workspace_id=DEFAULT_WORKSPACE_ID,
                kind=PrincipalKind.PERSON,
                name=name,
                display=display,
                admin=admin,
                created_by=actor.name,
            )
            made = session.principals.add(wish)
            session.audit.append(actor, "person.add", name, after={"admin": admin})
            return self._invited(session, made)

    def invite(self, actor: Actor, name: str) -> Invitation:
        """Another one-time token; the one before ends. Raises NotFound, Conflict for somebody who signs in elsewhere."""
        with self._store.write() as session:
            person = _need(session, name)
            if person.issuer:
                raise Conflict(f"{name!r} signs in with {person.issuer}; there is no password to set.")
            session.audit.append(actor, "person.invite", name)
            return self._invited(session, person)

    def disable(self, actor: Actor, name: str, *, disabled: bool = True) -> Person:
        """Takes every right from a person, and ends every session; or gives the rights back. Keys follow within a second.

        Raises NotFound.
        """
        with self._store.write() as session:
            person = _need(session, name)
            if bool(person.disabled_ns) == disabled:
                return Person.of(person)
            wish = msgspec.structs.replace(person, disabled_ns=self._clock.time_ns() if disabled else 0)
            made = session.principals.change(wish, person.revision)
            session.sign_in.close_all(person.id)
            session.audit.append(actor, "person.disable" if disabled else "person.enable", name)
            return Person.of(made)

    def set_password(self, token: str, password: str, visitor: Actor) -> None:
        """Sets the password of whoever was invited with ``token``, which works once.

        Raises Unauthenticated, InvalidRequest, Unavailable.
        """
        _check_password(password)
        with self._store.read() as session:
            self._invitee(session, token)  # whoever has no token has nothing hashed
        hashed = self._hashed(password)
        with self._store.write() as session:
            self._store_password(session, self._invitee(session, token), hashed, visitor)

    def change_password(self, principal_id: int, old: str, new: str, actor: Actor) -> None:
        """Raises Unauthenticated for a wrong old one, LimitExceeded while the name is blocked, InvalidRequest for a weak new one."""
        _check_password(new)
        with self._store.read() as session:
            person = session.principals.get(principal_id)
        if person is None:
            raise Unauthenticated(_WRONG)
        self._verified(person.name, old)
        hashed = self._hashed(new)
        with self._store.write() as session:
            self._store_password(session, person, hashed, actor)

    def sign_in(self, name: str, password: str, visitor: Actor) -> Principal:
        """The person of this name and password. Raises Unauthenticated, LimitExceeded while the name is blocked, Unavailable."""
        person = self._verified(name, password)
        with self._store.write() as session:
            session.audit.append(_here(visitor, person), "person.sign-in", name)
        return person

    def exists(self, name: str) -> bool:
        """Whether there is a person of this name."""
        with self._store.read() as session:
            return session.principals.named(DEFAULT_WORKSPACE_ID, PrincipalKind.PERSON, name) is not None

    def open_session(self, principal: Principal, address: str) -> tuple[Session, str]:
        """A session and its secret, which only the browser's cookie has."""
        secret, now = secrets.token_urlsafe(32), self._clock.time_ns()
        wish = Session(
            id=0,
            principal_id=principal.id,
            digest=_digest(secret),
            csrf=secrets.token_urlsafe(32),
            address=address,
            created_ns=now,
            expires_ns=now + SESSION_S * 1_000_000_000,
        )
        with self._store.write() as session:
            return session.sign_in.open(wish), secret

    def session(self, secret: str) -> tuple[Session, Principal] | None:
        """The session with this secret and whose it is; None when it is over or its person disabled."""
        with self._store.read() as session:
            found = session.sign_in.session(_digest(secret))
            person = session.principals.get(found.principal_id) if found is not None else None
        if found is None or person is None or person.disabled_ns or found.expires_ns <= self._clock.time_ns():
            return None
        return found, person

    def close_session(self, session_id: int) -> None:
        with self._store.write() as session:
            session.sign_in.close(session_id)

    def _verified(self, name: str, password: str) -> Principal:
        with self._attempts.turn(name):
            now = self._clock.time_ns()
            with self._store.read() as session:
                person = session.principals.named(DEFAULT_WORKSPACE_ID, PrincipalKind.PERSON, name)
                known = session.sign_in.password(person.id) if person is not None else None
            if known is not None:
                check_block(known.blocked_until_ns, now)
            else:
                self._attempts.check_unknown(name, now)
            usable = known.hash if known is not None and known.hash and person is not None and not person.disabled_ns else ""
            right = self._matches(usable or self._decoy, password) and bool(usable)
            if known is not None:
                self._note(known, right, self._clock.time_ns())
            else:
                self._attempts.failed_unknown(name, self._clock.time_ns())
        if not right or person is None:
            raise Unauthenticated(_WRONG)
        return person

    def _matches(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password[: LONGEST_PASSWORD + 1])
        except (VerificationError, InvalidHashError):
            return False

    def _hashed(self, password: str) -> str:
        with self._attempts.hashing():
            return self._hasher.hash(password)

    def _note(self, known: Password, right: bool, now_ns: int) -> None:
        if right and not known.failures:
            return
        with self._store.write() as session:
            current = session.sign_in.password(known.principal_id) or known
            failures = 0 if right else current.failures + 1
            until = blocked_until(failures, now_ns)
            session.sign_in.put_password(msgspec.structs.replace(current, failures=failures, blocked_until_ns=until))

    def _invitee(self, session: StoreSession, token: str) -> Principal:
        known = session.sign_in.of_link(_digest(token))
        person = session.principals.get(known.principal_id) if known is not None else None
        if known is None or person is None or person.disabled_ns or known.link_until_ns <= self._clock.time_ns():
            raise Unauthenticated("The one-time token is wrong, used or too old; ask an administrator for another.")
        return person

    def _store_password(self, session: StoreSession, person: Principal, hashed: str, visitor: Actor) -> None:
        session.sign_in.put_password(Password(principal_id=person.id, hash=hashed, set_ns=self._clock.time_ns()))
        session.sign_in.close_all(person.id)
        session.audit.append(_here(visitor, person), "person.password", person.name)

    def _invited(self, session: StoreSession, person: Principal) -> Invitation:
        token, until = secrets.token_urlsafe(32), self._clock.time_ns() + INVITATION_S * 1_000_000_000
        known = session.sign_in.password(person.id) or Password(principal_id=person.id)
        session.sign_in.put_password(msgspec.structs.replace(known, link_digest=_digest(token), link_until_ns=until))
        return Invitation(name=person.name, token=token, until_ns=until)


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD or len(set(password)) < 5:
        raise InvalidRequest(f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, of which at least five differ.")


def _here(visitor: Actor, person: Principal) -> Actor:
    """A visitor who has turned out to be somebody, in the workspace whose log tells of people."""
    return msgspec.structs.replace(visitor, name=f"person:{person.name}", workspace_id=DEFAULT_WORKSPACE_ID)


def _need(session: StoreSession, name: str) -> Principal:
    found = session.principals.named(DEFAULT_WORKSPACE_ID, PrincipalKind.PERSON, name)
    if found is None:
        raise NotFound(f"There is no person {name[:60]!r}; 'modelyard people list' shows them.")
    return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
