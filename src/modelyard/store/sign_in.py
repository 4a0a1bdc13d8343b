"""Passwords, sessions and OpenID providers."""

from __future__ import annotations

import builtins

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from modelyard.core.errors import Conflict, NotFound
from modelyard.core.sign_in import Password, Provider, Session
from modelyard.store.rows import decode, encode
from modelyard.store.tables import passwords, providers, sessions


class SignInTable:
    """Rows of ``passwords`` and ``sessions``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def password(self, principal_id: int) -> Password | None:
        row = self._connection.execute(select(passwords).where(passwords.c.principal_id == principal_id)).mappings().one_or_none()
        return None if row is None else decode(row, Password)

    def of_link(self, digest: str) -> Password | None:
        """Whose one-time token has this SHA-256."""
        row = self._connection.execute(select(passwords).where(passwords.c.link_digest == digest)).mappings().one_or_none()
        return None if row is None else decode(row, Password)

    def put_password(self, password: Password) -> None:
        values = msgspec.structs.asdict(password)
        changed = self._connection.execute(update(passwords).where(passwords.c.principal_id == password.principal_id).values(**values))
        if not changed.rowcount:
            self._connection.execute(insert(passwords).values(**values))

    def open(self, session: Session) -> Session:
        """Stores a session; those whose time is over go."""
        self._connection.execute(delete(sessions).where(sessions.c.expires_ns <= session.created_ns))
        identity = self._connection.execute(insert(sessions).values(**encode(session)).returning(sessions.c.id)).scalar_one()
        return msgspec.structs.replace(session, id=identity)

    def session(self, digest: str) -> Session | None:
        row = self._connection.execute(select(sessions).where(sessions.c.digest == digest)).mappings().one_or_none()
        return None if row is None else decode(row, Session)

    def close(self, session_id: int) -> None:
        self._connection.execute(delete(sessions).where(sessions.c.id == session_id))

    def close_all(self, principal_id: int) -> int:
        """Ends every session of a person; how many there were."""
        return self._connection.execute(delete(sessions).where(sessions.c.principal_id == principal_id)).rowcount


class ProvidersTable:
    """Rows of ``providers``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> Provider | None:
        row = self._connection.execute(select(providers).where(providers.c.name == name)).mappings().one_or_none()
        return None if row is None else decode(row, Provider)

    def list(self) -> builtins.list[Provider]:
        return [decode(row, Provider) for row in self._connection.execute(select(providers).order_by(providers.c.name)).mappings()]

    def put(self, provider: Provider, expect_revision: int) -> Provider:
        """Writes a provider; what is stored now. ``expect_revision`` 0 means that there was none. Raises Conflict."""
        current = self.get(provider.name)
        stands = current.revision if current is not None else 0
        if stands != expect_revision:
            now = f"at revision {stands} ({current.issuer}, client {current.client_id})" if current is not None else "not there"
            raise Conflict(f"Provider {provider.name!r} is {now}, not at revision {expect_revision}: it has changed; read it again.")
        made = msgspec.structs.replace(provider, revision=stands + 1)
        values = msgspec.to_builtins(made)
        if current is None:
            self._connection.execute(insert(providers).values(**values))
        else:
            self._connection.execute(update(providers).where(providers.c.name == made.name).values(**values))
        return made

    def remove(self, name: str) -> None:
        """Raises NotFound."""
        if not self._connection.execute(delete(providers).where(providers.c.name == name)).rowcount:
            raise NotFound(f"There is no provider {name!r}.")
